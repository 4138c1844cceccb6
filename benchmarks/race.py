"""Compares the gateway with other servers over HTTP: `make race`, or `python -m benchmarks.race --help`.

Checks that the gateway returns the same responses as the other servers, lets the rig time all servers in turns, and
writes the table into docs/performance.md.
"""

import argparse
import json
import random
import shlex
import statistics
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.page import PAGE, describe_environment, replace_section, run_command
from benchmarks.rig import DEFAULT, GATEWAY, load_rig, prepare

OURS = "gateway"
_VERIFIED_USERS = 20


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.race", description=__doc__)
    parser.add_argument("--rig", type=Path, default=DEFAULT, help="the rig's folder (default: %(default)s)")
    parser.add_argument("--peers", default="p1,p1f,p2,p2r", help="the other servers (default: %(default)s)")
    parser.add_argument("--workloads", default="W1,W2,W3,W4,W5,W6")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--only-verify", action="store_true", help="compare the responses and stop")
    options = parser.parse_args(arguments)
    rig, peers, workloads = load_rig(options.rig), options.peers.split(","), options.workloads.split(",")
    prepare(rig, peers)
    verify(rig, peers[0], workloads)
    if options.only_verify:
        return
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        rig.time_all([GATEWAY, *peers], workloads, options.rounds, options.seconds, pinned=True, out=file.name)
        results = json.loads(Path(file.name).read_text(encoding="utf-8"))
    command = shlex.join(["python", "-m", "benchmarks.race", *arguments])
    head = [describe_environment(), _versions(rig, command)]
    replace_section(PAGE, "race", "\n".join([*head, "", *_titles(rig, peers), "", *table(results)]))


def verify(rig: Any, reference: str, workloads: Iterable[str]) -> None:
    """Exits unless the gateway's responses are equal to those of ``reference``.

    Enum values are compared in lower case. The dashboards differ in two details by design, which are not compared: the
    gateway also counts tasks without a category, and it counts all tasks due today, the other servers only open ones.
    """
    servers: list[Any] = []
    try:
        servers += [rig.Peer(GATEWAY).start(4101), rig.Peer(reference).start(4102)]
        for workload in workloads:
            for ids in random.Random(7).sample(rig.sample_ids(), 3 if workload == "W6" else _VERIFIED_USERS):  # noqa: S311 (not a secret)
                variables = rig.make_variables(workload, ids)
                ours, theirs = (rig.plain(server.ask(workload, variables, ids)[0]) for server in servers)
                difference = rig.first_difference(normalize(theirs), normalize(ours))
                if difference:
                    raise SystemExit(
                        f"The gateway and {reference} respond differently to {workload} {variables}: {difference}"
                    )
    finally:
        for server in servers:
            server.stop()
            server.undo()
        rig.undo_writes()
    print(f"The gateway gives the same responses as {reference}.", flush=True)


def normalize(data: Any) -> Any:
    """Returns the part of a response's data that must be equal for two servers."""
    match data:
        case {"dashboard": {"totals": totals, **rest}}:
            return {"dashboard": {**rest, **_without(totals, "dueToday")}}
        case {"dashboard": {"byCategory": categories, **rest}}:
            flat = [{**_without(entry, "category"), **entry["category"]} for entry in categories if entry["category"]]
            return {"dashboard": {**_without(rest, "dueToday"), "byCategory": flat}}
        case {"createTask": task}:
            return {"createTask": _without(_lower_enums(task), "id")}
    return _lower_enums(data)


def _without(values: Mapping[Any, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}


def _lower_enums(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: part.lower() if key == "status" else _lower_enums(part) for key, part in value.items()}
    return [_lower_enums(part) for part in value] if isinstance(value, list) else value


def _versions(rig: Any, command: str) -> str:
    python, node = run_command(f"{rig.PYENV}-gateway/bin/python", "--version"), run_command(str(rig.NODE), "--version")
    return f"PostgreSQL {rig.psql('SHOW server_version').strip()}, {python}, Node {node}. `{command}`"


def _titles(rig: Any, peers: Iterable[str]) -> list[str]:
    return [f"- **{name}**: {rig.Peer(name).title}" for name in peers]


def table(results: list[dict[str, Any]]) -> list[str]:
    """Returns the lines of the table: medians over the rounds, and the median ratio of runs in the same round."""
    runs: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for result in sorted(results, key=lambda result: int(result["round"])):
        runs.setdefault(result["workload"], {}).setdefault(result["peer"], []).append(result)
    return [
        "| | server | req/s | p50 ms | p99 ms | peak MB | µs CPU/request | gateway is |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
        *(_row(workload, peer, servers) for workload, servers in runs.items() for peer in servers),
    ]


def _row(workload: str, peer: str, servers: dict[str, list[dict[str, Any]]]) -> str:
    def median(name: str) -> float:
        return statistics.median(float(run[name]) for run in servers[peer])

    cpu = statistics.median(run["cpu"] * 1e4 / run["rps"] for run in servers[peer])
    pairs = zip(servers[OURS], servers[peer], strict=True)
    ratio = "" if peer == OURS else f"{statistics.median(ours['rps'] / theirs['rps'] for ours, theirs in pairs):.2f} ×"
    return (
        f"| {workload} | {peer} | {median('rps'):.0f} | {median('p50'):.1f} | {median('p99'):.1f} | {median('mb'):.0f} "
        f"| {cpu:.0f} | {ratio} |"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
