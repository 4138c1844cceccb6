"""The GraphQL types of events and of the statistics about them."""

import datetime as dt
from typing import Any
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from repositories.permissions import Permission
from repositories.tables import events as rows
from repositories.tables.identity import User
from resolvers.aggregates import row_queries as aggregate_queries
from resolvers.events import queries as events
from resolvers.events import subscriptions
from resolvers.request.periods import MAX_DAYS
from schema.aggregates.list_inputs import published_changes, published_names
from schema.operations.subscription import subscription
from schema.types.costs import AGGREGATE, assumed_size
from schema.types.derived_types import query, row_type
from schema.types.view import column, edge, view


def _actor() -> Any:
    text = "The user who caused the event. Null if there is none, or if the viewer may not see the user."
    return edge(events.actor_of_event, text, kind=row_type(User) | None)


@view(rows.DomainEvent)
class DomainEvent:
    """A recorded event."""

    id: UUID = column("The id of the event.")
    aggregate_id: UUID = column("The `databaseId` of the object that the event is about.")
    aggregate_type: str = column("The type of the object, such as task.")
    event_type: str = column("What happened, such as TaskCompleted.")
    event_data: JSON = column("The data of the event. Its keys depend on the type of the event.")
    user_id: UUID | None = column("The `databaseId` of the user who caused the event.")
    user: Any = _actor()
    timestamp: dt.datetime = column("The time of the event.")
    version: int = column("The version of the format of `eventData`.")


@view(aggregate_queries.FieldChange)
class FieldChange:
    """A value of an object that has changed."""

    field: str = column("The name of the field. That of a reference to an object ends in `Id`, as in inputs.")
    before: JSON | None = column("The value before the change. Null if there was none.")
    after: JSON | None = column("The value after the change. Null if there is none.")


@view(rows.DomainEvent)
class HistoryEntry:
    """An event of an object: who changed it, when and how."""

    id: UUID = column("The id of the event.")
    event_type: str = column("What happened, such as TaskCompleted.")
    timestamp: dt.datetime = column("The time of the event.")
    user: Any = _actor()
    fields: Any = strawberry.field(
        graphql_type=list[str],
        resolver=lambda root: published_names(root.aggregate_type, aggregate_queries.changed_names(root)),
        description="The names of the fields that changed. Empty if the event created, deleted or restored the object.",
        directives=[assumed_size(5)],
    )
    changes: Any = strawberry.field(
        graphql_type=list[FieldChange],
        resolver=lambda root: published_changes(root.aggregate_type, aggregate_queries.changed_values(root)),
        description="The values before and after, of those fields whose values are recorded: no texts and no encrypted "
        "values.",
        directives=[assumed_size(5)],
    )


_ADMIN = Permission.ADMINISTRATION_READ
_HOURS = 745
"""In 31 days, one of which has 25."""


@strawberry.type
class EventQueries:
    completion_trends = query(events.completion_trends, requires=Permission.EVENT_READ, size=MAX_DAYS, weight=AGGREGATE)
    daily_active_users = query(events.daily_active_users, requires=_ADMIN, size=MAX_DAYS, weight=AGGREGATE)
    feature_use = query(events.feature_use, requires=_ADMIN, weight=AGGREGATE)
    event_rates = query(events.event_rates, requires=_ADMIN, size=_HOURS, weight=AGGREGATE)


@strawberry.type
class EventSubscriptions:
    my_events = subscription(subscriptions.my_events, DomainEvent, resumable=True, requires=Permission.EVENT_READ)
    domain_events = subscription(subscriptions.domain_events, DomainEvent, resumable=True, requires=_ADMIN)
