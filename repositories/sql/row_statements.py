"""How a repository reads and writes rows, one or many: statements built once per table or set of columns."""

from functools import lru_cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from repositories.sql.statements import Engine, Statement, in_list, records, scalar
from repositories.sql.table import Table


class RowStatements:
    """The statements that depend on the table alone."""

    def __init__(self, owner: type[Table]) -> None:
        table = owner.__table__
        self.defaults: dict[str, Any] = {made.name: made.info.get("default") for made in table.columns}
        self.encrypted = [made for made in table.columns if made.info["encrypted"]]
        living = is_not_deleted(table)
        key = table.c.id == sa.bindparam("id", type_=table.c.id.type)
        rows = sa.select(*table.c)
        self.by_id = Statement(rows.where(key, living), owner)
        self.by_ids = Statement(rows.where(in_list(table.c.id, "ids"), living), owner)
        self.visible_ids = Statement(sa.select(table.c.id).where(in_list(table.c.id, "ids")), scalar(UUID))
        self.lock = Statement(rows.where(key, living).with_for_update(), owner)
        self.lock_many = Statement(
            rows.where(in_list(table.c.id, "ids"), living).order_by(table.c.id).with_for_update(), owner
        )
        self.lock_for_reference = Statement(
            rows.where(in_list(table.c.id, "ids"), living)
            .order_by(table.c.id)
            .with_for_update(read=True, key_share=True),
            owner,
        )
        self.exists = Statement(sa.select(sa.exists().where(key, living)), scalar(bool))
        self.insert = Statement(
            sa.insert(table)
            .values({made.name: sa.bindparam(made.name, type_=made.type) for made in _given(table)})
            .returning(*table.c),
            owner,
        )
        self.insert_many = Statement(lambda engine: _insert_many(table, engine), owner)
        self.insert_missing = Statement(lambda engine: _insert_missing(table, engine), scalar(UUID))
        self.purge = Statement(sa.delete(table).where(key).returning(table.c.id), scalar(UUID))
        if "deleted_at" in table.c:
            self.lock_deleted = Statement(rows.where(key, table.c.deleted_at.is_not(None)).with_for_update(), owner)


def _given(table: sa.Table) -> list[sa.Column[Any]]:
    """The columns the application gives a value for; an identity column is the database's."""
    return [made for made in table.columns if made.identity is None]


def is_not_deleted(table: sa.Table) -> sa.ColumnElement[bool]:
    """Rows that are not softly deleted."""
    return table.c.deleted_at.is_(None) if "deleted_at" in table.c else sa.true()


def _insert_many(table: sa.Table, engine: Engine) -> sa.Executable:
    columns = _given(table)
    source = records(engine, "rows", columns)
    return (
        sa.insert(table)
        .from_select([made.name for made in columns], sa.select(*(source.c[made.name] for made in columns)))
        .returning(*table.c)
    )


def _insert_missing(table: sa.Table, engine: Engine) -> sa.Executable:
    columns = _given(table)
    source = records(engine, "rows", columns)
    insert = postgresql_insert(table) if engine.is_postgresql else sqlite_insert(table)
    return (
        insert.from_select(
            [made.name for made in columns], sa.select(*(source.c[made.name] for made in columns)).where(sa.true())
        )
        .on_conflict_do_nothing()
        .returning(table.c.id)
    )


@lru_cache(maxsize=1024)
def update(owner: type[Table], names: tuple[str, ...]) -> Statement[Any]:
    """A row changed in the columns ``names``, if it still has the version that was seen."""
    table = owner.__table__
    values: dict[str, Any] = {
        name: sa.bindparam(f"new_{name}", type_=table.c[name].type) for name in (*names, "updated_at")
    }
    statement = sa.update(table).where(table.c.id == sa.bindparam("id", type_=table.c.id.type))
    if "version" in table.c:
        statement = statement.where(table.c.version == sa.bindparam("version", type_=sa.Integer()))
        values["version"] = table.c.version + 1
    if "deleted_at" in table.c and "deleted_at" not in names:
        statement = statement.where(table.c.deleted_at.is_(None))
    return Statement(statement.values(values).returning(*table.c), owner)


@lru_cache(maxsize=1024)
def update_many(owner: type[Table], names: tuple[str, ...]) -> Statement[Any]:
    """Many rows changed in the columns ``names``, those that still have the version that was seen."""
    table = owner.__table__

    def build(engine: Engine) -> sa.Executable:
        source = records(engine, "rows", [table.c[name] for name in ("id", "version", *names, "updated_at")])
        values: dict[str, Any] = {name: source.c[name] for name in (*names, "updated_at")}
        values["version"] = table.c.version + 1
        return (
            sa.update(table)
            .where(table.c.id == source.c.id, table.c.version == source.c.version, is_not_deleted(table))
            .values(values)
            .returning(*table.c)
        )

    return Statement(build, owner)
