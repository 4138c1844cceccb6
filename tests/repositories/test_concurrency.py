"""Concurrent and cancelled requests: no errors, no leaked connections, and one database state per snapshot."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from repositories.aggregates.unit_of_work import open_unit_of_work
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE, Viewer
from repositories.engines.database import Database, DatabaseOptions
from repositories.life_lock.events import TaskReopened
from repositories.life_lock.tasks import Tasks
from repositories.sql.statements import RowFactory, Statement
from repositories.tables.identity import User
from tests.factories import make_task, make_tasks, make_user, viewer_of
from tests.repositories.support import connect_database, open_snapshot

FOREVER: Statement[Any] = Statement(
    sa.text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"), RowFactory(tuple)
)


@asynccontextmanager
async def _without_loop_errors() -> AsyncIterator[None]:
    """Asserts that the event loop's exception handler is not called, for example because of a lost future."""
    errors: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: errors.append(context))
    try:
        yield
    finally:
        loop.set_exception_handler(None)
    assert errors == []


async def _read(database: Database, viewer: Viewer, count: int) -> None:
    async with open_snapshot(database, viewer) as snapshot:
        tasks = await Tasks(snapshot).find(limit=100)
        assert await Tasks(snapshot).by_id([task.id for task in tasks]) == {task.id: task for task in tasks}
        assert len(tasks) >= count


async def _write(database: Database, user: User, title: str) -> str:
    async with open_unit_of_work(database, viewer_of(user), ()) as work:
        task = await work.repository(Tasks).add(user_id=user.id, title=title)
        async with work.savepoint():
            await work.repository(Tasks).change(task, description="Written")
        work.record(TaskReopened(task.id, user.id, None))
    return title


async def _titles(database: Database) -> list[str]:
    async with open_snapshot(database) as snapshot:
        return sorted(task.title for task in await Tasks(snapshot).find(limit=500))


@pytest.mark.parametrize("pool_size", [10, 1])
async def test_fifty_concurrent_snapshots_and_units_of_work(options: DatabaseOptions, pool_size: int) -> None:
    """They share the connections of the pool. Afterwards all connections are free."""
    async with connect_database(options, pool_size=pool_size, pool_timeout=30) as database, _without_loop_errors():
        ada = await make_user(database)
        await make_tasks(database, ada, 5)
        titles = await asyncio.gather(*(_write(database, ada, f"Unit {index:02}") for index in range(50)))
        assert titles == [f"Unit {index:02}" for index in range(50)]
        await asyncio.gather(*(_read(database, viewer_of(ada), 55) for _ in range(50)))
        mixed = [_write(database, ada, f"Unit {index}") for index in range(50, 75)]
        await asyncio.gather(*mixed, *(_read(database, viewer_of(ada), 55) for _ in range(25)))
        state = database.pool_state()
        assert state.used == 0
        assert 1 <= state.size <= pool_size
        assert await _titles(database) == sorted([f"Task {i}" for i in range(5)] + [f"Unit {i:02}" for i in range(75)])


@pytest.mark.parametrize("seed", range(4))
async def test_cancelling_a_third_of_the_requests(options: DatabaseOptions, seed: int) -> None:
    """A cancelled unit of work is committed completely or not at all, and its connection is free again."""
    source = random.Random(seed)  # noqa: S311 (not a secret)
    async with connect_database(options, pool_size=10, pool_timeout=30) as database, _without_loop_errors():
        ada = await make_user(database)
        await make_tasks(database, ada, 5)
        running = [asyncio.ensure_future(_write(database, ada, f"Unit {index:02}")) for index in range(50)]
        reads = [asyncio.ensure_future(_read(database, viewer_of(ada), 5)) for _ in range(50)]
        loop = asyncio.get_running_loop()
        for task in [*running, *reads]:
            if source.random() < 1 / 3:
                loop.call_later(source.random() * 0.05, task.cancel)
        results = await asyncio.gather(*running, *reads, return_exceptions=True)
        assert {type(result) for result in results} == {str, type(None), asyncio.CancelledError}
        assert database.pool_state().used == 0
        stored = await _titles(database)
        completed = {result for result in results if isinstance(result, str)}
        assert completed <= set(stored) - {f"Task {index}" for index in range(5)}
        assert len(stored) == len(set(stored)) < 55
        async with open_snapshot(database) as snapshot:
            written = [task for task in await Tasks(snapshot).find(limit=500) if task.title.startswith("Unit")]
        assert {task.description for task in written} == {"Written"}
        await asyncio.gather(*(_read(database, viewer_of(ada), 5) for _ in range(20)))
        assert database.pool_state().used == 0


@pytest.mark.parametrize("steps", range(0, 40, 3))
async def test_cancelling_after_a_number_of_event_loop_iterations(options: DatabaseOptions, steps: int) -> None:
    """The cancelled request uses the only connection. The next request can use it."""
    async with connect_database(options, pool_size=1, pool_timeout=5) as database, _without_loop_errors():
        ada = await make_user(database)
        is_written = False
        for work in (_write(database, ada, "Cancelled"), _read(database, viewer_of(ada), 0)):
            running: asyncio.Task[Any] = asyncio.ensure_future(work)
            for _ in range(steps):
                await asyncio.sleep(0)
            running.cancel()
            await asyncio.wait([running])
            assert database.pool_state().used == 0
            is_written = is_written or (not running.cancelled() and running.result() == "Cancelled")
        stored = await _titles(database)
        assert stored == ["Cancelled"] or (stored == [] and not is_written)
        assert await _write(database, ada, "Next") == "Next"
        assert await _titles(database) == [*stored, "Next"]


async def test_cancelling_while_a_connection_is_opened(options: DatabaseOptions) -> None:
    """The pool does not lose the connection."""
    async with _without_loop_errors():
        for tenths in range(25):
            async with connect_database(options, pool_size=1, pool_timeout=5) as database:
                running = asyncio.ensure_future(_read(database, viewer_of(new_id()), 0))
                asyncio.get_running_loop().call_later(tenths / 10_000, running.cancel)
                await asyncio.wait([running])
                assert database.pool_state().used == 0
                await _read(database, viewer_of(new_id()), 0)


async def test_concurrent_reads_of_one_snapshot(database: Database, statements: list[str]) -> None:
    """They take turns on one connection, in one transaction."""
    ada = await make_user(database)
    tasks = await make_tasks(database, ada, 40)
    statements.clear()
    async with open_snapshot(database, viewer_of(ada)) as snapshot:
        rows = await asyncio.gather(*(Tasks(snapshot).get(task.id) for task in tasks))
        assert database.pool_state().used == 1
    assert rows == tasks
    assert len(statements) == 1 + len(tasks)
    assert [text for text in statements if text.startswith("BEGIN")] == statements[:1]
    assert database.pool_state().used == 0


async def test_an_unused_snapshot_takes_no_connection(database: Database, statements: list[str]) -> None:
    snapshot = database.snapshot(SERVICE)
    await snapshot.close()
    await snapshot.close()
    assert statements == []


async def test_closing_a_snapshot_cancels_its_running_statement(database: Database) -> None:
    """This holds at any stage of the statement, and even if it has been cancelled already."""
    viewer = viewer_of(await make_user(database))
    for is_cancelled in (False, True):
        for iterations in range(1, 10):
            snapshot = database.snapshot(viewer)
            running = asyncio.ensure_future(Tasks(snapshot).count())
            for _ in range(iterations):
                await asyncio.sleep(0)
            if is_cancelled:
                running.cancel()
                await asyncio.sleep(0)
            await snapshot.close()
            (outcome,) = await asyncio.gather(running, return_exceptions=True)
            assert isinstance(outcome, asyncio.CancelledError) or (iterations > 1 and outcome == 0)
            assert database.pool_state().used == 0
            await _read(database, viewer, 0)


async def test_a_snapshot_shows_one_state(database: Database) -> None:
    """A commit is not visible to readers whose snapshot is already open, and visible to all other readers."""
    ada = await make_user(database)
    task = await make_task(database, ada, title="Old")
    async with open_snapshot(database, viewer_of(ada)) as early:
        assert await Tasks(early).count() == 1
        async with database.transaction(viewer_of(ada)) as write:
            await Tasks(write).change(task, title="New")
            await Tasks(write).add(user_id=ada.id, title="Added")
        assert (await Tasks(early).get(task.id)).title == "Old"
        assert await Tasks(early).count() == 1
        async with open_snapshot(database, viewer_of(ada)) as late:
            assert (await Tasks(late).get(task.id)).title == "New"
            assert await Tasks(late).count() == 2


async def test_readers_and_a_writer_do_not_block_each_other(database: Database) -> None:
    ada = await make_user(database)
    async with (
        open_snapshot(database, viewer_of(ada)) as one,
        open_snapshot(database, viewer_of(ada)) as two,
        open_unit_of_work(database, viewer_of(ada), ()) as work,
    ):
        assert await Tasks(one).count() == 0
        await work.repository(Tasks).add(user_id=ada.id, title="Written")
        assert [await Tasks(snapshot).count() for snapshot in (one, two)] == [0, 0]
        assert await work.repository(Tasks).count() == 1


@pytest.mark.parametrize("iterations", [0, 1, 2, 5, 200])
async def test_a_cancelled_read_is_interrupted(options: DatabaseOptions, iterations: int) -> None:
    """The database stops executing it, and the next request can use its connection."""
    endless: Statement[Any] = (
        FOREVER if not options.url else Statement(sa.text("SELECT pg_sleep(600)"), RowFactory(tuple))
    )
    async with connect_database(options, pool_size=1, statement_timeout=600, pool_timeout=5) as database:
        ada = await make_user(database)
        snapshot = database.snapshot(viewer_of(ada))
        assert await Tasks(snapshot).count() == 0
        running = asyncio.ensure_future(snapshot.rows(endless))
        for _ in range(iterations):
            await asyncio.sleep(0)
        running.cancel()
        done, _ = await asyncio.wait([running], timeout=10)
        assert done == {running}
        assert running.cancelled()
        assert await Tasks(snapshot).count() == 0
        await snapshot.close()
        await _read(database, viewer_of(ada), 0)
        assert database.pool_state().used == 0


async def test_a_cancelled_write_is_interrupted(options: DatabaseOptions) -> None:
    """Its transaction is rolled back, and the next writer can begin (SQLite allows one writer at a time)."""
    users = "identity.users" if options.url else "users"
    endless = "SELECT 'x' FROM (SELECT pg_sleep(600)) s" if options.url else FOREVER._build
    slow: Statement[Any] = Statement(sa.text(f"UPDATE {users} SET first_name = ({endless})"), RowFactory(tuple))
    async with connect_database(options, statement_timeout=600, pool_timeout=5) as database:
        ada = await make_user(database)

        async def write() -> None:
            async with open_unit_of_work(database, viewer_of(ada), ()) as work:
                await work.repository(Tasks).add(user_id=ada.id, title="Lost")
                started.set()
                async with work.savepoint():
                    await work.connection.rows(slow)

        started = asyncio.Event()
        running = asyncio.ensure_future(write())
        await started.wait()
        for _ in range(50):
            await asyncio.sleep(0)
        running.cancel()
        done, _ = await asyncio.wait([running], timeout=10)
        assert done == {running}
        assert running.cancelled()
        await _write(database, ada, "Next")
        assert await _titles(database) == ["Next"]
        assert database.pool_state().used == 0


async def test_the_next_caller_gets_the_connection_of_a_cancelled_caller(sqlite_only: DatabaseOptions) -> None:
    """The caller is cancelled while its connection is opened. Closing the database waits for such a connection."""
    async with _without_loop_errors(), connect_database(sqlite_only) as database:
        await _cancel_while_opening(database)
        await asyncio.gather(*database._opening_tasks)  # type: ignore[attr-defined]
        state = database.pool_state()
        assert (state.size, state.used) == (1, 0)
        async with open_snapshot(database) as snapshot:
            assert await Tasks(snapshot).count() == 0
        assert database.pool_state().size == 1
        database._idle_readers.clear()  # type: ignore[attr-defined]
        await _cancel_while_opening(database)


async def _cancel_while_opening(database: Any) -> None:
    acquiring = asyncio.ensure_future(database.acquire_reader(SERVICE))
    while not database._opening_tasks:  # noqa: ASYNC110 (there is no event to wait for)
        await asyncio.sleep(0)
    acquiring.cancel()
    with pytest.raises(asyncio.CancelledError):
        await acquiring
