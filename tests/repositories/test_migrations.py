"""The history of the database: every step can be undone and redone, and leads to what is declared."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from alembic.util import CommandError

from migrations import run
from repositories.sql.table import metadata
from tests.catalog import fetch_catalog
from tests.databases import ENGINES, Server


class Place:
    """An empty database of one engine and what its catalog says."""

    def __init__(self, url: str | None, path: Path) -> None:
        self.url = url
        self.path = path

    def do(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Runs a function of migrations.run there."""
        return run.call_with_connection(self.url, self.path, lambda connection: work(connection, *arguments))

    def catalog(self) -> list[tuple[Any, ...]]:
        """Everything there is, but for Alembic's own table."""
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
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """An empty database of each engine in turn."""
    if request.param == "sqlite":
        yield Place(None, tmp_path / "empty.sqlite3")
        return
    server: Server = request.getfixturevalue("server")
    name = f"empty_{uuid4().hex[:12]}"
    server.sql(f"CREATE DATABASE {name} OWNER owner")
    yield Place(server.login("owner", name), tmp_path)
    server.sql(f"DROP DATABASE {name} WITH (FORCE)")


def _kinds(catalog: list[tuple[Any, ...]]) -> set[str]:
    return {row[0] for row in catalog}


def test_up_down_up(place: Place) -> None:
    """All the way up, down and up again leaves the same schema; down leaves none."""
    empty = place.catalog()
    place.do(run.upgrade)
    up = place.catalog()
    assert len(up) > len(empty) + 20
    expected = {"relation", "column", "constraint", "index", "policy", "function", "trigger", "schema"}
    assert _kinds(up) == (expected if place.url else {"table", "index", "trigger", "view"})
    place.do(run.downgrade, "base")
    assert [row for row in place.catalog() if row[:2] != ("schema", "public")] == [
        row for row in empty if row[:2] != ("schema", "public")
    ]
    place.do(run.upgrade)
    assert place.catalog() == up


def test_every_step_down_and_up(place: Place) -> None:
    """Each revision alone undoes exactly what it does."""
    steps = [revision for revision, _ in run.revisions()]
    assert steps[:2] == ["0001", "0002"]
    before = None
    for step in steps:
        place.do(run.upgrade, step)
        after = place.catalog()
        if before is not None:
            place.do(run.downgrade, "-1")
            assert place.catalog() == before
            place.do(run.upgrade, step)
            assert place.catalog() == after
        before = after
    assert place.do(run.current_revision) == run.head_revision() == steps[-1]


def test_current(place: Place) -> None:
    """An empty database is at no revision, a migrated one at the last, one step back at the one before."""
    assert place.do(run.current_revision) is None
    place.do(run.upgrade)
    assert place.do(run.current_revision) == run.head_revision()
    place.do(run.downgrade, "-1")
    assert place.do(run.current_revision) == run.revisions()[-2][0]
    place.do(run.downgrade, "base")
    assert place.do(run.current_revision) is None


def test_check(place: Place) -> None:
    """The migrated database is what is declared; one that lacks an index is not."""
    place.do(run.upgrade)
    place.do(run.check)

    def spoil(connection: sa.Connection) -> None:
        connection.execute(sa.text(f"DROP INDEX {'life_lock.' if place.url else ''}ix_tasks_user_id_status"))
        connection.commit()

    place.do(spoil)
    with pytest.raises(CommandError, match="ix_tasks_user_id_status"):
        place.do(run.check)


def test_the_migrations_make_what_is_declared(place: Place) -> None:
    """Columns, defaults, keys, checks and indexes are those declared, which ``check`` only compares in part."""
    place.do(run.upgrade)
    migrated = place.do(_described)
    place.do(run.downgrade, "base")
    place.do(_create_declared)
    assert place.do(_described) == migrated
    assert len(migrated) == len(_tables()) > 0


def _tables() -> list[sa.Table]:
    return [table for table in metadata.sorted_tables if not table.info["is_view"]]


def _create_declared(connection: sa.Connection) -> None:
    made = sa.MetaData(naming_convention=metadata.naming_convention)
    is_postgresql = connection.dialect.name == "postgresql"
    for table in _tables():
        if is_postgresql:
            connection.execute(sa.text(f"CREATE SCHEMA IF NOT EXISTS {table.schema}"))
            table.to_metadata(made)
        else:
            copied = table.to_metadata(made, schema=None, referred_schema_fn=lambda *_: sa.BLANK_SCHEMA)  # type: ignore[arg-type]
            elsewhere = {one.name for one in table.constraints if one._ddl_if is not None}  # which is not copied
            copied.constraints -= {one for one in copied.constraints if one.name in elsewhere}
    made.create_all(connection)
    connection.commit()


def _described(connection: sa.Connection) -> dict[str, Any]:
    inspector = sa.inspect(connection)
    described = {}
    for table in _tables():
        at: dict[str, Any] = {"schema": table.schema if connection.dialect.name == "postgresql" else None}
        parts = (
            [{**column, "type": str(column["type"])} for column in inspector.get_columns(table.name, **at)],
            [inspector.get_pk_constraint(table.name, **at)],
            inspector.get_foreign_keys(table.name, **at),
            inspector.get_unique_constraints(table.name, **at),
            inspector.get_check_constraints(table.name, **at),
            [_spelled(index) for index in inspector.get_indexes(table.name, **at)],
        )
        described[table.name] = [sorted(map(repr, part)) for part in parts]
    return described


def _spelled(index: Any) -> dict[str, Any]:
    """An index with the conditions of a partial one as text."""
    return {**index, "dialect_options": {name: str(value) for name, value in index.get("dialect_options", {}).items()}}
