"""A user's days: counted by the reaction to task events, in the user's time zone; shown by dashboard and trends."""

import datetime as dt
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import jwt
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.identity import Users
from repositories.tables.identity import User
from repositories.tables.life_lock import TaskStatus
from tests.api.client import AUDIENCE, SECRET, Gateway, gid
from tests.api.day_model import Days, Item
from tests.factories import make_category, make_task, make_user

ANALYTICS = "taskAnalytics(from: $from, to: $to) { date tasksCompleted tasksCreated productivityScore }"
DASHBOARD = """lifeLockDashboard { totalTasks completedTasks overdueTasks todaysTasks productivityScore
    weeklyProgress { date completed created } upcomingDeadlines(first: 500) { databaseId } }"""
TREND = "{ date completed created score movingAverage }"
SHOWN = f"""query($from: Date!, $to: Date!) {{ {ANALYTICS} {DASHBOARD}
    week: productivityTrends(period: WEEK) {TREND} month: productivityTrends(period: MONTH) {TREND}
    year: productivityTrends(period: YEAR) {TREND} }}"""
START = dt.datetime(2026, 3, 7, 22, 30, tzinfo=dt.UTC)
STATUSES = ["PENDING", "IN_PROGRESS", "COMPLETED", "CANCELLED"]


class Simulation:
    """Applies the same commands to the gateway and to the model."""

    def __init__(self, gateway: Gateway, user: User) -> None:
        self.gateway, self.user = gateway, user
        self.days = Days(ZoneInfo(user.time_zone))
        self.now = START

    async def _do(self, mutation: str, selection: str, **given: Any) -> None:
        payload = await self.gateway.at(self.now).client(self.user).do(mutation, selection, **given)
        assert payload["userErrors"] == []

    def _due(self, offset: int | None) -> dt.datetime | None:
        return None if offset is None else self.now + dt.timedelta(hours=offset)

    async def create(self, offsets: list[int | None]) -> None:
        """Uses createTask for one task, createTasks for several."""
        made = [Item(str(new_id()), self.now, self._due(offset)) for offset in offsets]
        tasks = [{"title": "x", "databaseId": item.key, "dueDate": item.due and item.due.isoformat()} for item in made]
        if len(tasks) == 1:
            await self._do("createTask", "task { id }", **tasks[0])
        else:
            await self._do("createTasks", "tasks { id }", tasks=tasks)
        self.days.items += made
        self.days.count(self.now)

    async def update(self, picked: list[int], status: str | None, offset: int | None) -> None:
        """Uses updateTask for one task, updateTasks for several."""
        items = [self.days.alive[index] for index in sorted({pick % len(self.days.alive) for pick in picked})]
        changes: list[dict[str, Any]] = []
        moments: list[dt.datetime | None] = []
        for item in items:
            change: dict[str, Any] = {"id": global_id(item), "version": item.version, "dueDate": None}
            due = self._due(offset)
            before, completed = (item.status, item.due), item.completed
            if status is not None:
                change["status"] = status
                item.set_status(status, self.now)
            change["dueDate"] = due and due.isoformat()
            item.due = due
            if (item.status, item.due) != before:
                item.version += 1
                moments.append(self.now)
                if item.status != before[0]:
                    moments += [completed, item.completed]
            changes.append(change)
        if len(changes) == 1:
            await self._do("updateTask", "task { id }", **changes[0])
        else:
            await self._do("updateTasks", "tasks { id }", tasks=changes)
        self.days.count(*moments)

    async def change(self, mutation: str, pick: int) -> None:
        """Runs completeTask, reopenTask, deleteTask or restoreTask."""
        candidates = [item for item in self.days.items if item.is_deleted is (mutation == "restoreTask")]
        if not candidates:
            return
        item = candidates[pick % len(candidates)]
        completed, before = item.completed, (item.status, item.is_deleted)
        await self._do(mutation, "task { id }", id=global_id(item), version=item.version)
        if mutation == "completeTask":
            item.set_status("COMPLETED", self.now)
        elif mutation == "reopenTask" and item.status in {"COMPLETED", "CANCELLED"}:
            item.set_status("PENDING", self.now)
        elif mutation in {"deleteTask", "restoreTask"}:
            item.is_deleted = mutation == "deleteTask"
            completed = completed or item.created
        if (item.status, item.is_deleted) != before:
            item.version += 1
            created = item.created if mutation in {"deleteTask", "restoreTask"} else None
            self.days.count(self.now, completed, item.completed, created)

    async def compare(self) -> None:
        """Compares all results about days."""
        shown = (
            await self.gateway.at(self.now).client(self.user).data(SHOWN, **{"from": "2026-03-01", "to": "2026-05-31"})
        )
        today = self.days.date(self.now)
        assert shown == {
            "taskAnalytics": self.days.analytics(),
            "lifeLockDashboard": self.days.dashboard(self.now),
            "week": self.days.trend(today, 7),
            "month": self.days.trend(today, 30),
            "year": self.days.trend(today, 365),
        }


def global_id(item: Item) -> str:
    return gid("Task", UUID(item.key))


_offsets = st.none() | st.integers(-100, 100)
_steps = st.lists(
    st.tuples(
        st.integers(0, 30 * 60),
        st.one_of(
            st.tuples(st.just("create"), st.lists(_offsets, min_size=1, max_size=3)),
            st.tuples(
                st.just("update"),
                st.lists(st.integers(0, 20), min_size=1, max_size=3),
                st.none() | st.sampled_from(STATUSES),
                _offsets,
            ),
            st.tuples(st.sampled_from(["completeTask", "reopenTask", "deleteTask", "restoreTask"]), st.integers(0, 20)),
        ),
    ),
    min_size=1,
    max_size=14,
)
ZONES = ["UTC", "America/New_York", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Asia/Kathmandu"]

_MOVED_AFTERWARDS = [
    (440, ("create", [None])),
    (0, ("completeTask", 0)),
    (1090, ("update", [0], "COMPLETED", None)),
]
"""Moves the due date of a task that was completed on an earlier day, which recounts only today."""


@given(steps=_steps, zone=st.sampled_from(ZONES))
@example(steps=_MOVED_AFTERWARDS, zone="UTC")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_days_equal_those_of_the_model(gateway: Gateway, steps: Any, zone: str) -> None:
    """This holds for any commands, minutes to a day apart, across a clock change in New York."""
    person = Simulation(gateway, await make_user(gateway.database, time_zone=zone))
    await person.create([1])
    for minutes, (kind, *arguments) in steps:
        person.now += dt.timedelta(minutes=minutes)
        if kind == "create":
            await person.create(*arguments)
        elif kind == "update":
            if person.days.alive:
                await person.update(*arguments)
        else:
            await person.change(kind, *arguments)
    await person.compare()


@pytest.mark.parametrize(
    ("zone", "moment", "date"),
    [
        ("Pacific/Kiritimati", "2026-06-15T09:59:59Z", "2026-06-15"),
        ("Pacific/Kiritimati", "2026-06-15T10:00:00Z", "2026-06-16"),
        ("Pacific/Pago_Pago", "2026-06-15T10:59:59Z", "2026-06-14"),
        ("Pacific/Pago_Pago", "2026-06-15T11:00:00Z", "2026-06-15"),
        ("UTC", "2026-06-15T23:59:59.999999Z", "2026-06-15"),
    ],
)
async def test_a_day_starts_at_midnight_in_the_users_time_zone(
    gateway: Gateway, zone: str, moment: str, date: str
) -> None:
    user = await make_user(gateway.database, time_zone=zone)
    client = gateway.at(dt.datetime.fromisoformat(moment)).client(user)
    task = (await client.do("createTask", "task { id }", title="x", dueDate=moment))["task"]
    await client.do("completeTask", "task { id }", id=task["id"])
    document = f"""query($from: Date!, $to: Date!) {{ {ANALYTICS} lifeLockDashboard {{ todaysTasks }}
        productivityTrends(period: WEEK) {{ date created }} }}"""
    data = await client.data(document, **{"from": "2026-06-01", "to": "2026-06-30"})
    assert data["taskAnalytics"] == [
        {"date": date, "tasksCompleted": 1, "tasksCreated": 1, "productivityScore": "100.00"}
    ]
    assert data["lifeLockDashboard"] == {"todaysTasks": 1}
    assert data["productivityTrends"][-1] == {"date": date, "created": 1}


async def test_a_requested_time_zone_decides_the_current_day(gateway: Gateway, ada: User) -> None:
    """The dashboard uses the requested time zone. Stored counts are in the user's own time zone."""
    at = gateway.at(dt.datetime(2026, 6, 15, 23, 0, tzinfo=dt.UTC)).client(ada)
    await at.do("createTask", "task { id }", title="x", dueDate="2026-06-15T22:30:00Z")
    document = "query($z: String) { lifeLockDashboard(timeZone: $z) { todaysTasks weeklyProgress { date created } } }"
    for zone, date, today in (
        (None, "2026-06-15", 1),
        ("Europe/Berlin", "2026-06-16", 1),
        ("Pacific/Kiritimati", "2026-06-16", 1),
        ("Asia/Kolkata", "2026-06-16", 1),
        ("Pacific/Pago_Pago", "2026-06-15", 1),
    ):
        shown = (await at.data(document, z=zone))["lifeLockDashboard"]
        assert shown["todaysTasks"] == today
        assert shown["weeklyProgress"][-1] == {"date": date, "created": 1}
        assert [day["created"] for day in shown["weeklyProgress"]] == [0] * 6 + [1]


async def test_the_time_zone_of_the_account_is_used_for_a_token_without_one(gateway: Gateway) -> None:
    """Tokens of external issuers have none. A change of the account takes effect at once."""
    user = await make_user(gateway.database, time_zone="Pacific/Kiritimati")
    moment = dt.datetime(2026, 6, 15, 12, 0, tzinfo=dt.UTC)
    at = gateway.at(moment)
    client = at.client(user)
    client.headers = {"Authorization": f"Bearer {_without_zone(at.token(user))}"}
    await client.do("createTask", "task { id }", title="x")
    dates = await client.data(
        f"query($from: Date!, $to: Date!) {{ {ANALYTICS} }}", **{"from": "2026-06-01", "to": "2026-06-30"}
    )
    assert [day["date"] for day in dates["taskAnalytics"]] == ["2026-06-16"]


def _without_zone(token: str) -> str:
    claims = jwt.decode(token, SECRET, algorithms=["HS256"], audience=AUDIENCE)
    del claims["zoneinfo"]
    return jwt.encode(claims, SECRET, algorithm="HS256")


async def test_the_category_breakdown_is_ordered_by_name(gateway: Gateway, ada: User, bob: User) -> None:
    """Includes empty categories, and tasks without a category last. Deleted and other users' tasks are not counted."""
    client = gateway.client(ada)
    home = await make_category(gateway.database, ada, name="Home")
    await make_category(gateway.database, ada, name="Empty")
    await make_category(gateway.database, bob, name="Bob's")
    done = {"status": TaskStatus.COMPLETED, "completed_at": START}
    for values in ({"category_id": home.id}, {"category_id": home.id, **done}, {}, {}, done):
        await make_task(gateway.database, ada, **values)
    deleted = await make_task(gateway.database, ada, category_id=home.id)
    await client.do("deleteTask", "task { id }", id=gid("Task", deleted))
    shown = await client.data("{ lifeLockDashboard { categoryBreakdown { category { name } total completed } } }")
    assert shown["lifeLockDashboard"]["categoryBreakdown"] == [
        {"category": {"name": "Empty"}, "total": 0, "completed": 0},
        {"category": {"name": "Home"}, "total": 2, "completed": 1},
        {"category": None, "total": 3, "completed": 1},
    ]


async def test_upcoming_deadlines_are_five_by_default(gateway: Gateway, ada: User) -> None:
    for hour in range(7):
        await make_task(gateway.database, ada, title=f"In {hour} hours", due_date=START + dt.timedelta(hours=hour))
    await make_task(gateway.database, ada, due_date=START - dt.timedelta(seconds=1))
    client = gateway.at(START).client(ada)
    shown = await client.data(
        "{ lifeLockDashboard { upcomingDeadlines { title } next: upcomingDeadlines(first: 1) { title } } }"
    )
    assert shown["lifeLockDashboard"]["upcomingDeadlines"] == [{"title": f"In {hour} hours"} for hour in range(5)]
    assert shown["lifeLockDashboard"]["next"] == [{"title": "In 0 hours"}]
    answer = await client.ask("{ lifeLockDashboard { totalTasks upcomingDeadlines(first: 501) { title } } }")
    assert (answer.codes, answer.data) == (["VALIDATION_ERROR"], {"lifeLockDashboard": None})


async def test_admins_refresh_and_read_the_statistics_of_all_users(
    gateway: Gateway, ada: User, bob: User, admin: User, database: Database
) -> None:
    for values in (
        {},
        {"status": TaskStatus.COMPLETED, "completed_at": START},
        {"status": TaskStatus.IN_PROGRESS, "due_date": START},
    ):
        await make_task(database, ada, **values)
    document = "mutation { refreshUserDashboardStats { refreshedAt } }"
    answer = await gateway.client(ada).ask(document)
    assert (answer.data, answer.codes) == ({"refreshUserDashboardStats": None}, ["FORBIDDEN"])
    assert (await gateway.client().ask(document)).codes == ["UNAUTHENTICATED"]
    refreshed = await gateway.at(START).client(admin).data(document)
    assert refreshed == {"refreshUserDashboardStats": {"refreshedAt": START.isoformat()}}
    document = """{ userDashboardStats { totalCount nodes { user { email } totalTasks pendingTasks inProgressTasks
        completedTasks cancelledTasks overdueTasks completionRate lastActivity } } }"""
    shown = (await gateway.client(admin).data(document))["userDashboardStats"]
    snapshot = database.snapshot(SERVICE)
    assert shown["totalCount"] == len(await Users(snapshot).find(limit=10)) == 3
    await snapshot.close()
    (adas,) = [row for row in shown["nodes"] if row["user"]["email"] == "ada@example.com"]
    assert {name: adas[name] for name in adas if name not in {"user", "lastActivity"}} == {
        "totalTasks": 3,
        "pendingTasks": 1,
        "inProgressTasks": 1,
        "completedTasks": 1,
        "cancelledTasks": 0,
        "overdueTasks": 1,
        "completionRate": "33.33",
    }
    assert shown["nodes"][0] == adas
    assert [row["lastActivity"] for row in shown["nodes"][1:]] == [None, None]
