"""The job roll-days recounts each user's yesterday and today when the user's day begins.

The results are compared with a plain Python model.
"""

import datetime as dt
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.identity import Users
from repositories.life_lock.analytics import Analytics
from repositories.life_lock.tasks import Tasks
from repositories.sql.filters import Compare, Op
from repositories.tables.identity import User
from repositories.tables.life_lock import TaskStatus
from resolvers.life_lock import jobs
from resolvers.services.job import JobContext
from tests.api.day_model import Days, Item
from tests.caches import empty_caches
from tests.factories import make_task, make_user
from tests.repositories.support import SharedDatabase, examples, open_snapshot

MICROSECOND = dt.timedelta(microseconds=1)
HOUR = dt.timedelta(hours=1)
DAY = dt.timedelta(days=1)
QUARTER = dt.timedelta(minutes=15)
DayCounts = tuple[dt.date, int, int, Decimal]


async def _fetch_days(database: Database, user: User) -> list[DayCounts]:
    async with open_snapshot(database) as snapshot:
        rows = await Analytics(snapshot).find(Compare("user_id", Op.EQ, user.id), limit=100)
    return [(row.date, row.tasks_completed, row.tasks_created, row.productivity_score) for row in rows]


async def _roll(database: Database, at: dt.datetime, since: dt.datetime | None) -> int:
    return await jobs.roll_days(JobContext(database, at, since))


async def _make_user_with_tasks(database: Database, zone: str, midnight: dt.datetime) -> User:
    """Creates a user who completed one of two tasks on the day before midnight, with one older overdue task."""
    user = await make_user(database, time_zone=zone)
    created = midnight - 5 * HOUR
    await make_task(database, user, created_at=midnight - 4 * DAY, due_date=midnight - 3 * DAY)
    completed = {"status": TaskStatus.COMPLETED, "completed_at": midnight - MICROSECOND}
    await make_task(database, user, created_at=created, **completed)
    await make_task(database, user, created_at=created, due_date=midnight - MICROSECOND)
    await make_task(database, user, created_at=created, due_date=created, deleted_at=midnight)
    return user


MIDNIGHTS = [
    ("Pacific/Kiritimati", "2026-06-15T10:00:00Z", "2026-06-16"),
    ("America/St_Johns", "2026-06-15T02:30:00Z", "2026-06-15"),
    ("Asia/Kathmandu", "2026-06-15T18:15:00Z", "2026-06-16"),
    ("UTC", "2026-06-15T00:00:00Z", "2026-06-15"),
    ("America/New_York", "2026-03-08T05:00:00Z", "2026-03-08"),
    ("America/New_York", "2026-03-09T04:00:00Z", "2026-03-09"),
    ("Europe/Berlin", "2026-10-24T22:00:00Z", "2026-10-25"),
    ("Europe/Berlin", "2026-10-25T23:00:00Z", "2026-10-26"),
]


@pytest.mark.parametrize(("zone", "moment", "date"), MIDNIGHTS)
async def test_a_day_is_counted_when_it_begins(database: Database, zone: str, moment: str, date: str) -> None:
    """It is not counted before, and only once. Counting it again changes no row."""
    midnight, today = dt.datetime.fromisoformat(moment), dt.date.fromisoformat(date)
    user = await _make_user_with_tasks(database, zone, midnight)
    assert await _roll(database, midnight - MICROSECOND, midnight - QUARTER) == 0
    assert await _fetch_days(database, user) == []
    assert await _roll(database, midnight, midnight - MICROSECOND) == 2
    expected = [(today - DAY, 1, 2, Decimal("33.33")), (today, 0, 0, Decimal("0.00"))]
    assert await _fetch_days(database, user) == expected
    async with open_snapshot(database) as snapshot:
        before = [(row.id, row.created_at) for row in await Analytics(snapshot).find(limit=9)]
    assert await _roll(database, midnight + QUARTER, midnight) == 0
    assert await _roll(database, midnight, midnight - QUARTER) == 2
    assert await _fetch_days(database, user) == expected
    async with open_snapshot(database) as snapshot:
        assert [(row.id, row.created_at) for row in await Analytics(snapshot).find(limit=9)] == before


async def test_runs_of_a_whole_day_count_each_user_once(database: Database) -> None:
    """The job runs every quarter of an hour. It counts two days for each of four users."""
    start = dt.datetime(2026, 6, 14, 23, 52, tzinfo=dt.UTC)
    users = {
        zone: await _make_user_with_tasks(database, zone, dt.datetime.fromisoformat(at))
        for zone, at, _ in MIDNIGHTS[:4]
    }
    counts = []
    for quarter in range(96):
        at = start + QUARTER * (quarter + 1)
        if count := await _roll(database, at, at - QUARTER):
            counts.append((f"{at:%H:%M}", count))
    assert counts == [("00:07", 2), ("02:37", 2), ("10:07", 2), ("18:22", 2)]
    for zone, _, date in MIDNIGHTS[:4]:
        today = dt.date.fromisoformat(date)
        assert [row[0] for row in await _fetch_days(database, users[zone])] == [today - DAY, today]


_hours = st.integers(-80, 20).map(lambda quarters: quarters * dt.timedelta(hours=1))
_tasks = st.lists(
    st.tuples(_hours, st.none() | _hours, st.sampled_from(TaskStatus), _hours, st.booleans()), min_size=1, max_size=6
)


async def _compare_with_model(
    database: Database, zone: str, midnight: dt.datetime, tasks: list[Any], missed_days: int
) -> None:
    user = await make_user(database, time_zone=zone)
    model = Days(ZoneInfo(zone))
    rows = []
    for created, due, status, completed, is_deleted in tasks:
        item = Item(str(new_id()), midnight + created, None if due is None else midnight + due, status.name)
        item.completed = midnight + completed if status is TaskStatus.COMPLETED else None
        item.is_deleted = is_deleted
        model.items.append(item)
        rows.append(
            {
                "user_id": user.id,
                "title": "x",
                "created_at": item.created,
                "due_date": item.due,
                "status": status,
                "completed_at": item.completed,
                "deleted_at": midnight if is_deleted else None,
            }
        )
    async with database.transaction(SERVICE) as write:
        await Tasks(write).add_many(rows)
    today = midnight.astimezone(ZoneInfo(zone)).date()  # a day can have 23 or 25 hours
    first_missed_midnight = dt.datetime.combine(today - missed_days * DAY, dt.time(), ZoneInfo(zone))
    await _roll(database, midnight, first_missed_midnight - MICROSECOND)
    if model.alive:
        noon = midnight + 12 * HOUR
        model.count(*(noon - days * DAY for days in range(missed_days + 2)))
    expected = [
        (date, *counts)
        for date, counts in sorted(model.counted.items())
        if counts[0] or counts[1] or model.count_carried_over(date)
    ]
    assert await _fetch_days(database, user) == expected


@examples(60)
@given(tasks=_tasks, midnight=st.sampled_from(MIDNIGHTS), missed_days=st.integers(0, 5))
def test_counts_are_equal_to_those_of_the_model(
    shared_database: SharedDatabase, tasks: list[Any], midnight: Any, missed_days: int
) -> None:
    """Days without anything to count have no row."""
    zone, moment, _ = midnight
    shared_database.run(
        _compare_with_model(shared_database.database, zone, dt.datetime.fromisoformat(moment), tasks, missed_days)
    )


@pytest.mark.parametrize(
    ("since", "dates"),
    [
        (DAY * 30, range(8, 16)),
        (DAY * 7, range(8, 16)),
        (DAY * 3, range(12, 16)),
        (DAY, range(14, 16)),
        (None, range(14, 16)),
        (dt.timedelta(), range(0)),
        (-DAY, range(0)),
    ],
)
async def test_missed_days_are_counted_later(database: Database, since: dt.timedelta | None, dates: range) -> None:
    """Up to a week. The first run counts as many days as a run after one day."""
    at = dt.datetime(2026, 6, 15, 12, tzinfo=dt.UTC)
    user = await make_user(database)
    await make_task(database, user, created_at=at - DAY * 60, due_date=at - DAY * 50)
    assert await _roll(database, at, None if since is None else at - since) == len(dates)
    expected = [(dt.date(2026, 6, day), 0, 0, Decimal("0.00")) for day in dates]
    assert await _fetch_days(database, user) == expected


async def test_users_without_anything_to_count_get_no_rows(database: Database) -> None:
    """An existing wrong row is corrected."""
    midnight = dt.datetime(2026, 6, 15, tzinfo=dt.UTC)
    yesterday, long_ago = dt.date(2026, 6, 14), midnight - 90 * DAY
    idle, finished, removed, wrong = [await make_user(database) for _ in range(4)]
    for user in (finished, wrong):
        values = {"status": TaskStatus.COMPLETED, "completed_at": long_ago}
        await make_task(database, user, created_at=long_ago, due_date=long_ago, **values)
    await make_task(database, removed, created_at=long_ago, due_date=long_ago)
    async with database.transaction(SERVICE) as write:
        await Users(write).remove(removed)
        await Analytics(write).add(user_id=wrong.id, date=yesterday, tasks_completed=7, productivity_score=Decimal(70))
    assert await _roll(database, midnight, midnight - QUARTER) == 1
    for user in (idle, finished, removed):
        assert await _fetch_days(database, user) == []
    assert await _fetch_days(database, wrong) == [(yesterday, 0, 0, Decimal("0.00"))]


async def test_users_are_counted_in_batches(
    database: Database, statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of statements of a batch does not depend on its size. The progress is reported after each batch."""
    monkeypatch.setattr(jobs, "PEOPLE_AT_ONCE", 3)
    midnight = dt.datetime(2026, 6, 15, tzinfo=dt.UTC)
    users = [await _make_user_with_tasks(database, "UTC", midnight) for _ in range(7)]
    statements.clear()
    progress: list[int] = []
    assert await jobs.roll_days(JobContext(database, midnight, midnight - QUARTER, progress.append)) == 14
    assert progress == [6, 12, 14]
    inserts = [text for text in statements if "INSERT INTO" in text]
    assert len(inserts) == 3
    assert len([text for text in statements if not text.startswith(("BEGIN", "COMMIT"))]) == 1 + 4 + 3 * 2
    for user in users:
        assert len(await _fetch_days(database, user)) == 2


async def test_counting_a_day_does_not_change_moving_averages(database: Database) -> None:
    """A day without a row counts as zero, like a counted day without completed tasks."""
    midnight = dt.datetime(2026, 6, 15, tzinfo=dt.UTC)
    user = await _make_user_with_tasks(database, "UTC", midnight)
    results = []
    for since in (midnight, midnight - QUARTER, midnight - 6 * DAY):
        await _roll(database, midnight, since)
        async with open_snapshot(database) as snapshot:
            series = await Analytics(snapshot).series(user.id, dt.date(2026, 6, 15), 3, 0)
        results.append([(day.completed, day.created, str(day.score), str(day.moving_average)) for day in series])
    empty = (0, 0, "0.00", "0.00")
    counted = [empty, (1, 2, "33.33", "4.76"), (0, 0, "0.00", "4.76")]
    assert results == [[empty] * 3, counted, counted]


async def test_a_user_in_an_unknown_time_zone_has_the_days_of_utc(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """The days of all other users are counted as well. The zone is logged once."""
    midnight = dt.datetime(2026, 6, 15, tzinfo=dt.UTC)
    empty_caches()
    others = [await _make_user_with_tasks(database, zone, midnight) for zone in ("UTC", "Africa/Abidjan")]
    users = [
        await _make_user_with_tasks(database, zone, midnight) for zone in ("Mars/Olympus", "Factory", "Mars/Olympus")
    ]
    for _ in range(2):
        assert await _roll(database, midnight, midnight - MICROSECOND) == 10
    expected = [(dt.date(2026, 6, 14), 1, 2, Decimal("33.33")), (dt.date(2026, 6, 15), 0, 0, Decimal("0.00"))]
    for user in (*users, *others):
        assert await _fetch_days(database, user) == expected
    warnings = [record.getMessage() for record in caplog.records if "time zone" in record.getMessage()]
    assert sorted(warnings) == [
        f"The time zone '{name}' of an account is unknown on this machine. UTC is used instead."
        for name in ("Factory", "Mars/Olympus")
    ]
