"""Loads the benchmark rig: a program with its databases and the other servers, outside this repository."""

import importlib.machinery
import importlib.util
import subprocess
from pathlib import Path
from typing import Any

DEFAULT = Path("../shared/bench")
GATEWAY = "benchmarks/gateway"
"""The folder that describes the gateway to the rig, relative to the repository's root."""


def load_rig(folder: Path) -> Any:
    """Imports the rig's program as a module."""
    program = folder / "run"
    if not program.exists():
        raise SystemExit(
            f"There is no benchmark rig in {folder}, because {program} does not exist. Give its folder with --rig."
        )
    spec = importlib.util.spec_from_loader("rig", importlib.machinery.SourceFileLoader("rig", str(program)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def prepare(rig: Any, peers: list[str]) -> None:
    """Sets up the rig and the other servers and installs the gateway.

    Drops the gateway's database, so that the rig creates it again.
    """
    rig.setup([GATEWAY, *peers])
    subprocess.run([f"{GATEWAY}/install"], env=rig.Peer(GATEWAY).env(0), check=True)
    rig.psql("DROP DATABASE IF EXISTS bench_gateway WITH (FORCE)", db="postgres")
