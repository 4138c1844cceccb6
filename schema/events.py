"""What clients see of events, and of what they tell."""

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
from schema.aggregates.list_inputs import published_change
from schema.operations.subscription import RESUMABLE, subscription
from schema.types.costs import AGGREGATE, assumed_size
from schema.types.enums import describe_enum
from schema.types.view import FIRST, TIME_ZONE, Argument, column, defined_in, query, resolver, view

describe_enum(
    events.TrendInterval,
    "How long the intervals of a trend are.",
    DAY="From midnight to midnight.",
    WEEK="Seven days. They start on the day in the viewer's preferences (`weekStartsOn`).",
    MONTH="From the first of a month to its last day.",
)
describe_enum(
    events.RateInterval,
    "How long the intervals of a rate are.",
    HOUR="60 minutes, counted from midnight; the last one of a day that has no whole number of hours is shorter.",
    DAY="From midnight to midnight; 23 or 25 hours where the clocks change.",
)


@view(rows.DomainEvent)
class DomainEvent:
    """Something that happened, as it was recorded."""

    id: UUID = column("The event's id.")
    aggregate_id: UUID = column("The `databaseId` of what it happened to.")
    aggregate_type: str = column("What it happened to, such as task.")
    event_type: str = column("What happened, such as TaskCompleted.")
    event_data: JSON = column("The particulars, by type of event.")
    user_id: UUID | None = column("The `databaseId` of the user who did it.")
    user: Any = strawberry.field(
        graphql_type=defined_in("schema.identity", "User") | None,
        resolver=resolver(events.actor_of_event.load, {}, resolve_many=events.actor_of_event.load_many),
        description="The user who did it. Null for the gateway itself, and if the viewer may not see the user.",
    )
    timestamp: dt.datetime = column("When it happened.")
    version: int = column("The version of the format of `eventData`.")


@view(aggregate_queries.FieldChange)
class FieldChange:
    """A value of an object that has changed."""

    field: str = column("The name of the field, as in the input of the mutation that changes it.")
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
        description="The user who did it. Null for the gateway itself, and if the viewer may not see the user.",
    )
    fields: Any = strawberry.field(
        graphql_type=list[str],
        resolver=lambda root: [to_camel_case(name) for name in aggregate_queries.changed_names(root)],
        description="The names of the fields that changed. Empty if the object was created, deleted or restored.",
        directives=[assumed_size(5)],
    )
    changes: Any = strawberry.field(
        graphql_type=list[FieldChange],
        resolver=lambda root: [
            published_change(root.aggregate_type, change) for change in aggregate_queries.changed_values(root)
        ],
        description="The values before and after, of those fields whose values are recorded: no texts and no encrypted "
        "values.",
        directives=[assumed_size(5)],
    )


@view(events.CompletionTrend)
class CompletionTrend:
    """What the viewer completed in one day, week or month."""

    date: dt.date = column("The first day of the interval.")
    completed: int = column("How often a task was completed; one that was reopened and completed again counts twice.")
    on_time: int = column("How often that was on or before the due date that the task had then.")
    reopened: int = column("How often the completion of a task was taken back.")
    moving_average: Decimal = column(
        "The mean of `completed` over the 7 days, 4 weeks or 3 months that end with the interval."
    )


@view(events.DailyActiveUsers)
class DailyActiveUsers:
    """How many users were active up to the end of a day. Active is who did something that is recorded as an event."""

    date: dt.date = column("The day.")
    daily: int = column("How many were active on it.")
    weekly: int = column("How many were active on at least one of the 7 days that end with it.")
    monthly: int = column("How many were active on at least one of the 30 days that end with it.")
    stickiness: Decimal = column("100 × daily / monthly, 0 if nobody was active.")


@view(event_analytics.FeatureUse)
class FeatureUse:
    """How much use is made of what a type of event is recorded for."""

    event_type: str = column("What happened, such as TaskCompleted.")
    aggregate_type: str = column("What it happened to, such as task.")
    events: int = column("How often it happened.")
    users: int = column("How many users did it.")
    last_used: dt.datetime = column("When it happened last.")


@view(events.EventRate)
class EventRate:
    """How many events were recorded within an interval."""

    starts_at: dt.datetime = column("When the interval starts.")
    ends_at: dt.datetime = column("When it ends; what happens at that very moment is in the next one.")
    events: int = column("How many events there are in it.")


_SINCE = Argument(dt.date | None, "The first day; by default 29 days before the last.", strawberry.UNSET, name="from")
_UNTIL = Argument(
    dt.date | None, "The last day; by default today. At most 366 days in all.", strawberry.UNSET, name="to"
)
_HOURS = 745
"""In 31 days, one of which has 25."""


@strawberry.type
class EventQueries:
    """Root fields."""

    completion_trends: list[CompletionTrend] | None = query(
        events.completion_trends,
        "What the viewer completed, by the events of the time, without gaps, oldest first. What was deleted or "
        "reopened later still counts, where `productivityTrends` counts the tasks as they are now. Weeks and months "
        "that the first and the last day are in are counted whole.",
        requires=Permission.EVENT_READ,
        size=MAX_DAYS,
        weight=AGGREGATE,
        since=_SINCE,
        until=_UNTIL,
        interval=Argument(events.TrendInterval, "How long the intervals are.", events.TrendInterval.DAY),
        time_zone=TIME_ZONE,
    )
    daily_active_users: list[DailyActiveUsers] | None = query(
        events.daily_active_users,
        "How many users were active, by day, without gaps, oldest first. What the gateway did on somebody's behalf "
        "counts as that user's, and users whose accounts were deleted since count too. For admins.",
        requires=Permission.ADMINISTRATION_READ,
        size=MAX_DAYS,
        weight=AGGREGATE,
        since=_SINCE,
        until=_UNTIL,
        time_zone=TIME_ZONE,
    )
    feature_use: list[FeatureUse] | None = query(
        events.feature_use,
        "What was done how often, by type of event, the most frequent first. What never happened in these days is left "
        "out. For admins.",
        requires=Permission.ADMINISTRATION_READ,
        weight=AGGREGATE,
        since=_SINCE,
        until=_UNTIL,
        first=FIRST,
        time_zone=TIME_ZONE,
    )
    event_rates: list[EventRate] | None = query(
        events.event_rates,
        "How many events were recorded by hour or day, without gaps, oldest first. For admins.",
        requires=Permission.ADMINISTRATION_READ,
        size=_HOURS,
        weight=AGGREGATE,
        since=_SINCE,
        until=Argument(
            dt.date | None,
            "The last day; by default today. At most 31 days in all by hour, 366 by day.",
            strawberry.UNSET,
            name="to",
        ),
        interval=Argument(events.RateInterval, "How long the intervals are.", events.RateInterval.HOUR),
        aggregate_type=Argument(
            str | None, "Of what alone events are counted, such as task; by default of everything.", strawberry.UNSET
        ),
        time_zone=TIME_ZONE,
    )


_TYPES = Argument(list[str] | None, "Only events of these types, such as TaskCompleted.", strawberry.UNSET)


@strawberry.type
class EventSubscriptions:
    """Root fields."""

    my_events: DomainEvent = subscription(
        subscriptions.my_events,
        "What the viewer does, here or on another device, as it happens." + RESUMABLE,
        requires=Permission.EVENT_READ,
        types=_TYPES,
    )
    domain_events: DomainEvent = subscription(
        subscriptions.domain_events,
        "What anybody does, as it happens. For admins." + RESUMABLE,
        requires=Permission.ADMINISTRATION_READ,
        types=_TYPES,
        aggregate_types=Argument(list[str] | None, "Only what happens to these, such as task.", strawberry.UNSET),
    )
