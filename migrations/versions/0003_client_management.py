"""Clients and their contacts."""

import sqlalchemy as sa
from alembic import op

from migrations.column_types import Fixed, Flag, Id, Timestamp
from migrations.helpers import IS_ADMIN, drop_schema, id_column, is_postgresql, owned_by, ref, schema, timestamps
from migrations.helpers_until_0016 import create_schema, row_level_security

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_CLIENT_INDEXES = {
    "ix_clients_created_by_annual_revenue": ["created_by", "annual_revenue"],
    "ix_clients_created_by_company_name": ["created_by", "company_name"],
    "ix_clients_created_by_created_at": ["created_by", "created_at"],
    "ix_clients_created_by_employee_count": ["created_by", "employee_count"],
    "ix_clients_created_by_industry": ["created_by", "industry"],
    "ix_clients_created_by_status": ["created_by", "status"],
    "ix_clients_created_by_updated_at": ["created_by", "updated_at"],
}
_PRIMARY_CONTACT = (
    "fk_clients_primary_contact",
    ["id", "primary_contact_id"],
    ["client_management.contacts.client_id", "client_management.contacts.id"],
)


def upgrade() -> None:
    create_schema("client_management")
    _create_clients()
    _create_contacts()
    for table, owner in (("clients", "created_by"), ("contacts", "user_id")):
        rule = f"{owned_by(owner)} OR {IS_ADMIN}"
        row_level_security(f"client_management.{table}", read=rule, write=rule)


def _create_clients() -> None:
    """Creates the clients before the contacts that they refer to.

    SQLite accepts a foreign key to a table that does not exist yet, but cannot add a foreign key later.
    """
    name, columns, targets = _PRIMARY_CONTACT
    op.create_table(
        "clients",
        id_column(),
        sa.Column("company_name", sa.Text(), nullable=False),
        sa.Column("primary_contact_id", Id()),
        sa.Column("status", sa.Text(), nullable=False, server_default="active"),
        sa.Column("industry", sa.Text()),
        sa.Column("website", sa.Text()),
        sa.Column("annual_revenue", Fixed(15, 2)),
        sa.Column("employee_count", sa.Integer()),
        sa.Column("created_by", Id(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("deleted_at", Timestamp()),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_clients"),
        sa.ForeignKeyConstraint(["created_by"], [ref("identity.users.id")], name="fk_clients_created_by"),
        sa.UniqueConstraint("created_by", "id", name="uq_clients_owner"),
        *([] if is_postgresql() else [sa.ForeignKeyConstraint(columns, [ref(path) for path in targets], name=name)]),
        sa.CheckConstraint("length(company_name) BETWEEN 1 AND 255", name=op.f("ck_clients_company_name_length")),
        sa.CheckConstraint(
            "status IN ('lead', 'active', 'inactive', 'churned')", name=op.f("ck_clients_status_choice")
        ),
        sa.CheckConstraint("length(industry) BETWEEN 1 AND 100", name=op.f("ck_clients_industry_length")),
        sa.CheckConstraint(
            "length(website) <= 255 "
            "AND (substr(lower(website), 1, 7) = 'http://' OR substr(lower(website), 1, 8) = 'https://')",
            name=op.f("ck_clients_website_shape"),
        ),
        sa.CheckConstraint("annual_revenue >= 0", name=op.f("ck_clients_annual_revenue_range")),
        sa.CheckConstraint("employee_count >= 0", name=op.f("ck_clients_employee_count_range")),
        schema=schema("client_management"),
    )
    for index, indexed in _CLIENT_INDEXES.items():
        op.create_index(index, "clients", indexed, schema=schema("client_management"))


def _create_contacts() -> None:
    op.create_table(
        "contacts",
        id_column(),
        sa.Column("client_id", Id(), nullable=False),
        sa.Column("user_id", Id(), nullable=False),
        sa.Column("first_name", sa.Text(), nullable=False),
        sa.Column("last_name", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("email_index", sa.Text(), nullable=False),
        sa.Column("phone", sa.Text()),
        sa.Column("position", sa.Text()),
        sa.Column("is_primary", Flag(), nullable=False, server_default=sa.text("'0'")),
        sa.Column("deleted_at", Timestamp()),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_contacts"),
        sa.ForeignKeyConstraint(
            ["user_id", "client_id"],
            [ref("client_management.clients.created_by"), ref("client_management.clients.id")],
            name="fk_contacts_client",
        ),
        sa.UniqueConstraint("client_id", "id", name="uq_contacts_client"),
        sa.CheckConstraint("length(first_name) BETWEEN 1 AND 100", name=op.f("ck_contacts_first_name_length")),
        sa.CheckConstraint("length(last_name) BETWEEN 1 AND 100", name=op.f("ck_contacts_last_name_length")),
        sa.CheckConstraint("substr(email, 1, 2) = '1.'", name=op.f("ck_contacts_email_shape")),
        sa.CheckConstraint("length(email_index) BETWEEN 64 AND 64", name=op.f("ck_contacts_email_index_length")),
        sa.CheckConstraint("substr(phone, 1, 2) = '1.'", name=op.f("ck_contacts_phone_shape")),
        sa.CheckConstraint("length(position) BETWEEN 1 AND 100", name=op.f("ck_contacts_position_length")),
        schema=schema("client_management"),
    )
    _create_contact_indexes()
    if is_postgresql():
        name, columns, targets = _PRIMARY_CONTACT
        op.create_foreign_key(
            name,
            "clients",
            "contacts",
            columns,
            [path.rsplit(".", 1)[1] for path in targets],
            source_schema="client_management",
            referent_schema="client_management",
        )


def _create_contact_indexes() -> None:
    at = schema("client_management")
    op.create_index("ix_contacts_email_index", "contacts", ["email_index"], schema=at)
    op.create_index("ix_contacts_user_id", "contacts", ["user_id", "client_id"], schema=at)
    for name, columns, condition in (
        ("uq_contacts_user_id_email_index", ["user_id", "email_index"], "deleted_at IS NULL"),
        ("uq_contacts_primary", ["client_id"], "is_primary"),
    ):
        where = sa.text(condition)
        op.create_index(name, "contacts", columns, unique=True, schema=at, postgresql_where=where, sqlite_where=where)


def downgrade() -> None:
    if is_postgresql():
        op.drop_constraint(_PRIMARY_CONTACT[0], "clients", schema="client_management")
    for table in ("contacts", "clients"):
        op.drop_table(table, schema=schema("client_management"))
    drop_schema("client_management")
