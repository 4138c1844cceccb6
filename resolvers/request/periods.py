"""The period that a query covers: whole days in a time zone."""

import datetime as dt
from typing import Annotated, NamedTuple
from zoneinfo import ZoneInfo

from repositories.core.errors import ValidationError
from resolvers.request.context import Context

MAX_DAYS = 366
DEFAULT_DAYS = 30
_EARLIEST, _LATEST = dt.date(1970, 1, 1), dt.date(2999, 12, 31)


def check_days(since: dt.date, until: dt.date, *, max_days: int = MAX_DAYS) -> None:
    """Raises a ValidationError if the days are in the wrong order, or more than ``max_days``."""
    if since > until:
        message = "`from` must not be after `to`."
        raise ValidationError(message, path=("from",))
    if (until - since).days >= max_days:
        message = f"A period may have at most {max_days} days."
        raise ValidationError(message, path=("from",))


FirstDay = Annotated[dt.date | None, "The first day. By default 29 days before the last day."]
LastDay = Annotated[dt.date | None, f"The last day. By default today. At most {MAX_DAYS} days in total."]


class Period(NamedTuple):
    """Days from ``since`` to ``until``, both included, in a time zone."""

    since: dt.date
    until: dt.date
    zone: ZoneInfo


async def resolve_period(
    context: Context, since: dt.date | None, until: dt.date | None, time_zone: str | None, *, max_days: int = MAX_DAYS
) -> Period:
    """The period from the arguments of a query. By default it ends today and has 30 days.

    Raises a ValidationError if a date is out of range, and as ``check_days``.
    """
    for name, date in (("from", since), ("to", until)):
        if date is not None and not _EARLIEST <= date <= _LATEST:
            message = f"The date must be between {_EARLIEST} and {_LATEST}."
            raise ValidationError(message, path=(name,))
    today, zone = await context.today(time_zone)
    last = until or today.date
    first = since or last - dt.timedelta(days=DEFAULT_DAYS - 1)
    check_days(first, last, max_days=max_days)
    return Period(first, last, zone)
