"""Which days are asked for."""

import datetime as dt
from typing import NamedTuple
from zoneinfo import ZoneInfo

from repositories.core.errors import ValidationError
from resolvers.request.context import Context

MAX_DAYS = 366
USUAL_DAYS = 30
_EARLIEST, _LATEST = dt.date(1970, 1, 1), dt.date(2999, 12, 31)


def check_days(since: dt.date, until: dt.date, *, most: int = MAX_DAYS) -> None:
    """Refuses days in the wrong order, and more than ``most`` of them."""
    if since > until:
        message = "`from` must not be after `to`."
        raise ValidationError(message, path=("from",))
    if (until - since).days >= most:
        message = f"At most {most} days can be asked for at once."
        raise ValidationError(message, path=("from",))


class Period(NamedTuple):
    """Days from ``since`` to ``until``, both included, in a time zone."""

    since: dt.date
    until: dt.date
    zone: ZoneInfo


async def period(
    context: Context, since: dt.date | None, until: dt.date | None, time_zone: str | None, *, most: int = MAX_DAYS
) -> Period:
    """The days that were asked for: by default up to today, and 30 of them."""
    for name, date in (("from", since), ("to", until)):
        if date is not None and not _EARLIEST <= date <= _LATEST:
            message = f"Days can be asked for from {_EARLIEST} to {_LATEST}."
            raise ValidationError(message, path=(name,))
    today, zone = await context.today(time_zone)
    last = until or today.date
    first = since or last - dt.timedelta(days=USUAL_DAYS - 1)
    check_days(first, last, most=most)
    return Period(first, last, zone)
