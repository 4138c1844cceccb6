"""Achievements, points, rewards and the leaderboard."""

import datetime as dt
from uuid import UUID

import sqlalchemy as sa
from alembic import op

from migrations.column_types import Flag, Id, Json, Timestamp
from migrations.helpers import (
    IS_ADMIN,
    IS_SIGNED_IN,
    append_only,
    drop_schema,
    id_column,
    is_postgresql,
    owned_by,
    ref,
    schema,
    timestamps,
)
from migrations.helpers_until_0016 import ROLES, create_schema, row_level_security

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TABLES = ("achievements", "user_achievements", "point_entries", "rewards", "reward_redemptions")
_AT = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
_DEFAULTS = (
    ("019b76da-a800-7000-8000-000000000001", "first_task", "First step", "Complete a task.", 10, {"count": 1}),
    ("019b76da-a800-7000-8000-000000000002", "ten_tasks", "Getting going", "Complete 10 tasks.", 50, {"count": 10}),
    (
        "019b76da-a800-7000-8000-000000000003",
        "hundred_tasks",
        "Unstoppable",
        "Complete 100 tasks.",
        250,
        {"count": 100},
    ),
    (
        "019b76da-a800-7000-8000-000000000004",
        "week_streak",
        "A whole week",
        "Complete a task on 7 days in a row.",
        100,
        {"streak_days": 7},
    ),
)


def upgrade() -> None:
    create_schema("gamification")
    _create_achievements()
    _create_point_entries()
    _create_rewards()
    for table in ("achievements", "rewards"):
        row_level_security(f"gamification.{table}", read=IS_SIGNED_IN, write=IS_ADMIN)
    own_or_admin = f"{owned_by('user_id')} OR {IS_ADMIN}"
    for table in ("user_achievements", "point_entries", "reward_redemptions"):
        row_level_security(f"gamification.{table}", read=own_or_admin, write=own_or_admin)
    append_only("gamification", "point_entries")
    _guard_stock()
    _create_leaderboard()
    op.create_index(
        "ix_domain_events_user_id_event_type",
        "domain_events",
        ["user_id", "event_type", "aggregate_id"],
        schema=schema("public"),
    )


def _create_achievements() -> None:
    achievements = op.create_table(
        "achievements",
        id_column(),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("points", sa.Integer(), nullable=False),
        sa.Column("criteria", Json(), nullable=False),
        sa.Column("is_active", Flag(), nullable=False, server_default=sa.text("'1'")),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_achievements"),
        sa.UniqueConstraint("code", name="uq_achievements_code"),
        sa.CheckConstraint("length(code) BETWEEN 1 AND 50", name=op.f("ck_achievements_code_length")),
        sa.CheckConstraint(
            "ltrim(code, 'abcdefghijklmnopqrstuvwxyz0123456789_') = ''", name=op.f("ck_achievements_code_shape")
        ),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 100", name=op.f("ck_achievements_name_length")),
        sa.CheckConstraint("length(description) BETWEEN 1 AND 500", name=op.f("ck_achievements_description_length")),
        sa.CheckConstraint("points >= 1 AND points <= 100000", name=op.f("ck_achievements_points_range")),
        sa.CheckConstraint(
            "coalesce(criteria ->> 'event', '') = 'TaskCompleted' "
            "AND (criteria ->> 'count' IS NULL) <> (criteria ->> 'streak_days' IS NULL) "
            "AND coalesce(CAST(criteria ->> 'count' AS INTEGER), 1) BETWEEN 1 AND 1000000 "
            "AND coalesce(CAST(criteria ->> 'streak_days' AS INTEGER), 1) BETWEEN 1 AND 100",
            name=op.f("ck_achievements_criteria_shape"),
        ),
        schema=schema("gamification"),
    )
    op.create_index("ix_achievements_points", "achievements", ["points", "code"], schema=schema("gamification"))
    names = ("id", "code", "name", "description", "points", "criteria")
    op.bulk_insert(
        achievements,
        [
            dict(zip(names, row, strict=True))
            | {"id": UUID(row[0]), "criteria": {"event": "TaskCompleted"} | row[-1]}
            | {"created_at": _AT, "updated_at": _AT}
            for row in _DEFAULTS
        ],
    )
    op.create_table(
        "user_achievements",
        id_column(),
        sa.Column("user_id", Id(), nullable=False),
        sa.Column("achievement_id", Id(), nullable=False),
        sa.Column("unlocked_at", Timestamp(), nullable=False),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_user_achievements"),
        sa.ForeignKeyConstraint(["user_id"], [ref("identity.users.id")], name="fk_user_achievements_user_id"),
        sa.ForeignKeyConstraint(
            ["achievement_id"], [ref("gamification.achievements.id")], name="fk_user_achievements_achievement_id"
        ),
        sa.UniqueConstraint("user_id", "achievement_id", name="uq_user_achievements_user_id_achievement_id"),
        schema=schema("gamification"),
    )
    op.create_index(
        "ix_user_achievements_achievement_id", "user_achievements", ["achievement_id"], schema=schema("gamification")
    )


def _create_point_entries() -> None:
    op.create_table(
        "point_entries",
        id_column(),
        sa.Column("user_id", Id(), nullable=False),
        sa.Column("points", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("source_event_id", Id(), nullable=False),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_point_entries"),
        sa.ForeignKeyConstraint(["user_id"], [ref("identity.users.id")], name="fk_point_entries_user_id"),
        sa.ForeignKeyConstraint(
            ["source_event_id"], [ref("public.domain_events.id")], name="fk_point_entries_source_event_id"
        ),
        sa.UniqueConstraint("source_event_id", name="uq_point_entries_source_event_id"),
        sa.CheckConstraint("points <> 0", name=op.f("ck_point_entries_points_shape")),
        sa.CheckConstraint(
            "reason IN ('task_completed', 'task_reopened', 'achievement_unlocked', 'reward_redeemed', "
            "'redemption_refunded')",
            name=op.f("ck_point_entries_reason_choice"),
        ),
        schema=schema("gamification"),
    )
    for name, columns in {
        "ix_point_entries_user_id_created_at": ["user_id", "created_at", "id"],
        "ix_point_entries_created_at": ["created_at"],
    }.items():
        op.create_index(name, "point_entries", columns, schema=schema("gamification"))


def _create_rewards() -> None:
    op.create_table(
        "rewards",
        id_column(),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text()),
        sa.Column("cost", sa.Integer(), nullable=False),
        sa.Column("stock", sa.Integer()),
        sa.Column("is_active", Flag(), nullable=False, server_default=sa.text("'1'")),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_rewards"),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 100", name=op.f("ck_rewards_name_length")),
        sa.CheckConstraint("length(description) BETWEEN 0 AND 2000", name=op.f("ck_rewards_description_length")),
        sa.CheckConstraint("cost >= 1 AND cost <= 1000000", name=op.f("ck_rewards_cost_range")),
        sa.CheckConstraint("stock >= 0", name=op.f("ck_rewards_stock_range")),
        schema=schema("gamification"),
    )
    op.create_index("ix_rewards_cost", "rewards", ["cost", "id"], schema=schema("gamification"))
    op.create_table(
        "reward_redemptions",
        id_column(),
        sa.Column("user_id", Id(), nullable=False),
        sa.Column("reward_id", Id(), nullable=False),
        sa.Column("cost", sa.Integer(), nullable=False),
        sa.Column("redeemed_at", Timestamp(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False, server_default="redeemed"),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_reward_redemptions"),
        sa.ForeignKeyConstraint(["user_id"], [ref("identity.users.id")], name="fk_reward_redemptions_user_id"),
        sa.ForeignKeyConstraint(
            ["reward_id"], [ref("gamification.rewards.id")], name="fk_reward_redemptions_reward_id"
        ),
        sa.CheckConstraint("cost >= 1 AND cost <= 1000000", name=op.f("ck_reward_redemptions_cost_range")),
        sa.CheckConstraint(
            "status IN ('redeemed', 'fulfilled', 'refunded')", name=op.f("ck_reward_redemptions_status_choice")
        ),
        schema=schema("gamification"),
    )
    for name, columns in {
        "ix_reward_redemptions_reward_id": ["reward_id"],
        "ix_reward_redemptions_user_id_redeemed_at": ["user_id", "redeemed_at", "id"],
        "ix_reward_redemptions_status": ["status", "redeemed_at", "id"],
    }.items():
        op.create_index(name, "reward_redemptions", columns, schema=schema("gamification"))


def _guard_stock() -> None:
    """Creates triggers: a redemption takes one item from the stock of its reward, and a refund returns it.

    Users who redeem a reward may not write rewards. On PostgreSQL the function therefore belongs to ``service_role``.
    It takes no argument and changes only the reward of the row.
    """
    change = (
        "UPDATE {rewards} SET stock = stock {by} 1, version = version + 1, updated_at = NEW.updated_at "
        "WHERE id = NEW.reward_id AND stock IS NOT NULL"
    )
    is_refund = "OLD.status <> 'refunded' AND NEW.status = 'refunded'"
    moments = {"take": "AFTER INSERT", "give_back": "AFTER UPDATE OF status"}
    if not is_postgresql():
        for name, by in (("take", "-"), ("give_back", "+")):
            when = "" if name == "take" else f"WHEN {is_refund} "
            op.execute(
                f"CREATE TRIGGER reward_redemptions_{name} {moments[name]} ON reward_redemptions {when}"
                f"BEGIN {change.format(rewards='rewards', by=by)}; END"
            )
        return
    op.execute("GRANT CREATE ON SCHEMA gamification TO service_role")
    for name, by in (("take", "-"), ("give_back", "+")):
        function = f"gamification.reward_redemptions_{name}()"
        when = "" if name == "take" else f"WHEN ({is_refund}) "
        op.execute(
            f"CREATE FUNCTION {function} RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' "
            f"AS $f$ BEGIN {change.format(rewards='gamification.rewards', by=by)}; RETURN NULL; END $f$"
        )
        op.execute(
            f"CREATE TRIGGER reward_redemptions_{name} {moments[name]} ON gamification.reward_redemptions "
            f"FOR EACH ROW {when}EXECUTE FUNCTION {function}"
        )
        op.execute(f"ALTER FUNCTION {function} OWNER TO service_role")


def _create_leaderboard() -> None:
    """Creates the view with the names and points of all users, which viewers may not read from the tables."""
    periods = {"week": "7 days", "month": "30 days", "all": None}
    is_earned = "p.reason IN ('task_completed', 'task_reopened', 'achievement_unlocked')"
    parts = []
    for period, length in periods.items():
        since = "TRUE"
        if length is not None:
            since = (
                f"p.created_at >= now() - interval '{length}'"
                if is_postgresql()
                else f"p.created_at >= strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now', '-{length}')"
            )
        parts.append(
            f"SELECT '{period}' AS period, u.first_name || ' ' || substr(u.last_name, 1, 1) || '.' AS display_name, "
            f"sum(p.points) AS points FROM {_named('identity.users')} u "
            f"JOIN {_named('gamification.point_entries')} p ON p.user_id = u.id "
            f"WHERE u.deleted_at IS NULL AND u.status = 'active' AND {is_earned} AND {since} "
            "GROUP BY u.id, u.first_name, u.last_name HAVING sum(p.points) > 0"
        )
    union = " UNION ALL ".join(parts)
    if not is_postgresql():
        op.execute(f"CREATE VIEW leaderboard AS {union}")
        return
    op.execute(
        "CREATE VIEW gamification.leaderboard WITH (security_barrier) AS "
        f"SELECT * FROM ({union}) earned WHERE {IS_SIGNED_IN} OR current_user = 'service_role'"
    )
    op.execute("ALTER VIEW gamification.leaderboard OWNER TO service_role")
    op.execute(f"GRANT SELECT ON gamification.leaderboard TO {ROLES}")


def _named(path: str) -> str:
    """Returns ``schema.table``, without the schema on SQLite."""
    return path if is_postgresql() else path.split(".", 1)[1]


def downgrade() -> None:
    op.drop_index("ix_domain_events_user_id_event_type", "domain_events", schema=schema("public"))
    op.execute(f"DROP VIEW {_named('gamification.leaderboard')}")
    for table in reversed(_TABLES):
        op.drop_table(table, schema=schema("gamification"))
    if is_postgresql():
        for function in ("point_entries_are_append_only", "reward_redemptions_take", "reward_redemptions_give_back"):
            op.execute(f"DROP FUNCTION gamification.{function}()")
    drop_schema("gamification")
