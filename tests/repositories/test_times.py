"""The range of times and dates: the database has it for every column with one, whatever client writes."""

import sqlite3
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from migrations import run
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.engines.database import DatabaseOptions
from repositories.sql.policy import policies
from repositories.sql.types import Day, Timestamp
from repositories.tables.identity import User, UserPreferences
from tests.databases import Server, database_of
from tests.repositories.policy_subjects import insert_user, subject_of
from tests.repositories.support import connect_database

_TABLES = {
    table.fullname: table
    for table in policies
    if not table.info["is_view"] and any(isinstance(column.type, Timestamp | Day) for column in table.columns)
}
_OUTSIDE = ["infinity", "-infinity", "1899-12-31", "2200-01-01", "0001-01-01", "9999-12-31", "12026-06-15"]
_INSIDE = ["1900-01-01", "2199-12-31"]


async def _insert_row(options: DatabaseOptions, table: Any) -> None:
    row, owner = table.info["row"], new_id()
    key = owner if row in (User, UserPreferences) else new_id()
    async with connect_database(options) as database, database.transaction(SERVICE) as write:
        if row is not User:
            await insert_user(write, owner, owner)
        await subject_of(row).prepare(write, key, owner)
        await subject_of(row).insert(write, key, owner)


async def _outcomes_on_postgresql(url: str, statements: list[str]) -> list[str]:
    """Whether each statement violates a constraint, and which. Triggers do not run. Nothing is committed."""
    connection, outcomes = await asyncpg.connect(url, server_settings={"session_replication_role": "replica"}), []
    for statement in statements:
        transaction = connection.transaction()
        await transaction.start()
        try:
            await connection.execute(statement)
            outcomes.append("")
        except asyncpg.CheckViolationError as error:
            outcomes.append(error.constraint_name or "")
        finally:
            await transaction.rollback()
    await connection.close()
    return outcomes


def _outcomes_on_sqlite(path: Path, statements: list[str]) -> list[str]:
    connection, outcomes = sqlite3.connect(path, isolation_level=None), []
    connection.execute("DROP TRIGGER domain_events_no_update")
    for table in ("point_entries", "stock_movements"):
        connection.execute(f"DROP TRIGGER {table}_no_update")
    for statement in statements:
        connection.execute("BEGIN")
        try:
            connection.execute(statement)
            outcomes.append("")
        except sqlite3.IntegrityError as error:
            outcomes.append(str(error).partition("CHECK constraint failed: ")[2])
        connection.execute("ROLLBACK")
    connection.close()
    return outcomes


@pytest.mark.parametrize("name", sorted(_TABLES))
async def test_no_column_stores_a_time_outside_the_range(options: DatabaseOptions, server: Server, name: str) -> None:
    table = _TABLES[name]
    columns = [column for column in table.columns if isinstance(column.type, Timestamp | Day)]
    await _insert_row(options, table)
    relation = table.fullname if options.url else table.name
    suffixes = {column.name: "" if isinstance(column.type, Day) else _suffix(options) for column in columns}
    places = [(column.name, value) for column in columns for value in (*_OUTSIDE, *_INSIDE)]
    statements = [
        f"UPDATE {relation} SET {column} = '{value if 'inf' in value else value + suffixes[column]}'"
        for column, value in places
    ]
    if options.url:
        outcomes = await _outcomes_on_postgresql(server.login("postgres", database_of(options)), statements)
    else:
        outcomes = _outcomes_on_sqlite(options.sqlite_path, statements)
    for (column, value), outcome in zip(places, outcomes, strict=True):
        check = f"ck_{table.name}_{column}_range"
        if value in _OUTSIDE:
            assert outcome, (column, value)
        else:
            assert outcome != check, (column, value)
    assert len(columns) > 0


def _suffix(options: DatabaseOptions) -> str:
    return " 00:00:00+00" if options.url else "T00:00:00.000000+00:00"


def test_a_migration_names_the_places_of_values_outside_the_range(server: Server, tmp_path: Path) -> None:
    """Nothing is changed. After a correction the migration continues."""
    name = f"times_{uuid4().hex[:12]}"
    server.sql(f"CREATE DATABASE {name} OWNER owner")
    for url in (None, server.login("owner", name)):
        path, user = tmp_path / "old.sqlite3", uuid4()
        run.call_with_connection(url, path, lambda connection: run.upgrade(connection, "0020"))
        users = "identity.users" if url else "users"
        at = "'2026-01-01T00:00:00.000000+00:00'"
        names = "id, email, first_name, last_name, last_login, created_at, updated_at"
        values = f"'{user}', 'ada@example.com', 'Ada', 'Byron', 'infinity', {at}, {at}"
        _execute(server if url else None, path, name, f"INSERT INTO {users} ({names}) VALUES ({values})")
        with pytest.raises(run.MigrationError) as raised:
            run.call_with_connection(url, path, run.upgrade)
        place = f"1 in {users}.last_login"
        assert str(raised.value) == (
            f"Times or dates are not between 1900-01-01 and 2199-12-31: {place}. Correct them first."
        )
        assert run.call_with_connection(url, path, run.current_revision) == "0020"
        _execute(server if url else None, path, name, f"UPDATE {users} SET last_login = NULL")
        run.call_with_connection(url, path, run.upgrade)
    server.sql(f"DROP DATABASE {name} WITH (FORCE)")


def _execute(server: Server | None, path: Path, name: str, statement: str) -> None:
    if server is not None:
        server.sql(statement, database=name)
        return
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(statement)
    connection.close()
