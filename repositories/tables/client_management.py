"""Clients, and the people to talk to there."""

from decimal import Decimal
from enum import StrEnum
from uuid import UUID

import sqlalchemy as sa

from repositories.permissions import RoleName
from repositories.sql.constraints import violation
from repositories.sql.policy import owner, policy, role
from repositories.sql.table import Column, SoftDeleted, Table, Versioned, column, is_web_address_sql
from repositories.sql.types import Fixed


class ClientStatus(StrEnum):
    """How a business relation stands."""

    LEAD = "lead"
    ACTIVE = "active"
    INACTIVE = "inactive"
    CHURNED = "churned"


class Client(Versioned, SoftDeleted, Table, schema="client_management", name="clients"):
    """A company that somebody does business with; ``created_by`` is its owner."""

    __slots__ = ()
    company_name: Column[str] = column(length=(1, 255), single_line=True)
    primary_contact_id: Column[UUID | None] = column()
    status: Column[ClientStatus] = column(default=ClientStatus.ACTIVE)
    industry: Column[str | None] = column(length=(1, 100), single_line=True)
    website: Column[str | None] = column(check=f"length(website) <= 255 AND {is_web_address_sql('website')}")
    annual_revenue: Column[Decimal | None] = column(sql_type=Fixed(15, 2), range=(0, None))
    employee_count: Column[int | None] = column(range=(0, None))
    created_by: Column[UUID] = column(references="identity.users.id")

    __table_args__ = (
        sa.UniqueConstraint("created_by", "id", name="uq_clients_owner"),
        sa.ForeignKeyConstraint(
            ["id", "primary_contact_id"],
            ["client_management.contacts.client_id", "client_management.contacts.id"],
            name="fk_clients_primary_contact",
            use_alter=True,
        ),
        sa.Index("ix_clients_created_by_annual_revenue", "created_by", "annual_revenue"),
        sa.Index("ix_clients_created_by_company_name", "created_by", "company_name"),
        sa.Index("ix_clients_created_by_created_at", "created_by", "created_at"),
        sa.Index("ix_clients_created_by_employee_count", "created_by", "employee_count"),
        sa.Index("ix_clients_created_by_industry", "created_by", "industry"),
        sa.Index("ix_clients_created_by_status", "created_by", "status"),
        sa.Index("ix_clients_created_by_updated_at", "created_by", "updated_at"),
    )


_ALIVE = sa.text("deleted_at IS NULL")
_PRIMARY = sa.text("is_primary")


class Contact(SoftDeleted, Table, schema="client_management", name="contacts"):
    """A person at a client. ``user_id`` is the client's owner, copied so that policies need not look it up.

    E-mail address and phone number are stored encrypted.
    """

    __slots__ = ()
    client_id: Column[UUID] = column()
    user_id: Column[UUID] = column()
    first_name: Column[str] = column(length=(1, 100), single_line=True)
    last_name: Column[str] = column(length=(1, 100), single_line=True)
    email: Column[str] = column(encrypted=True)
    email_index: Column[str] = column(length=(64, 64), secret=True)
    phone: Column[str | None] = column(encrypted=True)
    position: Column[str | None] = column(length=(1, 100), single_line=True)
    is_primary: Column[bool] = column(default=False)

    __table_args__ = (
        sa.ForeignKeyConstraint(
            ["user_id", "client_id"],
            ["client_management.clients.created_by", "client_management.clients.id"],
            name="fk_contacts_client",
        ),
        sa.UniqueConstraint("client_id", "id", name="uq_contacts_client"),
        sa.Index(
            "uq_contacts_user_id_email_index",
            "user_id",
            "email_index",
            unique=True,
            postgresql_where=_ALIVE,
            sqlite_where=_ALIVE,
            info=violation("email", "You already have a contact with this e-mail address."),
        ),
        sa.Index(
            "uq_contacts_primary",
            "client_id",
            unique=True,
            postgresql_where=_PRIMARY,
            sqlite_where=_PRIMARY,
            info=violation("is_primary", "This client has another primary contact."),
        ),
        sa.Index("ix_contacts_email_index", "email_index"),
        sa.Index("ix_contacts_user_id", "user_id", "client_id"),
    )


policy(
    Client,
    read=owner(Client.created_by) | role(RoleName.ADMIN),
    write=owner(Client.created_by) | role(RoleName.ADMIN),
)
policy(
    Contact,
    read=owner(Contact.user_id) | role(RoleName.ADMIN),
    write=owner(Contact.user_id) | role(RoleName.ADMIN),
)
