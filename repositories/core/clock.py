"""The current time, and calendar days in a time zone. A day lasts from midnight to midnight, which is 23 to 25 hours.

Statements receive the start and the end of a day in UTC instead of a time zone. Both engines therefore count the same
rows, and a day on which the clocks change has its correct length.
"""

import datetime as dt
import logging
from functools import cache, lru_cache
from sys import getsizeof
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from repositories.core.byte_budget import bounded_cache
from repositories.core.errors import ValidationError

log = logging.getLogger(__name__)


EARLIEST = dt.datetime(1900, 1, 1, tzinfo=dt.UTC)
LATEST = dt.datetime(2200, 1, 1, tzinfo=dt.UTC)
"""The range of all times and dates that are accepted and stored. It includes EARLIEST and excludes LATEST."""


def is_in_range(value: dt.date) -> bool:
    """Whether a date, or a time with an offset, is in the range that is accepted and stored."""
    if isinstance(value, dt.datetime):
        return EARLIEST <= value < LATEST
    return EARLIEST.date() <= value < LATEST.date()


def now() -> dt.datetime:
    """The current time in UTC."""
    return dt.datetime.now(dt.UTC)


class LocalDay(NamedTuple):
    """A date in a time zone. ``start`` is inclusive, ``end`` is exclusive; both are in UTC."""

    date: dt.date
    start: dt.datetime
    end: dt.datetime


@lru_cache(maxsize=512)
def time_zone(name: str) -> ZoneInfo:
    """The time zone with this IANA name; any other name is a ValidationError.

    The names ``localtime`` and ``Factory`` are not accepted because their meaning depends on the machine.
    """
    if name in _zones():
        return ZoneInfo(name)
    message = "This is not a time zone; use an IANA name such as Europe/Berlin."
    raise ValidationError(message, path=("time_zone",))


@bounded_cache(getsizeof)
def stored_time_zone(name: str) -> ZoneInfo:
    """The time zone that is stored in an account or a token. An unknown one counts as UTC, and is logged once.

    Other programs and other versions of the time zone database may have stored it.
    """
    try:
        return time_zone(name)
    except ValidationError:
        log.warning("The time zone %r of an account is unknown on this machine. UTC is used instead.", name)
        return time_zone("UTC")


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones() - {"Factory", "localtime"})


def midnight(date: dt.date, zone: ZoneInfo) -> dt.datetime:
    """The start of the date in the zone, in UTC."""
    return dt.datetime.combine(date, dt.time(), zone).astimezone(dt.UTC)


def day(date: dt.date, zone: ZoneInfo) -> LocalDay:
    """The date with its start and end in the zone."""
    return LocalDay(date, midnight(date, zone), midnight(date + dt.timedelta(days=1), zone))


def date_of(moment: dt.datetime, zone: ZoneInfo) -> dt.date:
    """The date in the zone at this moment."""
    return moment.astimezone(zone).date()


def week_start(date: dt.date, first_weekday: int) -> dt.date:
    """The first day of the week that the date is in. Weeks start on ``first_weekday``, 0 (Monday) to 6 (Sunday)."""
    return date - dt.timedelta(days=(date.weekday() - first_weekday) % 7)


@bounded_cache(lambda found: 100 + 300 * len(found))
def days(last: dt.date, count: int, zone: ZoneInfo) -> tuple[LocalDay, ...]:
    """``count`` consecutive days, oldest first, ending with ``last``. All users of a zone share the cached result."""
    return tuple(day(last - dt.timedelta(days=back), zone) for back in range(count - 1, -1, -1))
