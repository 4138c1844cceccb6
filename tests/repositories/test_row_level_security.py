"""What only PostgreSQL can show: policies in its catalog, and who a transaction is."""

import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
import sqlalchemy as sa

from repositories.aggregates.event_store import EventStore
from repositories.core.errors import Forbidden
from repositories.core.ids import new_id
from repositories.core.viewer import ANONYMOUS, SERVICE, Viewer
from repositories.engines.database import Database, DatabaseOptions, ReadConnection
from repositories.engines.factory import open_database
from repositories.identity import Users
from repositories.life_lock.statistics import DashboardStats
from repositories.permissions import RoleName
from repositories.sql.policy import policies, row_level_security
from repositories.sql.statements import RowFactory, Statement
from repositories.tables.identity import UserRole, UserStatus
from tests.databases import Server, database_of
from tests.factories import make_task, make_user, viewer_of
from tests.repositories.support import borrow_connection, connect_database, open_snapshot

TABLES = sorted(
    (f"{declared.table.schema}.{declared.table.name}", declared)
    for declared in policies.values()
    if not declared.table.info["is_view"]
)

_MIGRATED_ROWS = {"administration.roles": len(RoleName) - 1, "gamification.achievements": 4}
"""Rows that the migrations make; the login that migrates is a member of ``service_role``, so it sees them."""

_WHO: Statement[Any] = Statement(
    sa.text("SELECT current_user, auth.uid(), auth.jwt() -> 'app_metadata' ->> 'roles'"), RowFactory(tuple)
)
_SETTINGS = "SELECT session_user, current_setting('role'), nullif(current_setting('request.jwt.claims', true), '')"


async def _who(connection: ReadConnection) -> Any:
    return (await connection.rows(_WHO))[0]


@pytest_asyncio.fixture
async def postgres(postgres_only: DatabaseOptions) -> AsyncIterator[Database]:
    """PostgreSQL with one connection for viewers, so that transactions follow one another on it."""
    opened = open_database(
        DatabaseOptions(url=postgres_only.url, service_url=postgres_only.service_url, pool_size=1, pool_timeout=5)
    )
    await opened.connect()
    yield opened
    await opened.close()


async def _policies(url: str) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("SELECT * FROM pg_policies ORDER BY schemaname, tablename, policyname")
    await connection.close()
    return [tuple(row) for row in rows]


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


def _owner_url(server: Server, options: DatabaseOptions) -> str:
    return server.login("owner", database_of(options))


def test_there_is_a_table_to_compare() -> None:
    """The comparisons below are about these tables."""
    assert [name for name, _ in TABLES] == [
        "administration.job_runs",
        "administration.roles",
        "administration.system_settings",
        "administration.user_roles",
        "client_management.clients",
        "client_management.contacts",
        "gamification.achievements",
        "gamification.point_entries",
        "gamification.reward_redemptions",
        "gamification.rewards",
        "gamification.user_achievements",
        "identity.sessions",
        "identity.user_preferences",
        "identity.users",
        "life_lock.categories",
        "life_lock.task_analytics",
        "life_lock.tasks",
        "partnership.partners",
        "partnership.referrals",
        "public.domain_events",
    ]


async def test_the_migrations_enforce_what_is_declared(server: Server, cloned_postgres: DatabaseOptions) -> None:
    """pg_policies after the migrations is pg_policies after the declarations, column by column."""
    migrated = await _policies(_owner_url(server, cloned_postgres))
    assert len(migrated) == 5 * len(TABLES)
    drops = [f"DROP POLICY {policy} ON {schema}.{table}" for schema, table, policy, *_ in migrated]
    creations = [
        text for _, declared in TABLES for text in row_level_security(declared) if text.startswith("CREATE POLICY")
    ]
    url = _owner_url(server, cloned_postgres)
    await _execute(url, *drops)
    assert await _policies(url) == []
    await _execute(url, *creations)
    assert await _policies(url) == migrated


@pytest.mark.parametrize(("name", "declared"), TABLES, ids=[name for name, _ in TABLES])
async def test_row_security_is_enabled_forced_and_granted(
    server: Server, postgres_only: DatabaseOptions, name: str, declared: Any
) -> None:
    """FORCE binds the tables' owner too; the viewers' roles have the four plain rights and no other."""
    connection = await asyncpg.connect(_owner_url(server, postgres_only))
    flags = await connection.fetchrow(
        "SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = $1::text::regclass", name
    )
    grants = await connection.fetch(
        "SELECT grantee, privilege_type FROM information_schema.table_privileges"
        " WHERE table_schema = $1 AND table_name = $2 AND grantee <> 'owner'",
        declared.table.schema,
        declared.table.name,
    )
    owners_rows = await connection.fetchval(f"SELECT count(*) FROM {name}")
    await connection.close()
    assert tuple(flags) == (True, True)
    assert {tuple(row) for row in grants} == {
        (role, right)
        for role in ("anon", "authenticated", "service_role")
        for right in ("SELECT", "INSERT", "UPDATE", "DELETE")
    }
    assert owners_rows == _MIGRATED_ROWS.get(name, 0)


async def test_a_transaction_is_the_viewer(postgres: Database) -> None:
    """Role, auth.uid() and claims are the viewer's, in snapshots and in transactions."""
    key = new_id()
    expected = {
        ANONYMOUS: ("anon", None, "[]"),
        viewer_of(key): ("authenticated", key, '["user"]'),
        viewer_of(key, RoleName.ADMIN): ("authenticated", key, '["admin", "user"]'),
        SERVICE: ("service_role", None, "[]"),
    }
    for viewer, answer in expected.items():
        async with open_snapshot(postgres, viewer) as snapshot:
            assert await _who(snapshot) == answer
        async with postgres.transaction(viewer) as write:
            assert await _who(write) == answer


async def test_nothing_is_carried_over_on_a_pooled_connection(
    postgres: Database, server: Server, postgres_only: DatabaseOptions
) -> None:
    """One connection, viewer after viewer: neither role nor claims survive a transaction, however it ended."""
    ada = await make_user(postgres)
    await make_task(postgres, ada)
    admin = viewer_of(ada, RoleName.ADMIN)
    pid: Statement[Any] = Statement(sa.text("SELECT pg_backend_pid()"), RowFactory(lambda values: values[0]))
    async with postgres.transaction(admin) as write:
        first = await write.rows(pid)
    with pytest.raises(LookupError):
        async with postgres.transaction(admin) as write:
            raise LookupError
    async with open_snapshot(postgres, ANONYMOUS) as snapshot:
        assert await snapshot.rows(pid) == first
        assert await _who(snapshot) == ("anon", None, "[]")
    async with borrow_connection(postgres) as connection:
        assert await connection.fetchval("SELECT pg_backend_pid()") == first[0]
        assert tuple(await connection.fetchrow(_SETTINGS)) == ("gateway", "none", None)
        assert await connection.fetchval("SELECT count(*) FROM life_lock.tasks") == 0
    assert postgres.pool_state().used == 0


@pytest.mark.parametrize("viewer", [ANONYMOUS, viewer_of(new_id()), viewer_of(new_id(), RoleName.ADMIN)])
async def test_the_materialized_view_is_out_of_reach(postgres: Database, viewer: Viewer) -> None:
    """Statistics carry no policies, so only the view beside them is readable, not even by an admin."""
    await make_user(postgres)
    async with postgres.transaction(SERVICE) as write:
        await DashboardStats(write).refresh()
    directly: Statement[Any] = Statement(sa.text("SELECT * FROM life_lock.user_dashboard_stats"), RowFactory(tuple))
    async with open_snapshot(postgres, viewer) as snapshot:
        with pytest.raises(Forbidden):
            await snapshot.rows(directly)
    with pytest.raises(Forbidden):
        async with postgres.transaction(viewer) as write:
            await DashboardStats(write).refresh()
    async with open_snapshot(postgres) as snapshot:
        assert len(await snapshot.rows(directly)) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"role": UserRole.ADMIN},
        {"status": UserStatus.ACTIVE},
        {"email": "other@example.com"},
        {"email_verified": True},
        {"stripe_customer_id": "cus_1"},
    ],
)
async def test_nobody_raises_oneself(postgres_only: DatabaseOptions, changes: dict[str, Any]) -> None:
    """The database refuses what no command offers: to change one's own role, address or suspension."""
    async with connect_database(postgres_only) as database:
        ada = await make_user(database, status=UserStatus.SUSPENDED)
        with pytest.raises(Forbidden):
            async with database.transaction(viewer_of(ada)) as write:
                await Users(write).change(ada, **changes)
        async with open_snapshot(database) as snapshot:
            assert await Users(snapshot).get(ada.id) == ada
        async with database.transaction(viewer_of(ada)) as write:
            assert (await Users(write).change(ada, first_name="Augusta")).first_name == "Augusta"
        async with database.transaction(viewer_of(await make_user(database), RoleName.ADMIN)) as write:
            await Users(write).change(await Users(write).get(ada.id), **changes)


_DEEP = '{"a":' * 32 + "1" + "}" * 32


@pytest.mark.parametrize(
    ("data", "at"),
    [
        *((data, "2026-01-01") for data in ("[]", "null", '"x"', '{"a": [1e400]}', '{"a": -1e400}', _DEEP)),
        *(("{}", at) for at in ("infinity", "-infinity", "0001-01-01 BC", "10000-01-01")),
    ],
)
async def test_nobody_stores_an_event_that_others_cannot_read(
    postgres_only: DatabaseOptions, data: str, at: str
) -> None:
    """People may store events of their own without the gateway, where they are read together with everybody's."""
    assert postgres_only.url is not None
    insert = (
        "INSERT INTO public.domain_events (id, aggregate_id, aggregate_type, event_type, event_data, user_id,"
        " timestamp) VALUES ($1, $1, 'task', 'TaskCreated', $2, $3, $4::text::timestamptz)"
    )
    async with connect_database(postgres_only) as database:
        ada = await make_user(database)
        connection = await asyncpg.connect(postgres_only.url)
        claims = json.dumps({"sub": str(ada.id), "role": "authenticated"})
        await connection.execute("SELECT set_config('role', 'authenticated', false)")
        await connection.execute("SELECT set_config('request.jwt.claims', $1, false)", claims)
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(insert, new_id(), data, ada.id, at)
        await connection.execute(insert, new_id(), '{"a": [1e300, "1e400"]}', ada.id, "9999-12-30")
        await connection.close()
        async with open_snapshot(database) as snapshot:
            assert [event.event_data for event in await EventStore(snapshot).find(limit=5)] == [{"a": [1e300, "1e400"]}]
