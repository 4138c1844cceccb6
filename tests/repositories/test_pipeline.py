"""What is sent ahead of statements: whose rows are seen, what happens to errors, and that nothing stays open."""

import asyncio
import datetime as dt
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from repositories.aggregates.event_store import EventStore
from repositories.aggregates.unit_of_work import open_unit_of_work
from repositories.core.errors import Conflict, DatabaseFault, GatewayError
from repositories.core.ids import new_id
from repositories.core.viewer import ANONYMOUS, SERVICE, Viewer
from repositories.engines.database import Database, DatabaseOptions, WriteConnection
from repositories.engines.pipeline import SYNC, PipelinedTransport, encode_bind_and_execute, encode_parameter
from repositories.identity import Users
from repositories.life_lock.categories import Categories
from repositories.life_lock.events import TaskReopened
from repositories.life_lock.tasks import Tasks
from repositories.sql.statements import RowFactory, Statement, scalar
from repositories.tables.identity import User
from resolvers.life_lock.commands import create_task
from resolvers.life_lock.inputs import CreateTask
from resolvers.reactions import REACTIONS
from tests.databases import Server, database_of
from tests.factories import make_category, make_task, make_user, viewer_of
from tests.repositories.support import borrow_connection, connect_database, open_snapshot

_PID: Statement[int] = Statement(sa.text("SELECT pg_backend_pid()"), scalar(int))
_FAULTY: Statement[Any] = Statement(sa.text("SELECT 1/0"), RowFactory(tuple))
_IDLE = """SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'"""


class Reader(asyncio.Protocol):
    """What asyncpg would be given."""

    def __init__(self) -> None:
        self.got = b""

    def data_received(self, data: bytes) -> None:
        """Keeps it."""
        self.got += data


class Sent(asyncio.Transport):
    """What the server would be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""

    def write(self, data: Any) -> None:
        """Keeps it."""
        self.sent += data


def _message(kind: str, body: bytes = b"") -> bytes:
    return kind.encode() + (len(body) + 4).to_bytes(4) + body


_OPENED = _message("2") + _message("C", b"BEGIN\0") + _message("2") + _message("D", b"C" * 9) + _message("C", b"x\0")
_ROWS = _message("2") + _message("D", b"rows") + _message("C", b"SELECT 1\0") + _message("Z", b"T")
_NOTICE = _message("N", b"note")
_BROKEN = _message("E", b"broken") + _message("Z", b"E")
_ENDED = _message("C", b"ROLLBACK\0") + _message("Z", b"I")


def _cuts(data: bytes) -> Iterator[list[bytes]]:
    yield [data]
    yield [data[index : index + 1] for index in range(len(data))]
    yield from ([data[:index], data[index:]] for index in range(1, len(data)))


@pytest.mark.parametrize(
    ("syncs", "commands", "data", "seen"),
    [
        (0, 0, _ROWS, _ROWS),
        (0, 2, _OPENED + _ROWS, _ROWS),
        (1, 0, _ENDED + _ROWS, _ROWS),
        (1, 2, _ENDED + _OPENED + _ROWS, _ROWS),
        (2, 2, _ENDED + _BROKEN + _OPENED + _ROWS, _ROWS),
        (0, 2, _message("2") + _BROKEN, _BROKEN),
        (1, 2, _ENDED + _message("2") + _BROKEN + _ROWS, _BROKEN + _ROWS),
        (1, 2, _NOTICE + _ENDED + _NOTICE + _OPENED + _ROWS, _NOTICE + _NOTICE + _ROWS),
    ],
)
def test_answers_are_taken_out_wherever_the_data_is_cut(syncs: int, commands: int, data: bytes, seen: bytes) -> None:
    for parts in _cuts(data):
        reader, sent = Reader(), Sent()
        line = PipelinedTransport(reader)
        line.connection_made(sent)
        for _ in range(syncs):
            line.write_ignoring_response(SYNC)
        line.pending_commands = [b"ahead "] * commands
        line.write(memoryview(b"statement"))
        for part in parts:
            line.data_received(part)
        assert sent.sent == SYNC * syncs + b"ahead " * commands + b"statement"
        assert reader.got == seen, parts


async def test_parameters_arrive_as_they_are(postgres_only: DatabaseOptions) -> None:
    """In the form of a text, what the server reads is what was meant."""
    moment = dt.datetime(2024, 2, 29, 23, 59, 59, 123456, dt.UTC)
    key = UUID("01a1f95b-310f-75bb-b11b-03526813226a")
    values: dict[str, Any] = {
        "text": "ẞ'\"\\ 😀",
        "int": -7,
        "uuid": key,
        "uuid[]": [key, key],
        "timestamptz": moment,
        "jsonb": '{"a": "C"}',
        "date": None,
    }
    async with connect_database(postgres_only) as database, borrow_connection(database) as connection:
        for kind, value in values.items():
            read = f"SELECT ${{}}::text::{kind} IS NOT DISTINCT FROM $1::{kind}"
            form = encode_parameter(value)
            assert await connection.fetchval(read.format(2), value, None if form is None else form.decode()), kind
    with pytest.raises(TypeError, match="parameter of type object"):
        encode_parameter(object())
    assert encode_bind_and_execute("s", [b"", None]).count(b"\xff\xff\xff\xff") == 1


async def test_everybody_sees_their_own_rows(postgres_only: DatabaseOptions) -> None:
    """Connections go from hand to hand, between people and after every kind of failure."""
    chance = random.Random(0)  # noqa: S311 (what happens next, no secrets)
    async with connect_database(postgres_only, pool_size=3, pool_timeout=60) as database:
        people = [await make_user(database) for _ in range(6)]
        for person in people:
            await make_task(database, person, title=person.email)

        async def read(person: User) -> None:
            async with open_snapshot(database, viewer_of(person)) as snapshot:
                for _ in range(chance.randint(1, 3)):
                    assert [task.title for task in await Tasks(snapshot).find(limit=9)] == [person.email]

        async def read_nothing(_: User) -> None:
            async with open_snapshot(database, ANONYMOUS) as snapshot:
                assert await Tasks(snapshot).find(limit=9) == []

        async def write(person: User) -> None:
            async with open_unit_of_work(database, viewer_of(person), ()) as work:
                (task,) = await work.repository(Tasks).find(limit=9)
                await work.repository(Tasks).change(task, description="Changed")

        async def fail(person: User) -> None:
            with pytest.raises(DatabaseFault):
                async with open_snapshot(database, viewer_of(person)) as snapshot:
                    await snapshot.rows(_FAULTY)
            with pytest.raises((DatabaseFault, RuntimeError)):
                async with open_unit_of_work(database, viewer_of(person), ()) as work:
                    await work.connection.rows(_FAULTY)

        def anything() -> Any:
            return chance.choice([read, read, write, fail, read_nothing])(chance.choice(people))

        running = [asyncio.ensure_future(anything()) for _ in range(300)]
        loop = asyncio.get_running_loop()
        for task in running:
            if chance.random() < 0.2:
                loop.call_later(chance.random() * 0.3, task.cancel)
        answers = await asyncio.gather(*running, return_exceptions=True)
        unexpected = [answer for answer in answers if not isinstance(answer, asyncio.CancelledError | Conflict | None)]
        assert [answer for answer in unexpected if not _is_stale(answer)] == []
        assert database.pool_state().used == 0
        await asyncio.gather(*(read(person) for person in people))


def _is_stale(answer: object) -> bool:
    return isinstance(answer, GatewayError) and answer.code == "STALE_VERSION"


async def test_nothing_stays_open(postgres_only: DatabaseOptions) -> None:
    """When all requests have ended, so have their transactions, whoever waited for a connection or not."""
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
            await _until_none(connection, _IDLE)


async def _until_none(connection: Any, text: str) -> None:
    """The server takes its time to say what a connection does."""
    for _ in range(1000):
        if await connection.fetchval(text) == 0:
            return
        await connection.fetchval("SELECT pg_stat_clear_snapshot()")
    assert await connection.fetchval(text) == 0


async def test_arguments_that_are_refused_leave_the_connection_whole(postgres_only: DatabaseOptions) -> None:
    """The driver refuses them after BEGIN was sent, and before anything else is."""
    wanted: Statement[int] = Statement(sa.select(sa.bindparam("n", type_=sa.Integer())), scalar(int))
    async with connect_database(postgres_only, pool_size=1) as database:
        ada = await make_user(database)
        async with open_snapshot(database, viewer_of(ada)) as snapshot:
            assert await snapshot.one(wanted, n=1) == 1
        for _ in range(3):
            async with open_snapshot(database, viewer_of(ada)) as snapshot:
                with pytest.raises(DatabaseFault, match="DataError"):
                    await snapshot.one(wanted, n=1 << 40)
                assert await snapshot.one(wanted, n=2) == 2
                assert await Users(snapshot).get(ada.id) == ada
        with pytest.raises(DatabaseFault, match="DataError"):
            async with database.transaction(viewer_of(ada)) as write:
                await write.one(wanted, n=1 << 40)
        async with open_snapshot(database, viewer_of(ada)) as snapshot:
            assert await snapshot.one(wanted, n=3) == 3


async def _breaking(write: WriteConnection, ada: User) -> None:
    """Two events of one id, stored later."""
    event = TaskReopened(new_id(), ada.id, None)
    await EventStore(write).append([event], actor=ada.id, at=dt.datetime.now(dt.UTC))
    await EventStore(write).append([event], actor=ada.id, at=dt.datetime.now(dt.UTC))


@pytest.mark.parametrize("then", ["commit", "a statement", "a savepoint", "another error"])
async def test_an_error_of_what_is_run_later(database: Database, then: str) -> None:
    """It is raised at the next statement or at the commit, and nothing of the unit is left."""
    ada = await make_user(database)
    for _ in range(3):
        with pytest.raises(LookupError if then == "another error" and database.engine.is_postgresql else Conflict):
            async with database.transaction(viewer_of(ada)) as write:
                await Tasks(write).add(user_id=ada.id, title="Lost")
                await _breaking(write, ada)
                if then == "a statement":
                    await Tasks(write).add(user_id=ada.id, title="Lost, too")
                if then == "a savepoint":
                    async with write.savepoint():
                        await Tasks(write).add(user_id=ada.id, title="Lost, too")
                if then == "another error":
                    raise LookupError
        async with open_snapshot(database) as snapshot:
            assert await Tasks(snapshot).count() == 0
            assert await EventStore(snapshot).count() == 0
        await make_category(database, ada)
    async with open_snapshot(database) as snapshot:
        assert await Categories(snapshot).count() == 3


async def test_what_is_run_later_is_run(database: Database) -> None:
    """Without a statement after it, and even as the only one of its transaction."""
    ada = await make_user(database)
    for count in range(1, 4):
        async with database.transaction(SERVICE) as write:
            event = TaskReopened(new_id(), ada.id, None)
            await EventStore(write).append([event], actor=ada.id, at=dt.datetime.now(dt.UTC))
        async with open_snapshot(database) as snapshot:
            assert await EventStore(snapshot).count() == count
    async with database.transaction(SERVICE):
        pass


async def test_swallowed_failures_are_not_committed(postgres_only: DatabaseOptions) -> None:
    """A commit that the server turns into a rollback is an error."""
    async with connect_database(postgres_only, pool_size=1) as database:
        with pytest.raises(DatabaseFault, match="InFailedSQLTransactionError"):
            async with database.transaction(ANONYMOUS) as write:
                with pytest.raises(DatabaseFault):
                    await write.execute_sql("SELECT 1/0")
        async with open_snapshot(database, ANONYMOUS) as snapshot:
            assert await Tasks(snapshot).count() == 0


async def test_tables_that_change_while_statements_are_prepared(
    cloned_postgres: DatabaseOptions, server: Server
) -> None:
    """The first statement of a transaction is simply prepared again."""
    async with connect_database(cloned_postgres, pool_size=1) as database:
        ada = await make_user(database)
        every: Statement[Any] = Statement(sa.text("SELECT * FROM life_lock.tasks"), RowFactory(len))
        await make_task(database, ada)
        viewer = viewer_of(ada)
        async with open_snapshot(database, viewer) as snapshot:
            before = await snapshot.one(every)
        name = database_of(cloned_postgres)
        await asyncio.to_thread(server.sql, "ALTER TABLE life_lock.tasks ADD COLUMN extra int", database=name)
        async with open_snapshot(database, viewer) as snapshot:
            assert await snapshot.one(every) == before + 1
            await asyncio.to_thread(server.sql, "ALTER TABLE identity.users ADD COLUMN extra int", database=name)
            assert await snapshot.one(every) == before + 1
        await asyncio.to_thread(server.sql, "ALTER TABLE life_lock.tasks DROP COLUMN extra", database=name)
        async with database.transaction(viewer) as write:
            assert await write.one(every) == before
            await Tasks(write).add(user_id=ada.id, title="Kept")
        async with open_snapshot(database, viewer) as snapshot:
            assert await Tasks(snapshot).count() == 2


@pytest.mark.parametrize("viewer", [ANONYMOUS, SERVICE])
async def test_lost_while_nobody_uses_it(cloned_postgres: DatabaseOptions, server: Server, viewer: Viewer) -> None:
    """Connections that the server has closed in between are replaced, and nobody is told."""
    async with connect_database(cloned_postgres) as database:
        async with open_snapshot(database, viewer) as snapshot:
            pid = await snapshot.one(_PID)
        await asyncio.to_thread(server.sql, f"SELECT pg_terminate_backend({pid}, 5000)")
        pool = database.pool_for(viewer)  # type: ignore[attr-defined]
        while not pool._idle[0][0].is_closed():  # noqa: ASYNC110 (the socket tells nobody)
            await asyncio.sleep(0)
        async with open_snapshot(database, viewer) as snapshot:
            assert await snapshot.one(_PID) != pid


async def test_how_often_the_server_is_waited_for(
    postgres_only: DatabaseOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row by its id: once. A new task with its event and the recount of its day: twice, the commit included."""
    sent: list[int] = []
    write = PipelinedTransport.write

    def counted(line: PipelinedTransport, data: Any) -> None:
        sent.append(len(line.pending_commands))
        write(line, data)

    monkeypatch.setattr(PipelinedTransport, "write", counted)
    async with connect_database(postgres_only, pool_size=1) as database:
        ada = await make_user(database)
        viewer = replace(viewer_of(ada), time_zone="UTC")
        for _ in range(2):
            sent.clear()
            async with open_unit_of_work(database, viewer, REACTIONS) as work:
                task = await create_task(work, CreateTask(title="New"))
        assert sent == [2, 4]
        for _ in range(2):
            sent.clear()
            async with open_snapshot(database, viewer) as snapshot:
                assert await Tasks(snapshot).get(task.id) == task
        assert sent == [2]
