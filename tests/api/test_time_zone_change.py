"""After a change of the time zone, a user's days equal a fresh count in the new zone, by a plain Python model."""

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from repositories.core.clock import date_of, days
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.identity import Users
from repositories.life_lock.analytics import Analytics
from repositories.life_lock.tasks import Tasks
from repositories.tables.identity import User
from repositories.tables.life_lock import TaskStatus
from resolvers.life_lock import jobs
from resolvers.services.job import JobContext
from tests.api.client import Gateway
from tests.api.day_model import Days, Item
from tests.api.test_statements import summarize_statements
from tests.factories import make_user

AT = dt.datetime(2026, 6, 15, 10, 30, tzinfo=dt.UTC)
"""June 14 in Pago Pago, June 15 in UTC and June 16 on Kiritimati."""
DAY = dt.timedelta(days=1)
ZONES = ["UTC", "America/New_York", "Asia/Kathmandu", "Pacific/Kiritimati", "Pacific/Pago_Pago"]
TREND = "{ date completed created score movingAverage }"
DOCUMENT = f"""query($from: Date!, $to: Date!) {{
    taskAnalytics(from: $from, to: $to) {{ date tasksCompleted tasksCreated productivityScore }}
    lifeLockDashboard {{ productivityScore weeklyProgress {{ date completed created }} }}
    week: productivityTrends(period: WEEK) {TREND} month: productivityTrends(period: MONTH) {TREND}
    year: productivityTrends(period: YEAR) {TREND} }}"""

_hours = st.integers(-150 * 24, 0).map(lambda hours: dt.timedelta(hours=hours, minutes=-7))
_tasks = st.lists(
    st.tuples(_hours, st.none() | _hours, st.none() | _hours, st.booleans()), min_size=1, max_size=12
).map(lambda tasks: [(min(created, done or created), due, done, gone) for created, due, done, gone in tasks])


async def _store(database: Database, user: User, tasks: list[Any]) -> list[Item]:
    """Stores tasks, and the days as they were counted in the user's time zone."""
    items, rows = [], []
    for created, due, done, is_deleted in tasks:
        item = Item(str(new_id()), AT + created, None if due is None else AT + due, is_deleted=is_deleted)
        item.status, item.completed = ("PENDING", None) if done is None else ("COMPLETED", AT + done)
        items.append(item)
        rows.append(
            {
                "user_id": user.id,
                "title": "x",
                "created_at": item.created,
                "due_date": item.due,
                "status": TaskStatus[item.status],
                "completed_at": item.completed,
                "deleted_at": AT if is_deleted else None,
            }
        )
    zone = ZoneInfo(user.time_zone)
    async with database.transaction(SERVICE) as write:
        await Tasks(write).add_many(rows)
        await Analytics(write).recompute(user.id, days(date_of(AT, zone), 200, zone))
    return items


def _fresh(items: list[Item], zone: str) -> Days:
    """A count of all days in the zone, as of now."""
    model = Days(ZoneInfo(zone), items)
    model.count(*(AT - DAY * back for back in range(-2, 400)))
    return model


def _numbers(shown: list[dict[str, Any]]) -> dict[str, Any]:
    """The days of ``taskAnalytics`` that differ from days without rows."""
    rows = {row.pop("date"): row for row in ({**row} for row in shown)}
    zeros = {"tasksCompleted": 0, "tasksCreated": 0, "productivityScore": "0.00"}
    return {date: row for date, row in rows.items() if row != zeros}


async def _change_zone(gateway: Gateway, user: User, zone: str) -> User:
    payload = await gateway.at(AT).client(user).do("updateProfile", "user { version }", version=1, timeZone=zone)
    assert payload == {"user": {"version": 2}, "userErrors": []}
    return user.replace(time_zone=zone)


async def _show(gateway: Gateway, user: User, since: int) -> Any:
    """All numbers about days, of the days from ``since`` days ago."""
    today = AT.astimezone(ZoneInfo(user.time_zone)).date()
    return (
        await gateway.at(AT).client(user).data(DOCUMENT, **{"from": str(today - DAY * since), "to": str(today + DAY)})
    )


MOVED_BY_TWO_DATES = [
    (-DAY * 89 - dt.timedelta(hours=1), None, -DAY * 89, False),
    (-DAY * 120, None, -DAY * 100, False),
]
"""At both ends of the days that are recounted at once, and before."""


@given(tasks=_tasks, old=st.sampled_from(ZONES), new=st.sampled_from(ZONES))
@example(tasks=MOVED_BY_TWO_DATES, old="Pacific/Kiritimati", new="Pacific/Pago_Pago")
@example(tasks=MOVED_BY_TWO_DATES, old="Pacific/Pago_Pago", new="Pacific/Kiritimati")
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_days_equal_a_fresh_count_in_the_new_time_zone(
    gateway: Gateway, tasks: list[Any], old: str, new: str
) -> None:
    """The last 90 days at once, and all days after the next run of the job."""
    user = await make_user(gateway.database, time_zone=old)
    items = await _store(gateway.database, user, tasks)
    if new != old:
        user = await _change_zone(gateway, user, new)
    model, today = _fresh(items, new), AT.astimezone(ZoneInfo(new)).date()
    shown = await _show(gateway, user, since=89)
    assert _numbers(shown["taskAnalytics"]) == {
        date: row for date, row in _numbers(model.analytics()).items() if date >= str(today - DAY * 89)
    }
    for period, length in (("week", 7), ("month", 30)):
        assert shown[period] == model.trend(today, length)
    assert shown["lifeLockDashboard"]["productivityScore"] == str(model.mean(today))
    progress = [{name: day[name] for name in ("date", "completed", "created")} for day in shown["week"]]
    assert shown["lifeLockDashboard"]["weeklyProgress"] == progress
    await jobs.recount_days(JobContext(gateway.database, AT + DAY, AT))
    shown = await _show(gateway, user, since=360)
    assert _numbers(shown["taskAnalytics"]) == _numbers(model.analytics())
    assert shown["year"] == model.trend(today, 365)


async def test_a_change_of_the_time_zone_executes_one_statement_for_all_days(
    gateway: Gateway, ada: User, statements: list[str]
) -> None:
    """One more reads the account and one locks it. Other changes of a profile recount nothing.

    A request after a change looks the account up first.
    """
    client = gateway.client(ada)
    await _store(gateway.database, ada, [(-DAY * back, None, -DAY * back, False) for back in range(120)])
    look_up = ["SELECT users", "SELECT roles"]
    changed = ["UPDATE users", "INSERT domain_events"]
    for version, given_fields, before, after in (
        (1, {"timeZone": "Asia/Tokyo"}, [], [*changed, "SELECT users", "SELECT users", "INSERT task_analytics"]),
        (2, {"timeZone": "Asia/Tokyo"}, look_up, []),
        (2, {"firstName": "Augusta"}, [], changed),
    ):
        statements.clear()
        payload = await client.do("updateProfile", "user { id }", version=version, **given_fields)
        assert payload["userErrors"] == []
        assert summarize_statements(statements) == [*before, "SELECT users", *after]


async def _completed_days(database: Database, user: User) -> list[dt.date]:
    async with database.snapshot(SERVICE) as snapshot:
        rows = await Analytics(snapshot).between(user.id, dt.date(2000, 1, 1), dt.date(2100, 1, 1))
    return [row.date for row in rows if row.tasks_completed]


async def test_the_job_recounts_users_who_changed_their_time_zone_since_the_last_run(
    gateway: Gateway, database: Database
) -> None:
    """It looks back an hour before that run. Its first run finds everybody who ever changed it. It can be repeated."""
    users = [await make_user(database) for _ in range(4)]
    completed = (AT - DAY * 120 + dt.timedelta(hours=6)).date()
    for user in users:
        await _store(database, user, [(-DAY * 120, None, -DAY * 120 + dt.timedelta(hours=6), False)])
    earlier, now, other, deleted = users
    for user, moment in ((earlier, AT - DAY), (now, AT), (deleted, AT)):
        await gateway.at(moment).client(user).do("updateProfile", "user { id }", version=1, timeZone="Asia/Tokyo")
    await gateway.at(AT).client(other).do("updateProfile", "user { id }", version=1, firstName="Augusta")
    async with database.transaction(SERVICE) as write:
        await Users(write).remove(await Users(write).get(deleted.id))

    async def run(last_success_at: dt.datetime | None) -> list[int]:
        progress: list[int] = []
        count = await jobs.recount_days(JobContext(database, AT, last_success_at, progress.append))
        assert count == (progress[-1] if progress else 0)
        return progress

    async def shifts() -> list[int]:
        """By how many dates the completion was moved."""
        return [(day - completed).days for user in users for day in await _completed_days(database, user)]

    assert (await run(AT + jobs.LOOK_BACK + dt.timedelta(seconds=1)), await shifts()) == ([], [0, 0, 0, 0])
    assert len(await run(AT + jobs.LOOK_BACK)) == 2
    assert await shifts() == [0, 1, 0, 0]
    progress = await run(None)
    assert (len(progress), await shifts()) == (3, [1, 1, 0, 0])
    assert (await run(None), await shifts()) == (progress, [1, 1, 0, 0])
