"""Removes settings that nothing reads, and records when a commission was paid.

Nothing sent the messages that ``user_preferences.notifications`` was about, ``user_preferences.language`` repeated
``users.locale``, no code read ``system_settings``, and the role ``content_editor`` granted nothing.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

from migrations.column_types import Flag, Id, Json, Timestamp
from migrations.helpers import (
    IS_ADMIN,
    add_checks,
    drop_checks,
    grant_columns,
    id_column,
    is_postgresql,
    named,
    ref,
    row_level_security,
    schema,
    timestamps,
)

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_ROLE = "019b7612-5800-7000-8000-000000000002"
_PAID = {"ck_referrals_commission_paid_at_shape": "commission_paid_at IS NULL OR status = 'won'"}
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_KEY_SHAPE = f"ltrim(substr(key, 1, 1), '{_LETTERS}') = '' AND ltrim(key, '{_LETTERS}0123456789_.') = ''"
_LANGUAGE_LENGTH = "length(language) BETWEEN 2 AND 35"
_LANGUAGE_SHAPE = "language ~ '^[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?$'"
_NOTIFICATIONS_SHAPE = (
    "jsonb_typeof(notifications) = 'object' AND notifications - ARRAY['email', 'push', 'digest'] = '{}' "
    """AND NOT notifications @? '$.* ? (@.type() != "boolean")'"""
)


def upgrade() -> None:
    op.add_column("referrals", sa.Column("commission_paid_at", Timestamp()), schema=schema("partnership"))
    add_checks("partnership", "referrals", _PAID)
    grant_columns("partnership.referrals", ["commission_paid_at"])
    op.create_index(
        "ix_referrals_commission_paid_at", "referrals", ["commission_paid_at"], schema=schema("partnership")
    )
    op.drop_table("system_settings", schema=schema("administration"))
    _remove_role()
    if is_postgresql():
        for column in ("language", "notifications"):
            op.drop_column("user_preferences", column, schema="identity")
    else:
        _recreate_preferences(has_removed_columns=False)


def _remove_role() -> None:
    """Removes the role with its grants, as the owner of the tables, whom their policies do not allow it."""
    tables = [("administration.user_roles", "role_id"), ("administration.roles", "id")]
    for table, column in tables:
        if is_postgresql():
            op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
            op.execute(f"DELETE FROM {table} WHERE {column} = '{_ROLE}'")
            op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        else:
            op.execute(f"DELETE FROM {table.partition('.')[2]} WHERE {column} = '{_ROLE}'")


def _recreate_preferences(*, has_removed_columns: bool) -> None:
    """Creates the table anew on SQLite, which cannot drop a column that a constraint names, and copies its rows."""
    removed = [sa.Column("language", sa.Text(), nullable=False, server_default="en"), _notifications_column()]
    op.execute("CREATE TEMPORARY TABLE kept_preferences AS SELECT * FROM user_preferences")
    op.drop_table("user_preferences")
    op.create_table(
        "user_preferences",
        id_column(),
        sa.Column("user_id", Id(), nullable=False),
        sa.Column("theme", sa.Text(), nullable=False, server_default="system"),
        *(removed if has_removed_columns else ()),
        sa.Column("week_starts_on", sa.Text(), nullable=False, server_default="monday"),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_user_preferences"),
        sa.ForeignKeyConstraint(["user_id"], [ref("identity.users.id")], name="fk_user_preferences_user_id"),
        sa.UniqueConstraint("user_id", name="uq_user_preferences_user_id"),
        sa.CheckConstraint("id = user_id", name=op.f("ck_user_preferences_id_shape")),
        sa.CheckConstraint("theme IN ('system', 'light', 'dark')", name=op.f("ck_user_preferences_theme_choice")),
        *(
            [sa.CheckConstraint(_LANGUAGE_LENGTH, name=op.f("ck_user_preferences_language_length"))]
            if has_removed_columns
            else ()
        ),
        sa.CheckConstraint(
            "week_starts_on IN ('monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday', 'sunday')",
            name=op.f("ck_user_preferences_week_starts_on_choice"),
        ),
    )
    columns = "id, user_id, theme, week_starts_on, version, created_at, updated_at"
    more, values = (", notifications", ", '{}'") if has_removed_columns else ("", "")
    op.execute(f"INSERT INTO user_preferences ({columns}{more}) SELECT {columns}{values} FROM kept_preferences")
    op.execute("DROP TABLE kept_preferences")


def _notifications_column(**values: Any) -> sa.Column[Any]:
    return sa.Column("notifications", Json(), nullable=False, **values)


def downgrade() -> None:
    """The removed tables and columns are empty."""
    _restore_preferences()
    _restore_role()
    _restore_settings()
    op.drop_index("ix_referrals_commission_paid_at", "referrals", schema=schema("partnership"))
    drop_checks("partnership", "referrals", _PAID)
    op.drop_column("referrals", "commission_paid_at", schema=schema("partnership"))


def _restore_preferences() -> None:
    if not is_postgresql():
        _recreate_preferences(has_removed_columns=True)
        return
    language: sa.Column[Any] = sa.Column("language", sa.Text(), nullable=False, server_default="en")
    for column in (language, _notifications_column(server_default="{}")):
        op.add_column("user_preferences", column, schema="identity")
    op.alter_column("user_preferences", "notifications", server_default=None, schema="identity")
    checks = {
        "ck_user_preferences_language_length": _LANGUAGE_LENGTH,
        "ck_user_preferences_language_shape": _LANGUAGE_SHAPE,
        "ck_user_preferences_notifications_shape": _NOTIFICATIONS_SHAPE,
    }
    add_checks("identity", "user_preferences", checks)
    grant_columns("identity.user_preferences", ["language", "notifications"])


def _restore_role() -> None:
    at = "'2026-01-01T00:00:00.000000+00:00'"
    values = f"'{_ROLE}', 'content_editor', 'Writes and publishes content.', {at}, {at}"
    if is_postgresql():
        op.execute("ALTER TABLE administration.roles NO FORCE ROW LEVEL SECURITY")
    table = named("administration.roles")
    op.execute(f"INSERT INTO {table} (id, name, description, created_at, updated_at) VALUES ({values})")
    if is_postgresql():
        op.execute("ALTER TABLE administration.roles FORCE ROW LEVEL SECURITY")


def _restore_settings() -> None:
    op.create_table(
        "system_settings",
        id_column(),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", Json()),
        sa.Column("secret", sa.Text()),
        sa.Column("description", sa.Text(), nullable=False, server_default=""),
        sa.Column("is_secret", Flag(), nullable=False, server_default=sa.text("'0'")),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_system_settings"),
        sa.UniqueConstraint("key", name="uq_system_settings_key"),
        sa.CheckConstraint("length(key) BETWEEN 1 AND 100", name=op.f("ck_system_settings_key_length")),
        sa.CheckConstraint("NOT (is_secret AND value IS NOT NULL)", name=op.f("ck_system_settings_value_shape")),
        sa.CheckConstraint("substr(secret, 1, 2) = '1.'", name=op.f("ck_system_settings_secret_shape")),
        sa.CheckConstraint(
            "length(description) BETWEEN 0 AND 1000", name=op.f("ck_system_settings_description_length")
        ),
        sa.CheckConstraint("is_secret OR secret IS NULL", name=op.f("ck_system_settings_secret_of_secret")),
        schema=schema("administration"),
    )
    add_checks("administration", "system_settings", {"ck_system_settings_key_shape": _KEY_SHAPE})
    row_level_security("administration.system_settings", read=IS_ADMIN, write=IS_ADMIN, secret={"secret"})
