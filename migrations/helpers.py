"""Helpers of the migrations: differences between the engines, and row-level security.

Frozen, as the column types are: a revision must create the same schema for ever. Helpers that a revision uses do not
change; a later revision that needs something else adds a new helper.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from alembic import op

from migrations.column_types import Id, Timestamp

CLIENTS = "anon, authenticated"
"""The roles of other clients of the database, such as PostgREST. They read what policies allow, and write nothing."""
VIEWER, WRITER, SERVICE = "siso_viewer", "siso_writer", "service_role"
"""The roles of the gateway: reads of viewers, units of work of viewers, and the gateway's own work."""
ROLES = f"{CLIENTS}, {VIEWER}, {WRITER}, {SERVICE}"


def has_role(name: str) -> str:
    """Returns a SQL condition: the viewer has the role."""
    return f"(SELECT auth.jwt() -> 'app_metadata' -> 'roles' ? '{name}')"


IS_ADMIN = has_role("admin")
IS_SIGNED_IN = "(SELECT auth.uid()) IS NOT NULL"


def is_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def schema(name: str) -> str | None:
    """Returns a domain's schema, or None on SQLite, which has no schemas."""
    return name if is_postgresql() else None


def ref(path: str) -> str:
    """Returns ``schema.table.column`` as the target of a foreign key, without the schema on SQLite."""
    return path if is_postgresql() else path.split(".", 1)[1]


def named(path: str) -> str:
    """Returns ``schema.table``, without the schema on SQLite."""
    return path if is_postgresql() else path.split(".", 1)[1]


def per_engine(postgresql: str, *, sqlite: str) -> str:
    """Returns the condition for this engine, for columns whose values SQLite stores in another form."""
    return postgresql if is_postgresql() else sqlite


def create_schema(name: str) -> None:
    """Creates a domain's schema, with access for all roles. The grants and policies of its tables limit them."""
    if is_postgresql():
        op.execute(f"CREATE SCHEMA IF NOT EXISTS {name}")
        op.execute(f"GRANT USAGE ON SCHEMA {name} TO {ROLES}")


def drop_schema(name: str) -> None:
    """Reverses :func:`create_schema`. Fails if the schema is not empty."""
    if is_postgresql():
        op.execute(f"DROP SCHEMA {name}")


def id_column() -> sa.Column[Any]:
    """Returns the ``id`` column that every table has."""
    return sa.Column("id", Id(), nullable=False)


def timestamps() -> list[sa.Column[Any]]:
    """Returns the two time columns that every table with changeable rows has."""
    return [sa.Column("created_at", Timestamp(), nullable=False), sa.Column("updated_at", Timestamp(), nullable=False)]


def time_ranges(table: str, *columns: str) -> list[sa.CheckConstraint]:
    """Returns the constraints of a table's time columns: from 1900 to the end of 2199."""
    low, high = "1900-01-01 00:00:00+00", "2200-01-01 00:00:00+00"
    return [
        sa.CheckConstraint(f"{name} >= '{low}' AND {name} < '{high}'", name=op.f(f"ck_{table}_{name}_range"))
        for name in columns
    ]


def row_level_security(table: str, *, read: str, write: str, secret: Collection[str] = ()) -> None:
    """Creates the policies and grants of ``schema.table`` on PostgreSQL. On SQLite the gateway enforces the policies.

    Other clients of the database cannot read the columns ``secret``.
    """
    if not is_postgresql():
        return
    rules = {
        "viewer_select": f"FOR SELECT TO {CLIENTS}, {VIEWER}, {WRITER} USING ({read})",
        "viewer_insert": f"FOR INSERT TO {WRITER} WITH CHECK ({write})",
        "viewer_update": f"FOR UPDATE TO {WRITER} USING ({write}) WITH CHECK ({write})",
        "viewer_delete": f"FOR DELETE TO {WRITER} USING ({write})",
        "service": f"FOR ALL TO {SERVICE} USING (true) WITH CHECK (true)",
    }
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    for name, rule in rules.items():
        op.execute(f"CREATE POLICY {name} ON {table} {rule}")
    grant_table(table, secret=secret)


def grant_table(table: str, *, secret: Collection[str] = ()) -> None:
    """Grants the roles exactly what they need on a table, and revokes what the database grants by default.

    Supabase, for example, grants ``anon`` and ``authenticated`` all privileges on tables in the schema ``public``.
    """
    op.execute(f"REVOKE ALL ON {table} FROM PUBLIC, {ROLES}")
    op.execute(f"GRANT SELECT ON {table} TO {VIEWER}")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {WRITER}, {SERVICE}")
    columns = sa.text(
        "SELECT attname FROM pg_attribute WHERE attrelid = :table ::regclass AND attnum > 0 AND NOT attisdropped"
    )
    names = op.get_bind().execute(columns, {"table": table}).scalars()
    grant_columns(table, [name for name in names if name not in secret])


def grant_columns(table: str, columns: Iterable[str]) -> None:
    """Lets other clients of the database read columns. A revision that adds a column that is not secret calls it."""
    if is_postgresql():
        op.execute(f"GRANT SELECT ({', '.join(columns)}) ON {table} TO {CLIENTS}")


def revoke_execute(*functions: str) -> None:
    """Lets no role but its owner call a function. Triggers still run it; their creator needed the right, once.

    Otherwise any role that can create a temporary table can run the function as a trigger of that table.
    """
    for function in functions:
        op.execute(f"REVOKE EXECUTE ON FUNCTION {function}() FROM PUBLIC, {CLIENTS}, {VIEWER}, {WRITER}")


def append_only(schema_name: str, table: str) -> None:
    """Adds triggers that make the database reject every update and delete of the table's rows."""
    if not is_postgresql():
        for name in ("update", "delete"):
            _reject_on_sqlite(table, name)
        return
    op.execute(
        f"CREATE FUNCTION {schema_name}.{table}_are_append_only() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN "
        f"RAISE EXCEPTION '{table} is append-only' USING ERRCODE = 'insufficient_privilege'; END $f$"
    )
    for name, when, each in (("change", "UPDATE OR DELETE", "ROW"), ("truncate", "TRUNCATE", "STATEMENT")):
        op.execute(
            f"CREATE TRIGGER {table}_no_{name} BEFORE {when} ON {schema_name}.{table} "
            f"FOR EACH {each} EXECUTE FUNCTION {schema_name}.{table}_are_append_only()"
        )


def _reject_on_sqlite(table: str, action: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_no_{action} BEFORE {action.upper()} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
    )


def owned_by(column: str) -> str:
    """Returns a SQL condition: the viewer owns the row."""
    return f"{column} = (SELECT auth.uid())"


def add_checks(schema_name: str, table: str, checks: Mapping[str, str]) -> None:
    """Adds CHECK constraints, given by name, to a table."""
    if is_postgresql():
        for name, condition in checks.items():
            op.execute(f"ALTER TABLE {schema_name}.{table} ADD CONSTRAINT {name} CHECK ({condition})")
        return
    _rewrite_sqlite_table(table, lambda text: text.rstrip()[:-1] + _check_clauses(checks) + text.rstrip()[-1])


def drop_checks(schema_name: str, table: str, checks: Mapping[str, str]) -> None:
    """Reverses :func:`add_checks`."""
    if is_postgresql():
        for name in checks:
            op.execute(f"ALTER TABLE {schema_name}.{table} DROP CONSTRAINT {name}")
        return
    _rewrite_sqlite_table(table, lambda text: text.replace(_check_clauses(checks), ""))


def add_foreign_key(schema_name: str, table: str, name: str, column: str, target: str) -> None:
    """Adds a foreign key from a column to the ``id`` of the table ``target``, given as ``schema.table``."""
    key = f"CONSTRAINT {name} FOREIGN KEY({column}) REFERENCES {named(target)} (id)"
    if is_postgresql():
        op.execute(f"ALTER TABLE {schema_name}.{table} ADD {key}")
        return
    _rewrite_sqlite_table(table, lambda text: f"{text.rstrip()[:-1]}, {key})")


def drop_foreign_key(schema_name: str, table: str, name: str, column: str, target: str) -> None:
    """Reverses :func:`add_foreign_key`."""
    if is_postgresql():
        op.execute(f"ALTER TABLE {schema_name}.{table} DROP CONSTRAINT {name}")
        return
    key = f", CONSTRAINT {name} FOREIGN KEY({column}) REFERENCES {named(target)} (id)"
    _rewrite_sqlite_table(table, lambda text: text.replace(key, ""))


def replace_check(schema_name: str, table: str, name: str, old: str, new: str) -> None:
    """Replaces the condition of a CHECK constraint. On SQLite, ``old`` is the condition exactly as it was written."""
    if is_postgresql():
        op.execute(f"ALTER TABLE {schema_name}.{table} DROP CONSTRAINT {name}")
        op.execute(f"ALTER TABLE {schema_name}.{table} ADD CONSTRAINT {name} CHECK ({new})")
        return

    def change(text: str) -> str:
        clause = f"CONSTRAINT {name} CHECK ({old})"
        assert clause in text, f"{table} has no {clause}"  # noqa: S101 (an error in the revision)
        return text.replace(clause, f"CONSTRAINT {name} CHECK ({new})")

    _rewrite_sqlite_table(table, change)


@contextmanager
def suspend_append_only(schema_name: str, table: str) -> Iterator[None]:
    """Allows updates of an append-only table while the block runs, as the role that sees all rows."""
    if is_postgresql():
        op.execute(f"ALTER TABLE {schema_name}.{table} DISABLE TRIGGER {table}_no_change")
        op.execute("SET LOCAL ROLE service_role")
        yield
        op.execute("RESET ROLE")
        op.execute(f"ALTER TABLE {schema_name}.{table} ENABLE TRIGGER {table}_no_change")
        return
    op.execute(f"DROP TRIGGER {table}_no_update")
    yield
    _reject_on_sqlite(table, "update")


def limit_transitions(schema_name: str, table: str, column: str, allowed: Collection[str]) -> None:
    """Adds a trigger that rejects all changes of the column except those in ``allowed``, such as ``"open>closed"``.

    The error is that of a CHECK constraint with the name ``ck_TABLE_COLUMN_transition``.
    """
    pairs = ", ".join(f"'{pair}'" for pair in allowed)
    name = f"{table}_{column}_transition"
    is_forbidden = f"OLD.{column} <> NEW.{column} AND OLD.{column} || '>' || NEW.{column} NOT IN ({pairs})"
    event = f"BEFORE UPDATE OF {column} ON {named(f'{schema_name}.{table}')} FOR EACH ROW"
    if not is_postgresql():
        raised = f"RAISE(ABORT, 'CHECK constraint failed: ck_{name}')"
        op.execute(f"CREATE TRIGGER {name} {event} WHEN {is_forbidden} BEGIN SELECT {raised}; END")
        return
    op.execute(
        f"CREATE FUNCTION {schema_name}.{name}() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN RAISE EXCEPTION "
        f"'{column} cannot change in this way' USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_{name}'; END $f$"
    )
    revoke_execute(f"{schema_name}.{name}")
    op.execute(f"CREATE TRIGGER {name} {event} WHEN ({is_forbidden}) EXECUTE FUNCTION {schema_name}.{name}()")


def allow_transitions(schema_name: str, table: str, column: str) -> None:
    """Reverses :func:`limit_transitions`."""
    name = f"{table}_{column}_transition"
    if is_postgresql():
        op.execute(f"DROP TRIGGER {name} ON {schema_name}.{table}")
        op.execute(f"DROP FUNCTION {schema_name}.{name}()")
    else:
        op.execute(f"DROP TRIGGER {name}")


def _check_clauses(checks: Mapping[str, str]) -> str:
    return "".join(f", CONSTRAINT {name} CHECK ({condition})" for name, condition in checks.items())


def _rewrite_sqlite_table(table: str, change: Callable[[str], str]) -> None:
    """Changes the stored CREATE TABLE text, because SQLite cannot ALTER the constraints of a table.

    SQLite documents this procedure for changes that do not affect the content of the file:
    https://sqlite.org/lang_altertable.html#otheralter
    """
    bind = op.get_bind()
    version: int = bind.exec_driver_sql("PRAGMA schema_version").scalar_one()
    bind.exec_driver_sql("PRAGMA writable_schema = ON")
    select = "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?"
    text: str = bind.exec_driver_sql(select, (table,)).scalar_one()
    update = "UPDATE sqlite_master SET sql = ? WHERE type = 'table' AND name = ?"
    bind.exec_driver_sql(update, (change(text), table))
    bind.exec_driver_sql(f"PRAGMA schema_version = {version + 1}")
    bind.exec_driver_sql("PRAGMA writable_schema = OFF")
