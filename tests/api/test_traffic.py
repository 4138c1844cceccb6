"""Operations that take long: nobody waits for ever, and what nobody waits for is stopped, in the database too."""

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
from resolvers.life_lock import queries
from tests.api.client import Client, Gateway, connect_database, serve
from tests.databases import Server, database_of
from tests.factories import make_category, make_task, make_user

SLOW: Statement[Any] = Statement(sa.text("SELECT 1 FROM (SELECT pg_sleep(600)) s"), RowFactory(tuple))
_SLEEPING = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(600)%' AND {}"
_OTHERS = "datname = current_database() AND pid <> pg_backend_pid()"

AT_THE_ROOT = '{ taskAnalytics(from: "2026-01-01", to: "2026-01-02") { date } }'
IN_A_BATCH = "{ tasks { nodes { category { name } } } }"
IN_A_UNIT = 'mutation { createTask(input: {title: "x"}) { task { id } } }'


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading analytics, categories in a batch and adding a task take ten minutes."""

    async def sleep(self: Any, *_: Any, **__: Any) -> Any:
        return await self.connection.rows(SLOW)

    monkeypatch.setattr(Analytics, "between", sleep)
    add = Tasks.add

    async def sleep_for_viewers(self: Any, **values: Any) -> Any:
        return await (add if self.connection.viewer.is_service else sleep)(self, **values)

    monkeypatch.setattr(Tasks, "add", sleep_for_viewers)
    monkeypatch.setattr(queries.category_of_task.batch, "method", sleep)


@asynccontextmanager
async def watching(server: Server, options: DatabaseOptions) -> AsyncIterator[Any]:
    """Waits until so many statements sleep in the database, as its superuser sees it."""
    connection = await asyncpg.connect(server.login("postgres", database_of(options)))

    async def until(count: int) -> None:
        while await connection.fetchval(_SLEEPING.format(_OTHERS)) != count:  # noqa: ASYNC110 (the database tells nobody)
            await asyncio.sleep(0.01)

    try:
        yield until
    finally:
        await connection.close()


async def _asking(address: str, token: str, document: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Sends an operation over a connection of its own."""
    where = urlsplit(address)
    body = json.dumps({"query": document})
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(
        f"POST /graphql HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    await writer.drain()
    return reader, writer


async def _answered(address: str, token: str, document: str) -> tuple[bytes, Any]:
    """The first line of the answer, and its body."""
    reader, writer = await _asking(address, token, document)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return head.split(b"\r\n")[0], json.loads(body)


async def _hang_up(address: str, token: str, document: str, until: Any) -> None:
    """Sends an operation, waits until its statement runs, and leaves."""
    _, writer = await _asking(address, token, document)
    await until(1)
    writer.transport.abort()
    await until(0)


async def _with_a_task(database: Database) -> Any:
    ada = await make_user(database)
    category = await make_category(database, ada, name="Home")
    await make_task(database, ada, category_id=category.id)
    return ada


@pytest.mark.usefixtures("slow")
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("document", [AT_THE_ROOT, IN_A_BATCH, IN_A_UNIT])
async def test_a_client_that_leaves_stops_its_statement(
    postgres_only: DatabaseOptions, server: Server, document: str
) -> None:
    """Within the request and not at the statement's own time limit; the connection is whole afterwards."""
    async with (
        connect_database(postgres_only, statement_timeout=500) as database,
        watching(server, postgres_only) as until,
    ):
        gateway = Gateway(database)
        ada = await _with_a_task(database)
        async with serve(gateway.app) as address:
            for _ in range(3):
                await _hang_up(address, gateway.token(ada), document, until)
            async with httpx.AsyncClient(base_url=address) as http:
                assert await Client(http, gateway.token(ada)).data("{ __typename }") == {"__typename": "Query"}


@pytest.mark.usefixtures("slow")
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("document", [AT_THE_ROOT, IN_A_BATCH, IN_A_UNIT])
async def test_an_operation_whose_time_is_up_stops_its_statement(
    postgres_only: DatabaseOptions, server: Server, document: str
) -> None:
    async with (
        connect_database(postgres_only, statement_timeout=500) as database,
        watching(server, postgres_only) as until,
    ):
        gateway = Gateway(database, settings=Settings(operation_timeout=0.3))
        client = gateway.client(await _with_a_task(database))
        answer = await client.ask(document)
        error = {"message": Timeout().message, "extensions": {"code": "TIMEOUT"}}
        assert (answer.status, answer.body) == (504, {"errors": [error]})
        await until(0)
        assert database.pool_state().used == 0


async def test_a_thousand_connections_share_ten(postgres_only: DatabaseOptions) -> None:
    """With limits that nobody reaches, everybody gets the right answer; afterwards nothing is left behind."""
    patience: Any = dict.fromkeys(("pool_timeout", "connect_timeout"), 120.0)
    async with connect_database(postgres_only, pool_size=10, **patience) as database:
        gateway = Gateway(database, settings=Settings(queue_timeout=120, operation_timeout=120))
        ada = await _with_a_task(database)
        async with serve(gateway.app) as address:
            asking = (_answered(address, gateway.token(ada), "{ tasks { totalCount } }") for _ in range(1000))
            answers = await asyncio.gather(*asking)
            assert answers == [(b"HTTP/1.1 200 OK", {"data": {"tasks": {"totalCount": 1}}})] * 1000
        assert (database.pool_state().used, database.pool_state().size <= 10) == (0, True)


@pytest.mark.usefixtures("slow")
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
async def test_who_waits_too_long_for_a_turn_is_told_to_come_back(
    postgres_only: DatabaseOptions, server: Server
) -> None:
    async with (
        connect_database(postgres_only, statement_timeout=500) as database,
        watching(server, postgres_only) as until,
    ):
        gateway = Gateway(database, settings=Settings(max_operations=2, queue_timeout=0.1))
        client = gateway.client(await _with_a_task(database))
        first = [asyncio.ensure_future(client.ask(AT_THE_ROOT)) for _ in range(2)]
        await until(2)
        body = {"query": "{ __typename }"}
        refused = await client.http.post("/graphql", json=body, headers=client.headers)
        error = {
            "message": "The gateway is busy. Try again in a moment.",
            "extensions": {"code": "SERVICE_UNAVAILABLE"},
        }
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json() == {"errors": [error]}
        for request in first:
            request.cancel()
        await asyncio.gather(*first, return_exceptions=True)
        await until(0)
        assert await client.data("{ __typename }") == {"__typename": "Query"}
