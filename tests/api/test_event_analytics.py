"""Analytics of events: intervals, time zones, validation errors and permissions."""

import datetime as dt
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from repositories.aggregates.event_store import EventStore
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.identity import Users
from repositories.permissions import RoleName
from repositories.tables.identity import User
from resolvers.events.queries import TrendInterval
from tests.api.client import Gateway, gid
from tests.api.stored_rows import stored_events
from tests.factories import make_task, make_user
from tests.repositories.support import examples

AT = dt.datetime(2026, 6, 17, 12, tzinfo=dt.UTC)
"""A Wednesday."""
DAY, HOUR = dt.timedelta(days=1), dt.timedelta(hours=1)
TRENDS = """query($from: Date, $to: Date, $interval: TrendInterval! = DAY, $zone: String) {
    completionTrends(from: $from, to: $to, interval: $interval, timeZone: $zone) {
        date completed onTime reopened movingAverage } }"""
ACTIVE = """query($from: Date, $to: Date, $zone: String) {
    dailyActiveUsers(from: $from, to: $to, timeZone: $zone) { date daily weekly monthly stickiness } }"""
USE = """query($from: Date, $to: Date, $zone: String, $first: Int! = 50) {
    featureUse(from: $from, to: $to, timeZone: $zone, first: $first) {
        eventType aggregateType events users lastUsed } }"""
RATES = """query($from: Date, $to: Date, $interval: RateInterval! = HOUR, $type: String, $zone: String) {
    eventRates(from: $from, to: $to, interval: $interval, aggregateType: $type, timeZone: $zone) {
        startsAt endsAt events } }"""
FOR_ADMINS = {"dailyActiveUsers": ACTIVE, "featureUse": USE, "eventRates": RATES}


async def record(
    database: Database, user: User, *moments: str, kind: str = "Told", aggregate: str = "x", **data: Any
) -> None:
    """Stores events of a user."""
    made = {"aggregate_type": aggregate, "event_type": kind, "event_data": data, "user_id": user.id, "version": 1}
    rows = [
        made | {"id": new_id(), "aggregate_id": new_id(), "timestamp": dt.datetime.fromisoformat(moment)}
        for moment in moments
    ]
    async with database.transaction(SERVICE) as write:
        await EventStore(write).load(rows)


async def test_completed_tasks_still_count_after_they_are_deleted(gateway: Gateway, ada: User, bob: User) -> None:
    """Completed on time and late, then deleted or cancelled and reopened, all by commands."""
    early = await make_task(gateway.database, ada, due_date=AT)
    late = await make_task(gateway.database, ada, due_date=AT - HOUR)
    other = await make_task(gateway.database, bob, due_date=AT)
    client = gateway.at(AT).client(ada)
    for task in (early, late):
        await client.do("completeTask", "task { id }", id=gid("Task", task))
    await gateway.at(AT).client(bob).do("completeTask", "task { id }", id=gid("Task", other))
    await client.do("deleteTask", "task { id }", id=gid("Task", early))
    after = gateway.at(AT + DAY).client(ada)
    await after.do("updateTask", "task { id }", id=gid("Task", late), version=2, status="CANCELLED")
    await after.do("reopenTask", "task { id }", id=gid("Task", late))
    assert await after.data(TRENDS, **{"from": "2026-06-16"}) == {
        "completionTrends": [
            {"date": "2026-06-16", "completed": 0, "onTime": 0, "reopened": 0, "movingAverage": "0.00"},
            {"date": "2026-06-17", "completed": 2, "onTime": 1, "reopened": 0, "movingAverage": "0.29"},
            {"date": "2026-06-18", "completed": 0, "onTime": 0, "reopened": 1, "movingAverage": "0.29"},
        ]
    }
    trends = (await after.data("{ productivityTrends(period: WEEK) { completed } }"))["productivityTrends"]
    assert sum(day["completed"] for day in trends) == 0


async def test_weeks_and_months_are_counted_completely(gateway: Gateway, ada: User) -> None:
    """Weeks start on Monday. Moving averages include weeks and months before the period."""
    done = ["2026-03-31T23:59:59.999999Z", "2026-04-01T00:00Z", "2026-05-31T12:00Z", "2026-06-14T23:59Z"]
    done += ["2026-06-15T00:00Z", "2026-06-21T23:59:59Z", "2026-06-22T00:00Z", "2026-06-30T23:00Z"]
    for moment in done:
        await record(gateway.database, ada, moment, kind="TaskCompleted", completed_at=moment, due_date=None)
    client = gateway.at(AT).client(ada)

    async def fetch_trends(since: str, until: str, interval: str) -> list[tuple[str, int, str]]:
        found = await client.data(TRENDS, **{"from": since, "to": until, "interval": interval})
        return [(one["date"], one["completed"], one["movingAverage"]) for one in found["completionTrends"]]

    assert await fetch_trends("2026-06-17", "2026-06-22", "WEEK") == [
        ("2026-06-15", 2, "1.00"),
        ("2026-06-22", 1, "1.00"),
    ]
    assert await fetch_trends("2026-06-15", "2026-06-21", "WEEK") == [("2026-06-15", 2, "1.00")]
    assert await fetch_trends("2026-05-31", "2026-06-01", "MONTH") == [
        ("2026-05-01", 1, "1.00"),
        ("2026-06-01", 5, "2.33"),
    ]
    assert [date for date, *_ in await fetch_trends("2025-06-30", "2026-06-30", "MONTH")] == [
        *(f"2025-{month:02}-01" for month in range(6, 13)),
        *(f"2026-{month:02}-01" for month in range(1, 7)),
    ]
    assert await fetch_trends("2026-06-14", "2026-06-15", "DAY") == [
        ("2026-06-14", 1, "0.14"),
        ("2026-06-15", 1, "0.29"),
    ]


@examples(200)
@given(
    interval=st.sampled_from(TrendInterval),
    since=st.dates(dt.date(1970, 1, 1), dt.date(2999, 1, 1)),
    length=st.integers(0, 365),
    before=st.integers(0, 6),
)
def test_intervals_are_consecutive(interval: TrendInterval, since: dt.date, length: int, before: int) -> None:
    """They are consecutive. After the first ``before`` intervals, they cover exactly the requested days."""
    until = since + length * DAY
    dates = interval.first_days(since, until, before)
    longest = {TrendInterval.DAY: 1, TrendInterval.WEEK: 7, TrendInterval.MONTH: 31}[interval]
    shortest = 28 if interval is TrendInterval.MONTH else longest
    assert all(shortest <= (after - date).days <= longest for date, after in pairwise(dates))
    assert dates[before] <= since < dates[before + 1]
    assert dates[-2] <= until < dates[-1]
    assert all(date.weekday() == 0 for date in dates) or interval is not TrendInterval.WEEK
    assert all(date.day == 1 for date in dates) or interval is not TrendInterval.MONTH


async def test_active_users(gateway: Gateway, ada: User, bob: User, admin: User) -> None:
    """Users whose accounts are deleted later are counted."""
    await record(
        gateway.database, ada, "2026-06-01T00:00Z", "2026-06-01T23:00Z", "2026-06-03T12:00Z", "2026-06-10T12:00Z"
    )
    await record(gateway.database, bob, "2026-05-03T00:00Z", "2026-05-28T12:00Z")
    async with gateway.database.transaction(SERVICE) as write:
        await Users(write).purge(bob.id)
    client = gateway.client(admin)
    found = await client.data(ACTIVE, **{"from": "2026-06-01", "to": "2026-06-04"})
    assert [tuple(day.values()) for day in found["dailyActiveUsers"]] == [
        ("2026-06-01", 1, 2, 2, "50.00"),
        ("2026-06-02", 0, 2, 2, "0.00"),
        ("2026-06-03", 1, 2, 2, "50.00"),
        ("2026-06-04", 0, 1, 2, "0.00"),
    ]
    later = await client.data(ACTIVE, **{"from": "2026-06-10", "to": "2026-06-10"})
    assert [tuple(day.values()) for day in later["dailyActiveUsers"]] == [("2026-06-10", 1, 1, 2, "50.00")]
    west = await client.data(ACTIVE, **{"from": "2026-05-31", "to": "2026-06-01", "zone": "America/St_Johns"})
    assert [tuple(day.values()) for day in west["dailyActiveUsers"]] == [
        ("2026-05-31", 1, 2, 2, "50.00"),
        ("2026-06-01", 1, 2, 2, "50.00"),
    ]


async def test_feature_use(gateway: Gateway, ada: User, bob: User, admin: User) -> None:
    await record(gateway.database, ada, "2026-06-01T00:00Z", "2026-06-02T23:59:59.999999Z", kind="B")
    await record(gateway.database, bob, "2026-06-02T00:00Z", kind="B")
    await record(gateway.database, bob, "2026-06-02T01:00Z", "2026-06-02T02:00Z", kind="a", aggregate="y")
    await record(gateway.database, ada, "2026-05-31T23:59Z", "2026-06-03T00:00Z", kind="c")
    client = gateway.client(admin)
    most = {
        "eventType": "B",
        "aggregateType": "x",
        "events": 3,
        "users": 2,
        "lastUsed": "2026-06-02T23:59:59.999999+00:00",
    }
    other = {
        "eventType": "a",
        "aggregateType": "y",
        "events": 2,
        "users": 1,
        "lastUsed": "2026-06-02T02:00:00+00:00",
    }
    variables = {"from": "2026-06-01", "to": "2026-06-02"}
    assert await client.data(USE, **variables) == {"featureUse": [most, other]}
    assert await client.data(USE, **variables, first=1) == {"featureUse": [most]}
    east = (await client.data(USE, **variables, zone="Pacific/Kiritimati"))["featureUse"]
    assert [(use["eventType"], use["events"]) for use in east] == [("a", 2), ("B", 2), ("c", 1)]
    answer = await client.ask(USE, first=501)
    assert answer.errors[0]["extensions"] == {"code": "VALIDATION_ERROR", "field": ["first"]}


DAYS = [
    ("UTC", "2024-03-31", 24, HOUR),
    ("Europe/Berlin", "2024-03-31", 23, HOUR),
    ("Europe/Berlin", "2024-10-27", 25, HOUR),
    ("America/St_Johns", "2024-03-10", 23, HOUR),
    ("America/St_Johns", "2024-11-03", 25, HOUR),
    ("Australia/Lord_Howe", "2024-04-07", 25, HOUR / 2),
    ("Australia/Lord_Howe", "2024-10-06", 24, HOUR / 2),
]
"""Days with clock changes: the number of hours, and the length of the last one."""


async def test_days_with_clock_changes(gateway: Gateway, admin: User) -> None:
    client = gateway.client(admin)
    for zone, date, hours, last in DAYS:
        variables = {"from": date, "to": date, "zone": zone}
        (day,) = (await client.data(RATES, **variables, interval="DAY"))["eventRates"]
        found = (await client.data(RATES, **variables))["eventRates"]
        bounds = [
            (dt.datetime.fromisoformat(one["startsAt"]), dt.datetime.fromisoformat(one["endsAt"])) for one in found
        ]
        assert (found[0]["startsAt"], found[-1]["endsAt"]) == (day["startsAt"], day["endsAt"])
        assert [ends - starts for starts, ends in bounds] == [*[HOUR] * (hours - 1), last], zone
        assert all(ends == starts for (_, ends), (starts, _) in pairwise(bounds))


async def test_a_skipped_day_has_no_hours(gateway: Gateway, admin: User) -> None:
    """Kiritimati skipped a day when it moved across the date line."""
    client = gateway.client(admin)
    variables = {"from": "1994-12-31", "to": "1994-12-31", "zone": "Pacific/Kiritimati"}
    moment = "1994-12-31T10:00:00+00:00"
    day = {"startsAt": moment, "endsAt": moment, "events": 0}
    assert await client.data(RATES, **variables, interval="DAY") == {"eventRates": [day]}
    assert await client.data(RATES, **variables) == {"eventRates": []}


async def test_event_rates(gateway: Gateway, ada: User, admin: User) -> None:
    """Intervals are in the time zone of the admin's account, unless another one is requested."""
    await record(gateway.database, ada, "2026-06-01T21:59:59.999999Z", "2026-06-01T22:00Z", "2026-06-02T21:59Z")
    await record(gateway.database, ada, "2026-06-02T22:00Z", aggregate="task")
    async with gateway.database.transaction(SERVICE) as write:
        berliner = await Users(write).change(await Users(write).get(admin.id), time_zone="Europe/Berlin")
    client = gateway.client(berliner)

    async def fetch_rates(**variables: str) -> list[tuple[str, int]]:
        found = await client.data(RATES, **{"from": "2026-06-02", "to": "2026-06-03"} | variables)
        return [(one["startsAt"], one["events"]) for one in found["eventRates"]]

    berlin = [("2026-06-01T22:00:00+00:00", 2), ("2026-06-02T22:00:00+00:00", 1)]
    assert await fetch_rates(interval="DAY") == berlin
    assert await fetch_rates(interval="DAY", type="task") == [(berlin[0][0], 0), berlin[1]]
    assert await fetch_rates(interval="DAY", type="nothing") == [(starts, 0) for starts, _ in berlin]
    assert await fetch_rates(interval="DAY", zone="UTC") == [
        ("2026-06-02T00:00:00+00:00", 2),
        ("2026-06-03T00:00:00+00:00", 0),
    ]
    hours = await fetch_rates()
    assert len(hours) == 48
    assert [hour for hour in hours if hour[1]] == [
        ("2026-06-01T22:00:00+00:00", 1),
        ("2026-06-02T21:00:00+00:00", 1),
        ("2026-06-02T22:00:00+00:00", 1),
    ]


async def test_thirty_days_up_to_today_are_the_default(gateway: Gateway, admin: User) -> None:
    """Today in the viewer's time zone or in the requested one."""
    client = gateway.at(AT).client(admin)
    for document in (TRENDS, ACTIVE):
        for zone, first, last in (
            ("UTC", "2026-05-19", "2026-06-17"),
            ("Pacific/Kiritimati", "2026-05-20", "2026-06-18"),
        ):
            (days,) = (await client.data(document, zone=zone)).values()
            assert (days[0]["date"], days[-1]["date"], len(days)) == (first, last, 30)
        (days,) = (await client.data(document, to="2026-03-01")).values()
        assert (days[0]["date"], days[-1]["date"]) == ("2026-01-31", "2026-03-01")
    assert len((await client.data(RATES))["eventRates"]) == 30 * 24


async def test_invalid_periods_are_rejected(gateway: Gateway, admin: User) -> None:
    client = gateway.at(AT).client(admin)
    order, year = "`from` must not be after `to`.", "A period may have at most 366 days."
    far = "The date must be between 1970-01-01 and 2999-12-31."
    zone = "This is not a time zone; use an IANA name such as Europe/Berlin."
    mistakes: list[tuple[dict[str, Any], str, str]] = [
        ({"from": "2026-06-02", "to": "2026-06-01"}, order, "from"),
        ({"from": "2026-06-18"}, order, "from"),
        ({"from": "2025-06-01", "to": "2026-06-02"}, year, "from"),
        ({"from": "2020-01-01"}, year, "from"),
        ({"from": "0001-01-01", "to": "0001-01-01"}, far, "from"),
        ({"to": "9999-12-31"}, far, "to"),
        ({"zone": "Mars"}, zone, "timeZone"),
    ]
    for document in (TRENDS, *FOR_ADMINS.values()):
        days = {"interval": "DAY"} if "interval" in document else {}
        for given_values, message, field in mistakes:
            answer = await client.ask(document, **given_values, **days)
            (error,) = answer.errors
            assert error["message"] == message, given_values
            assert error["extensions"] == {"code": "VALIDATION_ERROR", "field": [field]}
            assert list(answer.data.values()) == [None]
        await client.data(document, **{"from": "2023-06-02", "to": "2024-06-01"}, **days)
        for edge in ("1970-01-01", "2999-12-31"):
            await client.data(document, **{"from": edge, "to": edge, "zone": "Pacific/Kiritimati"}, **days)
    month = {"from": "2024-10-01", "to": "2024-10-31", "zone": "Europe/Berlin"}
    assert len((await client.data(RATES, **month))["eventRates"]) == 745
    (error,) = (await client.ask(RATES, **{"from": "2024-10-01", "to": "2024-11-01"})).errors
    assert (error["message"], error["extensions"]["field"]) == ("A period may have at most 31 days.", ["from"])
    assert (await client.ask(RATES, type="\0")).codes == ["VALIDATION_ERROR"]


async def test_permissions(gateway: Gateway, ada: User, bob: User) -> None:
    """All users may read their own trends, which count only their own events. Admins may read the rest."""
    moment = "2026-06-17T10:00:00+00:00"
    await record(gateway.database, bob, moment, kind="TaskCompleted", completed_at=moment, due_date=moment)
    before = await stored_events(gateway.database)
    elsewhere = gateway.at(AT)
    for field, document in FOR_ADMINS.items():
        for client in (
            elsewhere.client(ada),
            elsewhere.client(ada, RoleName.PARTNERSHIP_MANAGER),
        ):
            answer = await client.ask(document)
            assert (answer.data, answer.codes) == ({field: None}, ["FORBIDDEN"])
        answer = await elsewhere.client().ask(document)
        assert (answer.data, answer.codes) == ({field: None}, ["UNAUTHENTICATED"])
    answer = await elsewhere.client().ask(TRENDS)
    assert (answer.data, answer.codes) == ({"completionTrends": None}, ["UNAUTHENTICATED"])
    boss = await make_user(gateway.database)
    for client, completed in (
        (elsewhere.client(ada), 0),
        (elsewhere.client(boss, RoleName.ADMIN), 0),
        (elsewhere.client(bob), 1),
    ):
        days = (await client.data(TRENDS))["completionTrends"]
        assert sum(day["completed"] for day in days) == sum(day["onTime"] for day in days) == completed
    assert await stored_events(gateway.database) == before
