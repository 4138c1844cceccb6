"""Where the time of a request goes: `python -m benchmarks.profile W1 W4`.

The rig's load runs against the gateway while py-spy samples it. A sample belongs to the stage of the innermost frame
that has one; a C function counts for the Python code that called it. Only time on the processor is counted.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.page import PAGE, circumstances, replace_part
from benchmarks.rig import DEFAULT, GATEWAY, load_rig

STAGES = {
    "parse": r"graphql/language/(?!visitor)",
    "validate": r"graphql/(validation|utilities)/",
    "limit": r"gateway/execution/(limits|cost|budget)\.py",
    "plan": r"gateway/execution/plan\w*\.py|graphql/execution/(collect_fields|values|get_variable_signature)\.py",
    "execute": r"gateway/execution/|graphql/(execution|type|pyutils|error)/|strawberry/(schema|types|utils|execution)/",
    "resolve": r"(resolvers|schema)/|strawberry/",
    "encrypt": r"encryption\.py|cryptography/",
    "SQL": r"(repositories|sqlalchemy)/",
    "PostgreSQL's driver": r"asyncpg/",
    "token": r"gateway/(identity|issuers)\.py|/jwt/",
    "encode": r"encode_json|JSONResponse|render",
    "HTTP": r"gateway/|uvicorn/|httptools|h11/|starlette/",
    "event loop": r"uvloop|asyncio/|concurrent/",
}
_SAMPLES_A_SECOND = 400
_WARM_UP = 3


def main(arguments: list[str]) -> None:
    """Profiles workload by workload."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("workloads", nargs="+", metavar="W1")
    parser.add_argument("--rig", type=Path, default=DEFAULT, help="where the rig is (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument(
        "--functions", type=int, default=0, metavar="N", help="also name the N most expensive functions"
    )
    parser.add_argument("--write", action="store_true", help=f"write the table into {PAGE}")
    given = parser.parse_args(arguments)
    rig = load_rig(given.rig)
    rig.db_start()
    server = rig.Peer(GATEWAY).start(4100)
    try:
        profiles = {name: _profile(rig, server, name, given.seconds) for name in given.workloads}
    finally:
        server.stop()
        server.undo()
    text = "\n".join(table(profiles))
    print(text)
    for name, stacks in profiles.items():
        for function, share in _functions(stacks).most_common(given.functions):
            print(f"{name} {share:5.1%} {function}")
    if given.write:
        replace_part(PAGE, "profile", f"{circumstances()}\n\n{text}")


Stacks = list[tuple[list[str], int]]


def _profile(rig: Any, server: Any, workload: str, seconds: int) -> Stacks:
    path = rig.bodies(server, workload)
    rig.load(server, path, _WARM_UP)
    with tempfile.NamedTemporaryFile(suffix=".raw") as raw:
        pid, rate = str(server.proc.pid), str(_SAMPLES_A_SECOND)
        record = [f"{rig.PYENV}/bin/py-spy", "record", "--pid", pid, "--rate", rate, "--duration", str(seconds)]
        options = ["--format", "raw", "--output", raw.name]
        with subprocess.Popen([*record, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as spy:
            rig.load(server, path, seconds + 1)
            assert spy.wait() == 0, "py-spy could not read the process; it needs the right to trace it"
        lines = Path(raw.name).read_text(encoding="utf-8").splitlines()
    return [(stack.split(";"), int(count)) for stack, _, count in (line.rpartition(" ") for line in lines)]


def _stage(frames: Iterable[str]) -> str:
    for frame in reversed(list(frames)):
        for name, pattern in STAGES.items():
            if re.search(pattern, frame):
                return name
    return "other"


def table(profiles: dict[str, Stacks]) -> list[str]:
    """The share of each stage in each workload."""
    shares = {name: _shares(stacks) for name, stacks in profiles.items()}
    return [
        f"| | {' | '.join(shares)} |",
        f"|---|{'---:|' * len(shares)}",
        *(
            f"| {stage} | {' | '.join(f'{found.get(stage, 0):.0%}' for found in shares.values())} |"
            for stage in (*STAGES, "other")
            if any(found.get(stage, 0) for found in shares.values())
        ),
    ]


def _shares(stacks: Stacks) -> dict[str, float]:
    counted: Counter[str] = Counter()
    for frames, count in stacks:
        counted[_stage(frames)] += count
    return {stage: count / counted.total() for stage, count in counted.items()}


def _functions(stacks: Stacks) -> Counter[str]:
    """The share of each Python function, what it calls in C included."""
    counted: Counter[str] = Counter()
    for frames, count in stacks:
        innermost = next((frame for frame in reversed(frames) if ".py" in frame), frames[-1])
        counted[re.sub(r":\d+\)$", ")", innermost)] += count
    total = counted.total()
    return Counter({function: count / total for function, count in counted.items()})


if __name__ == "__main__":
    main(sys.argv[1:])
