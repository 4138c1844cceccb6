"""The lock of a job: exclusive in one process and between processes, and released when a process is killed."""

import asyncio
import signal
from dataclasses import replace

import asyncpg
import pytest

from gateway.jobs.runner import JobRunner
from repositories.core.errors import ServiceUnavailable
from repositories.engines.database import Database, DatabaseOptions
from repositories.tables.administration import JobOutcome
from tests.databases import Server, database_of
from tests.jobs.endless_job import run_endless_job
from tests.jobs.support import find_outcomes, make_job
from tests.repositories.support import connect_database


async def _wait_until_free(database: Database, name: str) -> None:
    """Polls, because PostgreSQL notices the closed socket of a killed client with a delay."""
    while True:
        async with database.try_lock(name) as is_locked:
            if is_locked:
                return
        await asyncio.sleep(0.005)


async def test_a_lock_is_exclusive_until_its_block_ends(cloned_options: DatabaseOptions) -> None:
    """An error that ends the block releases it as well. Other names are not affected. It uses no pooled connection."""
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
async def test_the_lock_of_a_killed_process_is_released(cloned_options: DatabaseOptions, *, pgbouncer: bool) -> None:
    """The next run of the job succeeds and marks the killed run as abandoned."""
    options = replace(cloned_options, pgbouncer=pgbouncer)
    async with connect_database(options) as database:
        with run_endless_job("hold", options) as process:
            async with database.try_lock("hold") as is_locked:
                assert not is_locked
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
        await asyncio.wait_for(_wait_until_free(database, "hold"), 30)
        ((_, outcome, _),) = await find_outcomes(database)
        assert outcome is JobOutcome.RUNNING
        await JobRunner(database).run(make_job("hold", 3))
        assert [run[1:] for run in await find_outcomes(database)] == [
            (JobOutcome.SUCCEEDED, 3),
            (JobOutcome.ABANDONED, None),
        ]


async def test_a_lost_lock_raises_service_unavailable(cloned_postgres: DatabaseOptions, server: Server) -> None:
    """Another process may have taken the lock meanwhile, so the run must not be reported as successful."""
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


async def test_a_lock_does_not_block_vacuum_or_time_out(cloned_postgres: DatabaseOptions, server: Server) -> None:
    """Its idle transaction has no snapshot, and the server's idle timeout does not apply to it."""
    name = database_of(cloned_postgres)
    await asyncio.to_thread(server.sql, f"ALTER DATABASE {name} SET idle_in_transaction_session_timeout = '20ms'")
    connection = await asyncpg.connect(server.login("postgres", name))
    async with connect_database(cloned_postgres) as database, database.try_lock("a") as is_locked:
        assert is_locked
        await connection.execute("SELECT pg_sleep(0.2)")
        sessions = await connection.fetch(
            "SELECT state, backend_xmin, backend_xid FROM pg_stat_activity "
            "WHERE datname = $1 AND state LIKE 'idle in%'",
            name,
        )
        assert [tuple(row) for row in sessions] == [("idle in transaction", None, None)]
    await connection.close()
