"""Sessions and preferences, and indexes for lists of users."""

import sqlalchemy as sa
from alembic import op

from migrations.column_types import Id, Json, Timestamp
from migrations.helpers import (
    IS_ADMIN,
    add_checks,
    drop_checks,
    id_column,
    is_postgresql,
    owned_by,
    ref,
    schema,
    timestamps,
)
from migrations.helpers_until_0016 import row_level_security

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_LISTED_USERS = ("created_at", "last_login", "role")
_CHECKED_USERS = {
    "ck_users_phone_shape": "substr(phone, 1, 2) = '1.'",
    "ck_users_avatar_url_length": "length(avatar_url) BETWEEN 1 AND 255",
    "ck_users_time_zone_length": "length(time_zone) BETWEEN 1 AND 64",
    "ck_users_locale_length": "length(locale) BETWEEN 2 AND 35",
}

_GUARDED = ("id", "email", "role", "email_verified", "stripe_customer_id")
_IS_VIEWER = f"current_user IN ('anon', 'authenticated') AND NOT coalesce({IS_ADMIN}, false)"


def upgrade() -> None:
    _create_sessions()
    _create_user_preferences()
    own, own_or_admin = owned_by("user_id"), f"{owned_by('user_id')} OR {IS_ADMIN}"
    row_level_security("identity.sessions", read=own_or_admin, write=own_or_admin)
    row_level_security("identity.user_preferences", read=own_or_admin, write=own)
    add_checks("identity", "users", _CHECKED_USERS)
    for column in _LISTED_USERS:
        op.create_index(f"ix_users_{column}", "users", [column], schema=schema("identity"))
    _guard_accounts()


def _guard_accounts() -> None:
    """Creates a trigger that keeps users from making themselves admins and from ending their own suspension.

    Row-level security protects rows, not columns.
    """
    if not is_postgresql():
        return
    changed = " OR ".join(f"NEW.{column} IS DISTINCT FROM OLD.{column}" for column in _GUARDED)
    op.execute(
        "CREATE FUNCTION identity.users_guard() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN "
        f"IF {_IS_VIEWER} THEN "
        "IF TG_OP = 'INSERT' THEN IF NEW.role <> 'user' OR NEW.email_verified THEN "
        "RAISE EXCEPTION 'not for viewers' USING ERRCODE = 'insufficient_privilege'; END IF; "
        f"ELSIF {changed} OR (NEW.status <> OLD.status AND NEW.status <> 'deactivated') THEN "
        "RAISE EXCEPTION 'not for viewers' USING ERRCODE = 'insufficient_privilege'; END IF; "
        "END IF; RETURN NEW; END $f$"
    )
    op.execute(
        "CREATE TRIGGER users_guard BEFORE INSERT OR UPDATE ON identity.users "
        "FOR EACH ROW EXECUTE FUNCTION identity.users_guard()"
    )


def _create_sessions() -> None:
    op.create_table(
        "sessions",
        id_column(),
        sa.Column("user_id", Id(), nullable=False),
        sa.Column("refresh_token_hash", sa.Text(), nullable=False),
        sa.Column("user_agent", sa.Text()),
        sa.Column("ip", sa.Text()),
        sa.Column("expires_at", Timestamp(), nullable=False),
        sa.Column("revoked_at", Timestamp()),
        sa.Column("last_seen_at", Timestamp(), nullable=False),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
        sa.ForeignKeyConstraint(["user_id"], [ref("identity.users.id")], name="fk_sessions_user_id"),
        sa.UniqueConstraint("refresh_token_hash", name="uq_sessions_refresh_token_hash"),
        sa.CheckConstraint(
            "length(refresh_token_hash) BETWEEN 64 AND 64", name=op.f("ck_sessions_refresh_token_hash_length")
        ),
        sa.CheckConstraint("length(user_agent) BETWEEN 0 AND 500", name=op.f("ck_sessions_user_agent_length")),
        sa.CheckConstraint("length(ip) BETWEEN 1 AND 45", name=op.f("ck_sessions_ip_length")),
        schema=schema("identity"),
    )
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"], schema=schema("identity"))
    op.create_index(
        "ix_sessions_user_id_last_seen_at", "sessions", ["user_id", "last_seen_at"], schema=schema("identity")
    )


def _create_user_preferences() -> None:
    op.create_table(
        "user_preferences",
        id_column(),
        sa.Column("user_id", Id(), nullable=False),
        sa.Column("theme", sa.Text(), nullable=False, server_default="system"),
        sa.Column("language", sa.Text(), nullable=False, server_default="en"),
        sa.Column("notifications", Json(), nullable=False),
        sa.Column("week_starts_on", sa.Text(), nullable=False, server_default="monday"),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_user_preferences"),
        sa.ForeignKeyConstraint(["user_id"], [ref("identity.users.id")], name="fk_user_preferences_user_id"),
        sa.UniqueConstraint("user_id", name="uq_user_preferences_user_id"),
        sa.CheckConstraint("id = user_id", name=op.f("ck_user_preferences_id_shape")),
        sa.CheckConstraint("theme IN ('system', 'light', 'dark')", name=op.f("ck_user_preferences_theme_choice")),
        sa.CheckConstraint("length(language) BETWEEN 2 AND 35", name=op.f("ck_user_preferences_language_length")),
        sa.CheckConstraint(
            "week_starts_on IN ('monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday', 'sunday')",
            name=op.f("ck_user_preferences_week_starts_on_choice"),
        ),
        schema=schema("identity"),
    )


def downgrade() -> None:
    if is_postgresql():
        op.execute("DROP TRIGGER users_guard ON identity.users")
        op.execute("DROP FUNCTION identity.users_guard()")
    for column in _LISTED_USERS:
        op.drop_index(f"ix_users_{column}", "users", schema=schema("identity"))
    drop_checks("identity", "users", _CHECKED_USERS)
    for table in ("user_preferences", "sessions"):
        op.drop_table(table, schema=schema("identity"))
