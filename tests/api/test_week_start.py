"""Weeks start on the day in the viewer's preferences, wherever a week is counted."""

import datetime as dt
from typing import Any

import pytest

from gateway.settings import Settings
from repositories.core.clock import week_start
from repositories.tables.gamification import PointReason
from repositories.tables.identity import User, Weekday
from tests.api.client import Client, Gateway
from tests.api.people import set_preferences
from tests.factories import make_points, make_user

NOON = dt.datetime(2026, 6, 17, 12, tzinfo=dt.UTC)
"""A Wednesday."""

TRENDS = """{ completionTrends(interval: WEEK, from: "2026-06-17", to: "2026-06-17") { date }
    productivityTrends(period: WEEK) { date weekStart } }"""


def test_a_week_starts_on_any_day() -> None:
    for first, weekday in enumerate(Weekday):
        for offset in range(14):
            date = dt.date(2026, 6, 10) + dt.timedelta(days=offset)
            start = week_start(date, first)
            assert start.strftime("%A").lower() == weekday
            assert dt.timedelta() <= date - start < dt.timedelta(days=7)


@pytest.mark.parametrize(
    ("weekday", "expected"),
    [("MONDAY", "2026-06-15"), ("SUNDAY", "2026-06-14"), ("WEDNESDAY", "2026-06-17"), ("THURSDAY", "2026-06-11")],
)
async def test_weeks_of_trends_start_on_the_preferred_day(
    gateway: Gateway, ada: User, weekday: str, expected: str
) -> None:
    client = gateway.at(NOON).client(ada)
    before = await client.data(TRENDS)
    assert [week["date"] for week in before["completionTrends"]] == ["2026-06-15"]
    await set_preferences(client, weekStartsOn=weekday)
    after = await client.data(TRENDS)
    assert [week["date"] for week in after["completionTrends"]] == [expected]
    days = after["productivityTrends"]
    assert [day["date"] for day in days] == [f"2026-06-{number}" for number in range(11, 18)]
    first = list(Weekday).index(Weekday[weekday])
    assert [day["weekStart"] for day in days] == [
        week_start(dt.date.fromisoformat(day["date"]), first).isoformat() for day in days
    ]
    assert days[-1]["weekStart"] == expected


async def test_tiles_of_the_week_count_from_the_preferred_day(gateway: Gateway, ada: User, admin: User) -> None:
    """The cached tiles of another viewer, and those from before the change, are not used."""
    saturday, sunday = (dt.datetime(2026, 6, day, 9, tzinfo=dt.UTC) for day in (13, 14))
    for number, moment in enumerate((saturday, sunday, NOON)):
        await make_points(gateway.database, ada, 10**number, reason=PointReason.TASK_COMPLETED, created_at=moment)
        await make_user(gateway.database, created_at=moment)

    async def points(client: Client) -> Any:
        return (await client.data("{ gamificationDashboard { pointsThisWeek } }"))["gamificationDashboard"]

    async def accounts(client: Client) -> int:
        return int((await client.data("{ usersOverview { newThisWeek } }"))["usersOverview"]["newThisWeek"])

    cached = Gateway(gateway.database, settings=Settings(cache="memory"), clock=lambda: NOON)
    client, of_admin = cached.client(ada), cached.client(admin)
    assert await points(client) == {"pointsThisWeek": 100}
    monday = await accounts(of_admin)
    await set_preferences(client, weekStartsOn="SUNDAY")
    assert await points(client) == {"pointsThisWeek": 110}
    assert await accounts(of_admin) == monday
    await set_preferences(client, weekStartsOn="SATURDAY")
    assert await points(client) == {"pointsThisWeek": 111}
    await set_preferences(of_admin, weekStartsOn="SUNDAY")
    assert await accounts(of_admin) == monday + 1
    await set_preferences(of_admin, weekStartsOn="SATURDAY")
    assert await accounts(of_admin) == monday + 2
