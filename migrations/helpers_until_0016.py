"""Helpers of the revisions before 0017, in which the gateway used the roles of other clients of the database.

Revision 0017 replaces the policies and grants that these functions create.
"""

from alembic import op

from migrations.helpers import is_postgresql

ROLES = "anon, authenticated, service_role"


def create_schema(name: str) -> None:
    """Creates a domain's schema and grants the viewers' roles access to it. The policies decide which rows they see."""
    if is_postgresql():
        op.execute(f"CREATE SCHEMA IF NOT EXISTS {name}")
        op.execute(f"GRANT USAGE ON SCHEMA {name} TO {ROLES}")


def row_level_security(table: str, *, read: str, write: str) -> None:
    """Creates the policies of ``schema.table`` on PostgreSQL. On SQLite the database interface enforces them."""
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
