"""What the events tell of people and of the gateway's use."""

import datetime as dt
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

from repositories.core.clock import midnight, week_start
from repositories.event_analytics import DAYS_BEFORE, EventAnalytics, FeatureUse
from repositories.identity import Users
from repositories.life_lock.analytics import HUNDREDTH, mean
from repositories.sql.page import PageRequest
from repositories.tables.events import DomainEvent
from resolvers.loading.edges import one
from resolvers.request.context import Context
from resolvers.request.periods import Period, resolve_period

actor_of_event = one(Users.by_id, key=DomainEvent.user_id)

MAX_DAYS_BY_HOUR = 31
_HOUR, _DAY = dt.timedelta(hours=1), dt.timedelta(days=1)


class TrendInterval(StrEnum):
    """How long the intervals of a trend are."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"

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
    """What a person completed in an interval; ``date`` is its first day."""

    date: dt.date
    completed: int
    on_time: int
    reopened: int
    moving_average: Decimal


async def completion_trends(
    context: Context,
    since: dt.date | None = None,
    until: dt.date | None = None,
    *,
    interval: TrendInterval = TrendInterval.DAY,
    time_zone: str | None = None,
) -> list[CompletionTrend]:
    """What the viewer completed in the whole intervals that the days are in, oldest first, without gaps."""
    user, window = context.viewer_id, _AVERAGED[interval]
    asked = await resolve_period(context, since, until, time_zone)
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
    """How many users were active on a day, in the 7 and the 30 days that end with it, and the share of the last."""

    date: dt.date
    daily: int
    weekly: int
    monthly: int
    stickiness: Decimal


async def daily_active_users(
    context: Context, since: dt.date | None = None, until: dt.date | None = None, time_zone: str | None = None
) -> list[DailyActiveUsers]:
    """Days without gaps, oldest first."""
    asked = await resolve_period(context, since, until, time_zone)
    found = await EventAnalytics(context.snapshot).active_users(_days(asked, before=DAYS_BEFORE))
    made = []
    for index, active in enumerate(found):
        share = (Decimal(100 * active.daily) / max(active.monthly, 1)).quantize(HUNDREDTH, ROUND_HALF_UP)
        made.append(DailyActiveUsers(asked.since + index * _DAY, *active, share))
    return made


async def feature_use(
    context: Context,
    first: int,
    since: dt.date | None = None,
    until: dt.date | None = None,
    time_zone: str | None = None,
) -> list[FeatureUse]:
    """Types of events, the most frequent first."""
    limit = PageRequest(first=first).size
    asked = await resolve_period(context, since, until, time_zone)
    starts, ends = midnight(asked.since, asked.zone), midnight(asked.until + _DAY, asked.zone)
    return await EventAnalytics(context.snapshot).feature_use(starts, ends, limit=limit)


class RateInterval(StrEnum):
    """How long the intervals of a rate are."""

    HOUR = "hour"
    DAY = "day"


class EventRate(NamedTuple):
    """How many events there were from ``starts_at`` on and before ``ends_at``."""

    starts_at: dt.datetime
    ends_at: dt.datetime
    events: int


async def event_rates(  # noqa: PLR0913 (the contract's arguments)
    context: Context,
    since: dt.date | None = None,
    until: dt.date | None = None,
    *,
    interval: RateInterval = RateInterval.HOUR,
    aggregate_type: str | None = None,
    time_zone: str | None = None,
) -> list[EventRate]:
    """Intervals without gaps, oldest first.

    Hours are 60 minutes each, counted from the day's start: on a day of 23 or 25 hours there are as many of them, and
    where a day is no whole number of hours its last one is shorter.
    """
    if interval is RateInterval.DAY:
        asked = await resolve_period(context, since, until, time_zone)
        bounds = _days(asked)
    else:
        asked = await resolve_period(context, since, until, time_zone, max_days=MAX_DAYS_BY_HOUR)
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
