"""What clients see of clients, contacts and their dashboard."""

from decimal import Decimal

import strawberry

from repositories import client_management as data
from repositories.permissions import Permission, RoleName
from repositories.sql.aggregate import aggregates
from repositories.tables import client_management as rows
from resolvers.client_management import commands, queries
from schema.aggregates.fields import list_arguments
from schema.aggregates.list_inputs import filter_of, order_of
from schema.aggregates.objects import aggregate_view, connection_type, type_of
from schema.operations.mutation import mutation
from schema.types.connections import connection
from schema.types.view import Argument, Node, column, computed, query, view

_CONTACT = aggregates[rows.Contact]


@aggregate_view(rows.Client)
class Client(Node):
    __slots__ = ()


@view(data.StatusTotal)
class ClientStatusTotal:
    """The number of clients with a status."""

    status: rows.ClientStatus = column("The status.")
    total: int = column("The number of clients with this status, 0 included.")


@view(data.IndustryTotal)
class ClientIndustryTotal:
    """The number of clients in an industry."""

    industry: str | None = column("The industry. Null stands for the clients whose industry is unknown.")
    total: int = column("The number of clients in this industry.")


@strawberry.type(
    description="Statistics of the viewer's clients. Each field executes one statement, and only if it is selected."
)
class ClientDashboard:
    """The three fields about revenue share one statement."""

    by_status: list[ClientStatusTotal] = computed(
        queries.Dashboard.by_status, "The number of clients with each status, also of statuses that no client has."
    )
    by_industry: list[ClientIndustryTotal] = computed(
        queries.Dashboard.by_industry,
        "The number of clients in each industry, the most frequent first, and those without one last.",
    )
    total_revenue: Decimal = computed(
        queries.Dashboard.total_revenue, "The sum of the annual revenues that are known, 0 if none is known."
    )
    mean_revenue: Decimal | None = computed(
        queries.Dashboard.mean_revenue, "The mean of the annual revenues that are known. Null if none is known."
    )
    clients_with_revenue: int = computed(
        queries.Dashboard.clients_with_revenue, "The number of clients whose annual revenue is known."
    )
    newest: list[Client] = computed(
        queries.Dashboard.newest,
        "The clients that were created last, the newest first.",
        first=Argument(int, "Maximum number of clients, 1 to 500.", 5),
    )


@strawberry.type
class ClientQueries:
    contacts = connection(
        queries.contacts,
        f"The contacts of all clients that the viewer may see. By default {_CONTACT.order_text}.",
        requires=_CONTACT.readers,
        filter=filter_of(_CONTACT),
        order=order_of(_CONTACT),
        kind=connection_type(_CONTACT) | None,
        **list_arguments(_CONTACT),
        email=Argument(
            str | None,
            "A whole e-mail address in any spelling: the list has only the contacts with this address, at most one of "
            "each owner. By default it has contacts with any address.",
            strawberry.UNSET,
        ),
    )
    client_dashboard: ClientDashboard | None = query(
        queries.dashboard, "Statistics of the viewer's clients.", requires=Permission.CLIENT_READ
    )


_WRITE = Permission.CLIENT_WRITE


@strawberry.type
class ClientMutations:
    create_client = mutation(commands.create_client, returns=Client, requires=_WRITE)
    transfer_client = mutation(commands.transfer_client, returns=Client, requires=frozenset({RoleName.ADMIN}))
    set_primary_contact = mutation(commands.set_primary_contact, returns=Client, requires=_WRITE)
    add_contact = mutation(commands.add_contact, returns=type_of(rows.Contact), requires=_WRITE)
