"""The GraphQL types of events and of the statistics about them."""

import datetime as dt
from decimal import Decimal
from typing import Any
from uuid import UUID

import strawberry
from strawberry.scalars import JSON
from strawberry.utils.str_converters import to_camel_case

from repositories import event_analytics
from repositories.permissions import Permission
from repositories.tables import events as rows
from resolvers.aggregates import row_queries as aggregate_queries
from resolvers.events import queries as events
from resolvers.events import subscriptions
from resolvers.request.periods import MAX_DAYS
from schema.aggregates.list_inputs import published_changes
from schema.operations.subscription import RESUMABLE, subscription
from schema.types.costs import AGGREGATE, assumed_size
from schema.types.enums import describe_enum
from schema.types.view import FIRST, TIME_ZONE, Argument, column, defined_in, query, resolver, view

describe_enum(
    events.TrendInterval,
    "The length of the intervals of a trend.",
    DAY="From midnight to midnight.",
    WEEK="Seven days. They start on the day in the viewer's preferences (`weekStartsOn`).",
    MONTH="From the first of a month to its last day.",
)
describe_enum(
    events.RateInterval,
    "The length of the intervals of a rate.",
    HOUR="60 minutes, counted from midnight. The last interval of a day without a whole number of hours is shorter.",
    DAY="From midnight to midnight: 23 or 25 hours if the clocks change.",
)


@view(rows.DomainEvent)
class DomainEvent:
    """A recorded event."""

    id: UUID = column("The id of the event.")
    aggregate_id: UUID = column("The `databaseId` of the object that the event is about.")
    aggregate_type: str = column("The type of the object, such as task.")
    event_type: str = column("What happened, such as TaskCompleted.")
    event_data: JSON = column("The data of the event. Its keys depend on the type of the event.")
    user_id: UUID | None = column("The `databaseId` of the user who caused the event.")
    user: Any = strawberry.field(
        graphql_type=defined_in("schema.identity", "User") | None,
        resolver=resolver(events.actor_of_event.load, {}, resolve_many=events.actor_of_event.load_many),
        description="The user who caused the event. Null if there is none, or if the viewer may not see the user.",
    )
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
    user: Any = strawberry.field(
        graphql_type=defined_in("schema.identity", "User") | None,
        resolver=resolver(events.actor_of_event.load, {}, resolve_many=events.actor_of_event.load_many),
        description="The user who caused the event. Null if there is none, or if the viewer may not see the user.",
    )
    fields: Any = strawberry.field(
        graphql_type=list[str],
        resolver=lambda root: [to_camel_case(name) for name in aggregate_queries.changed_names(root)],
        description="The names of the fields that changed. Empty for a new, restored or only deleted object.",
        directives=[assumed_size(5)],
    )
    changes: Any = strawberry.field(
        graphql_type=list[FieldChange],
        resolver=lambda root: published_changes(root.aggregate_type, aggregate_queries.changed_values(root)),
        description="The values before and after, of those fields whose values are recorded: no texts and no encrypted "
        "values.",
        directives=[assumed_size(5)],
    )


@view(events.CompletionTrend)
class CompletionTrend:
    """The tasks that the viewer completed in one day, week or month."""

    date: dt.date = column("The first day of the interval.")
    completed: int = column(
        "The number of completions. A task that is completed, reopened and completed again counts twice."
    )
    on_time: int = column("The number of completions on or before the due date that the task had at that time.")
    reopened: int = column("The number of completed tasks that were reopened.")
    moving_average: Decimal = column(
        "The mean of `completed` over the 7 days, 4 weeks or 3 months that end with the interval."
    )


@view(events.DailyActiveUsers)
class DailyActiveUsers:
    """The numbers of users who caused at least one event."""

    date: dt.date = column("The day.")
    daily: int = column("The number of users who were active on this day.")
    weekly: int = column("The number of users who were active on this day or one of the 6 days before.")
    monthly: int = column("The number of users who were active on this day or one of the 29 days before.")
    stickiness: Decimal = column("100 × daily / monthly. 0 if no user was active.")


@view(event_analytics.FeatureUse)
class FeatureUse:
    """How often events of one type were recorded."""

    event_type: str = column("What happened, such as TaskCompleted.")
    aggregate_type: str = column("The type of the object, such as task.")
    events: int = column("The number of events.")
    users: int = column("The number of users who caused them.")
    last_used: dt.datetime = column("The time of the last event.")


@view(events.EventRate)
class EventRate:
    """The number of events in one interval."""

    starts_at: dt.datetime = column("The start of the interval.")
    ends_at: dt.datetime = column("The end of the interval. An event at exactly this time is in the next interval.")
    events: int = column("The number of events in the interval.")


_SINCE = Argument(
    dt.date | None, "The first day. By default 29 days before the last day.", strawberry.UNSET, name="from"
)
_UNTIL = Argument(
    dt.date | None, "The last day. By default today. At most 366 days in total.", strawberry.UNSET, name="to"
)
_HOURS = 745
"""In 31 days, one of which has 25."""


@strawberry.type
class EventQueries:
    completion_trends: list[CompletionTrend] | None = query(
        events.completion_trends,
        "The completions of the viewer's tasks by the recorded events, without gaps, the oldest interval first. Tasks "
        "that were deleted or reopened later count too; `productivityTrends` counts the tasks as they are now. The "
        "first and the last week or month are counted completely.",
        requires=Permission.EVENT_READ,
        size=MAX_DAYS,
        weight=AGGREGATE,
        since=_SINCE,
        until=_UNTIL,
        interval=Argument(events.TrendInterval, "The length of the intervals.", events.TrendInterval.DAY),
        time_zone=TIME_ZONE,
    )
    daily_active_users: list[DailyActiveUsers] | None = query(
        events.daily_active_users,
        "The numbers of active users by day, without gaps, the oldest first. Events that the gateway recorded for a "
        "user count as that user's. Users whose accounts were deleted since count too. For admins.",
        requires=Permission.ADMINISTRATION_READ,
        size=MAX_DAYS,
        weight=AGGREGATE,
        since=_SINCE,
        until=_UNTIL,
        time_zone=TIME_ZONE,
    )
    feature_use: list[FeatureUse] | None = query(
        events.feature_use,
        "The numbers of events by type, the most frequent type first. Types without events in these days are left out. "
        "For admins.",
        requires=Permission.ADMINISTRATION_READ,
        weight=AGGREGATE,
        since=_SINCE,
        until=_UNTIL,
        first=FIRST,
        time_zone=TIME_ZONE,
    )
    event_rates: list[EventRate] | None = query(
        events.event_rates,
        "The numbers of events by hour or day, without gaps, the oldest first. For admins.",
        requires=Permission.ADMINISTRATION_READ,
        size=_HOURS,
        weight=AGGREGATE,
        since=_SINCE,
        until=Argument(
            dt.date | None,
            "The last day. By default today. At most 31 days in total by hour, 366 by day.",
            strawberry.UNSET,
            name="to",
        ),
        interval=Argument(events.RateInterval, "The length of the intervals.", events.RateInterval.HOUR),
        aggregate_type=Argument(
            str | None,
            "Counts only events about objects of this type, such as task. By default all events.",
            strawberry.UNSET,
        ),
        time_zone=TIME_ZONE,
    )


_TYPES = Argument(list[str] | None, "Only events of these types, such as TaskCompleted.", strawberry.UNSET)


@strawberry.type
class EventSubscriptions:
    my_events: DomainEvent = subscription(
        subscriptions.my_events,
        "The events that the viewer causes, on this or another device." + RESUMABLE,
        requires=Permission.EVENT_READ,
        types=_TYPES,
    )
    domain_events: DomainEvent = subscription(
        subscriptions.domain_events,
        "The events of all users. For admins." + RESUMABLE,
        requires=Permission.ADMINISTRATION_READ,
        types=_TYPES,
        aggregate_types=Argument(
            list[str] | None, "Only events about objects of these types, such as task.", strawberry.UNSET
        ),
    )
