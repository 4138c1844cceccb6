"""What the migrations share: the few places where the engines differ, and row-level security."""

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa
from alembic import op

from migrations.column_types import Id, Timestamp

ROLES = "anon, authenticated, service_role"


def has_role(name: str) -> str:
    """The condition that the viewer has a role."""
    return f"(SELECT auth.jwt() -> 'app_metadata' -> 'roles' ? '{name}')"


IS_ADMIN = has_role("admin")
IS_SIGNED_IN = "(SELECT auth.uid()) IS NOT NULL"


def is_postgresql() -> bool:
    """Whether this run is on PostgreSQL; else it is on SQLite."""
    return op.get_bind().dialect.name == "postgresql"


def schema(name: str) -> str | None:
    """The schema of a domain; SQLite has none."""
    return name if is_postgresql() else None


def ref(path: str) -> str:
    """``schema.table.column`` as a foreign key's target."""
    return path if is_postgresql() else path.split(".", 1)[1]


def create_schema(name: str) -> None:
    """A domain's schema, open to the viewers' roles; what they see there is up to the policies."""
    if is_postgresql():
        op.execute(f"CREATE SCHEMA IF NOT EXISTS {name}")
        op.execute(f"GRANT USAGE ON SCHEMA {name} TO {ROLES}")


def drop_schema(name: str) -> None:
    """Undoes :func:`create_schema`; fails if something is left in it."""
    if is_postgresql():
        op.execute(f"DROP SCHEMA {name}")


def id_column() -> sa.Column[Any]:
    """The key that every table has."""
    return sa.Column("id", Id(), nullable=False)


def timestamps() -> list[sa.Column[Any]]:
    """The two moments that every changeable table has."""
    return [sa.Column("created_at", Timestamp(), nullable=False), sa.Column("updated_at", Timestamp(), nullable=False)]


def row_level_security(table: str, *, read: str, write: str) -> None:
    """Enforces a policy on ``schema.table``; SQLite gets it from the seam instead."""
    if not is_postgresql():
        return
    rules = {
        "viewer_select": f"FOR SELECT TO anon, authenticated USING ({read})",
        "viewer_insert": f"FOR INSERT TO anon, authenticated WITH CHECK ({write})",
        "viewer_update": f"FOR UPDATE TO anon, authenticated USING ({write}) WITH CHECK ({write})",
        "viewer_delete": f"FOR DELETE TO anon, authenticated USING ({write})",
        "service": "FOR ALL TO service_role USING (true) WITH CHECK (true)",
    }
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    for name, rule in rules.items():
        op.execute(f"CREATE POLICY {name} ON {table} {rule}")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {ROLES}")


def append_only(schema_name: str, table: str) -> None:
    """Lets the database itself refuse that a row is ever changed or deleted."""
    if not is_postgresql():
        for name in ("update", "delete"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{name} BEFORE {name.upper()} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
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


def owned_by(column: str) -> str:
    """The condition that the row is the viewer's own."""
    return f"{column} = (SELECT auth.uid())"


def add_checks(schema_name: str, table: str, checks: Mapping[str, str]) -> None:
    """Conditions by name that all rows of a table have to meet from now on."""
    if is_postgresql():
        for name, condition in checks.items():
            op.execute(f"ALTER TABLE {schema_name}.{table} ADD CONSTRAINT {name} CHECK ({condition})")
        return
    _rewrite(table, lambda text: text.rstrip()[:-1] + _clauses(checks) + text.rstrip()[-1])


def drop_checks(schema_name: str, table: str, checks: Mapping[str, str]) -> None:
    """Undoes :func:`add_checks`."""
    if is_postgresql():
        for name in checks:
            op.execute(f"ALTER TABLE {schema_name}.{table} DROP CONSTRAINT {name}")
        return
    _rewrite(table, lambda text: text.replace(_clauses(checks), ""))


def _clauses(checks: Mapping[str, str]) -> str:
    return "".join(f", CONSTRAINT {name} CHECK ({condition})" for name, condition in checks.items())


def _rewrite(table: str, change: Callable[[str], str]) -> None:
    """Changes the declaration of a table on SQLite, which knows no ALTER for conditions.

    This is how https://sqlite.org/lang_altertable.html#otheralter has it for changes that no stored row depends on.
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
