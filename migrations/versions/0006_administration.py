"""Roles, grants of roles, settings, and indexes for the audit log."""

import datetime as dt
from uuid import UUID

import sqlalchemy as sa
from alembic import op

from migrations.column_types import Flag, Id, Json, Timestamp
from migrations.helpers import IS_ADMIN, drop_schema, id_column, ref, schema, timestamps
from migrations.helpers_until_0016 import create_schema, row_level_security

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
_ROLES = {
    "partnership_manager": ("019b7612-5800-7000-8000-000000000001", "Looks after partners and their referrals."),
    "content_editor": ("019b7612-5800-7000-8000-000000000002", "Writes and publishes content."),
    "admin": ("019b7612-5800-7000-8000-000000000003", "Sees and administers everything."),
}
_EVENT_INDEXES = {"timestamp": ["timestamp"], "aggregate_type": ["aggregate_type", "timestamp"]}


def upgrade() -> None:
    create_schema("administration")
    _create_roles()
    _create_user_roles()
    _create_system_settings()
    row_level_security("administration.roles", read=IS_ADMIN, write="false")
    for table in ("user_roles", "system_settings"):
        row_level_security(f"administration.{table}", read=IS_ADMIN, write=IS_ADMIN)
    for name, columns in _EVENT_INDEXES.items():
        op.create_index(f"ix_domain_events_{name}", "domain_events", columns, schema=schema("public"))


def _create_roles() -> None:
    """Creates the table and its rows, before row-level security applies to the owner as well."""
    table = op.create_table(
        "roles",
        id_column(),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_roles"),
        sa.UniqueConstraint("name", name="uq_roles_name"),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 100", name=op.f("ck_roles_name_length")),
        sa.CheckConstraint("length(description) BETWEEN 0 AND 1000", name=op.f("ck_roles_description_length")),
        schema=schema("administration"),
    )
    rows = [
        {"id": UUID(key), "name": name, "description": description, "created_at": _NOW, "updated_at": _NOW}
        for name, (key, description) in _ROLES.items()
    ]
    op.bulk_insert(table, rows)


def _create_user_roles() -> None:
    op.create_table(
        "user_roles",
        id_column(),
        sa.Column("user_id", Id(), nullable=False),
        sa.Column("role_id", Id(), nullable=False),
        sa.Column("granted_by", Id(), nullable=False),
        sa.Column("granted_at", Timestamp(), nullable=False),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_user_roles"),
        sa.ForeignKeyConstraint(["user_id"], [ref("identity.users.id")], name="fk_user_roles_user_id"),
        sa.ForeignKeyConstraint(["role_id"], [ref("administration.roles.id")], name="fk_user_roles_role_id"),
        sa.ForeignKeyConstraint(["granted_by"], [ref("identity.users.id")], name="fk_user_roles_granted_by"),
        sa.UniqueConstraint("user_id", "role_id", name="uq_user_roles_user_id_role_id"),
        schema=schema("administration"),
    )
    for column in ("role_id", "granted_by"):
        op.create_index(f"ix_user_roles_{column}", "user_roles", [column], schema=schema("administration"))


def _create_system_settings() -> None:
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


def downgrade() -> None:
    for name in _EVENT_INDEXES:
        op.drop_index(f"ix_domain_events_{name}", "domain_events", schema=schema("public"))
    for table in ("system_settings", "user_roles", "roles"):
        op.drop_table(table, schema=schema("administration"))
    drop_schema("administration")
