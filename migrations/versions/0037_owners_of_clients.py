"""A client and its contacts can get another owner, whose account then stores them.

On PostgreSQL, the triggers of revision 0033 count by owner already. Those on
SQLite expect that an owner never changes.
"""

from collections.abc import Mapping

from alembic import op

from migrations.helpers import is_postgresql

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None

_TABLES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "clients": ("created_by", ("company_name", "industry", "website")),
    "contacts": ("user_id", ("first_name", "last_name", "email", "phone", "position")),
}


def upgrade() -> None:
    if is_postgresql():
        return
    for table, (owner, texts) in _TABLES.items():
        size = " + ".join(f"coalesce(length(CAST(OLD.{text} AS BLOB)), 0)" for text in texts)
        op.execute(
            f"CREATE TRIGGER {table}_usage_owner AFTER UPDATE OF {owner} ON {table} WHEN NEW.{owner} <> OLD.{owner} "
            f"BEGIN UPDATE account_usage SET row_count = row_count - 1, byte_count = byte_count - ({size}) "
            f"WHERE id = OLD.{owner}; "
            f"INSERT INTO account_usage (id, row_count, byte_count) VALUES (NEW.{owner}, 1, {size}) ON CONFLICT (id) "
            "DO UPDATE SET row_count = row_count + 1, byte_count = byte_count + excluded.byte_count; END"
        )


def downgrade() -> None:
    if is_postgresql():
        return
    for table in _TABLES:
        op.execute(f"DROP TRIGGER {table}_usage_owner")
