"""A request leaves no reference cycle: its rows and results are freed with the response, without garbage collection.

The process therefore collects garbage rarely (gateway/server/process.py).
"""

import asyncio
import gc
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gateway.server.process import http_protocol, websocket_options
from gateway.settings import Settings
from repositories.engines.database import Database
from tests.api.client import Gateway, serve
from tests.api.raw_http import RawConnection, connect
from tests.api.sockets import serve_sockets
from tests.caches import empty_caches
from tests.factories import make_tasks, make_user

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
    text, variables, _ = OPERATIONS[name]
    body = json.dumps({"query": text, "variables": variables})
    head = f"POST /graphql HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    await connection.send(f"{head}\r\nAuthorization: Bearer {token}\r\n\r\n{body}".encode())
    return codes_in((await connection.response()).body.decode())


def codes_in(response: str) -> list[str]:
    """The codes of all errors in a response, ``userErrors`` included."""
    return sorted(re.findall(r'"code": ?"(\w+)"', response))


@pytest.fixture(autouse=True)
def no_evictions() -> None:
    """Empties the caches of other tests, because a plan that is evicted has cycles."""
    empty_caches()


@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_request_leaves_no_garbage(database: Database, name: str) -> None:
    settings = Settings(cost_per_minute=0)
    gateway = Gateway(database, settings=settings)
    user = await make_user(database)
    await make_tasks(database, user, 20)
    token = gateway.token(user)
    options: Any = {"http": http_protocol(settings), **websocket_options(settings)}
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
    gateway = Gateway(database, settings=Settings(cost_per_minute=0))
    async with serve_sockets(gateway) as site, site.initialised_peer(gateway.token(user)) as peer:
        for name in ("a list", "a field error"):
            text, variables, codes = OPERATIONS[name]
            for _ in range(3):
                assert codes_in(json.dumps(await peer.ask(text, variables=variables))) == codes
            with without_garbage():
                await peer.ask(text, variables=variables)
                await asyncio.sleep(0)
