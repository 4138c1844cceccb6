"""Clients, and the people to talk to there."""

from decimal import Decimal
from uuid import UUID

import sqlalchemy as sa

from repositories.described_enum import DescribedEnum
from repositories.permissions import RoleName
from repositories.sql.aggregate import Commands, aggregate
from repositories.sql.constraints import violation
from repositories.sql.filters import SortKey
from repositories.sql.policy import owner, role
from repositories.sql.table import (
    Column,
    Format,
    Inverse,
    SoftDeleted,
    Table,
    Versioned,
    Writer,
    column,
    is_web_address_sql,
)
from repositories.sql.types import Fixed


class ClientStatus(DescribedEnum):
    """The state of the business relation with a client."""

    LEAD = "lead", "Might become a client."
    ACTIVE = "active", "Does business with the owner."
    INACTIVE = "inactive", "Does no business with the owner at present."
    CHURNED = "churned", "Has ended the business relation."


class Client(Versioned, SoftDeleted, Table, schema="client_management", name="clients"):
    """A company with which a user does business."""

    __slots__ = ()
    company_name: Column[str] = column(
        "The name of the company.", length=(1, 255), single_line=True, searched=True, filtered=True, sorted=True
    )
    primary_contact_id: Column[UUID | None] = column(
        "The contact to talk to first, one of the client's contacts.", writer=Writer.GATEWAY, history=True
    )
    status: Column[ClientStatus] = column(
        "The state of the business relation.",
        default=ClientStatus.ACTIVE,
        filtered=True,
        sorted=True,
        history=True,
    )
    industry: Column[str | None] = column(
        "The industry of the company. Null if it is unknown.",
        length=(1, 100),
        single_line=True,
        searched=True,
        filtered=True,
        sorted=True,
    )
    website: Column[str | None] = column(
        "The address of the company's website, http or https, at most 255 characters. Null if it is unknown.",
        format=Format.WEB_ADDRESS,
        check=f"length(website) <= 255 AND {is_web_address_sql('website')}",
        filtered=True,
    )
    annual_revenue: Column[Decimal | None] = column(
        "The revenue of the company in a year, 0 or more, with at most 13 digits before the decimal point and 2 after "
        "it. Null if it is unknown.",
        sql_type=Fixed(15, 2),
        range=(0, None),
        filtered=True,
        sorted=True,
        history=True,
    )
    employee_count: Column[int | None] = column(
        "The number of people who work at the company. Null if it is unknown.",
        range=(0, None),
        filtered=True,
        sorted=True,
        history=True,
    )
    created_by: Column[UUID] = column(
        "The user who owns the client.",
        references="identity.users.id",
        writer=Writer.GATEWAY,
        filtered=True,
        history=True,
    )

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
    """A person at a client.

    ``user_id`` is the client's owner, copied so that policies need not look it up. E-mail address and phone number are
    stored encrypted.
    """

    __slots__ = ()
    client_id: Column[UUID] = column(
        "The client at which the person works.",
        inverse=Inverse("contacts", "The contacts of the client."),
        writer=Writer.ON_CREATE,
        filtered=True,
    )
    user_id: Column[UUID] = column()
    first_name: Column[str] = column(
        "The first name.", length=(1, 100), single_line=True, searched=True, filtered=True, sorted=True
    )
    last_name: Column[str] = column(
        "The last name.", length=(1, 100), single_line=True, searched=True, filtered=True, sorted=True
    )
    email: Column[str] = column(
        "The e-mail address, unique among the contacts of all clients of the same owner, ignoring case.",
        format=Format.EMAIL,
        encrypted=True,
    )
    email_index: Column[str] = column(length=(64, 64), secret=True)
    phone: Column[str | None] = column(
        "The phone number in E.164, such as +49301234567. Null if it is unknown.", format=Format.PHONE, encrypted=True
    )
    position: Column[str | None] = column(
        "The position of the person at the client. Null if it is unknown.",
        length=(1, 100),
        single_line=True,
        searched=True,
        filtered=True,
        sorted=True,
    )
    is_primary: Column[bool] = column(
        "Whether this is the contact to talk to first. A client has at most one.",
        default=False,
        writer=Writer.ON_CREATE,
        filtered=True,
        sorted=True,
        history=True,
    )

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
            info=violation(
                "email",
                "You already have a contact with this e-mail address.",
                twice="This e-mail address is in the list twice.",
            ),
        ),
        sa.Index(
            "uq_contacts_primary",
            "client_id",
            unique=True,
            postgresql_where=_PRIMARY,
            sqlite_where=_PRIMARY,
            info=violation(
                "is_primary",
                "This client has another primary contact.",
                twice="Only one contact can be the primary one.",
            ),
        ),
        sa.Index("ix_contacts_email_index", "email_index"),
        sa.Index("ix_contacts_user_id", "user_id", "client_id"),
    )


aggregate(
    Client,
    read=owner(Client.created_by) | role(RoleName.ADMIN),
    write=owner(Client.created_by) | role(RoleName.ADMIN),
    order=(SortKey("company_name"),),
    order_text="by name",
)
aggregate(
    Contact,
    read=owner(Contact.user_id) | role(RoleName.ADMIN),
    write=owner(Contact.user_id) | role(RoleName.ADMIN),
    order=(SortKey("last_name"), SortKey("first_name")),
    order_text="by last name, then by first name",
    parent=Contact.client_id,
    verbs={Commands.CREATE: "add", Commands.DELETE: "remove"},
)
