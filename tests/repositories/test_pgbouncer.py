"""Behind PgBouncer in transaction mode, the server's session must not keep any state after a transaction."""

import pytest

from repositories.aggregates.unit_of_work import open_unit_of_work
from repositories.core.viewer import ANONYMOUS, SERVICE
from repositories.engines.database import DatabaseOptions
from repositories.life_lock.tasks import Tasks
from tests.factories import make_tasks, make_user, viewer_of
from tests.repositories.support import borrow_connection, connect_database, open_snapshot

_SESSION_SETTINGS = (
    "SELECT name, setting FROM pg_settings WHERE source IN ('session', 'client') "
    "AND name NOT IN ('client_encoding') ORDER BY name"
)


@pytest.mark.parametrize("pgbouncer", [True, False])
async def test_transactions_leave_no_state_in_the_session(postgres_only: DatabaseOptions, *, pgbouncer: bool) -> None:
    """No prepared statement, setting, role or lock. Without the option, statements stay prepared."""
    async with connect_database(postgres_only, pgbouncer=pgbouncer, pool_size=1) as database:
        ada = await make_user(database)
        await make_tasks(database, ada, 3)
        for _ in range(3):
            async with open_snapshot(database, viewer_of(ada)) as snapshot:
                assert await Tasks(snapshot).count() == 3
                tasks = await Tasks(snapshot).find(limit=9)
                assert len(await Tasks(snapshot).by_id([task.id for task in tasks])) == 3
            async with open_unit_of_work(database, viewer_of(ada), ()) as work:
                await work.repository(Tasks).change_many([(task, {"title": "Changed"}) for task in tasks])
                await work.repository(Tasks).lock(tasks[0].id)
            with pytest.raises(LookupError):
                async with open_unit_of_work(database, viewer_of(ada), ()) as work, work.savepoint():
                    raise LookupError
        for viewer in (ANONYMOUS, SERVICE):
            async with borrow_connection(database, viewer) as connection:
                prepared = await connection.fetchval(
                    "SELECT count(*) FROM pg_prepared_statements WHERE statement NOT LIKE '%pg_prepared_statements%'"
                )
                settings = [tuple(row) for row in await connection.fetch(_SESSION_SETTINGS)]
                claims = await connection.fetchval("SELECT current_setting('request.jwt.claims', true)")
                is_own_role = await connection.fetchval("SELECT current_user = session_user")
                locks = await connection.fetchval(
                    "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'"
                )
            assert (claims or "", is_own_role, locks) == ("", True, 0)
            if pgbouncer:
                assert prepared == 0
                assert settings == []
            else:
                assert settings == [
                    ("DateStyle", "ISO, MDY"),
                    ("TimeZone", "UTC"),
                    ("application_name", "siso-gateway"),
                    ("jit", "off"),
                    ("statement_timeout", "15000"),
                ]
                assert prepared > 0 or viewer is SERVICE
