"""Attacks one gateway and measures what another viewer notices: `python -m benchmarks.attacks`.

Starts a PostgreSQL server and one `siso serve` process for each attack. A process of its own runs the attack, with
the token of one user and over many connections. Meanwhile another user requests the dashboard and a list, ten times per
second. The table has a line for each attack:

- the peak of the gateway's resident memory (limit 250 MB)
- how long the other user waited: p50 and p99 (limit 1,000 ms)
- how many of the other user's requests failed with a status of 500 or more, or without a response (limit 0)

The exit code is 1 if a limit is exceeded. Client, gateway and database share the machine, so repeat a run whose
latencies are too high when nothing else runs.

    python -m benchmarks.attacks                          # all attacks, 60 seconds each
    python -m benchmarks.attacks --only sign-in --only search --seconds 10
"""

import argparse
import asyncio
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
from rich.progress import Progress

from gateway.auth.tokens import Tokens
from gateway.settings import Settings
from repositories.engines.database import DatabaseOptions
from repositories.engines.factory import open_database
from repositories.permissions import RoleName
from tests.cli.conftest import TOKEN_SECRET, create_siso
from tests.cli.siso import RunningGateway
from tests.databases import create_template, postgres_options, postgres_server, temporary_clone
from tests.factories import make_tasks, make_user

MAX_MEGABYTES = 250
MAX_P99 = 1000.0
_CONNECTIONS = 40
_INTERVAL = 0.1
_QUERY = "{ lifeLockDashboard { totalTasks overdueTasks } tasks(first: 50) { nodes { title category { name } } } }"
_NUMBERS = count()


def _aliases(number: int, field: str) -> str:
    return "{ " + " ".join(f"a{index}: {field}" for index in range(number)) + " }"


def _post(document: str, token: str = "", **variables: Any) -> bytes:
    body = json.dumps({"query": document, "variables": variables}).encode()
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    head = f"POST /graphql HTTP/1.1\r\nHost: gateway\r\n{authorization}Content-Type: application/json\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def _search(token: str) -> bytes:
    pattern = "%a" * 20 + "%b"
    return _post(
        _aliases(50, f'tasks(first: 1, filter: {{description: {{like: "{pattern}"}}}}) {{ totalCount }}'), token
    )


def _large_responses(token: str) -> bytes:
    return _post(_aliases(45, "tasks(first: 500) { nodes { description } }"), token)


def _leaderboard(token: str) -> bytes:
    return _post(_aliases(50, "leaderboard(period: ALL) { points }"), token)


def _unread(token: str) -> bytes:
    return _post(_aliases(2, "tasks(first: 450) { nodes { description } }"), token)


def _inputs(token: str) -> bytes:
    tasks = [{"title": "a", "description": "x" * 10_000}] * 90
    text = "mutation($i: CreateTasksInput!) { createTasks(input: $i) { userErrors { code } } }"
    return _post(text, token, i={"tasks": tasks})


def _plans(token: str) -> bytes:
    """A document with five conditions, another one each time."""
    number = next(_NUMBERS)
    names = "ABCDE"
    fields = " ".join(f"t{name}: title @skip(if: ${name})" for name in names)
    declared = ", ".join(f"${name}: Boolean!" for name in names)
    text = f"query Q{number // 32}({declared}) {{ tasks {{ nodes {{ id {fields} }} }} }}"
    return _post(text, token, **{name: bool(number >> bit & 1) for bit, name in enumerate(names)})


def _variables(_: str) -> bytes:
    text = "query($f: TaskFilter) { tasks(filter: $f) { nodes { id } } }"
    return _post(text, f={"or": [{}] * 240_000})


def _sign_in(_: str) -> bytes:
    values = {"email": f"person{next(_NUMBERS)}@example.com", "password": "not the password"}
    return _post("mutation($i: SignInInput!) { signIn(input: $i) { userErrors { code } } }", i=values)


def _endless_head(_: str) -> bytes:
    return b"GET /graphql HTTP/1.1\r\nHost: gateway\r\nX-Long: " + b"x" * 1_000_000


def _half_open(_: str) -> bytes:
    return b"POST /graphql HTTP/1.1\r\nHost: gateway\r\nContent-Length: 900000\r\n\r\n{"


@dataclass(frozen=True, slots=True)
class Attack:
    """``request`` makes the bytes of the next request. ``reads`` is whether the client reads the response."""

    request: Callable[[str], bytes]
    reads: bool = True


ATTACKS = {
    "endless-head": Attack(_endless_head),
    "half-open": Attack(_half_open, reads=False),
    "variables": Attack(_variables),
    "sign-in": Attack(_sign_in),
    "plans": Attack(_plans),
    "search": Attack(_search),
    "leaderboard": Attack(_leaderboard),
    "large-responses": Attack(_large_responses),
    "unread-responses": Attack(_unread, reads=False),
    "inputs": Attack(_inputs),
}


async def _attack_once(attack: Attack, url: str, token: str) -> None:
    """Sends one request on a connection of its own, and waits for the beginning and the rest of the response."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        if not attack.reads:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(attack.request(token))
        await writer.drain()
        async with asyncio.timeout(30):
            if not attack.reads:
                await asyncio.sleep(5)
            elif await reader.read(65536):
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.2):
                        while await reader.read(1_000_000):
                            pass
    finally:
        writer.transport.abort()


async def _attack(attack: Attack, url: str, token: str) -> None:
    async def repeat() -> None:
        while True:
            with suppress(OSError, TimeoutError):
                await _attack_once(attack, url, token)
            await asyncio.sleep(0)

    await asyncio.gather(*(repeat() for _ in range(_CONNECTIONS)))


def run_attack(name: str, url: str, token: str) -> None:
    """Attacks until the process is ended."""
    asyncio.run(_attack(ATTACKS[name], url, token))


@dataclass(slots=True)
class Outcome:
    """What one attack did: the peak memory in megabytes, delays in milliseconds, and the number of failures."""

    name: str
    megabytes: float
    delays: list[float]
    failures: int

    @property
    def p50(self) -> float:
        return statistics.median(self.delays)

    @property
    def p99(self) -> float:
        return sorted(self.delays)[int(len(self.delays) * 0.99)]

    @property
    def exceeds_limits(self) -> bool:
        return self.megabytes > MAX_MEGABYTES or self.p99 > MAX_P99 or self.failures > 0


async def _watch(name: str, served: RunningGateway, token: str, seconds: float, tick: Callable[[], None]) -> Outcome:
    """Sends the other user's queries at a steady rate, and measures."""
    outcome = Outcome(name, 0.0, [], 0)
    process = psutil.Process(served.process.pid)

    async def ask(http: httpx.AsyncClient) -> None:
        begin = time.perf_counter()
        try:
            answer = await http.post("/graphql", json={"query": _QUERY}, headers={"Authorization": f"Bearer {token}"})
            outcome.failures += answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR
        except httpx.HTTPError:
            outcome.failures += 1
        outcome.delays.append(1000 * (time.perf_counter() - begin))

    end = time.monotonic() + seconds
    async with httpx.AsyncClient(base_url=served.url, timeout=30) as http, asyncio.TaskGroup() as tasks:
        while time.monotonic() < end:
            tasks.create_task(ask(http))
            outcome.megabytes = max(outcome.megabytes, process.memory_info().rss / 1e6)
            tick()
            await asyncio.sleep(_INTERVAL)
    return outcome


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """The outcomes as lines; an attack that exceeds a limit is marked."""
    lines = [f"{'attack':18}{'peak MB':>9}{'p50 ms':>9}{'p99 ms':>9}{'failures':>10}"]
    for each in outcomes:
        mark = "  exceeds a limit" if each.exceeds_limits else ""
        lines.append(f"{each.name:18}{each.megabytes:9.0f}{each.p50:9.0f}{each.p99:9.0f}{each.failures:10}{mark}")
    return lines


async def _create_users(options: DatabaseOptions) -> list[str]:
    """The tokens of the attacker, who has 500 tasks with long texts, and of the other user."""
    database = open_database(options)
    await database.connect()
    attacker, other = [await make_user(database) for _ in range(2)]
    await make_tasks(database, attacker, 500, description="a" * 10_000)
    await make_tasks(database, other, 100)
    await database.close()
    issuer = Tokens(TOKEN_SECRET, Settings().jwt_audience)
    return [issuer.issue(user, frozenset({RoleName.USER}), 3600) for user in (attacker, other)]


def measure(name: str, seconds: float, tick: Callable[[], None] = lambda: None) -> Outcome:
    """Runs one attack against a new gateway on a new database."""
    with ExitStack() as stack:
        server = stack.enter_context(postgres_server())
        options = postgres_options(server, stack.enter_context(temporary_clone(server, create_template(server))))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        served = stack.enter_context(create_siso(options, folder, server).serving(GATEWAY_JOBS="off"))
        attacker, other = asyncio.run(_create_users(options))
        process = multiprocessing.get_context("spawn").Process(target=run_attack, args=(name, served.url, attacker))
        process.start()
        try:
            watching: Awaitable[Outcome] = _watch(name, served, other, seconds, tick)
            return asyncio.run(watching)  # type: ignore[arg-type]
        finally:
            process.kill()
            process.join()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.attacks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=60, help="the duration of each attack (default: 60)")
    parser.add_argument("--only", action="append", choices=ATTACKS, help="run this attack; may be repeated")
    options = parser.parse_args(arguments)
    names = options.only or list(ATTACKS)
    outcomes = []
    with Progress(transient=True) as progress:
        for name in names:
            task = progress.add_task(name, total=options.seconds / _INTERVAL)
            outcomes.append(measure(name, options.seconds, lambda task=task: progress.advance(task)))  # type: ignore[misc]
    print("\n".join(table(outcomes)))
    return int(any(outcome.exceeds_limits for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
