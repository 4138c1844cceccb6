"""Attacks one gateway and measures what another viewer notices: `python -m benchmarks.attacks`.

Starts a PostgreSQL server and one `siso serve` process for each attack. A process of its own runs the attack, with
the token of one user and over many connections. Meanwhile another user requests the dashboard and a list, ten times per
second. The table has a line for each attack:

- the peak of the gateway's resident memory (limit 250 MB)
- how long the other user waited: p50 and p99 (limit 1,000 ms)
- how many of the other user's requests failed with a status of 500 or more, or without a response (limit 0)
- what the attacker got: the number of responses by status, and of connections that ended without one

The exit code is 1 if a limit is exceeded. Client, gateway and database share the machine, so repeat a run whose
latencies are too high when nothing else runs.

    python -m benchmarks.attacks                          # all attacks, 60 seconds each
    python -m benchmarks.attacks --only sign-in --only search --seconds 10
"""

import argparse
import asyncio
import hashlib
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
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
from tests.databases import Server, create_template, postgres_options, postgres_server, temporary_clone
from tests.factories import make_tasks, make_user

MAX_MEGABYTES = 250
MAX_P99 = 1000.0
_CONNECTIONS = 40
_INTERVAL = 0.1
_QUERY = "{ lifeLockDashboard { totalTasks overdueTasks } tasks(first: 50) { nodes { title category { name } } } }"
_NUMBERS = count()


def _aliases(number: int, field: str) -> str:
    return "{ " + " ".join(f"a{index}: {field}" for index in range(number)) + " }"


def _post(document: str, token: str = "", extensions: Any = None, **variables: Any) -> bytes:
    body = json.dumps({"query": document, "variables": variables, "extensions": extensions or {}}).encode()
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


def _connect(_: str) -> bytes:
    """The parser takes this for an upgrade to a protocol that the gateway does not have."""
    return b"CONNECT * HTTP/1.1\r\nHost: gateway\r\n" + 90 * (b"X: " + 150 * b"x" + b"\r\n") + b"\r\n"


def _half_open(_: str) -> bytes:
    head = b"POST /graphql HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\n"
    return head + b"Content-Length: 900000\r\n\r\n{"


def _trailers(token: str) -> bytes:
    """A chunked request with credentials in its trailers, and an upgrade behind it that does not wait."""
    head = b"POST /graphql HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\n"
    body = json.dumps({"query": "{ viewer { id } }"}).encode()
    trailers = f"Authorization: Bearer {token}\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n".encode()
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n%b" % (len(body), body, trailers)
    return chunked + _upgrade(token)


def _persisted_queries(token: str) -> bytes:
    """Asks the gateway to store a valid document of 58 kB, another one each time."""
    text = f"{{ viewer {{ id }} }} # {next(_NUMBERS)} {'x' * 57_900}"
    extensions = {"persistedQuery": {"version": 1, "sha256Hash": hashlib.sha256(text.encode()).hexdigest()}}
    return _post(text, token, extensions=extensions)


def _rejected_documents(token: str) -> bytes:
    """A document with too many tokens, another one each time."""
    return _post(f"{_aliases(1800, 'tasks(first: 1) { nodes { id } }')} # {next(_NUMBERS)}", token)


def _upgrade(_: str) -> bytes:
    return (
        b"GET /graphql HTTP/1.1\r\nHost: gateway\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
    )


def _frame(message: object) -> bytes:
    """A WebSocket frame with a text and a mask of zeros."""
    text = json.dumps(message).encode()
    return b"\x81\xff" + len(text).to_bytes(8) + bytes(4) + text


def _long_ids(token: str) -> bytes:
    """Ten subscriptions with long ids. The first has 250 kB, which fits into a message, and the others have 900 kB."""
    payload = {"query": "subscription { taskChanged { eventType } }"}
    sizes = [250_000] + [900_000] * 9
    frames = [_frame({"type": "subscribe", "id": "x" * size, "payload": payload}) for size in sizes]
    return _frame({"type": "connection_init", "payload": {"Authorization": f"Bearer {token}"}}) + b"".join(frames)


@dataclass(frozen=True, slots=True)
class Attack:
    """``request`` makes the bytes of the next request, and ``follow_up`` those that are sent after its response.

    ``reads`` is whether the client reads the response. Without a response, it disconnects after ``patience`` seconds.
    Meanwhile it sends one more byte per second if ``drips``.
    """

    request: Callable[[str], bytes]
    follow_up: Callable[[str], bytes] | None = None
    reads: bool = True
    patience: float = 30
    drips: bool = False


ATTACKS = {
    "endless-head": Attack(_endless_head),
    "connect": Attack(_connect),
    "half-open": Attack(_half_open, reads=False, patience=5),
    "slow-bodies": Attack(_half_open, drips=True),
    "variables": Attack(_variables),
    "trailers": Attack(_trailers),
    "persisted-queries": Attack(_persisted_queries),
    "rejected-documents": Attack(_rejected_documents),
    "sign-in": Attack(_sign_in),
    "cut-off-sign-in": Attack(_sign_in, patience=0.15),
    "plans": Attack(_plans),
    "search": Attack(_search),
    "leaderboard": Attack(_leaderboard),
    "large-responses": Attack(_large_responses),
    "unread-responses": Attack(_unread, reads=False, patience=5),
    "inputs": Attack(_inputs),
    "long-ids": Attack(_upgrade, _long_ids),
}


async def _drip(writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while True:
            await asyncio.sleep(1)
            writer.write(b" ")
            await writer.drain()


async def _attack_once(attack: Attack, url: str, token: str) -> int | None:
    """Sends one request on a connection of its own, and reads the beginning and the rest of the response.

    Returns the status. Without a response, the gateway has closed the connection.
    """
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    dripping = asyncio.create_task(_drip(writer)) if attack.drips else None
    try:
        if not attack.reads:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(attack.request(token))
        async with asyncio.timeout(attack.patience):
            await writer.drain()
            beginning = await reader.read(65536)
            if attack.follow_up is not None:
                writer.write(attack.follow_up(token))
                await writer.drain()
        with suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                while await reader.read(1_000_000):
                    pass
        return int(beginning[9:12]) if beginning else None
    finally:
        if dripping is not None:
            dripping.cancel()
        writer.transport.abort()


async def _attack(attack: Attack, url: str, token: str, counts: Any) -> None:
    async def repeat() -> None:
        while True:
            status: int | None = None
            with suppress(OSError, TimeoutError):
                status = await _attack_once(attack, url, token)
            counts[status or 0] += 1
            await asyncio.sleep(0)

    await asyncio.gather(*(repeat() for _ in range(_CONNECTIONS)))


def run_attack(name: str, url: str, token: str, counts: Any, begun: Any) -> None:
    """Sets the event ``begun``, and attacks until the process is ended.

    ``counts`` is shared: the number of responses by status, 0 for none.
    """
    begun.set()
    asyncio.run(_attack(ATTACKS[name], url, token, counts))


@dataclass(slots=True)
class Outcome:
    """What one attack did: the peak memory in megabytes, delays in milliseconds, and the number of failures.

    ``answers`` is what the attacker got: the number of responses by status, with 0 for connections without any.
    """

    name: str
    megabytes: float
    delays: list[float]
    failures: int
    answers: dict[int, int] = field(default_factory=dict)

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
    lines = [f"{'attack':18}{'peak MB':>9}{'p50 ms':>9}{'p99 ms':>9}{'failures':>10}  the attacker's responses"]
    for each in outcomes:
        answers = ", ".join(f"{number} × {status or 'none'}" for status, number in sorted(each.answers.items()))
        mark = "  exceeds a limit" if each.exceeds_limits else ""
        lines.append(
            f"{each.name:18}{each.megabytes:9.0f}{each.p50:9.0f}{each.p99:9.0f}{each.failures:10}  {answers}{mark}"
        )
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
    """Runs one attack against a new gateway on a new PostgreSQL server."""
    with postgres_server() as server:
        return measure_on(server, create_template(server), name, seconds, tick)


def measure_on(
    server: Server, template: str, name: str, seconds: float, tick: Callable[[], None] = lambda: None
) -> Outcome:
    """Runs one attack against a new gateway on a copy of a migrated database."""
    with ExitStack() as stack:
        options = postgres_options(server, stack.enter_context(temporary_clone(server, template)))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        served = stack.enter_context(create_siso(options, folder, server).serving(GATEWAY_JOBS="off"))
        attacker, other = asyncio.run(_create_users(options))
        context = multiprocessing.get_context("spawn")
        counts = context.Array("Q", 600, lock=False)
        begun = context.Event()
        process = context.Process(target=run_attack, args=(name, served.url, attacker, counts, begun))
        process.start()
        try:
            begun.wait()
            outcome = asyncio.run(_watch(name, served, other, seconds, tick))
            outcome.answers = {status: number for status, number in enumerate(counts) if number}
            return outcome
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
