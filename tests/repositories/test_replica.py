"""A real streaming replica: which reads it serves, and when the primary serves them instead."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa

from repositories.aggregates.unit_of_work import open_unit_of_work
from repositories.core.errors import NotFound, ServiceUnavailable
from repositories.core.viewer import ANONYMOUS, SERVICE, Viewer
from repositories.engines.database import Database, DatabaseOptions
from repositories.engines.position import format_position, parse_position
from repositories.engines.postgresql import PostgresDatabase
from repositories.life_lock.tasks import Tasks
from repositories.sql.statements import RowFactory, Statement, scalar
from repositories.tables.identity import User
from tests.databases import Server, Standby, database_of, fetch_value
from tests.factories import make_task, make_user, viewer_of
from tests.repositories.support import connect_database

_ON_REPLICA: Statement[bool] = Statement(sa.text("SELECT pg_is_in_recovery()"), scalar(bool))
_SLOW_ON_REPLICA: Statement[Any] = Statement(
    sa.text(
        "SELECT pg_is_in_recovery(), (SELECT count(*) FROM life_lock.tasks),"
        " CASE WHEN pg_is_in_recovery() THEN pg_sleep(60) END"
    ),
    RowFactory(lambda values: values[:2]),
)
_SLEEPING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
_END_SESSIONS = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE application_name = $1"


@pytest_asyncio.fixture
async def database(replicated: DatabaseOptions) -> AsyncIterator[PostgresDatabase]:
    """A database with a replica that has replayed everything up to the start of the test."""
    async with connect_database(replicated, statement_timeout=60) as opened:
        assert isinstance(opened, PostgresDatabase)
        yield opened
        assert opened.pool_state().used == 0
        assert opened.replica is not None
        assert opened.replica.pool.used == 0


async def read_one(database: Database, statement: Statement[Any], viewer: Viewer, since: int | None = 0) -> Any:
    """Returns the row of a statement, in a separate snapshot."""
    snapshot = database.snapshot(viewer, since)
    try:
        return await snapshot.one(statement)
    finally:
        await snapshot.close()


async def titles(database: Database, user: User, since: int | None = 0) -> list[str]:
    """Returns the titles of the user's tasks, in a separate snapshot."""
    snapshot = database.snapshot(viewer_of(user), since)
    try:
        return sorted(task.title for task in await Tasks(snapshot).find(limit=9))
    finally:
        await snapshot.close()


async def _wait_for_value(standby: Server, text: str, expected: Any) -> None:
    while await fetch_value(standby, text) != expected:  # noqa: ASYNC110 (there is no event to wait for)
        await asyncio.sleep(0.005)


async def _wait_until_used_again(database: Database, user: User) -> None:
    while not await read_one(database, _ON_REPLICA, viewer_of(user)):  # noqa: ASYNC110 (as above)
        await asyncio.sleep(0.01)


def _log_messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage().partition(":")[0] for record in caplog.records if "replica" in record.name]


UNAVAILABLE, AVAILABLE = "The read replica is unavailable", "The read replica is available again."


async def test_the_replica_serves_reads_of_viewers(database: PostgresDatabase, standby: Standby) -> None:
    """Reads that need the current state, service work and transactions use the primary."""
    ada = await make_user(database)
    await standby.catch_up()
    for viewer in (viewer_of(ada), ANONYMOUS):
        assert await read_one(database, _ON_REPLICA, viewer) is True
        assert await read_one(database, _ON_REPLICA, viewer, None) is False
    assert await read_one(database, _ON_REPLICA, SERVICE) is False
    async with database.transaction(viewer_of(ada)) as write:
        assert await write.one(_ON_REPLICA) is False


@pytest.mark.parametrize("pgbouncer", [False, True])
async def test_row_level_security_applies_on_the_replica(
    replicated: DatabaseOptions, standby: Standby, *, pgbouncer: bool
) -> None:
    """Several viewers use one connection in turn, with and without pipelining."""
    async with connect_database(replicated, pool_size=1, pgbouncer=pgbouncer) as database:
        ada, bob = await make_user(database), await make_user(database)
        tasks = {user.id: await make_task(database, user, title=f"Of {user.email}") for user in (ada, bob)}
        await standby.catch_up()
        for user, other in ((ada, bob), (bob, ada)):
            snapshot = database.snapshot(viewer_of(user), 0)
            assert await snapshot.one(_ON_REPLICA) is True
            assert await Tasks(snapshot).find(limit=9) == [tasks[user.id]]
            with pytest.raises(NotFound):
                await Tasks(snapshot).get(tasks[other.id].id)
            await snapshot.close()
        snapshot = database.snapshot(ANONYMOUS, 0)
        assert await snapshot.one(_ON_REPLICA) is True
        assert await Tasks(snapshot).count() == 0
        await snapshot.close()


async def test_a_lagging_replica(database: PostgresDatabase, standby: Standby) -> None:
    """Reads without a position use it. Reads with a position use the primary until the replica has replayed it."""
    ada = await make_user(database)
    await make_task(database, ada, title="Before")
    await standby.pause()
    await make_task(database, ada, title="After")
    position = await database.fetch_position()
    assert await titles(database, ada) == ["Before"]
    assert await titles(database, ada, position) == ["After", "Before"]
    assert await read_one(database, _ON_REPLICA, viewer_of(ada), position) is False
    await standby.resume()
    await standby.catch_up()
    assert await read_one(database, _ON_REPLICA, viewer_of(ada), position) is True
    assert await titles(database, ada, position) == ["After", "Before"]


async def test_a_read_waits_until_the_replica_has_replayed_its_position(
    replicated: DatabaseOptions, standby: Standby
) -> None:
    """Waiting reads hold no connection. A read without a position does not wait."""
    async with connect_database(replicated, read_wait=60, pool_size=1) as database:
        ada = await make_user(database)
        await standby.pause()
        await make_task(database, ada, title="New")
        position = await database.fetch_position()
        waiting = [asyncio.ensure_future(read_one(database, _ON_REPLICA, viewer_of(ada), position)) for _ in range(20)]
        assert await titles(database, ada) == []
        assert [task.done() for task in waiting] == [False] * 20
        await standby.resume()
        await standby.catch_up()
        assert await asyncio.gather(*waiting) == [True] * 20
        assert await titles(database, ada, position) == ["New"]


async def test_a_known_position_is_not_queried_again(
    database: PostgresDatabase, standby: Standby, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica, ada = database.replica, await make_user(database)
    assert replica is not None
    position = await database.fetch_position()
    await standby.catch_up()
    assert await read_one(database, _ON_REPLICA, viewer_of(ada), position) is True
    assert replica._background_refresh is not None
    replica._background_refresh.cancel()
    ask, queried = replica.refresh_position, []

    async def count() -> None:
        queried.append(position)
        await ask()

    monkeypatch.setattr(replica, "refresh_position", count)
    for _ in range(5):
        assert await read_one(database, _ON_REPLICA, viewer_of(ada), position) is True
    assert queried == []
    assert position is not None
    assert await read_one(database, _ON_REPLICA, viewer_of(ada), position + (1 << 40)) is False
    assert queried != []


async def test_no_state_from_before_the_start_of_the_process_is_read(
    replicated: DatabaseOptions, standby: Standby
) -> None:
    """A gateway that starts after a migration must not read the state before the migration."""
    await standby.pause()
    async with connect_database(replicated) as before:
        ada = await make_user(before)
    async with connect_database(replicated, read_wait=60) as database:
        assert await read_one(database, _ON_REPLICA, viewer_of(ada)) is False
        await standby.resume()
        await standby.catch_up()
        assert await read_one(database, _ON_REPLICA, viewer_of(ada)) is True


async def test_the_primary_executes_a_first_statement_that_failed_on_the_replica(
    database: PostgresDatabase, standby: Standby, caplog: pytest.LogCaptureFixture
) -> None:
    """Its connection is terminated while it runs. The replica is used again later."""
    ada = await make_user(database)
    await standby.catch_up()
    reading = asyncio.ensure_future(read_one(database, _SLOW_ON_REPLICA, viewer_of(ada)))
    await _wait_for_value(standby, _SLEEPING, 1)
    await standby.ask(_END_SESSIONS, "siso-gateway")
    assert await reading == (False, 0)
    assert _log_messages(caplog) == [UNAVAILABLE]
    assert await read_one(database, _ON_REPLICA, viewer_of(ada)) is False
    await _wait_until_used_again(database, ada)
    assert _log_messages(caplog) == [UNAVAILABLE, AVAILABLE]


async def test_a_snapshot_must_be_retried_if_the_replica_fails_after_the_first_statement(
    database: PostgresDatabase, standby: Standby
) -> None:
    """All later statements of the snapshot fail. The next snapshot uses the primary."""
    ada = await make_user(database)
    await standby.catch_up()
    snapshot = database.snapshot(viewer_of(ada), 0)
    assert await snapshot.one(_ON_REPLICA) is True
    assert snapshot.needs_retry is False
    await standby.ask(_END_SESSIONS, "siso-gateway")
    for _ in range(2):
        with pytest.raises(ServiceUnavailable):
            await snapshot.one(_ON_REPLICA)
        assert snapshot.needs_retry is True
    await snapshot.close()
    assert await read_one(database, _ON_REPLICA, viewer_of(ada)) is False


async def test_a_statement_error_does_not_make_the_replica_unavailable(
    database: PostgresDatabase, standby: Standby
) -> None:
    """The primary serves the rest of the request. The next request uses the replica again."""
    ada = await make_user(database)
    await standby.catch_up()
    snapshot = database.snapshot(viewer_of(ada), 0)
    assert await snapshot.one(_ON_REPLICA) is True
    with pytest.raises(Exception, match="UndefinedTableError"):
        await snapshot.rows(Statement(sa.text("SELECT * FROM nowhere"), RowFactory(tuple)))
    assert await snapshot.one(_ON_REPLICA) is False
    assert snapshot.needs_retry is False
    await snapshot.close()
    assert await read_one(database, _ON_REPLICA, viewer_of(ada)) is True


async def test_the_primary_executes_a_statement_that_recovery_has_cancelled(
    database: PostgresDatabase, standby: Standby, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """The statement conflicts with a lock that the replica has to replay."""
    ada = await make_user(database)
    await make_task(database, ada)
    await standby.ask("ALTER SYSTEM SET max_standby_streaming_delay = 0")
    await standby.ask("SELECT pg_reload_conf()")
    await _wait_for_value(standby, "SHOW max_standby_streaming_delay", "0")
    try:
        await standby.catch_up()
        reading = asyncio.ensure_future(read_one(database, _SLOW_ON_REPLICA, viewer_of(ada)))
        await _wait_for_value(standby, _SLEEPING, 1)
        await fetch_value(server, "DO 'BEGIN LOCK life_lock.tasks; END'", database=database_name(database))
        assert await reading == (False, 1)
        assert _log_messages(caplog) == [UNAVAILABLE]
        assert "conflict with recovery" in caplog.text
    finally:
        await standby.ask("ALTER SYSTEM RESET max_standby_streaming_delay")
        await standby.ask("SELECT pg_reload_conf()")


def database_name(database: Database) -> str:
    return database_of(database.options)


async def test_a_replica_that_stops_and_restarts(
    database: PostgresDatabase, standby: Standby, caplog: pytest.LogCaptureFixture
) -> None:
    """Meanwhile the primary serves all reads. The log contains the failure and the recovery once each."""
    ada = await make_user(database)
    position = await database.fetch_position()
    await standby.catch_up()
    assert await read_one(database, _ON_REPLICA, viewer_of(ada), position) is True
    await asyncio.to_thread(standby.stop)
    for _ in range(20):
        assert await read_one(database, _ON_REPLICA, viewer_of(ada)) is False
        assert await read_one(database, _ON_REPLICA, viewer_of(ada), position) is False
    assert await database.check_replica() is False
    assert _log_messages(caplog) == [UNAVAILABLE]
    await asyncio.to_thread(standby.start)
    await _wait_until_used_again(database, ada)
    assert await database.check_replica() is True
    assert _log_messages(caplog) == [UNAVAILABLE, AVAILABLE]
    assert [record.levelno for record in caplog.records if "replica" in record.name] == [logging.WARNING] * 2


async def test_the_position_is_queried_again_after_a_restart(database: PostgresDatabase, standby: Standby) -> None:
    """A server that has crashed can be behind its known position, even if the gateway did not notice the crash."""
    replica, ada = database.replica, await make_user(database)
    await standby.catch_up()
    assert replica is not None
    assert replica._background_refresh is not None
    replica._background_refresh.cancel()
    assert await read_one(database, _ON_REPLICA, viewer_of(ada)) is True
    replica._replayed = seen = replica._replayed + (1 << 40)
    assert await read_one(database, _ON_REPLICA, viewer_of(ada), seen) is True
    await asyncio.to_thread(standby.stop)
    await asyncio.to_thread(standby.start)
    assert await read_one(database, _ON_REPLICA, viewer_of(ada), seen) is False
    assert 0 < replica._replayed < seen


async def test_a_replica_that_does_not_respond(replicated: DatabaseOptions, standby: Standby) -> None:
    """The primary serves the waiting reads, and later reads do not wait."""
    async with connect_database(replicated, connect_timeout=0.5) as database:
        ada = await make_user(database)
        await standby.catch_up()
        assert await read_one(database, _ON_REPLICA, viewer_of(ada)) is True
        with standby.suspend():
            reading = [asyncio.ensure_future(read_one(database, _ON_REPLICA, viewer_of(ada))) for _ in range(3)]
            assert await asyncio.gather(*reading) == [False] * 3
            assert await database.check_replica() is False
        await _wait_until_used_again(database, ada)


async def test_closing_the_database_while_the_replica_does_not_respond(
    replicated: DatabaseOptions, standby: Standby
) -> None:
    async with connect_database(replicated, connect_timeout=0.5) as database:
        ada = await make_user(database)
        await standby.catch_up()
        assert await read_one(database, _ON_REPLICA, viewer_of(ada)) is True
        with standby.suspend():
            await database.close()
            with pytest.raises(ServiceUnavailable):
                await read_one(database, _ON_REPLICA, viewer_of(ada))


async def test_starting_without_the_replica(replicated: DatabaseOptions, standby: Standby) -> None:
    """The primary serves all reads until the replica has started."""
    await asyncio.to_thread(standby.stop)
    async with connect_database(replicated) as database:
        ada = await make_user(database)
        assert await read_one(database, _ON_REPLICA, viewer_of(ada)) is False
        await asyncio.to_thread(standby.start)
        await _wait_until_used_again(database, ada)


async def test_the_position_advances_after_a_rejected_unit_of_work(database: PostgresDatabase) -> None:
    """A snapshot at that position shows the rows because of which the unit of work was rejected."""
    before = await database.fetch_position()
    with pytest.raises(NotFound):
        async with open_unit_of_work(database, ANONYMOUS, ()) as work:
            await work.repository(Tasks).get((await make_user(database)).id)
    after = await database.fetch_position()
    assert before is not None
    assert after is not None
    assert after > before


async def test_without_a_replica(options: DatabaseOptions) -> None:
    """The database executes no additional statements and shows the current state at every position."""
    async with connect_database(options) as database:
        ada = await make_user(database)
        statements: list[str] = []
        database.statement_listeners.append(statements.append)
        assert await database.fetch_position() is None
        assert await database.check_replica() is None
        assert statements == []
        assert await titles(database, ada, 1 << 60) == []


@pytest.mark.parametrize(("token", "position"), [("0/0", 0), ("0/16B3748", 0x16B3748), ("A/FF", 0xA000000FF)])
def test_position_tokens(token: str, position: int) -> None:
    assert parse_position(token) == position
    assert format_position(position) == token


@pytest.mark.parametrize("token", ["", "0", "0/", "0/16b3748", "0/1, 0/2", "000000000/0", "0/16B3748\n", "-1/0"])
def test_invalid_position_tokens(token: str) -> None:
    with pytest.raises(ValueError, match="not a WAL position"):
        parse_position(token)
