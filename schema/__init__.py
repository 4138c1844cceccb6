"""The contract: types, inputs, root fields, and schema.graphql, which is generated from them and committed.

Lives here: what clients see, with a description for everything. No behaviour, no SQL; may import ``resolvers`` and the
row types of ``repositories``. Nothing below may import it.
"""

import strawberry
from graphql import GraphQLError
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionContext

from schema.administration import AdministrationMutations, AdministrationQueries
from schema.client_management import ClientMutations, ClientQueries
from schema.events import EventQueries, EventSubscriptions
from schema.gamification import GamificationMutations, GamificationQueries
from schema.identity import IdentityMutations, IdentityQueries
from schema.life_lock import LifeLockMutations, LifeLockQueries, LifeLockSubscriptions
from schema.node import NodeQueries
from schema.partnership import PartnershipMutations, PartnershipQueries
from schema.types.scalars import SCALARS


@strawberry.type(description="Everything that can be read. The fields of one request see one state of the database.")
class Query(
    NodeQueries,
    IdentityQueries,
    LifeLockQueries,
    ClientQueries,
    PartnershipQueries,
    GamificationQueries,
    AdministrationQueries,
    EventQueries,
):
    """The root of queries."""


@strawberry.type(
    description="Everything that can be changed. Each field is one unit of work: all of it happens, or nothing."
)
class Mutation(
    IdentityMutations,
    LifeLockMutations,
    ClientMutations,
    PartnershipMutations,
    GamificationMutations,
    AdministrationMutations,
):
    """The root of mutations."""


@strawberry.type(
    description="Everything that can be followed. Each answer is read when something happens, as the viewer may see it "
    "then. Over WebSocket (graphql-transport-ws) or server-sent events (graphql-sse, distinct connections)."
)
class Subscription(LifeLockSubscriptions, EventSubscriptions):
    """The root of subscriptions."""


class _Schema(strawberry.Schema):
    """Strawberry's, except that errors are logged where they are presented (gateway/transport/error_responses.py)."""

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Nothing."""


schema = _Schema(query=Query, mutation=Mutation, subscription=Subscription, config=StrawberryConfig(scalar_map=SCALARS))
