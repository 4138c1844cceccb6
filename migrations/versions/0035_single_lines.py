"""Names and titles without control characters, line breaks and characters without width."""

from collections.abc import Iterator, Mapping

from alembic import op

from migrations.helpers import add_checks, drop_checks, is_postgresql

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None

_COLUMNS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("life_lock", "categories"): ("name",),
    ("life_lock", "tasks"): ("title",),
    ("client_management", "clients"): ("company_name", "industry"),
    ("client_management", "contacts"): ("first_name", "last_name", "position"),
    ("gamification", "achievements"): ("name",),
    ("gamification", "rewards"): ("name",),
    ("identity", "users"): ("first_name", "last_name"),
    ("partnership", "partners"): ("name",),
    ("partnership", "referrals"): ("client_name",),
}
_FORBIDDEN = r"[\u0001-\u001F\u007F-\u009F\u2028\u2029\u200B\u2060\uFEFF]"


def upgrade() -> None:
    """Replaces each such character by U+FFFD, which keeps the length of the text and does not make two texts equal.

    Only on PostgreSQL: SQLite has no regular expressions, and only the gateway writes there, which checks its inputs.
    """
    if not is_postgresql():
        return
    for (schema, table), columns in _COLUMNS.items():
        name = f"{schema}.{table}"
        op.execute(f"ALTER TABLE {name} NO FORCE ROW LEVEL SECURITY")
        for column in columns:
            replaced = rf"regexp_replace({column}, '{_FORBIDDEN}', U&'\FFFD', 'g')"
            op.execute(f"UPDATE {name} SET {column} = {replaced} WHERE {column} ~ '{_FORBIDDEN}'")
        op.execute(f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY")
    for schema, table, checks in _checks():
        add_checks(schema, table, checks)


def downgrade() -> None:
    if not is_postgresql():
        return
    for schema, table, checks in _checks():
        drop_checks(schema, table, checks)


def _checks() -> Iterator[tuple[str, str, Mapping[str, str]]]:
    for (schema, table), columns in _COLUMNS.items():
        yield schema, table, {f"ck_{table}_{column}_line": f"{column} !~ '{_FORBIDDEN}'" for column in columns}
