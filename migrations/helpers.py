"""What the migrations share: the few places where the engines differ, and row-level security."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from repositories.tables import Id, Timestamp

ROLES = "anon, authenticated, service_role"


def has_role(name: str) -> str:
    """The condition that the viewer has a role."""
    return f"(SELECT auth.jwt() -> 'app_metadata' -> 'roles' ? '{name}')"


IS_ADMIN = has_role("admin")


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


def owned_by(column: str) -> str:
    """The condition that the row is the viewer's own."""
    return f"{column} = (SELECT auth.uid())"
