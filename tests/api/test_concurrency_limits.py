"""Slow operations: waiting is limited, and a disconnect or a timeout also cancels the statement in the database."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
import sqlalchemy as sa

from gateway.settings import Settings
from repositories.core.errors import Timeout
from repositories.engines.database import Database, DatabaseOptions
from repositories.life_lock.analytics import Analytics
from repositories.life_lock.tasks import Tasks
from repositories.sql.statements import RowFactory, Statement
from tests.api.client import Client, Gateway, connect_database, serve
from tests.api.edges import edge_of
from tests.databases import Server, database_of
from tests.factories import make_category, make_task, make_user

SLOW: Statement[Any] = Statement(sa.text("SELECT 1 FROM (SELECT pg_sleep(600)) s"), RowFactory(tuple))
_SLEEPING = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(600)%' AND {}"
_OTHERS = "datname = current_database() AND pid <> pg_backend_pid()"

_TOO_MANY = "Too many of your operations are running at the same time. Try again in 1 seconds."
AT_THE_ROOT = '{ taskAnalytics(from: "2026-01-01", to: "2026-01-02") { date } }'
IN_A_BATCH = "{ tasks { nodes { category { name } } } }"
IN_A_UNIT = 'mutation { createTask(input: {title: "x"}) { task { id } } }'


@pytest.fixture
def slow_statements(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes three kinds of statements take ten minutes: a root field, a batch, and an insert in a unit of work."""

    async def sleep(self: Any, *_: Any, **__: Any) -> Any:
        return await self.connection.rows(SLOW)

    monkeypatch.setattr(Analytics, "between", sleep)
    add = Tasks.add

    async def sleep_for_viewers(self: Any, **values: Any) -> Any:
        return await (add if self.connection.viewer.is_service else sleep)(self, **values)

    monkeypatch.setattr(Tasks, "add", sleep_for_viewers)
    monkeypatch.setattr(edge_of("Task", "category").batch, "method", sleep)


@asynccontextmanager
async def observe_sleeping_statements(server: Server, options: DatabaseOptions) -> AsyncIterator[Any]:
    """Yields a function that waits until the given number of statements sleep in the database."""
    connection = await asyncpg.connect(server.login("postgres", database_of(options)))

    async def until(count: int) -> None:
        while await connection.fetchval(_SLEEPING.format(_OTHERS)) != count:  # noqa: ASYNC110 (no event announces it)
            await asyncio.sleep(0.01)

    try:
        yield until
    finally:
        await connection.close()


async def _send_operation(address: str, token: str, document: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Sends an operation over a new connection."""
    where = urlsplit(address)
    body = json.dumps({"query": document})
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(
        f"POST /graphql HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    await writer.drain()
    return reader, writer


async def _execute(address: str, token: str, document: str) -> tuple[bytes, Any]:
    """The status line and the body of the response."""
    reader, writer = await _send_operation(address, token, document)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return head.split(b"\r\n")[0], json.loads(body)


async def _disconnect_while_running(address: str, token: str, document: str, until: Any) -> None:
    """Sends an operation, waits until its statement runs, and disconnects."""
    _, writer = await _send_operation(address, token, document)
    await until(1)
    writer.transport.abort()
    await until(0)


async def _make_user_with_task(database: Database) -> Any:
    ada = await make_user(database)
    category = await make_category(database, ada, name="Home")
    await make_task(database, ada, category_id=category.id)
    return ada


@pytest.mark.usefixtures("slow_statements")
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("document", [AT_THE_ROOT, IN_A_BATCH, IN_A_UNIT])
async def test_disconnect_cancels_the_statement(postgres_only: DatabaseOptions, server: Server, document: str) -> None:
    """It is cancelled at once, not by the statement timeout. The connection can be used again."""
    async with (
        connect_database(postgres_only, statement_timeout=500) as database,
        observe_sleeping_statements(server, postgres_only) as until,
    ):
        gateway = Gateway(database)
        ada = await _make_user_with_task(database)
        async with serve(gateway.app) as address:
            for _ in range(3):
                await _disconnect_while_running(address, gateway.token(ada), document, until)
            async with httpx.AsyncClient(base_url=address) as http:
                assert await Client(http, gateway.token(ada)).data("{ __typename }") == {"__typename": "Query"}


@pytest.mark.usefixtures("slow_statements")
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("document", [AT_THE_ROOT, IN_A_BATCH, IN_A_UNIT])
async def test_operation_timeout_cancels_the_statement(
    postgres_only: DatabaseOptions, server: Server, document: str
) -> None:
    async with (
        connect_database(postgres_only, statement_timeout=500) as database,
        observe_sleeping_statements(server, postgres_only) as until,
    ):
        gateway = Gateway(database, settings=Settings(operation_timeout=0.3))
        client = gateway.client(await _make_user_with_task(database))
        answer = await client.ask(document)
        if document is IN_A_UNIT:
            assert (answer.data, answer.codes) == ({"createTask": None}, ["TIMEOUT"])
        else:
            error = {"message": Timeout().message, "extensions": {"code": "TIMEOUT"}}
            assert (answer.status, answer.body) == (504, {"errors": [error]})
        await until(0)
        assert database.pool_state().used == 0


async def test_a_thousand_clients_share_ten_connections(postgres_only: DatabaseOptions) -> None:
    """With generous timeouts every client gets the right response, and all connections are returned."""
    generous_timeouts: Any = dict.fromkeys(("pool_timeout", "connect_timeout"), 120.0)
    async with connect_database(postgres_only, pool_size=10, **generous_timeouts) as database:
        gateway = Gateway(
            database, settings=Settings(queue_timeout=120, operation_timeout=120, max_waiting_operations=1000)
        )
        ada = await _make_user_with_task(database)
        async with serve(gateway.app) as address:
            asking = (_execute(address, gateway.token(ada), "{ tasks { totalCount } }") for _ in range(1000))
            answers = await asyncio.gather(*asking)
            assert answers == [(b"HTTP/1.1 200 OK", {"data": {"tasks": {"totalCount": 1}}})] * 1000
        assert (database.pool_state().used, database.pool_state().size <= 10) == (0, True)


@pytest.mark.usefixtures("slow_statements")
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
async def test_operation_that_waits_too_long_is_rejected(postgres_only: DatabaseOptions, server: Server) -> None:
    """The error says whether the viewer's own operations or those of others are the reason."""
    async with (
        connect_database(postgres_only, statement_timeout=500) as database,
        observe_sleeping_statements(server, postgres_only) as until,
    ):
        gateway = Gateway(database, settings=Settings(max_operations=2, queue_timeout=0.1))
        client = gateway.client(await _make_user_with_task(database))
        other = gateway.client(await make_user(database))
        first = [asyncio.ensure_future(client.ask(AT_THE_ROOT)) for _ in range(2)]
        await until(2)
        body = {"query": "{ __typename }"}
        for sender, status, message, extensions in (
            (other, 503, "The gateway is busy. Try again in a moment.", {"code": "SERVICE_UNAVAILABLE"}),
            (client, 429, _TOO_MANY, {"code": "RATE_LIMITED", "retryAfter": 1}),
        ):
            response = await sender.http.post("/graphql", json=body, headers=sender.headers)
            assert (response.status_code, response.headers["retry-after"]) == (status, "1")
            assert response.json() == {"errors": [{"message": message, "extensions": extensions}]}
        for request in first:
            request.cancel()
        await asyncio.gather(*first, return_exceptions=True)
        await until(0)
        assert await client.data("{ __typename }") == {"__typename": "Query"}


@pytest.mark.usefixtures("slow_statements")
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
async def test_one_viewer_leaves_connections_and_turns_to_others(
    postgres_only: DatabaseOptions, server: Server
) -> None:
    """Thirty slow operations of one viewer use half of the connections. Others are answered meanwhile."""
    async with (
        connect_database(postgres_only, statement_timeout=500, pool_size=4) as database,
        observe_sleeping_statements(server, postgres_only) as until,
    ):
        limits = Settings(max_operations=10, max_operations_per_viewer=5, max_waiting_operations=10, queue_timeout=60)
        gateway = Gateway(database, settings=limits)
        attacker = gateway.client(await _make_user_with_task(database))
        other = gateway.client(await _make_user_with_task(database))
        attack = [asyncio.ensure_future(attacker.ask(AT_THE_ROOT)) for _ in range(30)]
        await until(2)
        rejected, _ = await asyncio.wait(attack, return_when=asyncio.FIRST_COMPLETED)
        for _ in range(20):
            assert await other.data("{ tasks { totalCount } }") == {"tasks": {"totalCount": 1}}
        assert {(await answer).body["errors"][0]["message"] for answer in rejected} == {_TOO_MANY}
        assert (await attack[-1]).body["errors"][0]["message"] == _TOO_MANY
        assert sum(request.done() for request in attack) == 15
        await until(2)
        for request in attack:
            request.cancel()
        await asyncio.gather(*attack, return_exceptions=True)
        await until(0)
