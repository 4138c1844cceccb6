"""Statistics about events."""

import datetime as dt
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise
from typing import Annotated, NamedTuple

from repositories.core.clock import midnight, week_start
from repositories.described_enum import DescribedEnum
from repositories.event_analytics import DAYS_BEFORE, EventAnalytics, FeatureUse
from repositories.identity import Users
from repositories.life_lock.analytics import HUNDREDTH, mean
from repositories.sql.page import DEFAULT_SIZE
from repositories.tables.events import DomainEvent
from resolvers.loading.edges import one
from resolvers.request.annotations import First, TimeZone
from resolvers.request.context import Context
from resolvers.request.periods import MAX_DAYS, FirstDay, LastDay, Period, resolve_period

actor_of_event = one(Users.by_id, key=DomainEvent.user_id)

MAX_DAYS_BY_HOUR = 31
_HOUR, _DAY = dt.timedelta(hours=1), dt.timedelta(days=1)


class TrendInterval(DescribedEnum):
    """The length of the intervals of a trend."""

    DAY = "day", "From midnight to midnight."
    WEEK = "week", "Seven days. They start on the day in the viewer's preferences (`weekStartsOn`)."
    MONTH = "month", "From the first of a month to its last day."

    def first_day(self, date: dt.date, first_weekday: int) -> dt.date:
        """The first day of the interval that the date is in. Weeks start on ``first_weekday``, 0 (Monday) to 6."""
        match self:
            case TrendInterval.DAY:
                return date
            case TrendInterval.WEEK:
                return week_start(date, first_weekday)
            case TrendInterval.MONTH:
                return date.replace(day=1)

    def first_days(self, since: dt.date, until: dt.date, before: int, first_weekday: int = 0) -> list[dt.date]:
        """The first days of the intervals that the days are in, of as many ``before``, and of the one after them."""
        first = self.first_day(since, first_weekday)
        for _ in range(before):
            first = self.first_day(first - _DAY, first_weekday)
        found = [first]
        while found[-1] <= until:
            found.append(self.first_day(found[-1] + _LONGEST[self], first_weekday))
        return found


_LONGEST = {TrendInterval.DAY: _DAY, TrendInterval.WEEK: 7 * _DAY, TrendInterval.MONTH: 31 * _DAY}
_AVERAGED = {TrendInterval.DAY: 7, TrendInterval.WEEK: 4, TrendInterval.MONTH: 3}


class CompletionTrend(NamedTuple):
    """The tasks that the viewer completed in one day, week or month."""

    date: Annotated[dt.date, "The first day of the interval."]
    completed: Annotated[
        int, "The number of completions. A task that is completed, reopened and completed again counts twice."
    ]
    on_time: Annotated[int, "The number of completions on or before the due date that the task had at that time."]
    reopened: Annotated[int, "The number of completed tasks that were reopened."]
    moving_average: Annotated[
        Decimal, "The mean of `completed` over the 7 days, 4 weeks or 3 months that end with the interval."
    ]


async def completion_trends(
    context: Context,
    from_: FirstDay = None,
    to: LastDay = None,
    *,
    interval: Annotated[TrendInterval, "The length of the intervals."] = TrendInterval.DAY,
    time_zone: TimeZone = None,
) -> list[CompletionTrend]:
    """The completions of the viewer's tasks by the recorded events, without gaps, the oldest interval first.

    Tasks that were deleted or reopened later count too; `productivityTrends` counts the tasks as they are now. The
    first and the last week or month are counted completely.
    """
    user, window = context.viewer_id, _AVERAGED[interval]
    asked = await resolve_period(context, from_, to, time_zone)
    first_weekday = await context.first_weekday() if interval is TrendInterval.WEEK else 0
    dates = interval.first_days(asked.since, asked.until, window - 1, first_weekday)
    bounds = [midnight(date, asked.zone) for date in dates]
    found = await EventAnalytics(context.snapshot).completions(user, bounds)
    made = []
    for index in range(window - 1, len(found)):
        completed = sum(one.completed for one in found[index - window + 1 : index + 1])
        made.append(CompletionTrend(dates[index], *found[index], mean(Decimal(completed), window)))
    return made


class DailyActiveUsers(NamedTuple):
    """The numbers of users who caused at least one event."""

    date: Annotated[dt.date, "The day."]
    daily: Annotated[int, "The number of users who were active on this day."]
    weekly: Annotated[int, "The number of users who were active on this day or one of the 6 days before."]
    monthly: Annotated[int, "The number of users who were active on this day or one of the 29 days before."]
    stickiness: Annotated[Decimal, "100 × daily / monthly. 0 if no user was active."]


async def daily_active_users(
    context: Context, from_: FirstDay = None, to: LastDay = None, time_zone: TimeZone = None
) -> list[DailyActiveUsers]:
    """The numbers of active users by day, without gaps, the oldest first.

    Events that the gateway recorded for a user count as that user's. Users whose accounts were deleted since count
    too. For administrators.
    """
    asked = await resolve_period(context, from_, to, time_zone)
    found = await EventAnalytics(context.snapshot).active_users(_days(asked, before=DAYS_BEFORE))
    made = []
    for index, active in enumerate(found):
        share = (Decimal(100 * active.daily) / max(active.monthly, 1)).quantize(HUNDREDTH, ROUND_HALF_UP)
        made.append(DailyActiveUsers(asked.since + index * _DAY, *active, share))
    return made


async def feature_use(
    context: Context,
    from_: FirstDay = None,
    to: LastDay = None,
    first: First = DEFAULT_SIZE,
    time_zone: TimeZone = None,
) -> list[FeatureUse]:
    """The numbers of events by type, the most frequent type first. Types without events in these days are left out.

    For administrators.
    """
    asked = await resolve_period(context, from_, to, time_zone)
    starts, ends = midnight(asked.since, asked.zone), midnight(asked.until + _DAY, asked.zone)
    return await EventAnalytics(context.snapshot).feature_use(starts, ends, limit=first)


class RateInterval(DescribedEnum):
    """The length of the intervals of a rate."""

    HOUR = (
        "hour",
        "60 minutes, counted from midnight. The last interval of a day without a whole number of hours is shorter.",
    )
    DAY = "day", "From midnight to midnight: 23 or 25 hours if the clocks change."


class EventRate(NamedTuple):
    """The number of events in one interval."""

    starts_at: Annotated[dt.datetime, "The start of the interval."]
    ends_at: Annotated[dt.datetime, "The end of the interval. An event at exactly this time is in the next interval."]
    events: Annotated[int, "The number of events in the interval."]


async def event_rates(  # noqa: PLR0913 (the contract's arguments)
    context: Context,
    from_: FirstDay = None,
    to: Annotated[
        dt.date | None,
        f"The last day. By default today. At most {MAX_DAYS_BY_HOUR} days in total by hour, {MAX_DAYS} by day.",
    ] = None,
    *,
    interval: Annotated[RateInterval, "The length of the intervals."] = RateInterval.HOUR,
    aggregate_type: Annotated[
        str | None, "Counts only events about objects of this type, such as task. By default all events."
    ] = None,
    time_zone: TimeZone = None,
) -> list[EventRate]:
    """The numbers of events by hour or day, without gaps, the oldest first. For administrators."""
    if interval is RateInterval.DAY:
        asked = await resolve_period(context, from_, to, time_zone)
        bounds = _days(asked)
    else:
        asked = await resolve_period(context, from_, to, time_zone, max_days=MAX_DAYS_BY_HOUR)
        bounds = _hours(asked)
    found = await EventAnalytics(context.snapshot).rates(bounds, aggregate_type)
    return [EventRate(*ends, events) for ends, events in zip(pairwise(bounds), found, strict=True)]


def _days(asked: Period, before: int = 0) -> list[dt.datetime]:
    """The midnights of the days, of as many ``before`` them, and of the one after."""
    count = (asked.until - asked.since).days + 2
    return [midnight(asked.since + place * _DAY, asked.zone) for place in range(-before, count)]


def _hours(asked: Period) -> list[dt.datetime]:
    """Where the hours of the days begin, and where the last one ends."""
    midnights, bounds = _days(asked), []
    for starts, ends in pairwise(midnights):
        moment = starts
        while moment < ends:
            bounds.append(moment)
            moment += _HOUR
    return [*bounds, midnights[-1]]
