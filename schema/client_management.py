"""The GraphQL fields of clients and contacts."""

import strawberry

from repositories.permissions import Permission, RoleName
from repositories.sql.aggregate import aggregates
from repositories.tables import client_management as rows
from resolvers.client_management import commands, queries
from schema.aggregates.fields import list_arguments
from schema.aggregates.list_inputs import filter_of, order_of
from schema.aggregates.objects import connection_type
from schema.operations.mutation import mutation
from schema.types.connections import connection
from schema.types.derived_types import query

_CONTACT = aggregates[rows.Contact]
_WRITE = Permission.CLIENT_WRITE


@strawberry.type
class ClientQueries:
    client_dashboard = query(queries.client_dashboard, requires=Permission.CLIENT_READ)
    contacts = connection(
        queries.contacts,
        description=f"The contacts of all clients that the viewer may see. By default {_CONTACT.order_text}.",
        requires=_CONTACT.readers,
        filter=filter_of(_CONTACT),
        order=order_of(_CONTACT),
        kind=connection_type(_CONTACT),
        **list_arguments(_CONTACT),
    )


_WRITE = Permission.CLIENT_WRITE


@strawberry.type
class ClientMutations:
    create_client = mutation(commands.create_client, requires=_WRITE)
    transfer_client = mutation(commands.transfer_client, requires=frozenset({RoleName.ADMIN}))
    set_primary_contact = mutation(commands.set_primary_contact, requires=_WRITE)
    add_contact = mutation(commands.add_contact, requires=_WRITE)
