"""A real streaming replica below the seam: what it answers, what it must not, and who takes over when it cannot."""

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
from tests.databases import Server, Standby, asked, database_of
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
    """A database with a replica that has all there was at the start."""
    async with connect_database(replicated, statement_timeout=60) as opened:
        assert isinstance(opened, PostgresDatabase)
        yield opened
        assert opened.pool_state().used == 0
        assert opened.replica is not None
        assert opened.replica.pool.used == 0


async def answered(database: Database, statement: Statement[Any], viewer: Viewer, since: int | None = 0) -> Any:
    """The row of a statement in a snapshot of its own."""
    snapshot = database.snapshot(viewer, since)
    try:
        return await snapshot.one(statement)
    finally:
        await snapshot.close()


async def titles(database: Database, user: User, since: int | None = 0) -> list[str]:
    """The titles that the user sees."""
    snapshot = database.snapshot(viewer_of(user), since)
    try:
        return sorted(task.title for task in await Tasks(snapshot).find(limit=9))
    finally:
        await snapshot.close()


async def _until(standby: Server, text: str, wanted: Any) -> None:
    while await asked(standby, text) != wanted:  # noqa: ASYNC110 (the server tells nobody)
        await asyncio.sleep(0.005)


async def _until_used_again(database: Database, user: User) -> None:
    while not await answered(database, _ON_REPLICA, viewer_of(user)):  # noqa: ASYNC110 (it is asked, as requests do)
        await asyncio.sleep(0.01)


def _outages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage().partition(":")[0] for record in caplog.records if "replica" in record.name]


OUT, BACK = "The read replica is unavailable", "The read replica is available again."


async def test_who_is_answered_by_the_replica(database: PostgresDatabase, standby: Standby) -> None:
    """Viewers whose reads may be of an older state; not what has to be current, service work, or a transaction."""
    ada = await make_user(database)
    await standby.catch_up()
    for viewer in (viewer_of(ada), ANONYMOUS):
        assert await answered(database, _ON_REPLICA, viewer) is True
        assert await answered(database, _ON_REPLICA, viewer, None) is False
    assert await answered(database, _ON_REPLICA, SERVICE) is False
    async with database.transaction(viewer_of(ada)) as write:
        assert await write.one(_ON_REPLICA) is False


@pytest.mark.parametrize("pgbouncer", [False, True])
async def test_row_level_security_holds_there(
    replicated: DatabaseOptions, standby: Standby, *, pgbouncer: bool
) -> None:
    """On one connection, one viewer after the other; the lean protocol and the plain one."""
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


async def test_a_replica_that_is_behind(database: PostgresDatabase, standby: Standby) -> None:
    """Without a position it shows its old state, with one the primary answers; later the replica, for the same one."""
    ada = await make_user(database)
    await make_task(database, ada, title="Before")
    await standby.pause()
    await make_task(database, ada, title="After")
    position = await database.fetch_position()
    assert await titles(database, ada) == ["Before"]
    assert await titles(database, ada, position) == ["After", "Before"]
    assert await answered(database, _ON_REPLICA, viewer_of(ada), position) is False
    await standby.resume()
    await standby.catch_up()
    assert await answered(database, _ON_REPLICA, viewer_of(ada), position) is True
    assert await titles(database, ada, position) == ["After", "Before"]


async def test_a_read_waits_for_the_replica(replicated: DatabaseOptions, standby: Standby) -> None:
    """Many at once, of which none holds a connection meanwhile; a read of older things does not wait."""
    async with connect_database(replicated, read_wait=60, pool_size=1) as database:
        ada = await make_user(database)
        await standby.pause()
        await make_task(database, ada, title="New")
        position = await database.fetch_position()
        waiting = [asyncio.ensure_future(answered(database, _ON_REPLICA, viewer_of(ada), position)) for _ in range(20)]
        assert await titles(database, ada) == []
        assert [task.done() for task in waiting] == [False] * 20
        await standby.resume()
        await standby.catch_up()
        assert await asyncio.gather(*waiting) == [True] * 20
        assert await titles(database, ada, position) == ["New"]


async def test_old_positions_cost_nothing(
    database: PostgresDatabase, standby: Standby, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the replica has been seen to be so far, nobody asks again."""
    replica, ada = database.replica, await make_user(database)
    assert replica is not None
    position = await database.fetch_position()
    await standby.catch_up()
    assert await answered(database, _ON_REPLICA, viewer_of(ada), position) is True
    assert replica._background_refresh is not None
    replica._background_refresh.cancel()
    ask, asked_for = replica.refresh_position, []

    async def counted() -> None:
        asked_for.append(position)
        await ask()

    monkeypatch.setattr(replica, "refresh_position", counted)
    for _ in range(5):
        assert await answered(database, _ON_REPLICA, viewer_of(ada), position) is True
    assert asked_for == []
    assert position is not None
    assert await answered(database, _ON_REPLICA, viewer_of(ada), position + (1 << 40)) is False
    assert asked_for != []


async def test_nothing_older_than_the_process_is_read(replicated: DatabaseOptions, standby: Standby) -> None:
    """A gateway that starts after a migration must not read what was before it, wait or not."""
    await standby.pause()
    async with connect_database(replicated) as before:
        ada = await make_user(before)
    async with connect_database(replicated, read_wait=60) as database:
        assert await answered(database, _ON_REPLICA, viewer_of(ada)) is False
        await standby.resume()
        await standby.catch_up()
        assert await answered(database, _ON_REPLICA, viewer_of(ada)) is True


async def test_a_first_statement_goes_on_at_the_primary(
    database: PostgresDatabase, standby: Standby, caplog: pytest.LogCaptureFixture
) -> None:
    """Its connection is cut while it runs; it is answered all the same, and the replica is used again later."""
    ada = await make_user(database)
    await standby.catch_up()
    asking = asyncio.ensure_future(answered(database, _SLOW_ON_REPLICA, viewer_of(ada)))
    await _until(standby, _SLEEPING, 1)
    await standby.ask(_END_SESSIONS, "siso-gateway")
    assert await asking == (False, 0)
    assert _outages(caplog) == [OUT]
    assert await answered(database, _ON_REPLICA, viewer_of(ada)) is False
    await _until_used_again(database, ada)
    assert _outages(caplog) == [OUT, BACK]


async def test_a_later_statement_does_not_go_on_at_another_state(database: PostgresDatabase, standby: Standby) -> None:
    """What the replica had shown is lost with it: the snapshot is refused from then on, a new one is the primary's."""
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
    assert await answered(database, _ON_REPLICA, viewer_of(ada)) is False


async def test_a_failed_statement_of_its_own_is_no_outage(database: PostgresDatabase, standby: Standby) -> None:
    """It is told as on the primary, which answers the rest of that request; the next one is the replica's again."""
    ada = await make_user(database)
    await standby.catch_up()
    snapshot = database.snapshot(viewer_of(ada), 0)
    assert await snapshot.one(_ON_REPLICA) is True
    with pytest.raises(Exception, match="UndefinedTableError"):
        await snapshot.rows(Statement(sa.text("SELECT * FROM nowhere"), RowFactory(tuple)))
    assert await snapshot.one(_ON_REPLICA) is False
    assert snapshot.needs_retry is False
    await snapshot.close()
    assert await answered(database, _ON_REPLICA, viewer_of(ada)) is True


async def test_recovery_cancels_a_statement(
    database: PostgresDatabase, standby: Standby, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """It stands in the way of a lock that has to be replayed; the primary answers it."""
    ada = await make_user(database)
    await make_task(database, ada)
    await standby.ask("ALTER SYSTEM SET max_standby_streaming_delay = 0")
    await standby.ask("SELECT pg_reload_conf()")
    await _until(standby, "SHOW max_standby_streaming_delay", "0")
    try:
        await standby.catch_up()
        asking = asyncio.ensure_future(answered(database, _SLOW_ON_REPLICA, viewer_of(ada)))
        await _until(standby, _SLEEPING, 1)
        await asked(server, "DO 'BEGIN LOCK life_lock.tasks; END'", database=name_of(database))
        assert await asking == (False, 1)
        assert _outages(caplog) == [OUT]
        assert "conflict with recovery" in caplog.text
    finally:
        await standby.ask("ALTER SYSTEM RESET max_standby_streaming_delay")
        await standby.ask("SELECT pg_reload_conf()")


def name_of(database: Database) -> str:
    """Its name."""
    return database_of(database.options)


async def test_a_replica_that_ends_and_comes_back(
    database: PostgresDatabase, standby: Standby, caplog: pytest.LogCaptureFixture
) -> None:
    """While it is away the primary answers everything; the outage is told once, and so is its end."""
    ada = await make_user(database)
    position = await database.fetch_position()
    await standby.catch_up()
    assert await answered(database, _ON_REPLICA, viewer_of(ada), position) is True
    await asyncio.to_thread(standby.stop)
    for _ in range(20):
        assert await answered(database, _ON_REPLICA, viewer_of(ada)) is False
        assert await answered(database, _ON_REPLICA, viewer_of(ada), position) is False
    assert await database.check_replica() is False
    assert _outages(caplog) == [OUT]
    await asyncio.to_thread(standby.start)
    await _until_used_again(database, ada)
    assert await database.check_replica() is True
    assert _outages(caplog) == [OUT, BACK]
    assert [record.levelno for record in caplog.records if "replica" in record.name] == [logging.WARNING] * 2


async def test_what_it_had_replayed_is_asked_again_after_a_restart(
    database: PostgresDatabase, standby: Standby
) -> None:
    """A server that crashed may stand further back than it was seen, also if nobody noticed that it was gone."""
    replica, ada = database.replica, await make_user(database)
    await standby.catch_up()
    assert replica is not None
    assert replica._background_refresh is not None
    replica._background_refresh.cancel()
    assert await answered(database, _ON_REPLICA, viewer_of(ada)) is True
    replica._replayed = seen = replica._replayed + (1 << 40)
    assert await answered(database, _ON_REPLICA, viewer_of(ada), seen) is True
    await asyncio.to_thread(standby.stop)
    await asyncio.to_thread(standby.start)
    assert await answered(database, _ON_REPLICA, viewer_of(ada), seen) is False
    assert 0 < replica._replayed < seen


async def test_a_replica_that_hangs(replicated: DatabaseOptions, standby: Standby) -> None:
    """It takes everything and answers nothing: who waits for it is answered by the primary, and nobody waits again."""
    async with connect_database(replicated, connect_timeout=0.5) as database:
        ada = await make_user(database)
        await standby.catch_up()
        assert await answered(database, _ON_REPLICA, viewer_of(ada)) is True
        with standby.hanging():
            asking = [asyncio.ensure_future(answered(database, _ON_REPLICA, viewer_of(ada))) for _ in range(3)]
            assert await asyncio.gather(*asking) == [False] * 3
            assert await database.check_replica() is False
        await _until_used_again(database, ada)


async def test_closing_beside_a_replica_that_hangs(replicated: DatabaseOptions, standby: Standby) -> None:
    """It is not waited for either."""
    async with connect_database(replicated, connect_timeout=0.5) as database:
        ada = await make_user(database)
        await standby.catch_up()
        assert await answered(database, _ON_REPLICA, viewer_of(ada)) is True
        with standby.hanging():
            await database.close()
            with pytest.raises(ServiceUnavailable):
                await answered(database, _ON_REPLICA, viewer_of(ada))


async def test_a_start_without_the_replica(replicated: DatabaseOptions, standby: Standby) -> None:
    """The gateway starts, the primary answers, and the replica is used as soon as it is there."""
    await asyncio.to_thread(standby.stop)
    async with connect_database(replicated) as database:
        ada = await make_user(database)
        assert await answered(database, _ON_REPLICA, viewer_of(ada)) is False
        await asyncio.to_thread(standby.start)
        await _until_used_again(database, ada)


async def test_a_refused_unit_leaves_a_position_too(database: PostgresDatabase) -> None:
    """What a person was refused for is there at that position."""
    before = await database.fetch_position()
    with pytest.raises(NotFound):
        async with open_unit_of_work(database, ANONYMOUS, ()) as work:
            await work.repository(Tasks).get((await make_user(database)).id)
    after = await database.fetch_position()
    assert before is not None
    assert after is not None
    assert after > before


async def test_without_a_replica(options: DatabaseOptions) -> None:
    """Nothing is asked and nothing is told; whatever position is wanted, the database has it."""
    async with connect_database(options) as database:
        ada = await make_user(database)
        statements: list[str] = []
        database.statement_listeners.append(statements.append)
        assert await database.fetch_position() is None
        assert await database.check_replica() is None
        assert statements == []
        assert await titles(database, ada, 1 << 60) == []


@pytest.mark.parametrize(("token", "position"), [("0/0", 0), ("0/16B3748", 0x16B3748), ("A/FF", 0xA000000FF)])
def test_positions_as_text(token: str, position: int) -> None:
    assert parse_position(token) == position
    assert format_position(position) == token


@pytest.mark.parametrize("token", ["", "0", "0/", "0/16b3748", "0/1, 0/2", "000000000/0", "0/16B3748\n", "-1/0"])
def test_what_is_no_position(token: str) -> None:
    with pytest.raises(ValueError, match="not a WAL position"):
        parse_position(token)
