"""Many concurrent clients on a real socket: no errors, no leaked connections, no data of another viewer."""

import asyncio
import gc
import json
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import sqlalchemy as sa

from repositories.engines.database import DatabaseOptions
from repositories.life_lock.tasks import Tasks
from repositories.sql.statements import RowFactory, Statement
from repositories.tables.identity import User
from tests.api.client import Client, Gateway, connect_database, gid, serve
from tests.api.stored_rows import event_summaries
from tests.databases import ON_SQLITE
from tests.factories import make_category, make_task, make_tasks, make_user

MIXED = """{ viewer { email }
    tasks(first: 30) { totalCount nodes { title user { email } category { name tasks { totalCount } } } }
    lifeLockDashboard { totalTasks completedTasks categoryBreakdown { total } upcomingDeadlines { title } } }"""


async def test_fifty_concurrent_requests_share_ten_connections(postgres_only: DatabaseOptions) -> None:
    """Ten users send queries and mutations in two rounds. Every response is complete, and no connection is lost."""
    async with connect_database(postgres_only, pool_size=10, pool_timeout=60) as database:
        gateway = Gateway(database)
        people = [await make_user(database) for _ in range(10)]
        for person in people:
            category = await make_category(database, person)
            await make_tasks(database, person, 10, category_id=category.id)
        limits = httpx.Limits(max_connections=50)
        async with (
            serve(gateway.app) as address,
            httpx.AsyncClient(base_url=address, limits=limits, timeout=60) as http,
        ):
            clients = [Client(http, gateway.token(person)) for person in people]

            async def read(client: Client, person: User) -> None:
                data = await client.data(MIXED)
                assert data["viewer"] == {"email": person.email}
                assert {node["user"]["email"] for node in data["tasks"]["nodes"]} == {person.email}

            async def write(client: Client) -> None:
                made = (await client.do("createTask", "task { id version }", title="Made"))["task"]
                done = await client.do("completeTask", "task { status }", id=made["id"], version=1)
                assert done["task"] == {"status": "COMPLETED"}

            for _ in range(2):
                work = [read(client, person) for client, person in zip(clients, people, strict=True) for _ in range(3)]
                work += [write(client) for client in clients for _ in range(2)]
                await asyncio.gather(*work)
                state = database.pool_state()
                assert (state.used, state.size <= 10) == (0, True)
            for client in clients:
                data = await client.data("{ tasks { totalCount } lifeLockDashboard { completedTasks } }")
                assert data == {"tasks": {"totalCount": 14}, "lifeLockDashboard": {"completedTasks": 4}}
        assert len(await event_summaries(database)) == 10 * 4 * 2


async def test_disconnected_clients_leak_no_connections(
    postgres_only: DatabaseOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They disconnect while their statements run. The connections return to the pool, and the next request succeeds."""
    async with connect_database(postgres_only) as database:
        gateway = Gateway(database)
        ada = await make_user(database)
        running = asyncio.Semaphore(0)
        slow = Statement(sa.text("SELECT 1 FROM (SELECT pg_sleep(0.3)) s"), RowFactory(tuple))
        page = Tasks.page

        async def then_page(self: Any, *arguments: Any, **named: Any) -> Any:
            running.release()
            await self.connection.rows(slow)
            return await page(self, *arguments, **named)

        monkeypatch.setattr(Tasks, "page", then_page)
        async with serve(gateway.app) as address:
            where = urlsplit(address)
            body = json.dumps({"query": MIXED})
            token = gateway.token(ada)
            head = (
                f"POST /graphql HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: Bearer {token}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            for _ in range(20):
                _, writer = await asyncio.open_connection(where.hostname, where.port)
                writer.write((head + body).encode())
                await writer.drain()
                await running.acquire()
                writer.transport.abort()
            async with httpx.AsyncClient(base_url=address, timeout=60) as http:
                assert (await Client(http, token).data("{ tasks { totalCount } }")) == {"tasks": {"totalCount": 0}}


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:Exception ignored in. <coroutine:pytest.PytestUnraisableExceptionWarning")
async def test_cancelled_request_returns_its_connection(gateway: Gateway, ada: User, statements: list[str]) -> None:
    """Cancels it at each of its statements. graphql-core leaves unstarted coroutines, which hold nothing."""
    category = await make_category(gateway.database, ada)
    await make_tasks(gateway.database, ada, 3, category_id=category.id)
    client = gateway.client(ada)
    for count in range(1, 8):
        statements.clear()
        reached = asyncio.Event()

        def listen(_: str, count: int = count, reached: asyncio.Event = reached) -> None:
            if len(statements) >= count:
                reached.set()

        gateway.database.statement_listeners.append(listen)
        request = asyncio.ensure_future(client.data(MIXED))
        stopped = asyncio.ensure_future(reached.wait())
        await asyncio.wait([request, stopped], return_when=asyncio.FIRST_COMPLETED)
        request.cancel()
        stopped.cancel()
        await asyncio.gather(request, stopped, return_exceptions=True)
        gateway.database.statement_listeners.remove(listen)
        assert (await client.data("{ tasks { totalCount } }")) == {"tasks": {"totalCount": 3}}
        assert gateway.database.pool_state().used == 0
    gc.collect()


async def test_concurrent_viewers_never_share_a_loader(gateway: Gateway, ada: User, bob: User, admin: User) -> None:
    """They request the same rows: the owner and the administrator see them, the others find nothing."""
    category = await make_category(gateway.database, ada, name="Ada's")
    task = await make_task(gateway.database, ada, title="Ada's", category_id=category.id)
    document = """query($t: ID!, $c: ID!) { task(id: $t) { title category { name } }
        category(id: $c) { name } node(id: $t) { id } }"""
    given = {"t": gid("Task", task), "c": gid("Category", category)}
    found = {
        "task": {"title": "Ada's", "category": {"name": "Ada's"}},
        "category": {"name": "Ada's"},
        "node": {"id": given["t"]},
    }
    nothing = dict.fromkeys(found)
    people = [
        (gateway.client(ada), found),
        (gateway.client(bob), nothing),
        (gateway.client(admin), found),
        (gateway.client(), nothing),
    ]
    answers = await asyncio.gather(*(client.ask(document, **given) for _ in range(10) for client, _ in people))
    for index, answer in enumerate(answers):
        assert answer.data == people[index % 4][1]


@ON_SQLITE
async def test_requests_in_flight_finish_when_the_server_stops(gateway: Gateway, ada: User) -> None:
    started = asyncio.Event()
    gateway.database.statement_listeners.append(lambda _: started.set())
    async with httpx.AsyncClient(timeout=60) as http:
        async with serve(gateway.app) as address:
            http.base_url = httpx.URL(address)
            client = Client(http, gateway.token(ada))
            request = asyncio.ensure_future(client.do("createTask", "task { title }", title="In flight"))
            await started.wait()
        assert (await request)["task"] == {"title": "In flight"}
