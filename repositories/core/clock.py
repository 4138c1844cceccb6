"""The current time, and days in a time zone: from midnight to midnight, 23 to 25 hours long.

Statements receive the start and end of a day in UTC instead of the time zone. Both engines therefore count the same
rows, and a day on which the clocks change has its correct length.
"""

import datetime as dt
from functools import cache, lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from repositories.core.errors import ValidationError


def now() -> dt.datetime:
    """The current time in UTC."""
    return dt.datetime.now(dt.UTC)


class LocalDay(NamedTuple):
    """A date and the moments at which it starts and ends."""

    date: dt.date
    start: dt.datetime
    end: dt.datetime


@lru_cache(maxsize=512)
def time_zone(name: str) -> ZoneInfo:
    """The IANA zone of that name, or ValidationError; names that depend on the machine are none."""
    if name in _zones():
        return ZoneInfo(name)
    message = "This is not a time zone; use an IANA name such as Europe/Berlin."
    raise ValidationError(message, path=("time_zone",))


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones() - {"Factory", "localtime"})


def midnight(date: dt.date, zone: ZoneInfo) -> dt.datetime:
    """The moment at which the day of that date starts in the zone."""
    return dt.datetime.combine(date, dt.time(), zone).astimezone(dt.UTC)


def day(date: dt.date, zone: ZoneInfo) -> LocalDay:
    """The day of that date in the zone."""
    return LocalDay(date, midnight(date, zone), midnight(date + dt.timedelta(days=1), zone))


def date_of(moment: dt.datetime, zone: ZoneInfo) -> dt.date:
    """The date it is in the zone at that moment."""
    return moment.astimezone(zone).date()


@lru_cache(maxsize=512)
def days(last: dt.date, count: int, zone: ZoneInfo) -> tuple[LocalDay, ...]:
    """``count`` days without gaps, oldest first, ending with ``last``; the same for everybody who lives in the zone."""
    return tuple(day(last - dt.timedelta(days=back), zone) for back in range(count - 1, -1, -1))
