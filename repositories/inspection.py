"""Questions about the database itself, for the start-up and for `siso doctor`.

They are asked on a connection of their own, as the login that is configured: the seam's transactions take on a role at
once, and whether that is possible is one of the questions.
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
from repositories.tables import metadata

_VIEWERS = ("anon", "authenticated")
_SERVICE = ("service_role",)


@dataclass(frozen=True, slots=True)
class LoginRights:
    """What a PostgreSQL login may do; ``missing_roles`` are those it needs and cannot become."""

    name: str
    is_superuser: bool
    bypasses_policies: bool
    missing_roles: Sequence[str]


class MissingGrant(ServiceUnavailable):
    """The database is migrated, but the login may not yet become what viewers' requests run as."""

    def __init__(self, name: str) -> None:
        super().__init__(f"As the owner of the tables: GRANT {', '.join(_VIEWERS)} TO {name}")


async def stored_revision(url: str | None, path: Path, *, timeout: float) -> str | None:  # noqa: ASYNC109 (asyncpg's own)
    """The revision of the database, None for an empty one; ServiceUnavailable, with its cause, or NotGranted."""
    if url is None:
        return _stored_in_file(path)
    async with _connection(url, timeout) as connection:
        if await connection.fetchval("SELECT to_regclass('public.alembic_version')") is None:
            return None
        if not await connection.fetchval("SELECT has_table_privilege('public.alembic_version', 'SELECT')"):
            if not await _may_become(connection, "authenticated"):
                raise MissingGrant(await connection.fetchval("SELECT quote_ident(current_user)"))
            await connection.execute("SET ROLE authenticated")
        revision: str | None = await connection.fetchval("SELECT version_num FROM public.alembic_version")
        return revision


def _stored_in_file(path: Path) -> str | None:
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"file:{path.absolute().as_posix()}?mode=ro", uri=True)) as connection:
            found = connection.execute("SELECT name FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
            if found is None:
                return None
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            return str(row[0]) if row else None
    except sqlite3.Error as error:
        raise ServiceUnavailable from error


async def inspect_login(url: str, *, service: bool, timeout: float) -> LoginRights:  # noqa: ASYNC109 (asyncpg's own)
    """What the login of ``url`` may do, measured by what the viewers' requests or the service's work need."""
    async with _connection(url, timeout) as connection:
        row = await connection.fetchrow(
            "SELECT rolname, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user"
        )
        missing = [role for role in (_SERVICE if service else _VIEWERS) if not await _may_become(connection, role)]
        return LoginRights(row["rolname"], row["rolsuper"], row["rolbypassrls"], missing)


async def _may_become(connection: Any, role: str) -> bool:
    try:
        await connection.execute(f"SET ROLE {role}; RESET ROLE")
    except asyncpg.PostgresError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """A replica beside its primary: whether it is one, of the same server, and how many bytes it has not replayed."""

    is_replica: bool
    is_of_primary: bool
    bytes_behind: int


async def inspect_replica(url: str, read_url: str, *, timeout: float) -> ReplicaState:  # noqa: ASYNC109 (asyncpg's own)
    """The server at ``read_url`` as a replica of that at ``url``."""
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
    """The tables on which row-level security is not both on and forced."""
    async with _connection(url, timeout) as connection:
        found = await connection.fetch(
            "SELECT n.nspname || '.' || c.relname AS name "
            "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.relkind = 'r' AND c.relrowsecurity AND c.relforcerowsecurity"
        )
    guarded = {row["name"] for row in found}
    tables = (table for table in metadata.tables.values() if not table.info.get("is_view"))
    return sorted({f"{table.schema}.{table.name}" for table in tables} - guarded)


@asynccontextmanager
async def _connection(url: str, timeout: float) -> AsyncIterator[Any]:  # noqa: ASYNC109 (asyncpg's own)
    """A connection as the login itself; whatever keeps it from being made or used is ServiceUnavailable."""
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
