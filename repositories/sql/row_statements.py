"""The statements with which a repository reads and writes rows. They are built once per table or set of columns."""

from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from repositories.sql.filters import is_not_deleted
from repositories.sql.statements import Engine, Statement, cached_statement, in_list, records, scalar
from repositories.sql.table import Table, declared


class RowStatements:
    """The statements that depend on the table only."""

    def __init__(self, owner: type[Table]) -> None:
        table = owner.__table__
        self.defaults: dict[str, Any] = {column.name: declared(column).default for column in table.columns}
        self.encrypted = [column for column in table.columns if declared(column).encrypted]
        is_live = is_not_deleted(table)
        has_id = table.c.id == sa.bindparam("id", type_=table.c.id.type)
        has_one_of_ids = in_list(table.c.id, "ids")
        rows = sa.select(*table.c)
        many_in_order = rows.where(has_one_of_ids, is_live).order_by(table.c.id)
        self.by_id = Statement(rows.where(has_id, is_live), owner)
        self.by_ids = Statement(rows.where(has_one_of_ids, is_live), owner)
        self.visible_ids = Statement(sa.select(table.c.id).where(has_one_of_ids), scalar(UUID))
        self.lock = Statement(rows.where(has_id, is_live).with_for_update(), owner)
        self.lock_many = Statement(many_in_order.with_for_update(), owner)
        self.lock_for_reference = Statement(many_in_order.with_for_update(read=True, key_share=True), owner)
        self.exists = Statement(sa.select(sa.exists().where(has_id, is_live)), scalar(bool))
        parameters = {column.name: sa.bindparam(column.name, type_=column.type) for column in _inserted_columns(table)}
        self.insert = Statement(sa.insert(table).values(parameters).returning(*table.c), owner)
        self.insert_many = Statement(lambda engine: _insert_many(table, engine), owner)
        self.insert_missing = Statement(lambda engine: _insert_missing(table, engine), scalar(UUID))
        self.purge = Statement(sa.delete(table).where(has_id).returning(table.c.id), scalar(UUID))
        self.purge_many = Statement(sa.delete(table).where(has_one_of_ids).returning(table.c.id), scalar(UUID))
        if "deleted_at" in table.c:
            is_deleted = table.c.deleted_at.is_not(None)
            self.lock_deleted = Statement(rows.where(has_id, is_deleted).with_for_update(), owner)
            many_deleted = rows.where(has_one_of_ids, is_deleted).order_by(table.c.id)
            self.lock_many_deleted = Statement(many_deleted.with_for_update(), owner)


def _inserted_columns(table: sa.Table) -> list[sa.Column[Any]]:
    """The columns whose values the application gives. The database numbers identity columns."""
    return [column for column in table.columns if column.identity is None]


def _insert_many(table: sa.Table, engine: Engine) -> sa.Executable:
    names = [column.name for column in _inserted_columns(table)]
    source = records(engine, "rows", _inserted_columns(table))
    return sa.insert(table).from_select(names, sa.select(*(source.c[name] for name in names))).returning(*table.c)


def _insert_missing(table: sa.Table, engine: Engine) -> sa.Executable:
    names = [column.name for column in _inserted_columns(table)]
    source = records(engine, "rows", _inserted_columns(table))
    # SQLite cannot parse ON CONFLICT after a SELECT without WHERE.
    rows = sa.select(*(source.c[name] for name in names)).where(sa.true())
    insert = postgresql_insert(table) if engine.is_postgresql else sqlite_insert(table)
    return insert.from_select(names, rows).on_conflict_do_nothing().returning(table.c.id)


def update(owner: type[Table], names: tuple[str, ...]) -> Statement[Any]:
    """Changes the columns ``names`` of a row, if the row still has the expected version."""
    return cached_statement((update, owner, names), lambda: _build_update(owner, names))


def _build_update(owner: type[Table], names: tuple[str, ...]) -> Statement[Any]:
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


def update_many(owner: type[Table], names: tuple[str, ...]) -> Statement[Any]:
    """Changes the columns ``names`` of those rows that still have the expected version."""
    return cached_statement((update_many, owner, names), lambda: _build_update_many(owner, names))


def update_many_columns(owner: type[Table], names: tuple[str, ...]) -> list[str]:
    """The columns of the records that :func:`update_many` gets."""
    return ["id", *(["version"] if "version" in owner.__table__.c else []), *names, "updated_at"]


def _build_update_many(owner: type[Table], names: tuple[str, ...]) -> Statement[Any]:
    table = owner.__table__

    def build(engine: Engine) -> sa.Executable:
        source = records(engine, "rows", [table.c[name] for name in update_many_columns(owner, names)])
        values: dict[str, Any] = {name: source.c[name] for name in (*names, "updated_at")}
        statement = sa.update(table).where(table.c.id == source.c.id)
        if "version" in table.c:
            statement = statement.where(table.c.version == source.c.version)
            values["version"] = table.c.version + 1
        if "deleted_at" not in names:
            statement = statement.where(is_not_deleted(table))
        return statement.values(values).returning(*table.c)

    return Statement(build, owner)
