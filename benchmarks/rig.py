"""The benchmark rig: one program with its databases and other servers, kept outside of this repository."""

import importlib.machinery
import importlib.util
import subprocess
from pathlib import Path
from typing import Any

DEFAULT = Path("../shared/bench")
GATEWAY = "benchmarks/gateway"
"""The gateway as a contestant, from the repository's root, where all of this runs."""


def load_rig(folder: Path) -> Any:
    """The rig's program as a module."""
    program = folder / "run"
    if not program.exists():
        raise SystemExit(f"There is no benchmark rig at {folder}: {program} is missing. Say where it is with --rig.")
    spec = importlib.util.spec_from_loader("rig", importlib.machinery.SourceFileLoader("rig", str(program)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def prepare(rig: Any, peers: list[str]) -> None:
    """Sets up the rig and the other servers, installs the gateway, and lets its database be made anew."""
    rig.setup([GATEWAY, *peers])
    subprocess.run([f"{GATEWAY}/install"], env=rig.Peer(GATEWAY).env(0), check=True)
    rig.psql("DROP DATABASE IF EXISTS bench_gateway WITH (FORCE)", db="postgres")
