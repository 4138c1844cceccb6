"""The roll of days: everybody's yesterday and today are counted when today begins, as plain Python counts them."""

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
from tests.factories import make_task, make_user
from tests.repositories.support import SharedDatabase, examples, open_snapshot

MICROSECOND = dt.timedelta(microseconds=1)
HOUR = dt.timedelta(hours=1)
DAY = dt.timedelta(days=1)
QUARTER = dt.timedelta(minutes=15)
Counted = tuple[dt.date, int, int, Decimal]


async def _stored(database: Database, user: User) -> list[Counted]:
    async with open_snapshot(database) as snapshot:
        rows = await Analytics(snapshot).find(Compare("user_id", Op.EQ, user.id), limit=100)
    return [(row.date, row.tasks_completed, row.tasks_created, row.productivity_score) for row in rows]


async def _roll(database: Database, at: dt.datetime, since: dt.datetime | None) -> int:
    return await jobs.roll_days(JobContext(database, at, since))


async def _busy(database: Database, zone: str, midnight: dt.datetime) -> User:
    """Somebody who did one of two things on the day before midnight, with one overdue from before."""
    user = await make_user(database, time_zone=zone)
    made = midnight - 5 * HOUR
    await make_task(database, user, created_at=midnight - 4 * DAY, due_date=midnight - 3 * DAY)
    done = {"status": TaskStatus.COMPLETED, "completed_at": midnight - MICROSECOND}
    await make_task(database, user, created_at=made, **done)
    await make_task(database, user, created_at=made, due_date=midnight - MICROSECOND)
    await make_task(database, user, created_at=made, due_date=made, deleted_at=midnight)
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
async def test_a_day_is_rolled_when_it_begins(database: Database, zone: str, moment: str, date: str) -> None:
    """Not a moment before, and not again: what is rolled twice stays as it is, down to its id."""
    midnight, today = dt.datetime.fromisoformat(moment), dt.date.fromisoformat(date)
    user = await _busy(database, zone, midnight)
    assert await _roll(database, midnight - MICROSECOND, midnight - QUARTER) == 0
    assert await _stored(database, user) == []
    assert await _roll(database, midnight, midnight - MICROSECOND) == 2
    wanted = [(today - DAY, 1, 2, Decimal("33.33")), (today, 0, 0, Decimal("0.00"))]
    assert await _stored(database, user) == wanted
    async with open_snapshot(database) as snapshot:
        before = [(row.id, row.created_at) for row in await Analytics(snapshot).find(limit=9)]
    assert await _roll(database, midnight + QUARTER, midnight) == 0
    assert await _roll(database, midnight, midnight - QUARTER) == 2
    assert await _stored(database, user) == wanted
    async with open_snapshot(database) as snapshot:
        assert [(row.id, row.created_at) for row in await Analytics(snapshot).find(limit=9)] == before


async def test_rolls_of_a_day_reach_everybody_once(database: Database) -> None:
    """Every quarter of an hour, each from where the last one was; four people, two days each."""
    start = dt.datetime(2026, 6, 14, 23, 52, tzinfo=dt.UTC)
    people = {zone: await _busy(database, zone, dt.datetime.fromisoformat(at)) for zone, at, _ in MIDNIGHTS[:4]}
    rolled = []
    for quarter in range(96):
        at = start + QUARTER * (quarter + 1)
        if count := await _roll(database, at, at - QUARTER):
            rolled.append((f"{at:%H:%M}", count))
    assert rolled == [("00:07", 2), ("02:37", 2), ("10:07", 2), ("18:22", 2)]
    for zone, _, date in MIDNIGHTS[:4]:
        today = dt.date.fromisoformat(date)
        assert [row[0] for row in await _stored(database, people[zone])] == [today - DAY, today]


_hours = st.integers(-80, 20).map(lambda quarters: quarters * dt.timedelta(hours=1))
_tasks = st.lists(
    st.tuples(_hours, st.none() | _hours, st.sampled_from(TaskStatus), _hours, st.booleans()), min_size=1, max_size=6
)


async def _compare(database: Database, zone: str, midnight: dt.datetime, tasks: list[Any], back: int) -> None:
    user = await make_user(database, time_zone=zone)
    plain = Days(ZoneInfo(zone))
    rows = []
    for created, due, status, completed, is_deleted in tasks:
        item = Item(str(new_id()), midnight + created, None if due is None else midnight + due, status.name)
        item.completed = midnight + completed if status is TaskStatus.COMPLETED else None
        item.is_deleted = is_deleted
        plain.items.append(item)
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
    await _roll(database, midnight, midnight - back * DAY - MICROSECOND)
    if plain.alive:
        noon = midnight + 12 * HOUR
        plain.count(*(noon - days * DAY for days in range(back + 2)))
    wanted = [
        (date, *counts)
        for date, counts in sorted(plain.counted.items())
        if counts[0] or counts[1] or plain._carried_into(date)
    ]
    assert await _stored(database, user) == wanted


@examples(60)
@given(tasks=_tasks, place=st.sampled_from(MIDNIGHTS), back=st.integers(0, 5))
def test_rolled_days_are_what_plain_python_counts(
    shared_database: SharedDatabase, tasks: list[Any], place: Any, back: int
) -> None:
    """Days with something to count, whatever the tasks and however long nothing was rolled; others have no row."""
    zone, moment, _ = place
    shared_database.run(_compare(shared_database.database, zone, dt.datetime.fromisoformat(moment), tasks, back))


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
async def test_what_was_missed_is_made_up_for(database: Database, since: dt.timedelta | None, dates: range) -> None:
    """For a week at most; a first roll is one as after a day."""
    at = dt.datetime(2026, 6, 15, 12, tzinfo=dt.UTC)
    user = await make_user(database)
    await make_task(database, user, created_at=at - DAY * 60, due_date=at - DAY * 50)
    assert await _roll(database, at, None if since is None else at - since) == len(dates)
    wanted = [(dt.date(2026, 6, day), 0, 0, Decimal("0.00")) for day in dates]
    assert await _stored(database, user) == wanted


async def test_only_who_has_something_to_count_is_counted(database: Database) -> None:
    """Nobody gets rows for days on which there is nothing; a row that there is becomes right."""
    midnight = dt.datetime(2026, 6, 15, tzinfo=dt.UTC)
    yesterday, long_ago = dt.date(2026, 6, 14), midnight - 90 * DAY
    idle, finished, gone, wrong = [await make_user(database) for _ in range(4)]
    for user in (finished, wrong):
        values = {"status": TaskStatus.COMPLETED, "completed_at": long_ago}
        await make_task(database, user, created_at=long_ago, due_date=long_ago, **values)
    await make_task(database, gone, created_at=long_ago, due_date=long_ago)
    async with database.transaction(SERVICE) as write:
        await Users(write).remove(gone)
        await Analytics(write).add(user_id=wrong.id, date=yesterday, tasks_completed=7, productivity_score=Decimal(70))
    assert await _roll(database, midnight, midnight - QUARTER) == 1
    for user in (idle, finished, gone):
        assert await _stored(database, user) == []
    assert await _stored(database, wrong) == [(yesterday, 0, 0, Decimal("0.00"))]


async def test_people_are_counted_in_batches(
    database: Database, statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few statements for a batch, however many there are in it; and what is done is told after each."""
    monkeypatch.setattr(jobs, "PEOPLE_AT_ONCE", 3)
    midnight = dt.datetime(2026, 6, 15, tzinfo=dt.UTC)
    people = [await _busy(database, "UTC", midnight) for _ in range(7)]
    statements.clear()
    done: list[int] = []
    assert await jobs.roll_days(JobContext(database, midnight, midnight - QUARTER, done.append)) == 14
    assert done == [6, 12, 14]
    written = [text for text in statements if "INSERT INTO" in text]
    assert len(written) == 3
    assert len([text for text in statements if not text.startswith(("BEGIN", "COMMIT"))]) == 1 + 4 + 3 * 2
    for user in people:
        assert len(await _stored(database, user)) == 2


async def test_scores_of_the_days_stay_what_they_are(database: Database) -> None:
    """A day without a row counts as zeros, and a rolled one without anything done has them: no mean moves."""
    midnight = dt.datetime(2026, 6, 15, tzinfo=dt.UTC)
    user = await _busy(database, "UTC", midnight)
    seen = []
    for since in (midnight, midnight - QUARTER, midnight - 6 * DAY):
        await _roll(database, midnight, since)
        async with open_snapshot(database) as snapshot:
            series = await Analytics(snapshot).series(user.id, dt.date(2026, 6, 15), 3)
        seen.append([(day.completed, day.created, str(day.score), str(day.moving_average)) for day in series])
    nothing = (0, 0, "0.00", "0.00")
    rolled = [nothing, (1, 2, "33.33", "4.76"), (0, 0, "0.00", "4.76")]
    assert seen == [[nothing] * 3, rolled, rolled]
