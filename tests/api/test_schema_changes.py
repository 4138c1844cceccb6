"""Tables change while the gateway serves: prepared statements become invalid within a transaction."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from repositories.engines.database import Database, DatabaseOptions
from repositories.tables.identity import User
from tests.api.client import Gateway, connect_database, gid
from tests.api.sockets import serve_sockets
from tests.api.stored_rows import event_summaries
from tests.api.test_statements import summarize_statements
from tests.databases import Server, database_of
from tests.factories import make_category, make_task, make_user

DOCUMENT = "{ tasks { nodes { title category { name } } } }"
FOUND = {"tasks": {"nodes": [{"title": "Task", "category": {"name": "Home"}}]}}
UPDATE = "task { title version }"


@pytest_asyncio.fixture
async def database(cloned_postgres: DatabaseOptions) -> AsyncIterator[Database]:
    """Two connections, each with statements of its own."""
    async with connect_database(cloned_postgres, pool_size=2) as opened:
        yield opened


@pytest_asyncio.fixture
async def ada(database: Database) -> User:
    return await make_user(database)


Change = Callable[[str, str, str], None]


@pytest.fixture
def change_before(
    database: Database, cloned_postgres: DatabaseOptions, server: Server, monkeypatch: pytest.MonkeyPatch
) -> Change:
    """Changes the type of a column once, just before a statement that begins with a text is sent."""

    def alter(table: str, column: str) -> None:
        name = f"(SELECT oid::regclass FROM pg_class WHERE relname = '{table}' AND relkind = 'r')"
        command = f"format('ALTER TABLE %s ALTER COLUMN {column} TYPE varchar(20000)', {name})"
        server.sql(f"DO $$ BEGIN EXECUTE {command}; END $$", database=database_of(cloned_postgres))

    def register(beginning: str, table: str, column: str) -> None:
        call, waiting = database.call_driver, [table]  # type: ignore[attr-defined]

        async def call_driver(function: Any, *arguments: Any) -> Any:
            if waiting and arguments and arguments[0].startswith(beginning) and table in arguments[0]:
                await asyncio.to_thread(alter, waiting.pop(), column)
            return await call(function, *arguments)

        monkeypatch.setattr(database, "call_driver", call_driver)

    return register


async def _prepare(gateway: Gateway, user: User) -> None:
    """Executes the statements on both connections."""
    clients = [gateway.client(user), gateway.client(await make_user(gateway.database))]
    for _ in range(3):
        await asyncio.gather(*(client.ask(DOCUMENT) for client in clients * 2))
        await asyncio.gather(*(client.do("createTask", UPDATE, title="Prepared") for client in clients))


@pytest.mark.parametrize("transport", ["http", "websocket"])
async def test_a_read_whose_second_statement_is_outdated(
    database: Database, ada: User, change_before: Change, statements: list[str], transport: str
) -> None:
    """The whole operation runs again in a new snapshot, on whichever connection."""
    gateway = Gateway(database)
    category = await make_category(database, ada, name="Home")
    await make_task(database, ada, title="Task", category_id=category.id)
    client = gateway.client(ada)
    for _ in range(3):
        assert all(answer.data == FOUND for answer in await asyncio.gather(*(client.ask(DOCUMENT) for _ in range(4))))
    change_before("SELECT", "categories", "name")
    statements.clear()
    if transport == "http":
        assert await client.data(DOCUMENT) == FOUND
        assert summarize_statements(statements) == ["SELECT tasks", "SELECT categories"] * 2
    else:
        async with serve_sockets(gateway) as site, site.initialised_peer(gateway.token(ada)) as peer:
            assert await peer.ask(DOCUMENT) == {"data": FOUND}
    assert all(answer.data == FOUND for answer in await asyncio.gather(*(client.ask(DOCUMENT) for _ in range(4))))


async def test_a_write_whose_second_statement_is_outdated(database: Database, ada: User, change_before: Change) -> None:
    """The whole unit of work runs again; there is one row and one event."""
    gateway = Gateway(database)
    category = await make_category(database, ada)
    await _prepare(gateway, ada)
    before = await event_summaries(database)
    change_before("INSERT", "tasks", "description")
    payload = await gateway.client(ada).do(
        "createTask", "task { title version }", title="Once", categoryId=gid("Category", category)
    )
    assert payload == {"task": {"title": "Once", "version": 1}, "userErrors": []}
    found = await gateway.client(ada).data('{ tasks(filter: {title: {eq: "Once"}}) { totalCount } }')
    assert found == {"tasks": {"totalCount": 1}}
    assert len(await event_summaries(database)) == len(before) + 1


async def test_a_payload_whose_statement_is_outdated(database: Database, ada: User, change_before: Change) -> None:
    """The change was committed, so it is not repeated. The part of the payload that could not be read is an error."""
    gateway = Gateway(database)
    category = await make_category(database, ada, name="Home")
    await make_task(database, ada, title="Task", category_id=category.id)
    for _ in range(3):
        await asyncio.gather(*(gateway.client(ada).ask(DOCUMENT) for _ in range(4)))
    change_before("SELECT", "categories", "name")
    document = """mutation($input: CreateTaskInput!) {
        createTask(input: $input) { task { title category { name } } } }"""
    answer = await gateway.client(ada).ask(document, input={"title": "Once", "categoryId": gid("Category", category)})
    assert answer.data is not None
    assert answer.data["createTask"]["task"]["title"] == "Once"
    assert answer.codes in ([], ["SERVICE_UNAVAILABLE"])
    found = await gateway.client(ada).data('{ tasks(filter: {title: {eq: "Once"}}) { totalCount } }')
    assert found == {"tasks": {"totalCount": 1}}
