"""Row-level security on PostgreSQL: the policies in its catalog, and the role and claims of transactions."""

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
from repositories.sql.policy import SERVICE_ROLE, VIEWER, WRITER, policies, row_level_security
from repositories.sql.statements import RowFactory, Statement
from repositories.sql.table import metadata
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
"""Numbers of rows that the migrations insert. The migrating login sees them as a member of ``service_role``."""

_SECRET = {
    "client_management.contacts": {"email", "email_index", "phone"},
    "commerce.orders": {"shipping_address"},
    "identity.account_tokens": {"token_hash", "email", "email_index"},
    "identity.outbox_messages": {"recipient"},
    "identity.sessions": {"refresh_token_hash"},
    "identity.users": {"password_hash", "phone"},
    "partnership.partners": {"contact_email"},
    "public.idempotency_keys": {"fingerprint"},
}
"""The columns that other clients of the database cannot read, even of their own rows."""

_IDENTITY: Statement[Any] = Statement(
    sa.text("SELECT current_user, auth.jwt() ->> 'role', auth.uid(), auth.jwt() -> 'app_metadata' ->> 'roles'"),
    RowFactory(tuple),
)
_SETTINGS = "SELECT session_user, current_setting('role'), nullif(current_setting('request.jwt.claims', true), '')"


async def _identity_of(connection: ReadConnection) -> Any:
    return (await connection.rows(_IDENTITY))[0]


@pytest_asyncio.fixture
async def postgres(postgres_only: DatabaseOptions) -> AsyncIterator[Database]:
    """A database with one connection for viewers, which all their transactions share."""
    database = open_database(
        DatabaseOptions(url=postgres_only.url, service_url=postgres_only.service_url, pool_size=1, pool_timeout=5)
    )
    await database.connect()
    yield database
    await database.close()


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


def test_every_table_is_compared() -> None:
    """Every table of the database has a policy, those of the database itself excepted."""
    tables = [table for table in metadata.tables.values() if not table.info["is_view"]]
    assert [name for name, _ in TABLES] == sorted(table.fullname for table in tables)


async def test_the_migrated_policies_equal_the_declared_policies(
    server: Server, cloned_postgres: DatabaseOptions
) -> None:
    """All columns of pg_policies are equal after the migrations and after the declared statements."""
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
    """FORCE applies the policies to the tables' owner too. The roles have these privileges and no others."""
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
    of_columns = await connection.fetch(
        "SELECT grantee, privilege_type, column_name FROM information_schema.column_privileges"
        " WHERE table_schema = $1 AND table_name = $2 AND grantee NOT IN ('owner', $3, $4, $5)",
        *(declared.table.schema, declared.table.name, VIEWER, WRITER, SERVICE_ROLE),
    )
    owners_rows = await connection.fetchval(f"SELECT count(*) FROM {name}")
    await connection.close()
    assert tuple(flags) == (True, True)
    assert {tuple(row) for row in grants} == {
        (VIEWER, "SELECT"),
        *((role, right) for role in (WRITER, SERVICE_ROLE) for right in ("SELECT", "INSERT", "UPDATE", "DELETE")),
    }
    readable = [column.name for column in declared.table.columns if column.name not in _SECRET.get(name, ())]
    assert {tuple(row) for row in of_columns} == {
        (role, "SELECT", column) for role in ("anon", "authenticated") for column in readable
    }
    assert owners_rows == _MIGRATED_ROWS.get(name, 0)


async def test_a_transaction_has_the_identity_of_its_viewer(postgres: Database) -> None:
    """Role, auth.uid() and claims are those of the viewer, in snapshots and in transactions."""
    key = new_id()
    expected = {
        ANONYMOUS: ("siso_viewer", "siso_writer", "anon", None, "[]"),
        viewer_of(key): ("siso_viewer", "siso_writer", "authenticated", key, '["user"]'),
        viewer_of(key, RoleName.ADMIN): ("siso_viewer", "siso_writer", "authenticated", key, '["admin", "user"]'),
        SERVICE: ("service_role", "service_role", "service_role", None, "[]"),
    }
    for viewer, (reads, writes, *identity) in expected.items():
        async with open_snapshot(postgres, viewer) as snapshot:
            assert await _identity_of(snapshot) == (reads, *identity)
        async with postgres.transaction(viewer) as write:
            assert await _identity_of(write) == (writes, *identity)


async def test_a_pooled_connection_keeps_no_identity(
    postgres: Database, server: Server, postgres_only: DatabaseOptions
) -> None:
    """Role and claims end with the transaction, whether it is committed or rolled back."""
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
        assert await _identity_of(snapshot) == ("siso_viewer", "anon", None, "[]")
    async with borrow_connection(postgres) as connection:
        assert await connection.fetchval("SELECT pg_backend_pid()") == first[0]
        assert tuple(await connection.fetchrow(_SETTINGS)) == ("gateway", "none", None)
        assert await connection.fetchval("SELECT count(*) FROM life_lock.tasks") == 0
    assert postgres.pool_state().used == 0


@pytest.mark.parametrize("viewer", [ANONYMOUS, viewer_of(new_id()), viewer_of(new_id(), RoleName.ADMIN)])
async def test_no_viewer_can_read_the_materialized_view(postgres: Database, viewer: Viewer) -> None:
    """A materialized view cannot have policies, so viewers, including admins, may read only the view on top of it."""
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
async def test_users_cannot_change_their_own_role_status_or_address(
    postgres_only: DatabaseOptions, changes: dict[str, Any]
) -> None:
    """No command does this, and the database rejects it too."""
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
        *(("{}", at) for at in ("infinity", "-infinity", "0001-01-01 BC", "2200-01-01")),
    ],
)
async def test_an_event_that_the_gateway_cannot_read_is_rejected(
    postgres_only: DatabaseOptions, data: str, at: str
) -> None:
    """The limits of the database do not depend on what the gateway stores."""
    assert postgres_only.url is not None
    insert = (
        "INSERT INTO public.domain_events (id, aggregate_id, aggregate_type, event_type, event_data, user_id,"
        " timestamp) VALUES ($1, $1, 'task', 'TaskCreated', $2, $3, $4::text::timestamptz)"
    )
    async with connect_database(postgres_only) as database:
        ada = await make_user(database)
        connection = await asyncpg.connect(postgres_only.url)
        claims = json.dumps({"sub": str(ada.id), "role": "authenticated"})
        await connection.execute("SELECT set_config('role', 'siso_writer', false)")
        await connection.execute("SELECT set_config('request.jwt.claims', $1, false)", claims)
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(insert, new_id(), data, ada.id, at)
        await connection.execute(insert, new_id(), '{"a": [1e300, "1e400"]}', ada.id, "2199-12-31")
        await connection.close()
        async with open_snapshot(database) as snapshot:
            assert [event.event_data for event in await EventStore(snapshot).find(limit=5)] == [{"a": [1e300, "1e400"]}]
