"""Pipelined commands: each viewer sees their own rows, errors reach the right statement, no transaction stays open."""

import asyncio
import datetime as dt
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from asyncpg.pgproto import pgproto
from asyncpg.prepared_stmt import PreparedStatement

from repositories.aggregates.event_store import EventStore
from repositories.aggregates.unit_of_work import open_unit_of_work
from repositories.core.byte_budget import CLIENT_CACHES
from repositories.core.errors import Conflict, DatabaseFault, GatewayError
from repositories.core.ids import new_id
from repositories.core.viewer import ANONYMOUS, SERVICE, Viewer
from repositories.engines import postgresql
from repositories.engines.database import Database, DatabaseOptions, WriteConnection
from repositories.engines.pipeline import SYNC, PipelinedTransport, encode_bind_and_execute, encode_parameter
from repositories.identity import Users
from repositories.life_lock.categories import Categories
from repositories.life_lock.events import TaskReopened
from repositories.life_lock.tasks import Tasks
from repositories.sql.aggregate import aggregates
from repositories.sql.statements import RowFactory, Statement, scalar
from repositories.tables.identity import User
from repositories.tables.life_lock import Task
from resolvers.aggregates.derived_commands import derive_commands
from resolvers.aggregates.derived_inputs import create_input
from resolvers.reactions import REACTIONS
from tests.caches import empty_caches
from tests.databases import Server, database_of
from tests.factories import make_category, make_task, make_user, viewer_of
from tests.repositories.support import borrow_connection, connect_database, open_snapshot

_PID: Statement[int] = Statement(sa.text("SELECT pg_backend_pid()"), scalar(int))
_FAULTY: Statement[Any] = Statement(sa.text("SELECT 1/0"), RowFactory(tuple))
_COUNT_NOT_IDLE = """SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'"""


class FakeDriver(asyncio.Protocol):
    """Stores the data that asyncpg would receive."""

    def __init__(self) -> None:
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data


class FakeSocket(asyncio.Transport):
    """Stores the data that would be sent to the server."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""

    def write(self, data: Any) -> None:
        self.sent += data


def _message(kind: str, body: bytes = b"") -> bytes:
    return kind.encode() + (len(body) + 4).to_bytes(4) + body


_BEGIN_RESPONSES = (
    _message("2") + _message("C", b"BEGIN\0") + _message("2") + _message("D", b"C" * 9) + _message("C", b"x\0")
)
_ROWS = _message("2") + _message("D", b"rows") + _message("C", b"SELECT 1\0") + _message("Z", b"T")
_NOTICE = _message("N", b"note")
_ERROR_RESPONSE = _message("E", b"broken") + _message("Z", b"E")
_ROLLBACK_RESPONSE = _message("C", b"ROLLBACK\0") + _message("Z", b"I")


def _splits(data: bytes) -> Iterator[list[bytes]]:
    yield [data]
    yield [data[index : index + 1] for index in range(len(data))]
    yield from ([data[:index], data[index:]] for index in range(1, len(data)))


@pytest.mark.parametrize(
    ("queries", "commands", "data", "expected"),
    [
        (0, 0, _ROWS, _ROWS),
        (0, 2, _BEGIN_RESPONSES + _ROWS, _ROWS),
        (1, 0, _ROLLBACK_RESPONSE + _ROWS, _ROWS),
        (1, 2, _ROLLBACK_RESPONSE + _BEGIN_RESPONSES + _ROWS, _ROWS),
        (2, 2, _ROLLBACK_RESPONSE + _ERROR_RESPONSE + _BEGIN_RESPONSES + _ROWS, _ROWS),
        (0, 2, _message("2") + _ERROR_RESPONSE, _ERROR_RESPONSE),
        (1, 2, _ROLLBACK_RESPONSE + _message("2") + _ERROR_RESPONSE + _ROWS, _ERROR_RESPONSE + _ROWS),
        (1, 2, _NOTICE + _ROLLBACK_RESPONSE + _NOTICE + _BEGIN_RESPONSES + _ROWS, _NOTICE + _NOTICE + _ROWS),
    ],
)
def test_ignored_responses_are_removed_wherever_the_data_is_split(
    queries: int, commands: int, data: bytes, expected: bytes
) -> None:
    for parts in _splits(data):
        driver, socket = FakeDriver(), FakeSocket()
        transport = PipelinedTransport(driver)
        transport.connection_made(socket)
        for _ in range(queries):
            transport.write_ignoring_response(SYNC)
        transport.pending_commands = [b"command "] * commands
        transport.write(memoryview(b"statement"))
        for part in parts:
            transport.data_received(part)
        assert socket.sent == SYNC * queries + b"command " * commands + b"statement"
        assert driver.received == expected, parts


async def test_the_server_decodes_encoded_parameters_to_the_same_values(postgres_only: DatabaseOptions) -> None:
    moment = dt.datetime(2024, 2, 29, 23, 59, 59, 123456, dt.UTC)
    key = UUID("01a1f95b-310f-75bb-b11b-03526813226a")
    values: dict[str, Any] = {
        "text": "ẞ'\"\\ 😀",
        "int": -7,
        "uuid": key,
        "uuid[]": [key, pgproto.UUID(str(key))],
        "bool": True,
        "timestamptz": moment,
        "jsonb": '{"a": "C"}',
        "date": None,
    }
    async with connect_database(postgres_only) as database, borrow_connection(database) as connection:
        for kind, value in values.items():
            query = f"SELECT ${{}}::text::{kind} IS NOT DISTINCT FROM $1::{kind}"
            encoded = encode_parameter(value)
            assert await connection.fetchval(query.format(2), value, encoded and encoded.decode()), kind
    for same in (pgproto.UUID(str(key)), UUID(str(key))):
        assert encode_parameter(same) == str(key).encode()
    with pytest.raises(TypeError, match="parameter of type object"):
        encode_parameter(object())
    assert encode_bind_and_execute("s", [b"", None]).count(b"\xff\xff\xff\xff") == 1


async def test_each_user_sees_only_their_own_rows(postgres_only: DatabaseOptions) -> None:
    """Users share connections concurrently, and some statements fail or are cancelled."""
    source = random.Random(0)  # noqa: S311 (not a secret)
    async with connect_database(postgres_only, pool_size=3, pool_timeout=60) as database:
        users = [await make_user(database) for _ in range(6)]
        for user in users:
            await make_task(database, user, title=user.email)

        async def read(user: User) -> None:
            async with open_snapshot(database, viewer_of(user)) as snapshot:
                for _ in range(source.randint(1, 3)):
                    assert [task.title for task in await Tasks(snapshot).find(limit=9)] == [user.email]

        async def read_nothing(_: User) -> None:
            async with open_snapshot(database, ANONYMOUS) as snapshot:
                assert await Tasks(snapshot).find(limit=9) == []

        async def write(user: User) -> None:
            async with open_unit_of_work(database, viewer_of(user), ()) as work:
                (task,) = await work.repository(Tasks).find(limit=9)
                await work.repository(Tasks).change(task, description="Changed")

        async def fail(user: User) -> None:
            with pytest.raises(DatabaseFault):
                async with open_snapshot(database, viewer_of(user)) as snapshot:
                    await snapshot.rows(_FAULTY)
            with pytest.raises((DatabaseFault, RuntimeError)):
                async with open_unit_of_work(database, viewer_of(user), ()) as work:
                    await work.connection.rows(_FAULTY)

        def choose() -> Any:
            return source.choice([read, read, write, fail, read_nothing])(source.choice(users))

        running = [asyncio.ensure_future(choose()) for _ in range(300)]
        loop = asyncio.get_running_loop()
        for task in running:
            if source.random() < 0.2:
                loop.call_later(source.random() * 0.3, task.cancel)
        results = await asyncio.gather(*running, return_exceptions=True)
        unexpected = [result for result in results if not isinstance(result, asyncio.CancelledError | Conflict | None)]
        assert [result for result in unexpected if not _is_stale_version(result)] == []
        assert database.pool_state().used == 0
        await asyncio.gather(*(read(user) for user in users))


def _is_stale_version(result: object) -> bool:
    return isinstance(result, GatewayError) and result.code == "STALE_VERSION"


async def test_no_transaction_stays_open(postgres_only: DatabaseOptions) -> None:
    """All transactions end with their requests, even if more requests than connections were running."""
    async with connect_database(postgres_only, pool_size=4, pool_timeout=60) as database:
        ada = await make_user(database)

        async def read(*, cancelled: bool) -> None:
            snapshot = database.snapshot(viewer_of(ada))
            running = asyncio.ensure_future(Tasks(snapshot).count())
            await asyncio.sleep(0)
            if cancelled:
                running.cancel()
            await asyncio.wait([running])
            await snapshot.close()

        await asyncio.gather(*(read(cancelled=index % 3 == 0) for index in range(40)))
        async with borrow_connection(database, SERVICE) as connection:
            await _wait_until_zero(connection, _COUNT_NOT_IDLE)


async def _wait_until_zero(connection: Any, text: str) -> None:
    """Polls, because the server updates pg_stat_activity with a delay."""
    for _ in range(1000):
        if await connection.fetchval(text) == 0:
            return
        await connection.fetchval("SELECT pg_stat_clear_snapshot()")
    assert await connection.fetchval(text) == 0


async def test_a_connection_is_usable_after_the_driver_rejects_arguments(postgres_only: DatabaseOptions) -> None:
    """The driver rejects them after BEGIN was sent and before the statement is sent."""
    echo: Statement[int] = Statement(sa.select(sa.bindparam("n", type_=sa.Integer())), scalar(int))
    async with connect_database(postgres_only, pool_size=1) as database:
        ada = await make_user(database)
        async with open_snapshot(database, viewer_of(ada)) as snapshot:
            assert await snapshot.one(echo, n=1) == 1
        for _ in range(3):
            async with open_snapshot(database, viewer_of(ada)) as snapshot:
                with pytest.raises(DatabaseFault, match="DataError"):
                    await snapshot.one(echo, n=1 << 40)
                assert await snapshot.one(echo, n=2) == 2
                assert await Users(snapshot).get(ada.id) == ada
        with pytest.raises(DatabaseFault, match="DataError"):
            async with database.transaction(viewer_of(ada)) as write:
                await write.one(echo, n=1 << 40)
        async with open_snapshot(database, viewer_of(ada)) as snapshot:
            assert await snapshot.one(echo, n=3) == 3


async def _append_duplicate_event(write: WriteConnection, ada: User) -> None:
    """Appends two events with the same id, with ``execute_later``."""
    event = TaskReopened(new_id(), ada.id, None)
    await EventStore(write).append([event], actor=ada.id, at=dt.datetime.now(dt.UTC))
    await EventStore(write).append([event], actor=ada.id, at=dt.datetime.now(dt.UTC))


@pytest.mark.parametrize("next_step", ["commit", "a statement", "a savepoint", "another error"])
async def test_the_next_statement_or_the_commit_raises_the_error_of_execute_later(
    database: Database, next_step: str
) -> None:
    """The whole transaction is rolled back."""
    ada = await make_user(database)
    for _ in range(3):
        with pytest.raises(LookupError if next_step == "another error" and database.engine.is_postgresql else Conflict):
            async with database.transaction(viewer_of(ada)) as write:
                await Tasks(write).add(user_id=ada.id, title="Lost")
                await _append_duplicate_event(write, ada)
                if next_step == "a statement":
                    await Tasks(write).add(user_id=ada.id, title="Lost, too")
                if next_step == "a savepoint":
                    async with write.savepoint():
                        await Tasks(write).add(user_id=ada.id, title="Lost, too")
                if next_step == "another error":
                    raise LookupError
        async with open_snapshot(database) as snapshot:
            assert await Tasks(snapshot).count() == 0
            assert await EventStore(snapshot).count() == 0
        await make_category(database, ada)
    async with open_snapshot(database) as snapshot:
        assert await Categories(snapshot).count() == 3


async def test_execute_later_is_executed_without_a_next_statement(database: Database) -> None:
    """This holds even if it is the only statement of its transaction."""
    ada = await make_user(database)
    for count in range(1, 4):
        async with database.transaction(SERVICE) as write:
            event = TaskReopened(new_id(), ada.id, None)
            await EventStore(write).append([event], actor=ada.id, at=dt.datetime.now(dt.UTC))
        async with open_snapshot(database) as snapshot:
            assert await EventStore(snapshot).count() == count
    async with database.transaction(SERVICE):
        pass


async def test_a_commit_after_a_caught_error_fails(postgres_only: DatabaseOptions) -> None:
    """PostgreSQL answers the COMMIT with ROLLBACK, which is an error for the caller."""
    async with connect_database(postgres_only, pool_size=1) as database:
        with pytest.raises(DatabaseFault, match="InFailedSQLTransactionError"):
            async with database.transaction(ANONYMOUS) as write:
                with pytest.raises(DatabaseFault):
                    await write.execute_sql("SELECT 1/0")
        async with open_snapshot(database, ANONYMOUS) as snapshot:
            assert await Tasks(snapshot).count() == 0


async def test_statements_are_prepared_again_after_a_table_changes(
    cloned_postgres: DatabaseOptions, server: Server
) -> None:
    """The first statement of a transaction is prepared and executed again."""
    async with connect_database(cloned_postgres, pool_size=1) as database:
        ada = await make_user(database)
        count_columns: Statement[Any] = Statement(sa.text("SELECT * FROM life_lock.tasks"), RowFactory(len))
        await make_task(database, ada)
        viewer = viewer_of(ada)
        async with open_snapshot(database, viewer) as snapshot:
            before = await snapshot.one(count_columns)
        name = database_of(cloned_postgres)
        await asyncio.to_thread(server.sql, "ALTER TABLE life_lock.tasks ADD COLUMN extra int", database=name)
        async with open_snapshot(database, viewer) as snapshot:
            assert await snapshot.one(count_columns) == before + 1
            await asyncio.to_thread(server.sql, "ALTER TABLE identity.users ADD COLUMN extra int", database=name)
            assert await snapshot.one(count_columns) == before + 1
        await asyncio.to_thread(server.sql, "ALTER TABLE life_lock.tasks DROP COLUMN extra", database=name)
        async with database.transaction(viewer) as write:
            assert await write.one(count_columns) == before
            await Tasks(write).add(user_id=ada.id, title="Kept")
        async with open_snapshot(database, viewer) as snapshot:
            assert await Tasks(snapshot).count() == 2


@pytest.mark.parametrize("viewer", [ANONYMOUS, SERVICE])
async def test_an_idle_connection_that_the_server_closed_is_replaced(
    cloned_postgres: DatabaseOptions, server: Server, viewer: Viewer
) -> None:
    async with connect_database(cloned_postgres) as database:
        async with open_snapshot(database, viewer) as snapshot:
            pid = await snapshot.one(_PID)
        await asyncio.to_thread(server.sql, f"SELECT pg_terminate_backend({pid}, 5000)")
        pool = database.pool_for(viewer)  # type: ignore[attr-defined]
        while not pool._idle[0][0].is_closed():  # noqa: ASYNC110 (there is no event to wait for)
            await asyncio.sleep(0)
        async with open_snapshot(database, viewer) as snapshot:
            assert await snapshot.one(_PID) != pid


async def test_the_number_of_round_trips(postgres_only: DatabaseOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """One for a row by id. Two, including the commit, for a new task with its event and the analytics of its day.

    The numbers are those of the commands that are sent with a statement: BEGIN, the viewer, and the ROLLBACK of the
    reader before.
    """
    sent: list[int] = []
    write = PipelinedTransport.write

    def count(transport: PipelinedTransport, data: Any) -> None:
        sent.append(len(transport.pending_commands))
        write(transport, data)

    monkeypatch.setattr(PipelinedTransport, "write", count)
    monkeypatch.setattr(postgresql, "_IDLE_DELAY", 60.0)
    async with connect_database(postgres_only, pool_size=1) as database:
        ada = await make_user(database)
        viewer = replace(viewer_of(ada), time_zone="UTC")
        create_task = derive_commands(aggregates[Task], {})["create_task"].handler
        new_task: Any = create_input(aggregates[Task])
        for _ in range(2):
            sent.clear()
            async with open_unit_of_work(database, viewer, REACTIONS) as work:
                task = await create_task(work, new_task(title="New"))
        assert sent == [2, 4]
        for _ in range(2):
            sent.clear()
            async with open_snapshot(database, viewer) as snapshot:
                assert await Tasks(snapshot).get(task.id) == task
        assert sent == [3]


async def test_prepared_statements_are_evicted_within_the_budget(postgres_only: DatabaseOptions) -> None:
    """The server closes them, statements are prepared again, and a closed connection leaves nothing in the budget."""
    size = CLIENT_CACHES.size
    empty_caches()
    counted: Statement[int] = Statement(sa.text("SELECT count(*) FROM pg_prepared_statements"), scalar(int))
    try:
        async with connect_database(postgres_only, pool_size=1) as database:
            ada = await make_user(database)
            CLIENT_CACHES.resize(200_000)
            for number in range(300):
                different: Statement[int] = Statement(sa.text(f"SELECT {number % 150} AS a{number % 150}"), scalar(int))
                async with open_snapshot(database, viewer_of(ada)) as snapshot:
                    assert await snapshot.one(different) == number % 150
            assert 100_000 < CLIENT_CACHES.used <= 200_000
            async with open_snapshot(database, viewer_of(ada)) as snapshot:
                assert 20 < await snapshot.one(counted) < 110
        assert not [entry for entry in CLIENT_CACHES.order if isinstance(entry.value, PreparedStatement)]
    finally:
        CLIENT_CACHES.resize(size)
