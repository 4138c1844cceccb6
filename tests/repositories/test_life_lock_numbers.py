"""Tallies, days and statistics equal a computation in plain Python, in several zones and when the clocks change."""

import datetime as dt
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from repositories.core import clock
from repositories.core.clock import LocalDay
from repositories.core.ids import new_id
from repositories.core.viewer import ANONYMOUS, SERVICE
from repositories.engines.database import Database, ReadConnection
from repositories.life_lock.analytics import Analytics, DayScore
from repositories.life_lock.categories import Categories
from repositories.life_lock.statistics import DashboardStats
from repositories.life_lock.tasks import CategoryTotals, DayProgress, Tasks, TaskTally
from repositories.permissions import RoleName
from repositories.sql.filters import Compare, Op
from repositories.tables.identity import User
from repositories.tables.life_lock import Category, Task, TaskStatus
from tests.factories import make_category, make_task, make_tasks, make_user, viewer_of
from tests.repositories.support import SharedDatabase, examples, fold, open_snapshot

CLOSED = (TaskStatus.COMPLETED, TaskStatus.CANCELLED)
CHANGES_OF_CLOCKS = (dt.datetime(2024, 3, 31, 1, tzinfo=dt.UTC), dt.datetime(2024, 10, 27, 1, tzinfo=dt.UTC))
zones = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Kiritimati"])
_offsets = st.integers(-10 * 48, 10 * 48).map(lambda halves: dt.timedelta(minutes=30 * halves))
_nudges = st.sampled_from([dt.timedelta(), dt.timedelta(microseconds=1), dt.timedelta(microseconds=-1)])


@st.composite
def _tasks(draw: st.DrawFn) -> tuple[dt.datetime, list[dict[str, Any]]]:
    """A moment close to a change of the clocks, and tasks around it."""
    at = draw(st.sampled_from(CHANGES_OF_CLOCKS)) + draw(st.timedeltas(dt.timedelta(days=-2), dt.timedelta(days=2)))
    moments = st.builds(
        lambda offset, nudge: at.replace(minute=0, second=0, microsecond=0) + offset + nudge, _offsets, _nudges
    )
    rows = []
    for _ in range(draw(st.integers(0, 20))):
        status = draw(st.sampled_from(TaskStatus))
        rows.append(
            {
                "status": status,
                "created_at": draw(moments),
                "due_date": draw(st.none() | moments),
                "completed_at": draw(moments) if status is TaskStatus.COMPLETED else None,
                "deleted_at": draw(st.sampled_from([None, None, None, at])),
                "category": draw(st.integers(0, 3)),
            }
        )
    return at, rows


async def _add_rows(database: Database, rows: list[dict[str, Any]]) -> tuple[User, list[Category], list[Task]]:
    """Adds a user with these tasks in three categories or none, an empty category, and tasks of another user."""
    ada, bob = await make_user(database), await make_user(database)
    await make_tasks(database, bob, 2, due_date=CHANGES_OF_CLOCKS[0])
    categories = [await make_category(database, ada, name=name) for name in ("b", "C", "a", "empty")]
    made = []
    for row in rows:
        index = row["category"]
        given_values = {name: value for name, value in row.items() if name != "category"}
        made.append(
            given_values
            | {
                "id": new_id(),
                "user_id": ada.id,
                "title": "Task",
                "category_id": categories[index].id if index < 3 else None,
            }
        )
    async with database.transaction(SERVICE) as write:
        tasks = await Tasks(write).add_many(made)
    return ada, categories, [task for task in tasks if task.deleted_at is None]


def _in(moment: dt.datetime | None, day: LocalDay) -> bool:
    return moment is not None and day.start <= moment < day.end


async def _dashboard(database: Database, at: dt.datetime, rows: list[dict[str, Any]], zone_name: str) -> None:
    zone = clock.time_zone(zone_name)
    ada, categories, tasks = await _add_rows(database, rows)
    days = clock.days(clock.date_of(at, zone), 7, zone)
    today = days[-1]
    open_tasks = [task for task in tasks if task.status not in CLOSED]
    async with open_snapshot(database, viewer_of(ada)) as snapshot:
        assert await Tasks(snapshot).tally(ada.id, at, today) == TaskTally(
            total_tasks=len(tasks),
            completed_tasks=sum(task.status is TaskStatus.COMPLETED for task in tasks),
            overdue_tasks=sum(task.due_date is not None and task.due_date < at for task in open_tasks),
            todays_tasks=sum(_in(task.due_date, today) for task in tasks),
            next_due=min((task.due_date for task in open_tasks if task.due_date and task.due_date >= at), default=None),
        )
        assert await Tasks(snapshot).progress(ada.id, days) == [
            DayProgress(
                day.date,
                sum(_in(task.completed_at, day) for task in tasks),
                sum(_in(task.created_at, day) for task in tasks),
            )
            for day in days
        ]
        expected = []
        for category in [*sorted(categories, key=lambda made: (fold(made.name), made.id)), None]:
            own = [task for task in tasks if task.category_id == (category.id if category else None)]
            if category or own:
                done = sum(task.status is TaskStatus.COMPLETED for task in own)
                expected.append(CategoryTotals(category, len(own), done))
        assert await Tasks(snapshot).breakdown(ada.id) == expected
        due = sorted((task for task in open_tasks if task.due_date), key=lambda task: (task.due_date, task.id))
        late = [task for task in due if task.due_date and task.due_date <= at]
        soon = [task for task in due if task.due_date and task.due_date >= at]
        assert await Tasks(snapshot).due(at, user=ada.id, limit=100) == late
        assert await Tasks(snapshot).upcoming(at, user=ada.id, limit=5) == soon[:5]


@examples(60)
@given(drawn=_tasks(), zone=zones)
def test_the_dashboard_equals_a_computation_in_python(
    shared_database: SharedDatabase, drawn: tuple[dt.datetime, list[dict[str, Any]]], zone: str
) -> None:
    """Tally, weekly progress, breakdown by category, overdue and upcoming tasks."""
    shared_database.run(_dashboard(shared_database.database, *drawn, zone))


def _score(tasks: list[Task], day: LocalDay) -> tuple[int, int, Decimal]:
    """The numbers of completed and created tasks and the score, by the definition of a day's score."""
    completed = sum(_in(task.completed_at, day) for task in tasks)
    created = sum(_in(task.created_at, day) for task in tasks)
    carried_in = sum(
        task.due_date is not None
        and task.due_date < day.start
        and task.created_at < day.start
        and task.status is not TaskStatus.CANCELLED
        and (task.completed_at is None or task.completed_at >= day.start)
        for task in tasks
    )
    score = Decimal(100 * completed) / max(created + carried_in, 1)
    return completed, created, min(score, Decimal(100)).quantize(Decimal("0.01"), ROUND_HALF_UP)


async def _series(connection: ReadConnection, ada: User, tasks: list[Task], days: Sequence[LocalDay]) -> None:
    scores = [_score(tasks, day) for day in days]
    expected = []
    for index in range(6, len(days)):
        week = [score for _, _, score in scores[index - 6 : index + 1]]
        average = (sum(week, Decimal(0)) / 7).quantize(Decimal("0.01"), ROUND_HALF_UP)
        date = days[index].date
        monday = date - dt.timedelta(days=date.weekday())
        expected.append(DayScore(date, *scores[index], average, monday))
    last = days[-1].date
    analytics = Analytics(connection)
    assert await analytics.series(ada.id, last, len(days) - 6, 0) == expected
    assert await analytics.mean_score(ada.id, last, 7) == expected[-1].moving_average
    stored = await analytics.between(ada.id, days[0].date, last)
    assert [(row.date, row.tasks_completed, row.tasks_created, row.productivity_score) for row in stored] == [
        (day.date, *score) for day, score in zip(days, scores, strict=True)
    ]


async def _analytics(database: Database, at: dt.datetime, rows: list[dict[str, Any]], zone_name: str) -> None:
    zone = clock.time_zone(zone_name)
    ada, _, tasks = await _add_rows(database, rows)
    days = clock.days(clock.date_of(at, zone), 14, zone)
    async with database.transaction(viewer_of(ada)) as write:
        await Analytics(write).recompute(ada.id, days)
        await _series(write, ada, tasks, days)
        first = await Analytics(write).find(Compare("user_id", Op.EQ, ada.id), limit=100)
        if tasks:
            await Tasks(write).purge(tasks[0].id)
        await Analytics(write).recompute(ada.id, days)
        await _series(write, ada, tasks[1:], days)
        again = await Analytics(write).find(Compare("user_id", Op.EQ, ada.id), limit=100)
        assert [(row.id, row.created_at) for row in again] == [(row.id, row.created_at) for row in first]


@examples(60)
@given(drawn=_tasks(), zone=zones)
def test_scores_equal_a_computation_in_python(
    shared_database: SharedDatabase, drawn: tuple[dt.datetime, list[dict[str, Any]]], zone: str
) -> None:
    """Recomputed days, series with moving averages, and means. A second computation keeps the ids of the rows."""
    shared_database.run(_analytics(shared_database.database, *drawn, zone))


async def test_days_without_rows_have_zeros(database: Database, statements: list[str]) -> None:
    """A series has no gaps. The series and the mean are one statement each."""
    ada = await make_user(database)
    async with open_snapshot(database, viewer_of(ada)) as snapshot:
        await Analytics(snapshot).count()
        statements.clear()
        series = await Analytics(snapshot).series(ada.id, dt.date(2024, 3, 1), 3, 0)
        assert await Analytics(snapshot).mean_score(ada.id, dt.date(2024, 3, 1), 7) == Decimal("0.00")
        assert len(statements) == 2
    zero = Decimal("0.00")
    monday = dt.date(2024, 2, 26)
    assert series == [DayScore(dt.date(2024, *day), 0, 0, zero, zero, monday) for day in ((2, 28), (2, 29), (3, 1))]


async def test_uncategorise_removes_the_category_of_all_its_tasks(database: Database) -> None:
    """It includes deleted tasks and increments the versions. Other tasks do not change."""
    ada = await make_user(database)
    category, other = await make_category(database, ada), await make_category(database, ada)
    tasks = await make_tasks(database, ada, 2, category_id=category.id)
    deleted = await make_task(database, ada, category_id=category.id, deleted_at=CHANGES_OF_CLOCKS[0])
    other_task = await make_task(database, ada, category_id=other.id)
    async with database.transaction(viewer_of(await make_user(database))) as write:
        assert await Tasks(write).uncategorise([category.id]) == []
    async with database.transaction(viewer_of(ada)) as write:
        uncategorised = await Tasks(write).uncategorise([category.id])
        assert {task.id for _, task in uncategorised} == {deleted.id, *(task.id for task in tasks)}
        found = await Tasks(write).by_id([task.id for task in tasks])
        assert {(task.category_id, task.version) for task in found.values()} == {(None, 2)}
        assert await Tasks(write).get(other_task.id) == other_task
        assert (await Tasks(write).lock_deleted(deleted.id)).category_id is None
        await Categories(write).remove(category)


async def _statistics(database: Database, rows: list[dict[str, Any]]) -> None:
    ada, _, tasks = await _add_rows(database, rows)
    empty = await make_user(database)
    async with database.transaction(SERVICE) as write:
        await DashboardStats(write).refresh()
    now = dt.datetime.now(dt.UTC)
    async with open_snapshot(database, viewer_of(empty, RoleName.ADMIN)) as snapshot:
        found = await DashboardStats(snapshot).by_id([ada.id, empty.id])
    for user, own in ((ada, tasks), (empty, [])):
        counts = [sum(task.status is status for task in own) for status in TaskStatus]
        completed = Decimal(100 * sum(task.status is TaskStatus.COMPLETED for task in own))
        assert found[user.id] == (
            user.id,
            user.id,
            len(own),
            *counts,
            sum(task.status not in CLOSED and task.due_date is not None and task.due_date < now for task in own),
            (completed / max(len(own), 1)).quantize(Decimal("0.01"), ROUND_HALF_UP),
            max((task.updated_at for task in own), default=None),
        )
    for viewer in (viewer_of(ada), ANONYMOUS):
        async with open_snapshot(database, viewer) as snapshot:
            assert await DashboardStats(snapshot).count() == 0


@examples(40)
@given(drawn=_tasks())
def test_statistics_equal_a_computation_in_python(
    shared_database: SharedDatabase, drawn: tuple[dt.datetime, list[dict[str, Any]]]
) -> None:
    """Admins see the totals of all users. Other users and anonymous callers see none, not even their own."""
    shared_database.run(_statistics(shared_database.database, drawn[1]))


async def test_statistics_omit_deleted_users(database: Database) -> None:
    ada = await make_user(database)
    bob = await make_user(database, deleted_at=CHANGES_OF_CLOCKS[0])
    async with database.transaction(SERVICE) as write:
        await DashboardStats(write).refresh()
    async with open_snapshot(database, viewer_of(ada, RoleName.ADMIN)) as snapshot:
        assert [row.id for row in await DashboardStats(snapshot).find(limit=9)] == [ada.id]
        assert await DashboardStats(snapshot).exists(bob.id) is False
