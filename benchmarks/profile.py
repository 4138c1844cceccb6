"""Shows the CPU time of a request by stage: `python -m benchmarks.profile W1 W4`.

py-spy samples the gateway while the rig sends requests. A sample belongs to the stage of the innermost frame that
matches a stage. The time of a C function belongs to the Python function that called it. Waiting is not counted.
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

from benchmarks.page import PAGE, describe_environment, replace_section
from benchmarks.rig import DEFAULT, GATEWAY, load_rig

STAGES = {
    "parse": r"graphql/language/(?!visitor)",
    "validate": r"graphql/(validation|utilities)/",
    "limit": r"gateway/execution/(limits|cost\w*|budget|measurement|document_size)\.py",
    "plan": r"gateway/execution/plan\w*\.py|graphql/execution/(collect_fields|values|get_variable_signature)\.py",
    "execute": r"gateway/execution/|graphql/(execution|type|pyutils|error)/|strawberry/(schema|types|utils|execution)/",
    "resolve": r"(resolvers|schema)/|aiodataloader|strawberry/",
    "encrypt": r"encryption\.py|cryptography/",
    "SQL": r"(repositories|sqlalchemy)/",
    "PostgreSQL's driver": r"asyncpg/",
    "token": r"gateway/auth/|/jwt/",
    "encode": r"gateway/transport/responses\.py",
    "HTTP": r"gateway/|uvicorn/|httptools|h11/|starlette/",
    "event loop": r"uvloop|asyncio/|concurrent/",
}
_SAMPLES_PER_SECOND = 400
_WARM_UP_SECONDS = 3


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("workloads", nargs="+", metavar="W1")
    parser.add_argument("--rig", type=Path, default=DEFAULT, help="the rig's folder (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument(
        "--functions", type=int, default=0, metavar="N", help="also print the N most expensive functions"
    )
    parser.add_argument("--write", action="store_true", help=f"write the table into {PAGE}")
    options = parser.parse_args(arguments)
    rig = load_rig(options.rig)
    rig.db_start()
    server = rig.Peer(GATEWAY).start(4100)
    try:
        profiles = {name: _profile(rig, server, name, options.seconds) for name in options.workloads}
    finally:
        server.stop()
        server.undo()
    text = "\n".join(table(profiles))
    print(text)
    for name, stacks in profiles.items():
        for function, share in _functions(stacks).most_common(options.functions):
            print(f"{name} {share:5.1%} {function}")
    if options.write:
        replace_section(PAGE, "profile", f"{describe_environment()}\n\n{text}")


Stacks = list[tuple[list[str], int]]


def _profile(rig: Any, server: Any, workload: str, seconds: int) -> Stacks:
    path = rig.bodies(server, workload)
    rig.load(server, path, _WARM_UP_SECONDS)
    with tempfile.NamedTemporaryFile(suffix=".raw") as raw:
        pid, rate = str(server.proc.pid), str(_SAMPLES_PER_SECOND)
        record = [f"{rig.PYENV}/bin/py-spy", "record", "--pid", pid, "--rate", rate, "--duration", str(seconds)]
        output = ["--format", "raw", "--output", raw.name]
        with subprocess.Popen([*record, *output], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as spy:
            rig.load(server, path, seconds + 1)
            assert spy.wait() == 0, "py-spy could not read the process, because it needs the permission to trace it"
        lines = Path(raw.name).read_text(encoding="utf-8").splitlines()
    return [(stack.split(";"), int(count)) for stack, _, count in (line.rpartition(" ") for line in lines)]


def _stage_of(frames: Iterable[str]) -> str:
    for frame in reversed(list(frames)):
        for name, pattern in STAGES.items():
            if re.search(pattern, frame):
                return name
    return "other"


def table(profiles: dict[str, Stacks]) -> list[str]:
    """Returns the lines of a table: the share of each stage in each workload."""
    shares = {name: _shares(stacks) for name, stacks in profiles.items()}
    return [
        f"| | {' | '.join(shares)} |",
        f"|---|{'---:|' * len(shares)}",
        *(
            f"| {stage} | {' | '.join(f'{share.get(stage, 0):.0%}' for share in shares.values())} |"
            for stage in (*STAGES, "other")
            if any(share.get(stage, 0) for share in shares.values())
        ),
    ]


def _shares(stacks: Stacks) -> dict[str, float]:
    samples: Counter[str] = Counter()
    for frames, count in stacks:
        samples[_stage_of(frames)] += count
    return {stage: count / samples.total() for stage, count in samples.items()}


def _functions(stacks: Stacks) -> Counter[str]:
    """Returns the share of each Python function, including the C functions that it calls."""
    samples: Counter[str] = Counter()
    for frames, count in stacks:
        innermost = next((frame for frame in reversed(frames) if ".py" in frame), frames[-1])
        samples[re.sub(r":\d+\)$", ")", innermost)] += count
    total = samples.total()
    return Counter({function: count / total for function, count in samples.items()})


if __name__ == "__main__":
    main(sys.argv[1:])
