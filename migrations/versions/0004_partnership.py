"""Partners and referrals."""

import sqlalchemy as sa
from alembic import op

from migrations.column_types import Day, Fixed, Id, Timestamp
from migrations.helpers import IS_ADMIN, drop_schema, has_role, id_column, is_postgresql, ref, schema, timestamps
from migrations.helpers_until_0016 import create_schema, row_level_security

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_PARTNER_INDEXES = (
    "commission_rate",
    "created_at",
    "kind",
    "manager_id",
    "started_on",
    "status",
    "updated_at",
)
_REFERRAL_INDEXES = {
    "closed_at": ["closed_at"],
    "created_at": ["created_at"],
    "partner_id": ["partner_id", "created_at"],
    "status": ["status", "partner_id"],
    "value": ["value"],
}


def upgrade() -> None:
    create_schema("partnership")
    _create_partners()
    _create_referrals()
    allowed = f"{IS_ADMIN} OR {has_role('partnership_manager')}"
    for table in ("partners", "referrals"):
        row_level_security(f"partnership.{table}", read=allowed, write=allowed)


def _create_partners() -> None:
    whole = 1 if is_postgresql() else 10_000
    op.create_table(
        "partners",
        id_column(),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False, server_default="prospect"),
        sa.Column("contact_email", sa.Text()),
        sa.Column("website", sa.Text()),
        sa.Column("commission_rate", Fixed(5, 4), nullable=False),
        sa.Column("started_on", Day()),
        sa.Column("ended_on", Day()),
        sa.Column("notes", sa.Text()),
        sa.Column("manager_id", Id(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("deleted_at", Timestamp()),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_partners"),
        sa.ForeignKeyConstraint(["manager_id"], [ref("identity.users.id")], name="fk_partners_manager_id"),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 255", name=op.f("ck_partners_name_length")),
        sa.CheckConstraint(
            "kind IN ('referral', 'reseller', 'affiliate', 'technology')", name=op.f("ck_partners_kind_choice")
        ),
        sa.CheckConstraint(
            "status IN ('prospect', 'active', 'paused', 'ended')", name=op.f("ck_partners_status_choice")
        ),
        sa.CheckConstraint("substr(contact_email, 1, 2) = '1.'", name=op.f("ck_partners_contact_email_shape")),
        sa.CheckConstraint("length(website) BETWEEN 1 AND 255", name=op.f("ck_partners_website_length")),
        sa.CheckConstraint(
            f"commission_rate >= 0 AND commission_rate <= {whole}", name=op.f("ck_partners_commission_rate_range")
        ),
        sa.CheckConstraint("ended_on >= started_on", name=op.f("ck_partners_ended_on_shape")),
        sa.CheckConstraint("length(notes) BETWEEN 0 AND 10000", name=op.f("ck_partners_notes_length")),
        schema=schema("partnership"),
    )
    for column in _PARTNER_INDEXES:
        op.create_index(f"ix_partners_{column}", "partners", [column], schema=schema("partnership"))


def _create_referrals() -> None:
    op.create_table(
        "referrals",
        id_column(),
        sa.Column("partner_id", Id(), nullable=False),
        sa.Column("client_name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False, server_default="submitted"),
        sa.Column("value", Fixed(15, 2)),
        sa.Column("commission", Fixed(15, 2)),
        sa.Column("closed_at", Timestamp()),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_referrals"),
        sa.ForeignKeyConstraint(["partner_id"], [ref("partnership.partners.id")], name="fk_referrals_partner_id"),
        sa.CheckConstraint("length(client_name) BETWEEN 1 AND 255", name=op.f("ck_referrals_client_name_length")),
        sa.CheckConstraint(
            "status IN ('submitted', 'qualified', 'won', 'lost')", name=op.f("ck_referrals_status_choice")
        ),
        sa.CheckConstraint("value >= 0", name=op.f("ck_referrals_value_range")),
        sa.CheckConstraint("status <> 'won' OR value IS NOT NULL", name=op.f("ck_referrals_value_shape")),
        sa.CheckConstraint("commission >= 0", name=op.f("ck_referrals_commission_range")),
        sa.CheckConstraint("(status = 'won') = (commission IS NOT NULL)", name=op.f("ck_referrals_commission_shape")),
        sa.CheckConstraint(
            "(status IN ('won', 'lost')) = (closed_at IS NOT NULL)", name=op.f("ck_referrals_closed_at_shape")
        ),
        schema=schema("partnership"),
    )
    for name, columns in _REFERRAL_INDEXES.items():
        op.create_index(f"ix_referrals_{name}", "referrals", columns, schema=schema("partnership"))


def downgrade() -> None:
    for table in ("referrals", "partners"):
        op.drop_table(table, schema=schema("partnership"))
    drop_schema("partnership")
