"""What clients see of clients, contacts and their dashboard."""

import datetime as dt
from decimal import Decimal
from typing import Annotated

import strawberry

from repositories import client_management as data
from repositories.permissions import Permission
from repositories.tables import client_management as rows
from resolvers.client_management import commands, queries
from schema.identity import User
from schema.operations.mutation import mutation
from schema.types.connections import ConnectionView, connection, pages
from schema.types.enums import describe_enum
from schema.types.filter_inputs import (
    BooleanFilter,
    ChoiceFilter,
    DateTimeFilter,
    DecimalFilter,
    IdFilter,
    IntFilter,
    TextFilter,
    filter_input,
    order_input,
    where,
)
from schema.types.view import Argument, Node, column, computed, edge, encrypted, id_argument, query, view

describe_enum(
    rows.ClientStatus,
    "How a business relation stands.",
    LEAD="Might become a client.",
    ACTIVE="Business is being done.",
    INACTIVE="No business at present.",
    CHURNED="Has left.",
)


@filter_input(rows.Contact, searched=("first_name", "last_name", "position"))
class ContactFilter:
    """Which contacts; all conditions that are given must hold. Addresses are looked up with `contacts(email:)`."""

    id: IdFilter | None = where("The contact's id.", key="Contact")
    first_name: TextFilter | None = where("The first name.")
    last_name: TextFilter | None = where("The last name.")
    position: TextFilter | None = where("What the person does there.")
    is_primary: BooleanFilter | None = where("Whether it is the client's primary contact.")
    created_at: DateTimeFilter | None = where("When it was made.")
    updated_at: DateTimeFilter | None = where("When it was last changed.")


ContactOrder = order_input(
    rows.Contact,
    first_name="The first name, whatever its case.",
    last_name="The last name, whatever its case.",
    position="What the person does there, whatever its case.",
    is_primary="The primary contact last, or first if descending.",
    created_at="When it was made.",
    updated_at="When it was last changed.",
)


@filter_input(rows.Client, searched=("company_name", "industry"))
class ClientFilter:
    """Which clients; all conditions that are given must hold."""

    id: IdFilter | None = where("The client's id.", key="Client")
    created_by: IdFilter | None = where("Whose client; of use to admins, who see everybody's.", key="User")
    company_name: TextFilter | None = where("What the company is called.")
    status: ChoiceFilter[rows.ClientStatus] | None = where("How the business relation stands.")
    industry: TextFilter | None = where("What the company does.")
    website: TextFilter | None = where("The address of its website.")
    annual_revenue: DecimalFilter | None = where("What it turns over in a year.")
    employee_count: IntFilter | None = where("How many people work there.")
    created_at: DateTimeFilter | None = where("When it was made.")
    updated_at: DateTimeFilter | None = where("When it was last changed.")


ClientOrder = order_input(
    rows.Client,
    company_name="What the company is called, whatever its case.",
    status="The status by name.",
    industry="What the company does, whatever its case.",
    annual_revenue="What it turns over in a year.",
    employee_count="How many people work there.",
    created_at="When it was made.",
    updated_at="When it was last changed.",
)


@view(rows.Contact, node=queries.contact)
class Contact(Node):
    """A person to talk to at a client."""

    client: Annotated["Client", strawberry.lazy("schema.client_management")] | None = edge(
        queries.client_of_contact, "The client."
    )
    first_name: str = column("The first name.")
    last_name: str = column("The last name.")
    email: str | None = encrypted(
        rows.Contact.email,
        "The e-mail address. It is stored encrypted; null, with an error, only if it cannot be read.",
    )
    phone: str | None = encrypted(
        rows.Contact.phone, "The phone number in E.164, such as +49301234567; stored encrypted."
    )
    position: str | None = column("What the person does there.")
    is_primary: bool = column("Whether this is the person to talk to first.")
    created_at: dt.datetime = column("When it was made.")
    updated_at: dt.datetime = column("When it was last changed.")
    deleted_at: dt.datetime | None = column("When it was removed; only in the answer of `removeContact`.")


@view(rows.Client, node=queries.client)
class Client(Node):
    """A company that somebody does business with."""

    company_name: str = column("What the company is called.")
    status: rows.ClientStatus = column("How the business relation stands.")
    industry: str | None = column("What the company does.")
    website: str | None = column("The address of its website.")
    annual_revenue: Decimal | None = column("What it turns over in a year.")
    employee_count: int | None = column("How many people work there.")
    primary_contact: Contact | None = edge(queries.primary_contact_of_client, "The person to talk to first.")
    contacts: ConnectionView[Contact] = pages(
        queries.contacts_of_client, "Its contacts; by default by name.", filter=ContactFilter, order=ContactOrder
    )
    created_by: User | None = edge(queries.creator_of_client, "Whose client it is.")
    version: int = column("Grows with every change; `updateClient` wants the one that was seen.")
    created_at: dt.datetime = column("When it was made.")
    updated_at: dt.datetime = column("When it was last changed.")
    deleted_at: dt.datetime | None = column("When it was deleted; only in the answer of `deleteClient`.")


@view(data.StatusTotal)
class ClientStatusTotal:
    """How many clients have a status."""

    status: rows.ClientStatus = column("The status.")
    total: int = column("How many clients have it.")


@view(data.IndustryTotal)
class ClientIndustryTotal:
    """How many clients are of an industry."""

    industry: str | None = column("The industry; null stands for clients without one.")
    total: int = column("How many clients are of it.")


@strawberry.type(
    description="A person's clients at a glance. Each tile is one statement; what is not asked for costs nothing."
)
class ClientDashboard:
    """Tiles. The three numbers about revenue come from one pass over the clients and count as one tile."""

    by_status: list[ClientStatusTotal] = computed(
        queries.Dashboard.by_status, "How many clients have each status, those that none has included."
    )
    by_industry: list[ClientIndustryTotal] = computed(
        queries.Dashboard.by_industry, "Clients by industry, the most frequent first; those without one come last."
    )
    total_revenue: Decimal = computed(queries.Dashboard.total_revenue, "The sum of the annual revenues that are known.")
    mean_revenue: Decimal | None = computed(
        queries.Dashboard.mean_revenue, "The mean of the annual revenues that are known; null if none is."
    )
    clients_with_revenue: int = computed(
        queries.Dashboard.clients_with_revenue, "For how many clients the annual revenue is known."
    )
    newest: list[Client] = computed(
        queries.Dashboard.newest,
        "The clients that were made last, the latest first.",
        first=Argument(int, "How many at most, 1 to 500.", 5),
    )


@strawberry.type
class ClientQueries:
    """Root fields."""

    client: Client | None = query(
        queries.client,
        "The client of an id.",
        requires=Permission.CLIENT_READ,
        id=id_argument("Client", "The client's id."),
    )
    clients: ConnectionView[Client] | None = connection(
        queries.clients,
        "The clients the viewer may see; by default by name.",
        requires=Permission.CLIENT_READ,
        filter=ClientFilter,
        order=ClientOrder,
    )
    contacts: list[Contact] | None = query(
        queries.contacts,
        "The contacts with an e-mail address that the viewer may see: at most one, except for admins.",
        requires=Permission.CLIENT_READ,
        email=Argument(str, "The whole address, in any case."),
        first=Argument(int, "How many at most, 1 to 500.", 50),
    )
    client_dashboard: ClientDashboard | None = query(
        queries.dashboard, "The viewer's clients at a glance.", requires=Permission.CLIENT_READ
    )


_WRITE = Permission.CLIENT_WRITE


@strawberry.type
class ClientMutations:
    """Root fields."""

    create_client = mutation(commands.create_client, returns=Client, requires=_WRITE)
    update_client = mutation(commands.update_client, returns=Client, requires=_WRITE)
    delete_client = mutation(commands.delete_client, returns=Client, requires=_WRITE)
    restore_client = mutation(commands.restore_client, returns=Client, requires=_WRITE)
    set_primary_contact = mutation(commands.set_primary_contact, returns=Client, requires=_WRITE)
    add_contact = mutation(commands.add_contact, returns=Contact, requires=_WRITE)
    update_contact = mutation(commands.update_contact, returns=Contact, requires=_WRITE)
    remove_contact = mutation(commands.remove_contact, returns=Contact, requires=_WRITE)
