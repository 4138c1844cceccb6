"""Migrations: every step can be reverted and repeated, and the result equals the declared tables."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import sqlalchemy as sa
from alembic.util import CommandError

from migrations import run
from migrations.files import newest_revision
from repositories.core.clock import now
from repositories.sql.table import metadata
from tests.catalog import fetch_catalog
from tests.databases import ENGINES, Server


class MigratedDatabase:
    """A database of one engine, empty at first, on which migrations are run and whose catalog is read."""

    def __init__(self, url: str | None, path: Path) -> None:
        self.url = url
        self.path = path

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Calls a function of migrations.run with a connection to the database."""
        return run.call_with_connection(self.url, self.path, lambda connection: function(connection, *arguments))

    def catalog(self) -> list[tuple[Any, ...]]:
        """All objects of the database, except for Alembic's own table."""
        rows = asyncio.run(fetch_catalog(self.url)) if self.url else self._sqlite()
        return sorted(row for row in map(_texts, rows) if "alembic_version" not in " ".join(row[:2]))

    def _sqlite(self) -> list[Any]:
        connection = sqlite3.connect(self.path)
        rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
        connection.close()
        return rows


def _texts(row: Any) -> tuple[str, ...]:
    return tuple("" if value is None else str(value) for value in row)


@pytest.fixture(params=ENGINES)
def migrated(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MigratedDatabase]:
    """An empty database of each engine in turn."""
    if request.param == "sqlite":
        yield MigratedDatabase(None, tmp_path / "empty.sqlite3")
        return
    server: Server = request.getfixturevalue("server")
    name = f"empty_{uuid4().hex[:12]}"
    server.sql(f"CREATE DATABASE {name} OWNER owner")
    yield MigratedDatabase(server.login("owner", name), tmp_path)
    server.sql(f"DROP DATABASE {name} WITH (FORCE)")


def _kinds(catalog: list[tuple[Any, ...]]) -> set[str]:
    return {row[0] for row in catalog}


def test_upgrading_again_after_a_full_downgrade_gives_the_same_schema(migrated: MigratedDatabase) -> None:
    """A full downgrade leaves an empty database."""
    empty = migrated.catalog()
    migrated.run(run.upgrade)
    up = migrated.catalog()
    assert len(up) > len(empty) + 20
    expected = {"relation", "column", "constraint", "index", "policy", "function", "trigger", "schema"}
    assert _kinds(up) == (expected if migrated.url else {"table", "index", "trigger", "view"})
    migrated.run(run.downgrade, "base")
    assert [row for row in migrated.catalog() if row[:2] != ("schema", "public")] == [
        row for row in empty if row[:2] != ("schema", "public")
    ]
    migrated.run(run.upgrade)
    assert migrated.catalog() == up


def test_every_revision_reverts_exactly_its_own_changes(migrated: MigratedDatabase) -> None:
    steps = [revision for revision, _ in run.revision_descriptions()]
    assert steps[:2] == ["0001", "0002"]
    before = None
    for step in steps:
        migrated.run(run.upgrade, step)
        after = migrated.catalog()
        if before is not None:
            migrated.run(run.downgrade, "-1")
            assert migrated.catalog() == before
            migrated.run(run.upgrade, step)
            assert migrated.catalog() == after
        before = after
    assert migrated.run(run.current_revision) == newest_revision() == steps[-1]


def test_the_current_revision_follows_upgrades_and_downgrades(migrated: MigratedDatabase) -> None:
    """An empty database has no revision."""
    assert migrated.run(run.current_revision) is None
    migrated.run(run.upgrade)
    assert migrated.run(run.current_revision) == newest_revision()
    migrated.run(run.downgrade, "-1")
    assert migrated.run(run.current_revision) == run.revision_descriptions()[-2][0]
    migrated.run(run.downgrade, "base")
    assert migrated.run(run.current_revision) is None


def test_entries_of_deleted_tasks_survive_a_downgrade(migrated: MigratedDatabase, server: Server) -> None:
    """They get reasons that the older revision knows. The table is append-only before and afterwards."""
    migrated.run(run.upgrade, "0013")
    users, events, entries = ("users", "domain_events", "point_entries")
    if migrated.url:
        users, events, entries = "identity.users", "public.domain_events", "gamification.point_entries"
    at, user = "'2026-01-01T00:00:00.000000+00:00'", f"'{uuid4()}'"
    names = "id, email, first_name, last_name, created_at, updated_at"
    statements = [f"INSERT INTO {users} ({names}) VALUES ({user}, 'ada@example.com', 'Ada', 'Byron', {at}, {at})"]
    for number, reason in enumerate(("task_completed", "task_deleted", "task_restored"), start=1):
        event = f"'{uuid4()}'"
        names = "id, aggregate_id, aggregate_type, event_type, event_data, timestamp, sequence"
        values = f"VALUES ({event}, {event}, 'task', 'x', '{{}}', {at}, {number})"
        overriding = "OVERRIDING SYSTEM VALUE " if migrated.url else ""
        statements.append(f"INSERT INTO {events} ({names}) {overriding}{values}")
        names = "id, user_id, points, reason, source_event_id, created_at, updated_at"
        values = f"VALUES ({event}, {user}, {number}, '{reason}', {event}, {at}, {at})"
        statements.append(f"INSERT INTO {entries} ({names}) {values}")
    _execute(migrated, server, *statements)
    migrated.run(run.downgrade, "-1")
    expected = [(1, "task_completed"), (2, "task_reopened"), (3, "task_completed")]
    assert _execute(migrated, server, f"SELECT points, reason FROM {entries} ORDER BY points") == expected
    for statement in (f"UPDATE {entries} SET points = 9", f"DELETE FROM {entries}"):
        with pytest.raises((sqlite3.IntegrityError, asyncpg.InsufficientPrivilegeError), match="append-only"):
            _execute(migrated, server, statement)


def _execute(migrated: MigratedDatabase, server: Server, *statements: str) -> list[tuple[Any, ...]]:
    """Executes statements without row-level security. Returns the rows of the last one."""
    if not migrated.url:
        connection = sqlite3.connect(migrated.path, isolation_level=None)
        try:
            return [connection.execute(statement).fetchall() for statement in statements][-1]
        finally:
            connection.close()

    async def execute() -> list[tuple[Any, ...]]:
        name = str(migrated.url).partition("?")[0].rpartition("/")[2]
        connection = await asyncpg.connect(server.login("postgres", name))
        try:
            return [[tuple(row) for row in await connection.fetch(statement)] for statement in statements][-1]
        finally:
            await connection.close()

    return asyncio.run(execute())


def test_check_reports_a_missing_index(migrated: MigratedDatabase) -> None:
    """It reports nothing for the migrated database."""
    migrated.run(run.upgrade)
    migrated.run(run.check)

    def drop_index(connection: sa.Connection) -> None:
        connection.execute(sa.text(f"DROP INDEX {'life_lock.' if migrated.url else ''}ix_tasks_user_id_status"))
        connection.commit()

    migrated.run(drop_index)
    with pytest.raises(CommandError, match="ix_tasks_user_id_status"):
        migrated.run(run.check)


def test_the_migrated_database_equals_the_declared_tables(migrated: MigratedDatabase) -> None:
    """It compares columns, defaults, keys, checks and indexes. ``check`` compares only some of them."""
    migrated.run(run.upgrade)
    description = migrated.run(_describe)
    migrated.run(run.downgrade, "base")
    migrated.run(_create_declared)
    assert migrated.run(_describe) == description
    assert len(description) == len(_tables()) > 0


def test_stored_addresses_are_converted_to_their_normal_form(
    migrated: MigratedDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    """If several accounts have the same address, the others keep their spelling and are reported."""
    steps = [revision for revision, _ in run.revision_descriptions()]
    migrated.run(run.upgrade, steps[steps.index("0015") - 1])
    before = [
        "ada@example.com",
        "ada+work@example.com",
        "Bob@XN--BCHER-KVA.example",
        "bob@bu\u0308cher.example",
        "carol@example\uff0ecom",
        "dora@xn--strae-oqa.example",
        "dora@strasse.example",
        "no address",
        "ADA@example.com",
    ]
    migrated.run(_insert_users, before)
    migrated.run(run.upgrade)
    after = [
        *before[:2],
        "bob@bücher.example",
        "bob@bu\u0308cher.example",
        "carol@example.com",
        "dora@straße.example",
        *before[6:],
    ]
    assert migrated.run(_emails) == after
    warnings = [record.getMessage() for record in caplog.records if "same e-mail address" in record.getMessage()]
    assert [warning.partition(" have")[0] for warning in warnings] == [
        f"The users {_key(2)} and {_key(3)}",
        f"The users {_key(0)} and {_key(8)}",
    ]
    assert "example" not in caplog.text
    migrated.run(run.check)


def test_stored_texts_are_converted_to_nfc(migrated: MigratedDatabase, caplog: pytest.LogCaptureFixture) -> None:
    """A category that would get the name of another one keeps its own, and is reported without its name."""
    migrated.run(run.upgrade, "0033")
    migrated.run(_insert_users, ["ada@example.com", "νίκος@example.com"])
    names = ["Cafe\u0301", "Café", "Bu\u0308ro", "Home"]
    migrated.run(_insert_categories, names)
    migrated.run(run.upgrade)
    assert migrated.run(_category_names) == ["Cafe\u0301", "Café", "Büro", "Home"]
    assert migrated.run(_emails) == ["ada@example.com", "νίκοσ@example.com"]
    (warning,) = [record.getMessage() for record in caplog.records if "keeps its name" in record.getMessage()]
    assert "Caf" not in warning


@contextmanager
def _before_revision(revision: str, server: Server, folder: Path) -> Iterator[tuple[str, MigratedDatabase]]:
    """A PostgreSQL database, with its name, at the revision before this one."""
    name = f"empty_{uuid4().hex[:12]}"
    server.sql(f"CREATE DATABASE {name} OWNER owner")
    migrated = MigratedDatabase(server.login("owner", name), folder)
    steps = [each for each, _ in run.revision_descriptions()]
    migrated.run(run.upgrade, steps[steps.index(revision) - 1])
    yield name, migrated
    server.sql(f"DROP DATABASE {name} WITH (FORCE)")


def test_values_that_no_command_allows_are_replaced(server: Server, tmp_path: Path) -> None:
    """Before revision 0017, other clients of a PostgreSQL database could write them."""
    with _before_revision("0018", server, tmp_path) as (name, migrated):
        migrated.run(_insert_users, ["ada@example.com", "bob@example.com"])
        server.sql(
            "UPDATE identity.users SET avatar_url = 'javascript:alert(1)', time_zone = '?', locale = 'EN_us'"
            f" WHERE id = '{_key(0)}'",
            "UPDATE identity.users SET avatar_url = 'https://example.com/b.png', time_zone = 'Europe/Berlin',"
            f" locale = 'de-AT' WHERE id = '{_key(1)}'",
            database=name,
        )
        migrated.run(run.upgrade)
        rows = migrated.run(_rows, "SELECT avatar_url, time_zone, locale FROM identity.users ORDER BY id")
        assert rows == [(None, "UTC", "en"), ("https://example.com/b.png", "Europe/Berlin", "de-AT")]


def test_control_characters_in_names_are_replaced(server: Server, tmp_path: Path) -> None:
    """Before revision 0035, statements of other programs could store them. Texts do not become equal."""
    with _before_revision("0035", server, tmp_path) as (_, migrated):
        migrated.run(_insert_users, ["ada@example.com"])
        migrated.run(_insert_categories, ["Home\n", "Home", "a\u200d\x1fb\u2028\x85\ufeff", "\u3000é"])
        migrated.run(run.upgrade)
        rows = migrated.run(_rows, "SELECT name FROM life_lock.categories ORDER BY id")
        assert [row[0] for row in rows] == ["Home\ufffd", "Home", "a\u200d\ufffdb\ufffd\ufffd\ufffd", "\u3000é"]


def _rows(connection: sa.Connection, text: str) -> list[tuple[Any, ...]]:
    """What the service reads on PostgreSQL."""
    connection.execute(sa.text("SET ROLE service_role"))
    return [tuple(row) for row in connection.execute(sa.text(text))]


def _key(index: int) -> UUID:
    return UUID(int=index + 1)


def _insert_users(connection: sa.Connection, emails: list[str]) -> None:
    people = {"first_name": "Ada", "last_name": "Byron"}
    _insert_rows(
        connection, _users(connection), [{"id": _key(n), "email": email, **people} for n, email in enumerate(emails)]
    )


def _insert_categories(connection: sa.Connection, names: list[str]) -> None:
    """Categories of the first user."""
    values = {"user_id": _key(0), "color": "#00FF00"}
    rows = [{"id": _key(index), "name": name, **values} for index, name in enumerate(names, start=100)]
    _insert_rows(connection, _categories(connection), rows)


def _insert_rows(connection: sa.Connection, table: str, rows: list[dict[str, Any]]) -> None:
    """Inserts rows, created now, without row-level security."""
    is_postgresql, at = connection.dialect.name == "postgresql", now()
    if is_postgresql:
        connection.execute(sa.text(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY"))
    for row in rows:
        values = {**row, "created_at": at, "updated_at": at}
        if not is_postgresql:
            stored = at.isoformat(timespec="microseconds")
            values = {name: stored if value is at else str(value) for name, value in values.items()}
        names = ", ".join(values)
        parameters = ", ".join(f":{name}" for name in values)
        connection.execute(sa.text(f"INSERT INTO {table} ({names}) VALUES ({parameters})"), values)
    if is_postgresql:
        connection.execute(sa.text(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY"))
    connection.commit()


def _emails(connection: sa.Connection) -> list[str]:
    return _values(connection, _users(connection), "email")


def _category_names(connection: sa.Connection) -> list[str]:
    return _values(connection, _categories(connection), "name")


def _values(connection: sa.Connection, table: str, column: str) -> list[str]:
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SET ROLE service_role"))
    return list(connection.execute(sa.text(f"SELECT {column} FROM {table} ORDER BY id")).scalars())


def _categories(connection: sa.Connection) -> str:
    return "life_lock.categories" if connection.dialect.name == "postgresql" else "categories"


def _users(connection: sa.Connection) -> str:
    return "identity.users" if connection.dialect.name == "postgresql" else "users"


def _tables() -> list[sa.Table]:
    return [table for table in metadata.sorted_tables if not table.info["is_view"]]


def _create_declared(connection: sa.Connection) -> None:
    declared = sa.MetaData(naming_convention=metadata.naming_convention)
    is_postgresql = connection.dialect.name == "postgresql"
    for table in _tables():
        if is_postgresql:
            connection.execute(sa.text(f"CREATE SCHEMA IF NOT EXISTS {table.schema}"))
            table.to_metadata(declared)
        else:
            copy = table.to_metadata(declared, schema=None, referred_schema_fn=lambda *_: sa.BLANK_SCHEMA)  # type: ignore[arg-type]
            # to_metadata() does not copy ddl_if(), which restricts these constraints to PostgreSQL.
            on_postgresql = {constraint.name for constraint in table.constraints if constraint._ddl_if is not None}
            copy.constraints -= {constraint for constraint in copy.constraints if constraint.name in on_postgresql}
    declared.create_all(connection)
    connection.commit()


def _describe(connection: sa.Connection) -> dict[str, Any]:
    inspector = sa.inspect(connection)
    description = {}
    for table in _tables():
        at: dict[str, Any] = {"schema": table.schema if connection.dialect.name == "postgresql" else None}
        parts = (
            [{**column, "type": str(column["type"])} for column in inspector.get_columns(table.name, **at)],
            [inspector.get_pk_constraint(table.name, **at)],
            inspector.get_foreign_keys(table.name, **at),
            inspector.get_unique_constraints(table.name, **at),
            inspector.get_check_constraints(table.name, **at),
            [_with_text_options(index) for index in inspector.get_indexes(table.name, **at)],
        )
        description[table.name] = [sorted(map(repr, part)) for part in parts]
    return description


def _with_text_options(index: Any) -> dict[str, Any]:
    """An index whose options, such as the condition of a partial index, are texts that can be compared."""
    return {**index, "dialect_options": {name: str(value) for name, value in index.get("dialect_options", {}).items()}}
