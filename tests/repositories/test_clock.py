"""Days in time zones, also when the clocks change."""

import datetime as dt
import itertools
from zoneinfo import available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repositories.core import clock
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
def test_a_day_has_its_local_length(zone: str, date: str, start: str, hours: float) -> None:
    """A day has 23 to 25 hours when the clocks change, also if they change at midnight."""
    day = clock.day(dt.date.fromisoformat(date), clock.time_zone(zone))
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
    """Each day starts when the previous one ends, and ``date_of`` gives each moment the date of its day."""
    found = clock.days(last, count, clock.time_zone(zone))
    assert [day.date for day in found] == [last - dt.timedelta(days=back) for back in reversed(range(count))]
    assert all(one.end == next_one.start for one, next_one in itertools.pairwise(found))
    for day in found:
        if day.start < day.end:  # Samoa skipped one day, which has no length
            for moment in (day.start, day.end - dt.timedelta(microseconds=1)):
                assert clock.date_of(moment, clock.time_zone(zone)) == day.date


@pytest.mark.parametrize(
    "name", ["", "Mars/Olympus", "../../etc/passwd", "/etc/passwd", "Europe", "a\0b", "x" * 5000, "é"]
)
def test_an_unknown_time_zone_is_a_validation_error(name: str) -> None:
    with pytest.raises(ValidationError) as caught:
        clock.time_zone(name)
    assert caught.value.path == ("time_zone",)
    assert caught.value.message == "This is not a time zone; use an IANA name such as Europe/Berlin."


def test_one_moment_has_different_dates_in_different_zones() -> None:
    moment = dt.datetime(2024, 1, 1, 11, tzinfo=dt.UTC)
    dates = {zone: clock.date_of(moment, clock.time_zone(zone)).day for zone in ("Pacific/Auckland", "UTC")}
    assert dates == {"Pacific/Auckland": 2, "UTC": 1}
