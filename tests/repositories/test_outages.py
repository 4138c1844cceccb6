"""Time limits, full pools and lost servers: what the caller is told, and that the next statement works."""

import asyncio
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
    ServiceUnavailable,
    Timeout,
)
from repositories.core.ids import new_id
from repositories.core.viewer import ANONYMOUS, SERVICE
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


def _told(error: GatewayError, kind: type[GatewayError], message: str) -> None:
    assert type(error) is kind
    assert error.message == str(error) == message


TOO_LONG = "This took too long and was stopped. Request less data at once."
UNREACHABLE = "The database cannot be reached right now. Try again in a moment."


async def test_a_slow_read_is_stopped(options: DatabaseOptions) -> None:
    """Timeout after the statement's limit; the snapshot reads on afterwards, and the pool is whole."""
    async with connect_database(options, statement_timeout=0.2) as database:
        ada = await make_user(database)
        async with open_snapshot(database, viewer_of(ada)) as snapshot:
            assert await Users(snapshot).get(ada.id) == ada
            with pytest.raises(Timeout) as caught:
                await snapshot.rows(_slow(options))
            _told(caught.value, Timeout, TOO_LONG)
            assert await Users(snapshot).get(ada.id) == ada
        assert database.pool_state().used == 0


async def test_a_slow_write_is_stopped_and_undone(options: DatabaseOptions) -> None:
    """Timeout in a unit of work leaves nothing of it, and the next unit works."""
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


async def test_nothing_is_written_after_a_swallowed_timeout(options: DatabaseOptions) -> None:
    """SQLite ends the transaction of an interrupted write: what comes next must not run outside of any."""
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


async def test_a_slow_write_in_a_savepoint_is_told_as_such(options: DatabaseOptions) -> None:
    """The clean-up of the savepoint does not hide why it was needed."""
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


async def test_a_full_pool(options: DatabaseOptions) -> None:
    """Who waits longer than the pool's limit is told to try again; when a connection is back, all is well."""
    async with connect_database(options, pool_size=2, pool_timeout=0.1) as database:
        ada = await make_user(database)
        async with open_snapshot(database, viewer_of(ada)) as first, open_snapshot(database, viewer_of(ada)) as second:
            assert await Tasks(first).count() == await Tasks(second).count() == 0
            assert database.pool_state().used == 2
            async with open_snapshot(database, viewer_of(ada)) as third:
                with pytest.raises(ServiceUnavailable) as caught:
                    await Tasks(third).count()
                _told(caught.value, ServiceUnavailable, UNREACHABLE)
                await second.close()
                assert await Tasks(third).count() == 0
        assert database.pool_state().used == 0


async def test_a_closed_snapshot_is_not_opened_again(database: Database) -> None:
    """A read after the end of the request takes no connection."""
    snapshot = database.snapshot(ANONYMOUS)
    await snapshot.close()
    with pytest.raises(ServiceUnavailable) as caught:
        await Tasks(snapshot).count()
    _told(caught.value, ServiceUnavailable, "The request ended before this could be read.")
    assert database.pool_state().used == 0


async def test_a_snapshot_survives_a_failed_statement(database: Database) -> None:
    """One failing read does not take the following ones with it."""
    ada = await make_user(database)
    async with open_snapshot(database, viewer_of(ada)) as snapshot:
        with pytest.raises(DatabaseFault):
            await snapshot.rows(Statement(sa.text("SELECT * FROM nowhere"), RowFactory(tuple)))
        assert await Users(snapshot).get(ada.id) == ada


async def test_a_snapshot_cannot_write(database: Database) -> None:
    """It is read-only for the database too."""
    ada = await make_user(database)
    async with open_snapshot(database, viewer_of(ada)) as snapshot:
        with pytest.raises(Exception, match=r"(?i)read.?only"):
            await Tasks(snapshot).add(user_id=ada.id, title="Written")
        assert await Tasks(snapshot).count() == 0


@pytest.mark.parametrize("failure", [Conflict, Forbidden, NotFound])
async def test_a_failure_that_is_swallowed_undoes_only_what_failed(
    database: Database, failure: type[GatewayError]
) -> None:
    """Inside a savepoint a refused statement is undone alone; outside of one nothing of the unit can be committed."""
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


async def test_a_lost_connection(cloned_postgres: DatabaseOptions, server: Server) -> None:
    """ServiceUnavailable for what was under way on it, in a snapshot and in a unit; a new connection is next."""
    async with connect_database(cloned_postgres) as database:
        ada = await make_user(database)
        viewer = viewer_of(ada)

        async def terminate(pid: int) -> None:
            await asyncio.to_thread(server.sql, f"SELECT pg_terminate_backend({pid})")

        async with open_snapshot(database, viewer) as snapshot:
            await terminate((await snapshot.rows(_PID))[0])
            with pytest.raises(ServiceUnavailable) as caught:
                await Users(snapshot).get(ada.id)
            _told(caught.value, ServiceUnavailable, UNREACHABLE)
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
async def test_no_server(url: str) -> None:
    """Nobody listens there: told in one line, at the start and by an unconnected database."""
    database = open_database(DatabaseOptions(url=url, connect_timeout=2))
    with pytest.raises(ServiceUnavailable) as caught:
        await database.connect()
    _told(caught.value, ServiceUnavailable, UNREACHABLE)
    assert (database.pool_state().size, database.pool_state().used) == (0, 0)
    for viewer in (ANONYMOUS, SERVICE):
        with pytest.raises(ServiceUnavailable):
            async with database.transaction(viewer):
                pytest.fail("there is nothing to write to")
    await database.close()


async def test_no_such_database(postgres_only: DatabaseOptions) -> None:
    """A server without the database or the login is as good as none."""
    assert postgres_only.url is not None
    for url in (
        postgres_only.url.replace("@/", "@/no_"),
        postgres_only.url.replace("//gateway", "//nobody"),
    ):
        database = PostgresDatabase(DatabaseOptions(url=url))
        with pytest.raises(ServiceUnavailable):
            await database.connect()
        await database.close()


async def test_a_server_with_too_few_connections(cloned_postgres: DatabaseOptions, server: Server) -> None:
    """A pool that is larger than what the server grants: who gets none is told so, the others go on."""
    name = database_of(cloned_postgres)
    async with connect_database(cloned_postgres, pool_size=2) as database:
        async with open_snapshot(database) as service:
            assert await Tasks(service).count() == 0
        await asyncio.to_thread(server.sql, f"ALTER DATABASE {name} CONNECTION LIMIT 2")
        async with open_snapshot(database, ANONYMOUS) as first, open_snapshot(database, ANONYMOUS) as second:
            assert await Tasks(first).count() == 0
            with pytest.raises(ServiceUnavailable) as caught:
                await Tasks(second).count()
            _told(caught.value, ServiceUnavailable, UNREACHABLE)
            assert await Tasks(first).count() == 0
        assert database.pool_state().used == 0


async def test_no_file(tmp_path: Any) -> None:
    """SQLite's file is made by the migrations, never by accident."""
    path = tmp_path / "missing.sqlite3"
    database = open_database(DatabaseOptions(sqlite_path=path))
    with pytest.raises(ServiceUnavailable) as caught:
        await database.connect()
    _told(caught.value, ServiceUnavailable, f"The database file {path} does not exist. `siso migrate up` creates it.")
    assert not path.exists()
    with pytest.raises(ServiceUnavailable):
        async with database.transaction(SERVICE):
            pytest.fail("there is nothing to write to")


async def test_a_file_that_another_process_writes(sqlite_only: DatabaseOptions) -> None:
    """A second writer waits as long as for a connection, then is told to try again."""
    async with connect_database(sqlite_only, pool_timeout=0.1) as database:
        ada = await make_user(database)
        other = sqlite3.connect(sqlite_only.sqlite_path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(ServiceUnavailable) as caught:
            await make_task(database, ada)
        _told(caught.value, ServiceUnavailable, UNREACHABLE)
        async with open_snapshot(database, viewer_of(ada)) as snapshot:
            assert await Tasks(snapshot).count() == 0
        other.execute("ROLLBACK")
        other.close()
        task = await make_task(database, ada)
        async with open_snapshot(database, viewer_of(ada)) as snapshot:
            assert await Tasks(snapshot).get(task.id) == task


async def test_a_queue_of_writers(sqlite_only: DatabaseOptions) -> None:
    """Inside one process too nobody waits longer than the limit."""
    async with connect_database(sqlite_only, pool_timeout=0.05) as database:
        async with database.transaction(SERVICE):
            with pytest.raises(ServiceUnavailable) as caught:
                async with database.transaction(SERVICE):
                    pytest.fail("two writers at once")
        _told(caught.value, ServiceUnavailable, UNREACHABLE)
        await make_user(database)
