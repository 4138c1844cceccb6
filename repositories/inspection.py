"""Inspection of the database server: revision, rights of the logins, replica. For the start-up and for `siso doctor`.

Every function opens its own connection with the configured login. The transactions of the database interface switch to
another role at once, and whether the login may do that is one of the things to inspect.
"""

import re
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from repositories.core.errors import ServiceUnavailable
from repositories.sql.policy import CLIENTS, SERVICE_ROLE, VIEWER, WRITER
from repositories.sql.table import declared
from repositories.tables import metadata

_VIEWERS = (VIEWER, WRITER)
_SERVICE = (SERVICE_ROLE,)


@dataclass(frozen=True, slots=True)
class LoginRights:
    """The rights of a PostgreSQL login. ``missing_roles`` are the roles that it needs but may not switch to."""

    name: str
    is_superuser: bool
    bypasses_policies: bool
    missing_roles: Sequence[str]


class MissingGrant(ServiceUnavailable):
    """The database is migrated, but the login may not switch to the roles of viewers' transactions yet."""

    def __init__(self, name: str) -> None:
        super().__init__(f"As the owner of the tables: GRANT {', '.join(_VIEWERS)} TO {name}")


async def fetch_revision(url: str | None, path: Path, *, timeout: float) -> str | None:  # noqa: ASYNC109 (asyncpg's own)
    """The migration revision of the database at ``url``, or of the SQLite file at ``path``; None if it is empty.

    Raises ServiceUnavailable with the driver's error as its cause, or MissingGrant.
    """
    if url is None:
        return read_file_revision(path)
    async with _connection(url, timeout) as connection:
        if await connection.fetchval("SELECT to_regclass('public.alembic_version')") is None:
            return None
        if not await connection.fetchval("SELECT has_table_privilege('public.alembic_version', 'SELECT')"):
            if not await _may_switch_to(connection, VIEWER):
                raise MissingGrant(await connection.fetchval("SELECT quote_ident(current_user)"))
            await connection.execute(f"SET ROLE {VIEWER}")
        revision: str | None = await connection.fetchval("SELECT version_num FROM public.alembic_version")
        return revision


def read_file_revision(path: Path) -> str | None:
    """Opens the file for writing, because only then SQLite can roll back the transaction of a killed process."""
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as connection:
            table = connection.execute("SELECT name FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
            if table is None:
                return None
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            return str(row[0]) if row else None
    except sqlite3.Error as error:
        raise ServiceUnavailable from error


async def inspect_login(url: str, *, service: bool, timeout: float) -> LoginRights:  # noqa: ASYNC109 (asyncpg's own)
    """The rights of the login of ``url``. It needs the role of the service, or the roles of viewers' transactions."""
    async with _connection(url, timeout) as connection:
        row = await connection.fetchrow(
            "SELECT rolname, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user"
        )
        missing = [role for role in (_SERVICE if service else _VIEWERS) if not await _may_switch_to(connection, role)]
        return LoginRights(row["rolname"], row["rolsuper"], row["rolbypassrls"], missing)


async def _may_switch_to(connection: Any, role: str) -> bool:
    try:
        await connection.execute(f"SET ROLE {role}; RESET ROLE")
    except asyncpg.PostgresError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """``is_of_primary``: it has the primary's system identifier. ``bytes_behind``: WAL that it has not replayed."""

    is_replica: bool
    is_of_primary: bool
    bytes_behind: int


async def inspect_replica(url: str, read_url: str, *, timeout: float) -> ReplicaState:  # noqa: ASYNC109 (asyncpg's own)
    """Compares the server at ``read_url`` with the primary at ``url``."""
    async with _connection(url, timeout) as primary, _connection(read_url, timeout) as replica:
        written = await primary.fetchval("SELECT pg_current_wal_insert_lsn()")
        replayed = await replica.fetchval("SELECT pg_last_wal_replay_lsn()")
        systems = [
            await connection.fetchval("SELECT system_identifier FROM pg_control_system()")
            for connection in (primary, replica)
        ]
        is_replica = await replica.fetchval("SELECT pg_is_in_recovery()")
        return ReplicaState(is_replica, systems[0] == systems[1], max(written - (replayed or 0), 0))


async def tables_without_forced_rls(url: str, *, timeout: float) -> list[str]:  # noqa: ASYNC109 (asyncpg's own)
    """The tables for which row-level security is not both enabled and forced."""
    async with _connection(url, timeout) as connection:
        rows = await connection.fetch(
            "SELECT n.nspname || '.' || c.relname AS name "
            "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.relkind = 'r' AND c.relrowsecurity AND c.relforcerowsecurity"
        )
    protected = {row["name"] for row in rows}
    tables = (table for table in metadata.tables.values() if not table.info.get("is_view"))
    return sorted({f"{table.schema}.{table.name}" for table in tables} - protected)


_EXCESSIVE_RIGHTS = """
    WITH relations AS (SELECT t, t::regclass AS relation FROM unnest($1::text[]) t),
    clients AS (SELECT oid AS client FROM pg_roles WHERE rolname = ANY ($2::text[]))
    SELECT format('%s ON %s', string_agg(DISTINCT privilege, ', '), t) FROM relations, clients,
        unnest(ARRAY['INSERT', 'UPDATE', 'REFERENCES', 'DELETE', 'TRUNCATE', 'TRIGGER']) privilege
        WHERE CASE WHEN privilege IN ('INSERT', 'UPDATE', 'REFERENCES')
            THEN has_any_column_privilege(client, relation, privilege)
            ELSE has_table_privilege(client, relation, privilege) END GROUP BY t
    UNION SELECT format('SELECT (%s) ON %s', name, t)
        FROM unnest($3::text[], $4::text[]) AS secret (t, name), clients
        WHERE has_column_privilege(client, t, name, 'SELECT')
    UNION SELECT format('EXECUTE ON FUNCTION %s', f.oid::regprocedure)
        FROM pg_trigger JOIN relations ON relation = tgrelid JOIN pg_proc f ON f.oid = tgfoid, clients
        WHERE NOT tgisinternal AND has_function_privilege(client, f.oid, 'EXECUTE')
    UNION SELECT format('CREATE ON SCHEMA %I', nspname) FROM pg_namespace, clients
        WHERE oid IN (SELECT relnamespace FROM pg_class JOIN relations ON relation = oid)
        AND has_schema_privilege(client, oid, 'CREATE')
    UNION SELECT format('TEMPORARY ON DATABASE %I', current_database()) FROM clients
        WHERE has_database_privilege(client, current_database(), 'TEMPORARY')
    ORDER BY 1
"""


async def folds_all_letters(url: str, *, timeout: float) -> bool | None:  # noqa: ASYNC109 (asyncpg's own)
    """Whether searches ignore the case of letters beyond ASCII; None before migration 0032, which creates the fold."""
    async with _connection(url, timeout) as connection:
        if await connection.fetchval("SELECT to_regprocedure('public.fold(text)')") is None:
            return None
        folds: bool = await connection.fetchval("SELECT public.fold('\u00c9') = '\u00e9'")
        return folds


async def excessive_client_rights(url: str, *, timeout: float) -> list[str]:  # noqa: ASYNC109 (asyncpg's own)
    """What ``anon`` and ``authenticated`` may do beyond reading columns that are not secret, as ``INSERT ON table``."""
    tables = [table for table in metadata.tables.values() if not table.info.get("is_view")]
    secret = [column for table in tables for column in table.columns if declared(column).secret]
    arguments = (
        [table.fullname for table in tables],
        CLIENTS,
        [column.table.fullname for column in secret],
        [column.name for column in secret],
    )
    async with _connection(url, timeout) as connection:
        return [row[0] for row in await connection.fetch(_EXCESSIVE_RIGHTS, *arguments)]


@asynccontextmanager
async def _connection(url: str, timeout: float) -> AsyncIterator[Any]:  # noqa: ASYNC109 (asyncpg's own)
    """A connection with the login of ``url``. Raises ServiceUnavailable for errors of the connection and of SQL."""
    try:
        connection = await asyncpg.connect(
            re.sub(r"^postgresql\+asyncpg:", "postgresql:", url), timeout=timeout, statement_cache_size=0
        )
        try:
            yield connection
        finally:
            await connection.close(timeout=timeout)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise ServiceUnavailable from error
