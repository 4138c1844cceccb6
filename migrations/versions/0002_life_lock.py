"""Tasks, categories and a user's days."""

import sqlalchemy as sa
from alembic import op

from migrations.column_types import Day, Fixed, Id, Timestamp
from migrations.helpers import IS_ADMIN, drop_schema, id_column, is_postgresql, owned_by, ref, schema, timestamps
from migrations.helpers_until_0016 import ROLES, create_schema, row_level_security

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_INDEXES = {
    "ix_tasks_category_id": ["category_id"],
    "ix_tasks_user_id_completed_at": ["user_id", "completed_at"],
    "ix_tasks_user_id_created_at": ["user_id", "created_at"],
    "ix_tasks_user_id_due_date": ["user_id", "due_date", "id"],
    "ix_tasks_user_id_priority_level": ["user_id", "priority_level", "due_date", "id"],
    "ix_tasks_user_id_status": ["user_id", "status"],
    "ix_tasks_user_id_updated_at": ["user_id", "updated_at"],
}


def upgrade() -> None:
    create_schema("life_lock")
    _create_categories()
    _create_tasks()
    _create_task_analytics()
    for table in ("categories", "tasks", "task_analytics"):
        row_level_security(f"life_lock.{table}", read=f"{owned_by('user_id')} OR {IS_ADMIN}", write=owned_by("user_id"))
    _create_statistics()


def _create_categories() -> None:
    op.create_table(
        "categories",
        id_column(),
        sa.Column("user_id", Id(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("color", sa.Text(), nullable=False),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_categories"),
        sa.ForeignKeyConstraint(["user_id"], [ref("identity.users.id")], name="fk_categories_user_id"),
        sa.UniqueConstraint("user_id", "name", name="uq_categories_user_id_name"),
        sa.UniqueConstraint("user_id", "id", name="uq_categories_owner"),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 100", name=op.f("ck_categories_name_length")),
        sa.CheckConstraint(
            "length(color) = 7 AND substr(color, 1, 1) = '#' "
            "AND ltrim(substr(color, 2), '0123456789abcdefABCDEF') = ''",
            name=op.f("ck_categories_color_shape"),
        ),
        schema=schema("life_lock"),
    )


def _create_tasks() -> None:
    op.create_table(
        "tasks",
        id_column(),
        sa.Column("user_id", Id(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text()),
        sa.Column("status", sa.Text(), nullable=False, server_default="pending"),
        sa.Column("priority_level", sa.Integer(), nullable=False, server_default=sa.text("3")),
        sa.Column("category_id", Id()),
        sa.Column("due_date", Timestamp()),
        sa.Column("completed_at", Timestamp()),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("deleted_at", Timestamp()),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_tasks"),
        sa.ForeignKeyConstraint(["user_id"], [ref("identity.users.id")], name="fk_tasks_user_id"),
        sa.ForeignKeyConstraint(
            ["user_id", "category_id"],
            [ref("life_lock.categories.user_id"), ref("life_lock.categories.id")],
            name="fk_tasks_category",
        ),
        sa.CheckConstraint("length(title) BETWEEN 1 AND 255", name=op.f("ck_tasks_title_length")),
        sa.CheckConstraint("length(description) BETWEEN 0 AND 10000", name=op.f("ck_tasks_description_length")),
        sa.CheckConstraint("priority_level >= 1 AND priority_level <= 5", name=op.f("ck_tasks_priority_level_range")),
        sa.CheckConstraint(
            "status IN ('pending', 'in_progress', 'completed', 'cancelled')", name=op.f("ck_tasks_status_choice")
        ),
        sa.CheckConstraint(
            "(status = 'completed') = (completed_at IS NOT NULL)", name=op.f("ck_tasks_completed_at_shape")
        ),
        schema=schema("life_lock"),
    )
    for name, columns in _INDEXES.items():
        op.create_index(name, "tasks", columns, schema=schema("life_lock"))


def _create_task_analytics() -> None:
    op.create_table(
        "task_analytics",
        id_column(),
        sa.Column("user_id", Id(), nullable=False),
        sa.Column("date", Day(), nullable=False),
        sa.Column("tasks_completed", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("tasks_created", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("productivity_score", Fixed(5, 2), nullable=False, server_default=sa.text("0")),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_task_analytics"),
        sa.ForeignKeyConstraint(["user_id"], [ref("identity.users.id")], name="fk_task_analytics_user_id"),
        sa.UniqueConstraint("user_id", "date", name="uq_task_analytics_user_id_date"),
        sa.CheckConstraint("tasks_completed >= 0", name=op.f("ck_task_analytics_tasks_completed_range")),
        sa.CheckConstraint("tasks_created >= 0", name=op.f("ck_task_analytics_tasks_created_range")),
        schema=schema("life_lock"),
    )


def _create_statistics() -> None:
    """Creates the totals per user, on PostgreSQL as a materialized view.

    A materialized view has no policies, so viewers read it through a second view that returns rows only to admins.
    """
    counts = ", ".join(
        f"count(t.id) FILTER (WHERE t.status = '{status}') AS {status}_tasks"
        for status in ("pending", "in_progress", "completed", "cancelled")
    )
    at = "now()" if is_postgresql() else "strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')"
    rate = (
        "round(100.0 * count(t.id) FILTER (WHERE t.status = 'completed') / greatest(count(t.id), 1), 2)::numeric(5, 2)"
        if is_postgresql()
        else "(20000 * count(t.id) FILTER (WHERE t.status = 'completed') + max(count(t.id), 1)) "
        "/ (2 * max(count(t.id), 1))"
    )
    select = (
        f"SELECT u.id, u.id AS user_id, count(t.id) AS total_tasks, {counts}, "
        "count(t.id) FILTER (WHERE t.status NOT IN ('completed', 'cancelled') AND t.due_date < {at}) AS overdue_tasks, "
        "{rate} AS completion_rate, max(t.updated_at) AS last_activity "
        "FROM {users} u LEFT JOIN {tasks} t ON t.user_id = u.id AND t.deleted_at IS NULL "
        "WHERE u.deleted_at IS NULL GROUP BY u.id"
    )
    if is_postgresql():
        text = select.format(at=at, rate=rate, users="identity.users", tasks="life_lock.tasks")
        op.execute("GRANT CREATE ON SCHEMA life_lock TO service_role")
        op.execute(f"CREATE MATERIALIZED VIEW life_lock.user_dashboard_stats AS {text}")
        op.execute("CREATE UNIQUE INDEX uq_user_dashboard_stats_user_id ON life_lock.user_dashboard_stats (user_id)")
        op.execute("ALTER MATERIALIZED VIEW life_lock.user_dashboard_stats OWNER TO service_role")
        op.execute(
            "CREATE VIEW life_lock.visible_user_dashboard_stats WITH (security_barrier) AS "
            f"SELECT * FROM life_lock.user_dashboard_stats WHERE {IS_ADMIN} OR current_user = 'service_role'"
        )
        op.execute("ALTER VIEW life_lock.visible_user_dashboard_stats OWNER TO service_role")
        op.execute(f"GRANT SELECT ON life_lock.visible_user_dashboard_stats TO {ROLES}")
        return
    op.execute("CREATE VIEW user_dashboard_stats AS " + select.format(at=at, rate=rate, users="users", tasks="tasks"))
    op.execute("CREATE VIEW visible_user_dashboard_stats AS SELECT * FROM user_dashboard_stats")


def downgrade() -> None:
    prefix = "life_lock." if is_postgresql() else ""
    op.execute(f"DROP VIEW {prefix}visible_user_dashboard_stats")
    op.execute(f"DROP {'MATERIALIZED ' if is_postgresql() else ''}VIEW {prefix}user_dashboard_stats")
    for table in ("task_analytics", "tasks", "categories"):
        op.drop_table(table, schema=schema("life_lock"))
    drop_schema("life_lock")
