"""Cached dashboards equal computed ones: after any commands, at any time, for every viewer."""

import datetime as dt
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from gateway.settings import Settings
from repositories.core.clock import now
from repositories.core.event import all_event_types
from repositories.core.ids import new_id
from repositories.engines.database import DatabaseOptions
from repositories.permissions import RoleName
from repositories.tables.identity import User, UserRole
from resolvers.services import circuit_breaker, redis_client
from tests.api.client import Client, Gateway, connect_database, gid
from tests.databases import ENGINES, KEYS, copy_sqlite, postgres_options, temporary_clone
from tests.factories import make_client, make_points, make_tasks, make_user
from tests.repositories.support import SharedDatabase, examples
from tests.stores import redis_process

DASHBOARDS = """
query($first: Int!, $zone: String) {
  lifeLockDashboard(timeZone: $zone) {
    totalTasks completedTasks overdueTasks todaysTasks productivityScore
    weeklyProgress { date completed created }
    categoryBreakdown { category { id name color } total completed }
    upcomingDeadlines(first: $first) { id title version dueDate category { id name } } }
  clientDashboard {
    byStatus { status total } byIndustry { industry total } totalRevenue meanRevenue clientsWithRevenue
    newest(first: $first) { id companyName version primaryContact { id } } }
  gamificationDashboard(timeZone: $zone) {
    pointBalance pointsThisWeek achievementsUnlocked achievementsTotal currentStreak rank
    nextAchievement { achievement { code points } progress wanted } }
  myAchievements(timeZone: $zone) { achievement { code } progress wanted unlockedAt }
}
"""
FOR_MANAGERS = """
query($first: Int!) {
  partnershipDashboard {
    activePartners referralsByStatus { status total } wonValue commissionDue conversionRate
    topPartners(first: $first) { partner { id name version } wonReferrals wonValue commission } }
}
"""
FOR_ADMINS = """
query($zone: String) {
  usersOverview(timeZone: $zone) { byStatus { status total } byRole { role total } newThisWeek newThisMonth }
  roles { name description }
}
"""


class Gateways:
    """Gateways on one database: two that share a Redis, one with a cache in memory, and one without a cache.

    Like separate processes, each has its own connections.
    """

    def __init__(self, options: DatabaseOptions, url: str) -> None:
        self.shared_database = SharedDatabase(options)
        self.run = self.shared_database.run
        self.moment = now()
        self._stack = AsyncExitStack()
        self.run(self._open(options, url))

    async def _open(self, options: DatabaseOptions, url: str) -> None:
        redis = Settings(cache="redis", redis_url=SecretStr(url), cache_lifetime=3600)
        memory, no_cache = Settings(cache="memory", cache_lifetime=3600), Settings(cache="off")
        self.sharing_redis = [await self._gateway(options, redis) for _ in range(2)]
        self.in_memory = await self._gateway(options, memory)
        self.uncached = await self._gateway(options, no_cache)

    async def _gateway(self, options: DatabaseOptions, settings: Settings) -> Gateway:
        database = await self._stack.enter_async_context(connect_database(options, pool_size=4))
        made = Gateway(database, settings=settings, clock=lambda: self.moment)
        self._stack.push_async_callback(made.http.aclose)
        if settings.cache != "off":
            self._stack.push_async_callback(made.cache.close)
        return made

    def close(self) -> None:
        self.run(self._stack.aclose())
        self.shared_database.close()


AGGREGATES = {event_type.aggregate for event_type in all_event_types()}


@pytest.fixture(scope="module", autouse=True)
def _long_timeouts() -> Iterator[None]:
    """Prevents that a busy machine looks like an outage. Outages have tests of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(circuit_breaker, "TIMEOUT", 60.0)
        patch.setattr(redis_client, "SOCKET_TIMEOUT", 60.0)
        yield


@pytest.fixture(scope="module", params=ENGINES)
def setup(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateways]:
    """The gateways on each engine."""
    folder = tmp_path_factory.mktemp("setup")
    with redis_process(folder / "redis"):
        url = f"unix://{folder / 'redis'}"
        if request.param == "sqlite":
            path = copy_sqlite(request.getfixturevalue("sqlite_template"), Path(folder))
            made = Gateways(DatabaseOptions(sqlite_path=path, **KEYS), url)
            yield made
            made.close()
            return
        server = request.getfixturevalue("server")
        with temporary_clone(server, request.getfixturevalue("postgres_template")) as name:
            made = Gateways(postgres_options(server, name), url)
            yield made
            made.close()


class Commands:
    """The ids of all created rows, and the users.

    The dashboards are those of ``user`` and ``admin``. Other users are suspended and change their profiles, because
    afterwards the gateway reads their status and roles, instead of those in the token.
    """

    def __init__(self, setup: Gateways, user: User, admin: User, suspended: User, renamed: User) -> None:
        self.setup = setup
        self.user = user
        self.admin = admin
        self.suspended = suspended
        self.renamed = renamed
        self.ids: dict[str, list[str]] = {}

    async def change(self, gateway: Gateway, what: str, pick: int, amount: int) -> None:
        """Runs one command, which may be rejected."""
        person = self.admin if what in _ADMINISTRATIVE else self.renamed if what == "updateProfile" else self.user
        client = gateway.client(person, RoleName.PARTNERSHIP_MANAGER)
        kind, fields = _COMMANDS[what]
        given: dict[str, Any] = {}
        for name, value in fields.items():
            given[name] = self._value(value, pick, amount)
            if given[name] is _NO_VALUE:
                return
        if given.get("version") == "current":
            given["version"] = await self._version(client, kind, given["id"])
        payload = await client.do(what, f"{kind} {{ id }}", **given)
        if payload[kind] is not None:
            self.ids.setdefault(kind, []).append(payload[kind]["id"])

    def _value(self, value: Any, pick: int, amount: int) -> Any:
        match value:
            case ("id", kind):
                known = self.ids.get(kind, [])
                return known[pick % len(known)] if known else _NO_VALUE
            case ("due",):
                return (self.setup.moment + dt.timedelta(hours=amount - 3)).isoformat() if amount else None
            case ("one of", *choices):
                return choices[amount % len(choices)]
            case ("user",):
                return gid("User", self.suspended)
            case ("name",):
                return f"n{new_id().hex[-9:]}"
        return value

    async def _version(self, client: Client, kind: str, key: str) -> int:
        name = kind[0].upper() + kind[1:]
        node = (await client.data(f"query($id: ID!) {{ node(id: $id) {{ ... on {name} {{ version }} }} }}", id=key))[
            "node"
        ]
        return node["version"] if node else 1

    async def compare(self, gateways: list[Gateway], first: int, zone: str | None) -> None:
        """Compares all dashboards of both users between the gateways and the one without a cache."""
        managing = (RoleName.PARTNERSHIP_MANAGER,)
        for person, roles, document, values in (
            (self.user, (), DASHBOARDS, {"first": first, "zone": zone}),
            (self.admin, managing, DASHBOARDS, {"first": first, "zone": zone}),
            (self.user, managing, FOR_MANAGERS, {"first": first}),
            (self.admin, (), FOR_MANAGERS, {"first": first}),
            (self.admin, (), FOR_ADMINS, {"zone": zone}),
        ):
            expected = await self.setup.uncached.client(person, *roles).data(document, **values)
            for gateway in gateways:
                assert await gateway.client(person, *roles).data(document, **values) == expected


_NO_VALUE = object()
_TASK, _CATEGORY, _CLIENT = ("id", "task"), ("id", "category"), ("id", "client")
_MONEY = ("one of", None, "0.01", "12.50", "999.99")
_STATUS = ("one of", "LEAD", "ACTIVE", "INACTIVE", "CHURNED")
_INDUSTRY = ("one of", None, "Tools", "Food")
_COMMANDS: dict[str, tuple[str, dict[str, Any]]] = {
    "createTask": ("task", {"title": ("name",), "dueDate": ("due",)}),
    "updateTask": (
        "task",
        {
            "id": _TASK,
            "version": "current",
            "dueDate": ("due",),
            "categoryId": _CATEGORY,
            "status": ("one of", "PENDING", "IN_PROGRESS", "COMPLETED", "CANCELLED"),
        },
    ),
    "completeTask": ("task", {"id": _TASK}),
    "reopenTask": ("task", {"id": _TASK}),
    "deleteTask": ("task", {"id": _TASK}),
    "restoreTask": ("task", {"id": _TASK}),
    "createCategory": ("category", {"name": ("name",)}),
    "updateCategory": ("category", {"id": _CATEGORY, "name": ("name",)}),
    "deleteCategory": ("category", {"id": _CATEGORY}),
    "createClient": (
        "client",
        {"companyName": ("name",), "status": _STATUS, "industry": _INDUSTRY, "annualRevenue": _MONEY},
    ),
    "updateClient": (
        "client",
        {"id": _CLIENT, "version": "current", "status": _STATUS, "industry": _INDUSTRY, "annualRevenue": _MONEY},
    ),
    "deleteClient": ("client", {"id": _CLIENT}),
    "restoreClient": ("client", {"id": _CLIENT}),
    "addContact": (
        "contact",
        {"clientId": _CLIENT, "firstName": "Joan", "lastName": "Clarke", "isPrimary": ("one of", True, False)}
        | {"email": "joan@example.org"},
    ),
    "removeContact": ("contact", {"id": ("id", "contact")}),
    "createPartner": ("partner", {"name": ("name",), "kind": "REFERRAL", "commissionRate": "0.1"}),
    "updatePartner": ("partner", {"id": ("id", "partner"), "version": "current", "name": ("name",)}),
    "changePartnerStatus": ("partner", {"id": ("id", "partner"), "status": ("one of", "ACTIVE", "PAUSED")}),
    "submitReferral": ("referral", {"partnerId": ("id", "partner"), "clientName": ("name",)}),
    "deletePartner": ("partner", {"id": ("id", "partner")}),
    "restorePartner": ("partner", {"id": ("id", "partner")}),
    "reopenReferral": ("referral", {"id": ("id", "referral")}),
    "closeReferral": ("referral", {"id": ("id", "referral"), "outcome": "WON", "value": ("one of", "1.00", "250.50")}),
    "createReward": ("reward", {"name": ("name",), "cost": ("one of", 1, 5, 10)}),
    "redeemReward": ("rewardRedemption", {"rewardId": ("id", "reward")}),
    "refundRedemption": ("rewardRedemption", {"id": ("id", "rewardRedemption")}),
    "createAchievement": (
        "achievement",
        {"code": ("name",), "name": ("name",), "description": "Be one.", "points": ("one of", 1, 70)}
        | {"criteria": {"event": "TASK_COMPLETED", "count": 2}},
    ),
    "updateAchievement": (
        "achievement",
        {"id": ("id", "achievement"), "version": "current", "isActive": ("one of", True, False)},
    ),
    "suspendUser": ("user", {"id": ("user",)}),
    "reinstateUser": ("user", {"id": ("user",)}),
    "updateProfile": ("user", {"version": 1, "firstName": ("name",)}),
}
_ADMINISTRATIVE = {
    *("createReward", "refundRedemption", "createAchievement", "updateAchievement", "suspendUser", "reinstateUser")
}
_steps = st.lists(
    st.tuples(
        st.sampled_from(sorted(_COMMANDS)) | st.sampled_from(["createTask", "completeTask", "createCategory", "wait"]),
        st.integers(0, 5),
        st.integers(0, 7),
    ),
    min_size=1,
    max_size=10,
)
_zones = st.sampled_from([None, "Pacific/Auckland", "America/Los_Angeles"])


async def _run_commands(
    setup: Gateways, steps: list[tuple[str, int, int]], first: int, zone: str | None, kind: str
) -> None:
    database = setup.uncached.database
    setup.moment = now()
    user, admin = await make_user(database), await make_user(database, role=UserRole.ADMIN)
    commands = Commands(setup, user, admin, await make_user(database), await make_user(database))
    await make_points(database, user, 20)
    await make_points(database, commands.suspended, 30)
    gateways = setup.sharing_redis if kind == "redis" else [setup.in_memory]
    for gateway in gateways:
        await gateway.cache.invalidate(["user"])  # the factories record no events
    await commands.compare(gateways, first, zone)
    for what, pick, amount in steps:
        if what == "wait":
            setup.moment += dt.timedelta(minutes=30 * amount, seconds=pick)
        else:
            await commands.change(gateways[pick % len(gateways)], what, pick, amount)
        await commands.compare(gateways, first, zone)


@pytest.mark.parametrize("kind", ["redis", "memory"])
@examples(25)
@given(steps=_steps, first=st.integers(1, 3), zone=_zones)
def test_cached_dashboards_equal_computed_ones(
    setup: Gateways, kind: str, steps: list[tuple[str, int, int]], first: int, zone: str | None
) -> None:
    """This holds after any sequence of commands, each in one of two processes (or in one, for the cache in memory)."""
    setup.run(_run_commands(setup, steps, first, zone, kind))


async def _run_queries(setup: Gateways, requests: list[tuple[int, bool, int, int]], kind: str) -> None:
    setup.moment = now()
    database = setup.uncached.database
    users = [
        await make_user(database),
        await make_user(database),
        await make_user(database, role=UserRole.ADMIN),
    ]
    gateways = setup.sharing_redis if kind == "redis" else [setup.in_memory]
    for count, person in enumerate(users, start=1):
        await make_tasks(database, person, count, due_date=setup.moment + dt.timedelta(hours=count))
        await make_client(database, person, annual_revenue=count)
        await make_points(database, person, count)
    for gateway in gateways:
        await gateway.cache.invalidate(AGGREGATES)  # neither the factories nor the gateways of other caches did
    for index, (pick, manages, document, first) in enumerate(requests):
        roles = (RoleName.PARTNERSHIP_MANAGER,) if manages else ()
        text, names = [(DASHBOARDS, {"first": first}), (FOR_MANAGERS, {"first": first}), (FOR_ADMINS, {})][document]
        expected = await setup.uncached.client(users[pick], *roles).ask(text, **names)
        found = await gateways[index % len(gateways)].client(users[pick], *roles).ask(text, **names)
        assert (found.status, found.data, found.codes) == (expected.status, expected.data, expected.codes)
        assert bool(expected.codes) is (document == 1 and not manages and pick < 2) or (document == 2 and pick < 2)


@pytest.mark.parametrize("kind", ["redis", "memory"])
@examples(25)
@given(
    requests=st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.integers(0, 2), st.integers(1, 3)), max_size=20)
)
def test_no_viewer_receives_the_result_of_another(
    setup: Gateways, kind: str, requests: list[tuple[int, bool, int, int]]
) -> None:
    """For any earlier requests of other viewers, the result is the one that is computed for the viewer."""
    setup.run(_run_queries(setup, requests, kind))
