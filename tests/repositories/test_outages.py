"""Timeouts, full pools and lost servers: the caller gets the right error, and the next statement works."""

import asyncio
import re
import sqlite3
from typing import Any

import pytest
import sqlalchemy as sa

from repositories.aggregates.unit_of_work import open_unit_of_work
from repositories.core.errors import (
    Conflict,
    DatabaseFault,
    Forbidden,
    GatewayError,
    NotFound,
    RateLimited,
    ServiceUnavailable,
    Timeout,
)
from repositories.core.ids import new_id
from repositories.core.viewer import ANONYMOUS, SERVICE, Viewer
from repositories.engines.database import Database, DatabaseOptions
from repositories.engines.factory import open_database
from repositories.engines.postgresql import PostgresDatabase
from repositories.identity import Users
from repositories.life_lock.categories import Categories
from repositories.life_lock.tasks import Tasks
from repositories.sql.statements import RowFactory, Statement
from tests.databases import Server, database_of
from tests.factories import make_category, make_task, make_user, viewer_of
from tests.repositories.support import connect_database, open_snapshot

FOREVER = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
_PID: Statement[Any] = Statement(sa.text("SELECT pg_backend_pid()"), RowFactory(lambda values: values[0]))


def _slow(options: DatabaseOptions) -> Statement[Any]:
    return Statement(sa.text("SELECT 1 FROM (SELECT pg_sleep(60)) s" if options.url else FOREVER), RowFactory(tuple))


def _slow_change(options: DatabaseOptions) -> Statement[Any]:
    slow = "(SELECT 'Slow' FROM (SELECT pg_sleep(60)) s)" if options.url else f"({FOREVER})"
    users = "identity.users" if options.url else "users"
    return Statement(sa.text(f"UPDATE {users} SET first_name = {slow}"), RowFactory(tuple))


def _assert_error(error: GatewayError, kind: type[GatewayError], message: str) -> None:
    assert type(error) is kind
    assert error.message == str(error) == message


TOO_LONG = "This took too long and was stopped. Request less data at once."
UNREACHABLE = "The database cannot be reached right now. Try again in a moment."
IN_USE = "All database connections are in use. Try again in a moment."
OWN_SHARE = "Too many of your operations use the database at the same time. Try again in 1 seconds."


async def test_a_slow_read_times_out(options: DatabaseOptions) -> None:
    """Afterwards the snapshot can read again, and its connection is returned."""
    async with connect_database(options, statement_timeout=0.2) as database:
        ada = await make_user(database)
        async with open_snapshot(database, viewer_of(ada)) as snapshot:
            assert await Users(snapshot).get(ada.id) == ada
            with pytest.raises(Timeout) as raised:
                await snapshot.rows(_slow(options))
            _assert_error(raised.value, Timeout, TOO_LONG)
            assert await Users(snapshot).get(ada.id) == ada
        assert database.pool_state().used == 0


async def test_a_slow_write_times_out_and_is_rolled_back(options: DatabaseOptions) -> None:
    """The next unit of work succeeds."""
    async with connect_database(options, statement_timeout=0.2) as database:
        ada = await make_user(database)
        with pytest.raises(Timeout):
            async with open_unit_of_work(database, SERVICE, ()) as work:
                await work.repository(Tasks).add(user_id=ada.id, title="Lost")
                await work.connection.rows(_slow_change(options))
        task = await make_task(database, ada)
        async with open_snapshot(database) as snapshot:
            assert await Tasks(snapshot).find(limit=5) == [task]
            assert await Users(snapshot).get(ada.id) == ada


async def test_nothing_is_written_after_a_caught_timeout(options: DatabaseOptions) -> None:
    """SQLite rolls back the transaction of an interrupted write, and later statements must not run outside it."""
    async with connect_database(options, statement_timeout=0.2) as database:
        ada = await make_user(database)
        with pytest.raises((GatewayError, DatabaseFault)):
            async with open_unit_of_work(database, SERVICE, ()) as work:
                with pytest.raises(Timeout):
                    await work.connection.rows(_slow_change(options))
                await work.repository(Tasks).add(user_id=ada.id, title="Lost")
        async with open_snapshot(database) as snapshot:
            assert await Tasks(snapshot).count() == 0
            assert await Users(snapshot).get(ada.id) == ada


async def test_a_timeout_inside_a_savepoint_is_raised(options: DatabaseOptions) -> None:
    """The failed rollback to the savepoint does not replace the error."""
    async with connect_database(options, statement_timeout=0.2) as database:
        ada = await make_user(database)
        with pytest.raises(Timeout):
            async with open_unit_of_work(database, SERVICE, ()) as work:
                await work.repository(Tasks).add(user_id=ada.id, title="Lost")
                async with work.savepoint(), work.savepoint():
                    await work.connection.rows(_slow_change(options))
        task = await make_task(database, ada)
        async with open_snapshot(database) as snapshot:
            assert await Tasks(snapshot).find(limit=5) == [task]


async def test_a_full_pool_raises_service_unavailable(options: DatabaseOptions) -> None:
    """The caller gets a connection when one has been returned. A viewer with half of them has to wait for itself."""
    async with connect_database(options, pool_size=2, pool_timeout=0.1) as database:
        ada, bob, eve = [viewer_of(await make_user(database)) for _ in range(3)]
        async with open_snapshot(database, ada) as first, open_snapshot(database, bob) as second:
            assert await Tasks(first).count() == await Tasks(second).count() == 0
            assert database.pool_state().used == 2
            async with open_snapshot(database, ada) as fourth:
                with pytest.raises(RateLimited) as limited:
                    await Tasks(fourth).count()
                _assert_error(limited.value, RateLimited, OWN_SHARE)
            async with open_snapshot(database, eve) as third:
                with pytest.raises(ServiceUnavailable) as raised:
                    await Tasks(third).count()
                _assert_error(raised.value, ServiceUnavailable, IN_USE)
                await second.close()
                assert await Tasks(third).count() == 0
        assert database.pool_state().used == 0


async def test_a_closed_snapshot_cannot_read(database: Database) -> None:
    snapshot = database.snapshot(ANONYMOUS)
    await snapshot.close()
    with pytest.raises(ServiceUnavailable) as raised:
        await Tasks(snapshot).count()
    _assert_error(raised.value, ServiceUnavailable, "The request ended before this could be read.")
    assert database.pool_state().used == 0


async def test_a_snapshot_can_read_after_a_failed_statement(database: Database) -> None:
    ada = await make_user(database)
    async with open_snapshot(database, viewer_of(ada)) as snapshot:
        with pytest.raises(DatabaseFault):
            await snapshot.rows(Statement(sa.text("SELECT * FROM nowhere"), RowFactory(tuple)))
        assert await Users(snapshot).get(ada.id) == ada


async def test_a_snapshot_cannot_write(database: Database) -> None:
    """The database rejects the statement, because the transaction is read-only."""
    ada = await make_user(database)
    async with open_snapshot(database, viewer_of(ada)) as snapshot:
        with pytest.raises(ServiceUnavailable) as raised:
            await Tasks(snapshot).add(user_id=ada.id, title="Written")
        assert re.search(r"(?i)read.?only", str(raised.value.__cause__))
        assert await Tasks(snapshot).count() == 0


@pytest.mark.parametrize("failure", [Conflict, Forbidden, NotFound])
async def test_a_caught_error_rolls_back_only_its_savepoint(database: Database, failure: type[GatewayError]) -> None:
    """Without a savepoint the unit of work cannot be committed."""
    ada, bob = await make_user(database), await make_user(database)
    category = await make_category(database, ada)

    async def fail(write: Any) -> None:
        if failure is Conflict:
            await Categories(write).add(user_id=ada.id, name=category.name, color="#000000")
        elif failure is Forbidden:
            await Categories(write).add(user_id=bob.id, name="Forged", color="#000000")
        else:
            await Categories(write).get(new_id())

    async with open_unit_of_work(database, viewer_of(ada), ()) as work:
        with pytest.raises(failure):
            async with work.savepoint():
                await fail(work.connection)
        await work.repository(Tasks).add(user_id=ada.id, title="Kept")
    if failure is not NotFound:
        with pytest.raises(RuntimeError, match="savepoint"):
            async with open_unit_of_work(database, viewer_of(ada), ()) as work:
                await work.repository(Tasks).add(user_id=ada.id, title="Lost")
                with pytest.raises(failure):
                    await fail(work.connection)
    async with open_snapshot(database) as snapshot:
        assert [task.title for task in await Tasks(snapshot).find(limit=5)] == ["Kept"]
        assert await Categories(snapshot).find(limit=5) == [category]


async def test_a_lost_connection_raises_service_unavailable(cloned_postgres: DatabaseOptions, server: Server) -> None:
    """This applies to a snapshot and a unit of work. The next statement uses a new connection."""
    async with connect_database(cloned_postgres) as database:
        ada = await make_user(database)
        viewer = viewer_of(ada)

        async def terminate(pid: int) -> None:
            await asyncio.to_thread(server.sql, f"SELECT pg_terminate_backend({pid})")

        async with open_snapshot(database, viewer) as snapshot:
            await terminate((await snapshot.rows(_PID))[0])
            with pytest.raises(ServiceUnavailable) as raised:
                await Users(snapshot).get(ada.id)
            _assert_error(raised.value, ServiceUnavailable, UNREACHABLE)
            assert await Users(snapshot).get(ada.id) == ada
        with pytest.raises(ServiceUnavailable):
            async with open_unit_of_work(database, viewer, ()) as work:
                await work.repository(Tasks).add(user_id=ada.id, title="Lost")
                await terminate((await work.connection.rows(_PID))[0])
                await work.repository(Tasks).add(user_id=ada.id, title="Lost, too")
        with pytest.raises(ServiceUnavailable):
            async with open_unit_of_work(database, viewer, ()) as work, work.savepoint():
                await terminate((await work.connection.rows(_PID))[0])
                await work.repository(Tasks).count()
        async with open_snapshot(database, viewer) as snapshot:
            assert await Tasks(snapshot).count() == 0
        assert database.pool_state().used == 0


@pytest.mark.parametrize("url", ["postgresql://gateway@127.0.0.1:1/nowhere", "postgresql+asyncpg://g@127.0.0.1:1/n"])
async def test_an_unreachable_server(url: str) -> None:
    database = open_database(DatabaseOptions(url=url, connect_timeout=2))
    with pytest.raises(ServiceUnavailable) as raised:
        await database.connect()
    _assert_error(raised.value, ServiceUnavailable, UNREACHABLE)
    assert (database.pool_state().size, database.pool_state().used) == (0, 0)
    for viewer in (ANONYMOUS, SERVICE):
        with pytest.raises(ServiceUnavailable):
            async with database.transaction(viewer):
                pytest.fail("a transaction was opened without a database")
    await database.close()


async def test_a_missing_database_or_login(postgres_only: DatabaseOptions) -> None:
    assert postgres_only.url is not None
    for url in (
        postgres_only.url.replace("@/", "@/no_"),
        postgres_only.url.replace("//gateway", "//nobody"),
    ):
        database = PostgresDatabase(DatabaseOptions(url=url))
        with pytest.raises(ServiceUnavailable):
            await database.connect()
        await database.close()


async def test_the_server_grants_fewer_connections_than_the_pool_has(
    cloned_postgres: DatabaseOptions, server: Server
) -> None:
    """Callers without a connection get ServiceUnavailable, and the other callers are not affected."""
    name = database_of(cloned_postgres)
    async with connect_database(cloned_postgres, pool_size=2) as database:
        async with open_snapshot(database) as service:
            assert await Tasks(service).count() == 0
        await asyncio.to_thread(server.sql, f"ALTER DATABASE {name} CONNECTION LIMIT 2")
        async with open_snapshot(database, ANONYMOUS) as first, open_snapshot(database, Viewer(new_id())) as second:
            assert await Tasks(first).count() == 0
            with pytest.raises(ServiceUnavailable) as raised:
                await Tasks(second).count()
            _assert_error(raised.value, ServiceUnavailable, UNREACHABLE)
            assert await Tasks(first).count() == 0
        assert database.pool_state().used == 0


async def test_a_missing_sqlite_file(tmp_path: Any) -> None:
    """Only the migrations create the file."""
    path = tmp_path / "missing.sqlite3"
    database = open_database(DatabaseOptions(sqlite_path=path))
    with pytest.raises(ServiceUnavailable) as raised:
        await database.connect()
    _assert_error(
        raised.value, ServiceUnavailable, f"The database file {path} does not exist. `siso migrate up` creates it."
    )
    assert not path.exists()
    with pytest.raises(ServiceUnavailable):
        async with database.transaction(SERVICE):
            pytest.fail("a transaction was opened without a database")


async def test_a_sqlite_file_that_another_process_is_writing(sqlite_only: DatabaseOptions) -> None:
    """The writer waits for the pool timeout, then gets ServiceUnavailable. Readers are not affected."""
    async with connect_database(sqlite_only, pool_timeout=0.1) as database:
        ada = await make_user(database)
        other = sqlite3.connect(sqlite_only.sqlite_path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(ServiceUnavailable) as raised:
            await make_task(database, ada)
        _assert_error(raised.value, ServiceUnavailable, UNREACHABLE)
        async with open_snapshot(database, viewer_of(ada)) as snapshot:
            assert await Tasks(snapshot).count() == 0
        other.execute("ROLLBACK")
        other.close()
        task = await make_task(database, ada)
        async with open_snapshot(database, viewer_of(ada)) as snapshot:
            assert await Tasks(snapshot).get(task.id) == task


async def test_a_second_sqlite_writer_waits_for_the_pool_timeout(sqlite_only: DatabaseOptions) -> None:
    async with connect_database(sqlite_only, pool_timeout=0.05) as database:
        async with database.transaction(SERVICE):
            with pytest.raises(ServiceUnavailable) as raised:
                async with database.transaction(SERVICE):
                    pytest.fail("two concurrent writers")
        _assert_error(raised.value, ServiceUnavailable, IN_USE)
        await make_user(database)
