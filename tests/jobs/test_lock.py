"""One at a time: in a process, between processes, and after one was killed."""

import asyncio
import signal
from dataclasses import replace

import asyncpg
import pytest

from repositories.core.errors import ServiceUnavailable
from repositories.engines.database import Database, DatabaseOptions
from repositories.tables.administration import JobOutcome
from tests.databases import Server, database_of
from tests.jobs.endless import endless
from tests.jobs.running import counting, runner_of, runs_of
from tests.repositories.support import connect_database


async def _until_free(database: Database, name: str) -> None:
    """A server learns of a killed client by its socket, not at once."""
    while True:
        async with database.try_lock(name) as is_ours:
            if is_ours:
                return
        await asyncio.sleep(0.005)


async def test_a_name_is_given_once(cloned_options: DatabaseOptions) -> None:
    """To nobody else until the block ends, by an error too; other names are free, and the pools are not touched."""
    async with connect_database(cloned_options, pool_size=1) as database, connect_database(cloned_options) as other:
        async with database.try_lock("a") as first, database.try_lock("a") as second:
            async with other.try_lock("a") as third, other.try_lock("b") as fourth:
                assert (first, second, third, fourth) == (True, False, False, True)
            assert database.pool_state().used == 0
        with pytest.raises(LookupError):
            async with database.try_lock("a") as again:
                assert again
                raise LookupError
        async with other.try_lock("a") as after:
            assert after


@pytest.mark.parametrize("pgbouncer", [False, True])
async def test_a_killed_process_leaves_the_lock(cloned_options: DatabaseOptions, *, pgbouncer: bool) -> None:
    """What it ran is said to be abandoned as soon as somebody runs the job again, which nothing stops."""
    options = replace(cloned_options, pgbouncer=pgbouncer)
    async with connect_database(options) as database:
        with endless("hold", options) as process:
            async with database.try_lock("hold") as is_ours:
                assert not is_ours
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
        await asyncio.wait_for(_until_free(database, "hold"), 30)
        ((_, outcome, _),) = await runs_of(database)
        assert outcome is JobOutcome.RUNNING
        await runner_of(database).run(counting("hold", 3))
        assert [run[1:] for run in await runs_of(database)] == [
            (JobOutcome.SUCCEEDED, 3),
            (JobOutcome.ABANDONED, None),
        ]


async def test_a_lock_that_was_lost_is_told(cloned_postgres: DatabaseOptions, server: Server) -> None:
    """Somebody else may have begun meanwhile, so nobody shall believe that all was well."""
    async with connect_database(cloned_postgres) as database:
        with pytest.raises(ServiceUnavailable):
            async with database.try_lock("a"):
                await asyncio.to_thread(
                    server.sql,
                    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' "
                    f"AND database = (SELECT oid FROM pg_database WHERE datname = '{database_of(cloned_postgres)}')",
                )
        async with database.try_lock("a") as again:
            assert again


async def test_an_idle_lock_keeps_nothing_from_being_cleaned(cloned_postgres: DatabaseOptions, server: Server) -> None:
    """The transaction that has it is neither in the way of vacuum, nor ended by the server's limit on idle ones."""
    name = database_of(cloned_postgres)
    await asyncio.to_thread(server.sql, f"ALTER DATABASE {name} SET idle_in_transaction_session_timeout = '20ms'")
    connection = await asyncpg.connect(server.login("postgres", name))
    async with connect_database(cloned_postgres) as database, database.try_lock("a") as is_ours:
        assert is_ours
        await connection.execute("SELECT pg_sleep(0.2)")
        found = await connection.fetch(
            "SELECT state, backend_xmin, backend_xid FROM pg_stat_activity "
            "WHERE datname = $1 AND state LIKE 'idle in%'",
            name,
        )
        assert [tuple(row) for row in found] == [("idle in transaction", None, None)]
    await connection.close()
