"""Days as people live them, whatever their clocks do."""

import datetime as dt
import itertools
from zoneinfo import available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repositories.core import clock as calendar
from repositories.core.errors import ValidationError
from tests.repositories.support import examples

HOUR = dt.timedelta(hours=1)

DAYS = [
    ("UTC", "2024-03-31", "2024-03-31T00:00+00:00", 24),
    ("Europe/Berlin", "2024-03-30", "2024-03-29T23:00+00:00", 24),
    ("Europe/Berlin", "2024-03-31", "2024-03-30T23:00+00:00", 23),
    ("Europe/Berlin", "2024-10-27", "2024-10-26T22:00+00:00", 25),
    ("America/New_York", "2024-03-10", "2024-03-10T05:00+00:00", 23),
    ("America/New_York", "2024-11-03", "2024-11-03T04:00+00:00", 25),
    ("Asia/Kolkata", "2024-02-29", "2024-02-28T18:30+00:00", 24),
    ("Pacific/Kiritimati", "2024-01-01", "2023-12-31T10:00+00:00", 24),
    ("Africa/Cairo", "2024-04-26", "2024-04-25T22:00+00:00", 23),
    ("America/Havana", "2024-11-03", "2024-11-03T04:00+00:00", 25),
    ("Australia/Lord_Howe", "2024-04-07", "2024-04-06T13:00+00:00", 24.5),
]


@pytest.mark.parametrize(("zone", "date", "start", "hours"), DAYS)
def test_days(zone: str, date: str, start: str, hours: float) -> None:
    """23 and 25 hours where clocks change, also where they do at midnight."""
    day = calendar.day(dt.date.fromisoformat(date), calendar.time_zone(zone))
    assert day.date == dt.date.fromisoformat(date)
    assert (day.start, day.end) == (dt.datetime.fromisoformat(start), dt.datetime.fromisoformat(start) + hours * HOUR)
    assert day.start.utcoffset() == day.end.utcoffset() == dt.timedelta()


@examples(300)
@given(
    zone=st.sampled_from(sorted(available_timezones() - {"Factory", "localtime"})),
    last=st.dates(dt.date(1980, 1, 1), dt.date(2037, 12, 31)),
    count=st.integers(1, 40),
)
def test_days_have_no_gaps(zone: str, last: dt.date, count: int) -> None:
    """Each day begins when the one before it ends, and every moment is in the day of its date."""
    found = calendar.days(last, count, calendar.time_zone(zone))
    assert [day.date for day in found] == [last - dt.timedelta(days=back) for back in reversed(range(count))]
    assert all(one.end == next_one.start for one, next_one in itertools.pairwise(found))
    for day in found:
        if day.start < day.end:  # Samoa left a day out
            for moment in (day.start, day.end - dt.timedelta(microseconds=1)):
                assert calendar.date_of(moment, calendar.time_zone(zone)) == day.date


@pytest.mark.parametrize(
    "name", ["", "Mars/Olympus", "../../etc/passwd", "/etc/passwd", "Europe", "a\0b", "x" * 5000, "é"]
)
def test_no_such_zone(name: str) -> None:
    """Whatever is no zone is refused the same way."""
    with pytest.raises(ValidationError) as caught:
        calendar.time_zone(name)
    assert caught.value.path == ("time_zone",)
    assert caught.value.message == "This is not a time zone; use an IANA name such as Europe/Berlin."


def test_dates_of_moments() -> None:
    """One moment, several dates."""
    moment = dt.datetime(2024, 1, 1, 11, tzinfo=dt.UTC)
    dates = {zone: calendar.date_of(moment, calendar.time_zone(zone)).day for zone in ("Pacific/Auckland", "UTC")}
    assert dates == {"Pacific/Auckland": 2, "UTC": 1}
