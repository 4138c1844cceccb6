"""Statistics of the events equal a computation in plain Python, in several time zones and when the clocks change."""

import datetime as dt
import operator
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repositories.aggregates.event_store import EventStore, row_of_event
from repositories.core import clock
from repositories.core.ids import new_id
from repositories.core.viewer import ANONYMOUS, SERVICE, Viewer
from repositories.engines.database import Database
from repositories.event_analytics import DAYS_BEFORE, ActiveUsers, Completions, EventAnalytics, FeatureUse
from repositories.life_lock.events import TaskCompleted, TaskReopened
from repositories.permissions import RoleName
from repositories.tables.events import DomainEvent
from tests.factories import viewer_of
from tests.repositories.support import SharedDatabase, examples, open_snapshot

DAY, HOUR, TICK = dt.timedelta(days=1), dt.timedelta(hours=1), dt.timedelta(microseconds=1)
CHANGES_OF_CLOCKS = {
    "Europe/Berlin": ("2024-03-31T01:00Z", "2024-10-27T01:00Z"),
    "America/St_Johns": ("2024-03-10T05:30Z", "2024-11-03T04:30Z"),
    "Australia/Lord_Howe": ("2024-04-06T15:00Z", "2024-10-05T15:30Z"),
    "Pacific/Kiritimati": ("1994-12-31T10:00Z", "2024-01-01T10:00Z"),
}
PEOPLE = [UUID(int=number) for number in range(1, 5)]
ADMIN = viewer_of(UUID(int=99), RoleName.ADMIN)
TYPES = [("TaskCompleted", "task"), ("TaskReopened", "task"), ("taskTold", "task"), ("Told", "client"), ("Told", "x")]
zones = st.sampled_from(sorted(CHANGES_OF_CLOCKS))
nudges = st.sampled_from([dt.timedelta(), TICK, -TICK, HOUR / 7])
changes = zones.flatmap(
    lambda zone: st.tuples(st.just(zone), st.sampled_from(CHANGES_OF_CLOCKS[zone]).map(dt.datetime.fromisoformat))
)


def moments(at: dt.datetime, days: int) -> st.SearchStrategy[dt.datetime]:
    """Half hours around a moment, and moments close to them."""
    halves = st.integers(-48 * days, 48 * days)
    return st.builds(lambda half, nudge: at + half * HOUR / 2 + nudge, halves, nudges)


def task_event(at: dt.datetime, user: UUID, due: dt.datetime | None, kind: str) -> dict[str, Any]:
    """An event of a task that was completed, reopened after completion, or reopened after cancellation."""
    key = new_id()
    events = {
        "completed": TaskCompleted(key, user, at, due),
        "reopened": TaskReopened(key, user, at),
        "uncancelled": TaskReopened(key, user, None),
    }
    return row_of_event(events[kind], actor=user, at=at)


def event(at: dt.datetime, user: UUID | None, event_type: str = "Told", aggregate: str = "x") -> dict[str, Any]:
    return {
        "id": new_id(),
        "aggregate_id": new_id(),
        "aggregate_type": aggregate,
        "event_type": event_type,
        "event_data": {},
        "user_id": user,
        "timestamp": at,
        "version": 1,
    }


async def store(database: Database, rows: Sequence[dict[str, Any]]) -> list[DomainEvent]:
    """Stores events and returns all stored events. A shared database also contains the events of other examples."""
    async with database.transaction(SERVICE) as write:
        await EventStore(write).load(rows)
        return [each async for each in EventStore(write).export(None, None)]


def midnights(first: dt.date, days: int, zone: str) -> list[dt.datetime]:
    """The bounds of ``days`` consecutive days."""
    return [clock.midnight(first + place * DAY, clock.time_zone(zone)) for place in range(days + 1)]


def date(moment: dt.datetime, zone: str) -> dt.date:
    return clock.date_of(moment, clock.time_zone(zone))


async def _completions(database: Database, zone: str, at: dt.datetime, rows: list[dict[str, Any]]) -> None:
    everything = await store(database, rows)
    first, user = date(at, zone) - 3 * DAY, PEOPLE[0]
    own = [each for each in everything if each.user_id == user]
    expected = []
    for day in (first + place * DAY for place in range(7)):
        found = [each for each in own if date(each.timestamp, zone) == day]
        done = [each.event_data for each in found if each.event_type == "TaskCompleted"]
        in_time = [
            data for data in done if data["due_date"] and _moment(data["completed_at"]) <= _moment(data["due_date"])
        ]
        again = [each for each in found if each.event_type == "TaskReopened" and each.event_data["completed_at"]]
        expected.append(Completions(len(done), len(in_time), len(again)))
    for viewer in (viewer_of(user), ADMIN, SERVICE):
        async with open_snapshot(database, viewer) as snapshot:
            assert await EventAnalytics(snapshot).completions(user, midnights(first, 7, zone)) == expected


_moment = dt.datetime.fromisoformat


@st.composite
def _tasks(draw: st.DrawFn) -> tuple[str, dt.datetime, list[dict[str, Any]]]:
    zone, at = draw(changes)
    rows = []
    for _ in range(draw(st.integers(0, 12))):
        done = draw(moments(at, 4))
        due = draw(st.none() | nudges.map(partial(operator.add, done)) | moments(at, 4))
        kind = draw(st.sampled_from(["completed", "completed", "reopened", "uncancelled"]))
        rows.append(task_event(done, draw(st.sampled_from(PEOPLE[:2])), due, kind))
    return zone, at, rows


@examples(60)
@given(drawn=_tasks())
def test_completions_equal_a_computation_in_python(
    shared_database: SharedDatabase, drawn: tuple[str, dt.datetime, list[dict[str, Any]]]
) -> None:
    """Due dates that differ by a microsecond are distinguished, with and without fractions of a second."""
    shared_database.run(_completions(shared_database.database, *drawn))


@st.composite
def _events(draw: st.DrawFn) -> tuple[str, dt.datetime, list[dict[str, Any]]]:
    zone, at = draw(changes)
    people = st.sampled_from([*PEOPLE, None])
    rows = [
        event(draw(moments(at, 40)), draw(people), *draw(st.sampled_from(TYPES)))
        for _ in range(draw(st.integers(0, 12)))
    ]
    return zone, at, rows


async def _active_users(database: Database, zone: str, at: dt.datetime, rows: list[dict[str, Any]]) -> None:
    everything = await store(database, rows)
    days = 20
    first = date(at, zone) - 10 * DAY
    expected = []
    for day in (first + place * DAY for place in range(days)):
        ages = [((day - date(each.timestamp, zone)).days, each.user_id) for each in everything if each.user_id]
        expected.append(ActiveUsers(*(len({user for age, user in ages if 0 <= age < most}) for most in (1, 7, 30))))
    async with open_snapshot(database, ADMIN) as snapshot:
        bounds = midnights(first - DAYS_BEFORE * DAY, DAYS_BEFORE + days, zone)
        assert await EventAnalytics(snapshot).active_users(bounds) == expected


@examples(60)
@given(drawn=_events())
def test_active_users_equal_a_computation_in_python(
    shared_database: SharedDatabase, drawn: tuple[str, dt.datetime, list[dict[str, Any]]]
) -> None:
    """Each user counts once per day, week and month. Events without a user are not counted."""
    shared_database.run(_active_users(shared_database.database, *drawn))


async def _counts(database: Database, zone: str, at: dt.datetime, rows: list[dict[str, Any]]) -> None:
    everything = await store(database, rows)
    bounds = midnights(date(at, zone) - 2 * DAY, 5, zone)
    hours = [bounds[0]]
    while hours[-1] < bounds[-1]:
        hours.append(min(hours[-1] + HOUR, bounds[-1]))
    found = [each for each in everything if bounds[0] <= each.timestamp < bounds[-1]]
    uses = []
    for kind in {(each.event_type, each.aggregate_type) for each in found}:
        same = [each for each in found if (each.event_type, each.aggregate_type) == kind]
        users = {each.user_id for each in same} - {None}
        uses.append(FeatureUse(*kind, len(same), len(users), max(each.timestamp for each in same)))
    uses.sort(key=lambda use: (-use.events, use.event_type.lower(), use.aggregate_type))
    async with open_snapshot(database, ADMIN) as snapshot:
        analytics = EventAnalytics(snapshot)
        assert await analytics.feature_use(bounds[0], bounds[-1], limit=99) == uses
        assert await analytics.feature_use(bounds[0], bounds[-1], limit=1) == uses[:1]
        for marks in (bounds, hours):
            for aggregate in (None, "task", "nothing"):
                counted = [each.timestamp for each in found if aggregate in {None, each.aggregate_type}]
                expected = [sum(starts <= moment < ends for moment in counted) for starts, ends in pairwise(marks)]
                assert await analytics.rates(marks, aggregate) == expected


@examples(40)
@given(drawn=_events())
def test_use_and_rates_equal_a_computation_in_python(
    shared_database: SharedDatabase, drawn: tuple[str, dt.datetime, list[dict[str, Any]]]
) -> None:
    """Equally frequent types are sorted by name. Every event is in exactly one hour and one day."""
    shared_database.run(_counts(shared_database.database, *drawn))


START = dt.datetime(2024, 5, 1, tzinfo=dt.UTC)
ADA, BOB = PEOPLE[:2]


async def _store_examples(database: Database) -> None:
    """Ada is active on three days, Bob on the first of them and 40 days later."""
    await store(
        database,
        [
            task_event(START, ADA, START, "completed"),
            task_event(START + HOUR, ADA, START, "completed"),
            task_event(START + 2 * HOUR, ADA, None, "reopened"),
            task_event(START + 6 * DAY, ADA, None, "completed"),
            event(START + 8 * DAY, ADA),
            event(START, BOB),
            event(START + 40 * DAY, BOB),
            event(START + 2 * DAY, None),
        ],
    )


async def test_every_statistic_is_one_statement(database: Database, statements: list[str]) -> None:
    await _store_examples(database)
    bounds = [START + place * DAY for place in range(-DAYS_BEFORE, 50)]
    async with open_snapshot(database, ADMIN) as snapshot:
        analytics = EventAnalytics(snapshot)
        await EventStore(snapshot).count()
        statements.clear()
        done = await analytics.completions(ADA, bounds)
        active = await analytics.active_users(bounds)
        uses = await analytics.feature_use(START, START + 40 * DAY, limit=9)
        rates = await analytics.rates(bounds)
        assert len(statements) == 4
    assert done[DAYS_BEFORE] == Completions(completed=2, on_time=1, reopened=1)
    assert {place - DAYS_BEFORE: one for place, one in enumerate(done) if any(one)} == {
        0: Completions(2, 1, 1),
        6: Completions(1, 0, 0),
    }
    assert [tuple(one) for one in active] == [
        (2, 2, 2),
        *[(0, 2, 2)] * 5,
        (1, 2, 2),
        (0, 1, 2),
        (1, 1, 2),
        *[(0, 1, 2)] * 6,
        *[(0, 0, 2)] * 15,
        *[(0, 0, 1)] * 8,
        (0, 0, 0),
        (0, 0, 0),
        (1, 1, 1),
        *[(0, 1, 1)] * 6,
        *[(0, 0, 1)] * 2,
    ]
    assert uses == [
        FeatureUse("TaskCompleted", "task", 3, 1, START + 6 * DAY),
        FeatureUse("Told", "x", 3, 2, START + 8 * DAY),
        FeatureUse("TaskReopened", "task", 1, 1, START + 2 * HOUR),
    ]
    assert {place - DAYS_BEFORE: count for place, count in enumerate(rates) if count} == {0: 4, 2: 1, 6: 1, 8: 1, 40: 1}


@pytest.mark.parametrize(("viewer", "seen"), [(viewer_of(ADA), 5), (viewer_of(BOB), 1), (ANONYMOUS, 0), (ADMIN, 7)])
async def test_only_events_that_the_viewer_may_see_are_counted(database: Database, viewer: Viewer, seen: int) -> None:
    await _store_examples(database)
    bounds = [START + place * DAY for place in range(-DAYS_BEFORE, 11)]
    async with open_snapshot(database, viewer) as snapshot:
        analytics = EventAnalytics(snapshot)
        assert sum(await analytics.rates(bounds)) == seen
        assert sum(use.events for use in await analytics.feature_use(bounds[0], bounds[-1], limit=9)) == seen
        of_ada = await analytics.completions(ADA, bounds)
        assert sum(one.completed for one in of_ada) == (3 if viewer in {viewer_of(ADA), ADMIN} else 0)
        months = {one.monthly for one in await analytics.active_users(bounds)}
        assert months == {2 if viewer is ADMIN else int(seen > 0)}
