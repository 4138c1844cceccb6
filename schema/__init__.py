"""The GraphQL schema: types, inputs and root fields, and schema.graphql, which is generated from them and committed.

This layer contains what clients see, with a description for everything. It may import ``resolvers`` and the row classes
of ``repositories``. It contains no behaviour and no SQL, and the layers below must not import it.
"""

import strawberry
from graphql import GraphQLError
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionContext

from schema.administration import AdministrationMutations, AdministrationQueries
from schema.aggregates.fields import derive_roots
from schema.client_management import ClientMutations, ClientQueries
from schema.commerce import CommerceMutations, CommerceQueries
from schema.events import EventQueries, EventSubscriptions
from schema.gamification import GamificationMutations, GamificationQueries
from schema.identity import IdentityMutations, IdentityQueries
from schema.life_lock import LifeLockMutations, LifeLockQueries, LifeLockSubscriptions
from schema.node import NodeQueries
from schema.partnership import PartnershipMutations, PartnershipQueries
from schema.types.scalars import SCALARS

_QUERIES = (
    NodeQueries,
    IdentityQueries,
    LifeLockQueries,
    ClientQueries,
    PartnershipQueries,
    GamificationQueries,
    CommerceQueries,
    AdministrationQueries,
    EventQueries,
)
_MUTATIONS = (
    IdentityMutations,
    LifeLockMutations,
    ClientMutations,
    PartnershipMutations,
    GamificationMutations,
    CommerceMutations,
    AdministrationMutations,
)
_SUBSCRIPTIONS = (LifeLockSubscriptions, EventSubscriptions)
_DERIVED_QUERIES, _DERIVED_MUTATIONS, _DERIVED_SUBSCRIPTIONS = derive_roots(_QUERIES, _MUTATIONS, _SUBSCRIPTIONS)


def _root(name: str, classes: tuple[type, ...], description: str) -> type:
    """A root type with the fields of all classes."""
    return strawberry.type(type(name, classes, {}), name=name, description=description)


Query = _root(
    "Query",
    (*_QUERIES, _DERIVED_QUERIES),
    "All queries. The fields of one request read one consistent snapshot of the database.",
)
Mutation = _root(
    "Mutation",
    (*_MUTATIONS, _DERIVED_MUTATIONS),
    "All mutations. Each field is one transaction: it takes effect completely or not at all. The fields run one after "
    "another. A field that fails is null with an error, and the fields after it still run.",
)
Subscription = _root(
    "Subscription",
    (*_SUBSCRIPTIONS, _DERIVED_SUBSCRIPTIONS),
    "All subscriptions. Each result is read when an event occurs, and contains what the viewer may see at that moment. "
    "Available over WebSocket (graphql-transport-ws) and server-sent events (graphql-sse, distinct connections mode).",
)


class _Schema(strawberry.Schema):
    """Strawberry's schema, without its logging: gateway/transport/error_responses.py logs errors."""

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        pass


schema = _Schema(query=Query, mutation=Mutation, subscription=Subscription, config=StrawberryConfig(scalar_map=SCALARS))
