"""A request leaves no reference cycle: its rows and results are freed with the response, without garbage collection.

The process therefore collects garbage rarely (gateway/server/process.py).
"""

import asyncio
import gc
import json
import re
from asyncio import selector_events
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gateway.server.process import http_protocol, websocket_options
from gateway.settings import Settings
from repositories.engines.database import Database
from tests.api.client import Gateway, serve
from tests.api.event_streams import CHANGES, created, open_event_stream, run_gateway
from tests.api.raw_http import RawConnection, connect
from tests.api.sockets import MY_EVENTS, Peer, serve_sockets
from tests.caches import empty_caches
from tests.databases import ON_SQLITE
from tests.factories import make_tasks, make_user
from tests.waiting import until, until_ended

CREATE = "createTask(input: {title: %s}) { task { id title } userErrors { code } }"
SUSPEND = 'suspendUser(input: {id: "x", version: 1}) { userErrors { code } }'
OPERATIONS: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "a list": ("{ tasks(first: 10) { nodes { title dueDate category { name } } } }", {}, []),
    "a dashboard": ("{ lifeLockDashboard { totalTasks overdueTasks } }", {}, []),
    "a mutation": (f"mutation {{ {CREATE % json.dumps('a')} }}", {}, []),
    "a user error": (f"mutation {{ {CREATE % json.dumps('')} }}", {}, ["VALIDATION_ERROR"]),
    "a syntax error": ("{ tasks(", {}, ["GRAPHQL_PARSE_FAILED"]),
    "a validation error": ("{ nothing }", {}, ["GRAPHQL_VALIDATION_FAILED"]),
    "a variable of another type": (
        "query($n: Int) { tasks(first: $n) { nodes { id } } }",
        {"n": "x"},
        ["GRAPHQL_VALIDATION_FAILED"],
    ),
    "an operation that costs too much": (
        "{ tasks(first: 500) { nodes { category { tasks(first: 500) { nodes { id } } } } } }",
        {},
        ["QUERY_TOO_COMPLEX"],
    ),
    "a field error": ('{ tasks(after: "x") { nodes { id } } }', {}, ["VALIDATION_ERROR"]),
    "several field errors": (
        '{ nodes(ids: ["x", "y"]) { id } users { nodes { id } } auditLog { nodes { id } } }',
        {},
        ["VALIDATION_ERROR", "VALIDATION_ERROR", "FORBIDDEN", "FORBIDDEN"],
    ),
    "a mutation that is denied": (f"mutation {{ a: {CREATE % json.dumps('a')} b: {SUSPEND} }}", {}, ["FORBIDDEN"]),
    "a request that takes long": (
        'mutation { signIn(input: {email: "a@example.com", password: "x"}) { userErrors { code } } }',
        {},
        ["VALIDATION_ERROR"],
    ),
    "introspection": ("{ __schema { types { name } } }", {}, []),
}
"""Documents, their variables, and the codes of the errors in the response."""

SETTINGS = Settings(cost_per_minute=0, jobs="off")
"""Jobs are off, because each run leaves a closed connection and statements, which have cycles."""


@contextmanager
def without_garbage() -> Iterator[None]:
    """Asserts that the block leaves no object to the garbage collector. Automatic collections are off."""
    while gc.collect():
        pass
    gc.disable()
    try:
        yield
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        kinds = sorted({f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.garbage})
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert kinds == []


async def ask(connection: RawConnection, token: str, name: str) -> list[str]:
    """Sends the operation; returns the codes of its errors, sorted."""
    await request(connection, token, name)
    return codes_in((await connection.response()).body.decode())


async def request(connection: RawConnection, token: str, name: str) -> None:
    """Sends the operation."""
    text, variables, _ = OPERATIONS[name]
    body = json.dumps({"query": text, "variables": variables})
    head = f"POST /graphql HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    await connection.send(f"{head}\r\nAuthorization: Bearer {token}\r\n\r\n{body}".encode())


def codes_in(response: str) -> list[str]:
    """The codes of all errors in a response, ``userErrors`` included."""
    return sorted(re.findall(r'"code": ?"(\w+)"', response))


@pytest.fixture(autouse=True)
def no_evictions() -> None:
    """Empties the caches of other tests, because a plan that is evicted has cycles."""
    empty_caches()


@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_request_leaves_no_garbage(database: Database, name: str) -> None:
    gateway = Gateway(database, settings=SETTINGS)
    user = await make_user(database)
    await make_tasks(database, user, 20)
    token = gateway.token(user)
    options: Any = {"http": http_protocol(SETTINGS), **websocket_options(SETTINGS)}
    async with serve(gateway.app, **options) as address, connect(address) as connection:
        for _ in range(8):
            assert await ask(connection, token, name) == sorted(OPERATIONS[name][2])
        with without_garbage():
            for _ in range(3):
                await ask(connection, token, name)
            await asyncio.sleep(0)


async def test_an_operation_over_websocket_leaves_no_garbage(database: Database) -> None:
    user = await make_user(database)
    await make_tasks(database, user, 20)
    gateway = Gateway(database, settings=SETTINGS)
    async with serve_sockets(gateway) as site, site.initialised_peer(gateway.token(user)) as peer:
        for name in ("a list", "a field error"):
            text, variables, codes = OPERATIONS[name]
            for _ in range(3):
                assert codes_in(json.dumps(await peer.ask(text, variables=variables))) == codes
            with without_garbage():
                await peer.ask(text, variables=variables)
                await asyncio.sleep(0)


async def close_by_client(peer: Peer) -> None:
    await peer.ask("{ viewer { id } }")
    await peer.connection.close()


async def close_with_a_subscription(peer: Peer) -> None:
    await peer.subscribe("events", MY_EVENTS)
    await peer.wait_until_started()
    await peer.connection.close()


async def complete_a_subscription(peer: Peer) -> None:
    await peer.subscribe("events", MY_EVENTS)
    await peer.wait_until_started()
    await peer.send("complete", id="events")
    await peer.ask("{ viewer { id } }")
    await peer.connection.close()


async def disconnect(peer: Peer) -> None:
    """Ends the connection without a close frame during a subscription."""
    await peer.subscribe("events", MY_EVENTS)
    await peer.wait_until_started()
    peer.connection.transport.abort()
    await peer.connection.wait_closed()
    peer.connection.protocol.parser_exc = None  # a cycle of the client


async def break_the_protocol(peer: Peer) -> None:
    await peer.subscribe("events", MY_EVENTS)
    await peer.send("nonsense")
    assert (await peer.wait_closed())[0] == 4400


async def initialise_twice(peer: Peer) -> None:
    await peer.send("connection_init")
    assert (await peer.wait_closed())[0] == 4429


ENDS = [
    close_by_client,
    close_with_a_subscription,
    complete_a_subscription,
    disconnect,
    break_the_protocol,
    initialise_twice,
]


@pytest.fixture
def transports_without_cycles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Removes the cycle of each closed transport of asyncio. The transports of uvloop, which serves, have none."""
    kind: Any = selector_events._SelectorTransport  # type: ignore[attr-defined]
    close = kind._call_connection_lost

    def close_and_forget(self: Any, error: Exception | None) -> None:
        close(self, error)
        self._read_ready_cb = None

    monkeypatch.setattr(kind, "_call_connection_lost", close_and_forget)


@pytest.mark.usefixtures("transports_without_cycles")
@pytest.mark.parametrize("end", ENDS)
async def test_a_closed_websocket_leaves_no_garbage(database: Database, end: Callable[[Peer], Awaitable[None]]) -> None:
    user = await make_user(database)
    gateway = Gateway(database, settings=SETTINGS)
    token = gateway.token(user)
    async with serve_sockets(gateway) as site:
        async with site.initialised_peer(token):
            before = asyncio.all_tasks()

        async def open_and_close() -> None:
            async with site.initialised_peer(token) as peer:
                await end(peer)
            await until_ended(before)

        for _ in range(3):
            await open_and_close()
        with without_garbage():
            await open_and_close()


@pytest.mark.usefixtures("transports_without_cycles")
async def test_a_closed_event_stream_leaves_no_garbage(database: Database) -> None:
    user = await make_user(database)
    gateway = Gateway(database, settings=SETTINGS)
    async with run_gateway(gateway) as address, connect(address) as connection:
        await ask(connection, gateway.token(user), "a mutation")
        before = asyncio.all_tasks()

        async def open_and_close() -> None:
            async with open_event_stream(gateway, address, CHANGES, user) as stream:
                await ask(connection, gateway.token(user), "a mutation")
                assert (await stream.next())[1]["data"] == created("a")
            await until_ended(before)

        for _ in range(3):
            await open_and_close()
        with without_garbage():
            await open_and_close()


@pytest.mark.usefixtures("transports_without_cycles")
@ON_SQLITE
async def test_a_request_whose_client_disconnects_leaves_no_garbage(database: Database) -> None:
    """On SQLite only, because asyncpg makes a class for each statement that it cancels, and a class is a cycle."""
    gateway = Gateway(database, settings=SETTINGS)
    user = await make_user(database)
    options: Any = {"http": http_protocol(SETTINGS), **websocket_options(SETTINGS)}
    async with serve(gateway.app, **options) as address:
        async with connect(address) as connection:
            await ask(connection, gateway.token(user), "introspection")
            before = asyncio.all_tasks()

        async def disconnect_early() -> None:
            async with connect(address) as connection:
                await request(connection, gateway.token(user), "a request that takes long")
                await until(lambda: not asyncio.all_tasks() <= before)
            await until_ended(before)

        for _ in range(3):
            await disconnect_early()
        with without_garbage():
            await disconnect_early()
