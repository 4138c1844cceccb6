"""Tasks can be assigned to a second user, who may read them.

Those who may read a task may read the names of its owner and its assignee.
"""

import sqlalchemy as sa
from alembic import op

from migrations.column_types import Id
from migrations.helpers import (
    IS_ADMIN,
    ROLES,
    add_foreign_key,
    drop_foreign_key,
    grant_columns,
    is_postgresql,
    named,
    owned_by,
    schema,
)

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None

_INDEX = "ix_tasks_assignee_id_priority_level"
_KEY = ("life_lock", "tasks", "fk_tasks_assignee_id", "assignee_id", "identity.users")


def upgrade() -> None:
    op.add_column("tasks", sa.Column("assignee_id", Id()), schema=schema("life_lock"))
    add_foreign_key(*_KEY)
    grant_columns("life_lock.tasks", ["assignee_id"])
    op.create_index(
        _INDEX,
        "tasks",
        ["assignee_id", "priority_level", "due_date", "id"],
        schema=schema("life_lock"),
        postgresql_where=sa.text("assignee_id IS NOT NULL"),
        sqlite_where=sa.text("assignee_id IS NOT NULL"),
    )
    _let_read(f"{owned_by('user_id')} OR {owned_by('assignee_id')} AND deleted_at IS NULL OR {IS_ADMIN}")
    _create_names()


def _let_read(condition: str) -> None:
    """SQLite has no policies: the gateway adds the declared conditions to its statements."""
    if is_postgresql():
        op.execute(f"ALTER POLICY viewer_select ON life_lock.tasks USING ({condition})")


def _create_names() -> None:
    """Creates the view with the names, which viewers may not read from the table of users."""
    names = {
        f"{person}_name": f"{alias}.first_name || ' ' || substr({alias}.last_name, 1, 1) || '.'"
        for person, alias in (("owner", "o"), ("assignee", "a"))
    }
    select = (
        f"SELECT t.id, t.user_id, t.assignee_id, {', '.join(f'{text} AS {name}' for name, text in names.items())} "
        f"FROM {named('life_lock.tasks')} t JOIN {named('identity.users')} o ON o.id = t.user_id "
        f"LEFT JOIN {named('identity.users')} a ON a.id = t.assignee_id WHERE t.deleted_at IS NULL"
    )
    if not is_postgresql():
        op.execute(f"CREATE VIEW task_names AS {select}")
        return
    readers = f"{owned_by('t.user_id')} OR {owned_by('t.assignee_id')} OR {IS_ADMIN} OR current_user = 'service_role'"
    op.execute(f"CREATE VIEW life_lock.task_names WITH (security_barrier) AS {select} AND ({readers})")
    op.execute("ALTER VIEW life_lock.task_names OWNER TO service_role")
    op.execute(f"GRANT SELECT ON life_lock.task_names TO {ROLES}")


def downgrade() -> None:
    op.execute(f"DROP VIEW {named('life_lock.task_names')}")
    _let_read(f"{owned_by('user_id')} OR {IS_ADMIN}")
    op.drop_index(_INDEX, "tasks", schema=schema("life_lock"))
    drop_foreign_key(*_KEY)
    op.drop_column("tasks", "assignee_id", schema=schema("life_lock"))
