"""Cached dashboards are used until something that they show has changed, and no longer."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
import pytest_asyncio
from pydantic import SecretStr

from gateway.settings import Settings, SettingsError, load_settings
from repositories.aggregates.event_store import EventStore
from repositories.core.clock import now
from repositories.core.errors import ServiceUnavailable
from repositories.core.ids import new_id
from repositories.engines.database import Database, DatabaseOptions
from repositories.life_lock.tasks import Tasks, TaskTally
from repositories.tables.identity import User
from repositories.tables.life_lock import Task
from resolvers.caching import cache
from resolvers.caching.json_values import json_reader
from resolvers.caching.tags import tags_of_row
from resolvers.loading.edges import Connection
from resolvers.services import circuit_breaker, redis_client
from tests.api.client import SECRET, Client, Gateway, connect_database
from tests.factories import make_tasks, viewer_of
from tests.stores import redis_process

HEALTH = "{ systemHealth { cache { backend hits misses stale errors } } }"
LIFE_LOCK = """
{ lifeLockDashboard {
    totalTasks completedTasks overdueTasks todaysTasks productivityScore
    weeklyProgress { date completed created }
    categoryBreakdown { category { id name color } total completed }
    upcomingDeadlines(first: 3) { id title version dueDate category { id } } } }
"""
TOTAL = "{ lifeLockDashboard { totalTasks } }"


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    """The URL of a Redis for one test."""
    with redis_process(tmp_path / "redis"):
        yield f"unix://{tmp_path / 'redis'}"


def redis_settings(url: str, **more: Any) -> Settings:
    return Settings(cache="redis", redis_url=SecretStr(url), **more)


@pytest.fixture(autouse=True)
def _long_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents that a busy machine looks like an outage. Outages have tests of their own."""
    monkeypatch.setattr(circuit_breaker, "TIMEOUT", 60.0)
    monkeypatch.setattr(redis_client, "SOCKET_TIMEOUT", 60.0)
    monkeypatch.setattr(cache, "_MAX_WAIT", 60.0)
    monkeypatch.setattr(cache, "_LOCK_LIFETIME", 120.0)


@pytest.fixture(params=["memory", "redis"])
def caching(request: pytest.FixtureRequest) -> Settings:
    """The settings of each kind of cache."""
    return Settings(cache="memory") if request.param == "memory" else redis_settings(request.getfixturevalue("redis"))


@asynccontextmanager
async def open_gateway(database: Database, settings: Settings, **more: Any) -> AsyncIterator[Gateway]:
    """A gateway with a cache. At the end it holds no connection."""
    made = Gateway(database, settings=settings, **more)
    try:
        yield made
    finally:
        await made.cache.close()
        await made.http.aclose()
    assert database.pool_state().used == 0


@pytest_asyncio.fixture
async def cached(database: Database, caching: Settings) -> AsyncIterator[Gateway]:
    """A gateway with each kind of cache, on each engine."""
    async with open_gateway(database, caching) as made:
        yield made


async def total(client: Client) -> int:
    """The number of tasks that the dashboard shows."""
    shown: int = (await client.data(TOTAL))["lifeLockDashboard"]["totalTasks"]
    return shown


async def test_a_hit_computes_nothing(cached: Gateway, ada: User, admin: User, statements: list[str]) -> None:
    await make_tasks(cached.database, ada, 3)
    client = cached.client(ada)
    first = await client.data(LIFE_LOCK)
    statements.clear()
    assert await client.data(LIFE_LOCK) == first
    assert statements == []
    counted = (await cached.client(admin).data(HEALTH))["systemHealth"]["cache"]
    assert counted == {"backend": cached.cache.store.name, "hits": 5, "misses": 5, "stale": 0, "errors": 0}


async def test_a_change_invalidates_the_viewers_entries(cached: Gateway, ada: User, bob: User) -> None:
    client, other = cached.client(ada), cached.client(bob)
    assert (await total(client), await total(other)) == (0, 0)
    await client.do("createTask", "task { id }", title="x")
    assert (await total(client), await total(other)) == (1, 0)
    assert (cached.cache.health().hits, cached.cache.health().stale) == (1, 1)


async def test_a_lookup_is_one_round_trip(database: Database, redis: str, ada: User) -> None:
    """This holds for any number of tiles and of tags that they depend on."""
    gateway = Gateway(database, settings=redis_settings(redis))
    client = gateway.client(ada)
    await client.data(LIFE_LOCK)
    asked: list[int] = []
    look = gateway.cache.store.get

    async def get(keys: Sequence[str]) -> list[bytes | None] | None:
        asked.append(len(keys))
        return await look(keys)

    gateway.cache.store.get = get  # type: ignore[method-assign]
    await client.data(LIFE_LOCK)
    assert asked == [5 + 4]
    await gateway.cache.close()


class Hold:
    """Replaces a method of a repository: its calls return their results only when ``go`` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, repository: type, method: str) -> None:
        self.computed, self.go = asyncio.Event(), asyncio.Event()
        self.calls = 0
        plain = getattr(repository, method)

        async def held(*arguments: Any) -> Any:
            self.calls += 1
            value = await plain(*arguments)
            self.computed.set()
            await self.go.wait()
            return value

        monkeypatch.setattr(repository, method, held)


async def test_a_computation_that_started_before_a_commit_is_not_stored(
    cached: Gateway, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The computation ends, and would be stored, after the commit has invalidated its tags."""
    client, held = cached.client(ada), Hold(monkeypatch, Tasks, "tally")
    reading = asyncio.ensure_future(total(client))
    await held.computed.wait()
    await client.do("createTask", "task { id }", title="x")
    later = asyncio.ensure_future(total(client))
    held.go.set()
    assert (await reading, await later, await total(client)) == (0, 1, 1)
    assert held.calls == 2


async def test_a_result_of_a_snapshot_older_than_the_versions_is_not_stored(
    cached: Gateway, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list opens the request's snapshot, another request commits, and only then the versions are read."""
    client, look = cached.client(ada), cached.cache.store.get
    held, asked = Hold(monkeypatch, Tasks, "page"), asyncio.Event()

    async def get(names: Sequence[str]) -> list[bytes | None] | None:
        asked.set()
        await held.go.wait()
        return await look(names)

    monkeypatch.setattr(cached.cache.store, "get", get)
    reading = asyncio.ensure_future(client.data("{ tasks { nodes { id } } lifeLockDashboard { totalTasks } }"))
    await asked.wait()
    await held.computed.wait()
    await client.do("createTask", "task { id }", title="x")
    held.go.set()
    assert await reading == {"tasks": {"nodes": []}, "lifeLockDashboard": {"totalTasks": 0}}
    assert [await total(client) for _ in range(2)] == [1, 1]


async def test_a_request_with_a_list_fills_the_cache_too(cached: Gateway, ada: User) -> None:
    """The entry is stored if the versions were read before the snapshot was opened."""
    client = cached.client(ada)
    for _ in range(3):
        await client.data("{ tasks { nodes { id } } lifeLockDashboard { totalTasks } }")
    assert cached.cache.health().hits == 1


async def test_a_hundred_concurrent_misses_are_one_computation(
    cached: Gateway, ada: User, statements: list[str]
) -> None:
    await make_tasks(cached.database, ada, 3)
    client = cached.client(ada)
    statements.clear()
    assert await asyncio.gather(*(total(client) for _ in range(100))) == [3] * 100
    assert [text.split(None, 1)[0] for text in statements] == ["BEGIN", "SELECT"]


async def test_two_processes_compute_once(options: DatabaseOptions, redis: str, ada: User) -> None:
    settings, seen = redis_settings(redis), list[str]()
    async with (
        connect_database(options) as one,
        connect_database(options) as other,
        open_gateway(one, settings) as first,
        open_gateway(other, settings) as second,
    ):
        for gateway in (first, second):
            gateway.database.statement_listeners.append(seen.append)
        asking = [total(gateway.client(ada)) for gateway in (first, second) for _ in range(50)]
        assert await asyncio.gather(*asking) == [0] * 100
        assert [text.split(None, 1)[0] for text in seen] == ["BEGIN", "SELECT"]


async def test_a_cancelled_request_does_not_cancel_those_that_wait(
    cached: Gateway, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, begun, go, calls = Tasks.tally, asyncio.Event(), asyncio.Event(), []

    async def slow(*arguments: Any) -> TaskTally:
        calls.append(arguments)
        begun.set()
        await go.wait()
        return await plain(*arguments)

    monkeypatch.setattr(Tasks, "tally", slow)
    client = cached.client(ada)
    leading = asyncio.ensure_future(total(client))
    await begun.wait()
    waiting = [asyncio.ensure_future(total(client)) for _ in range(10)]
    while cached.cache.health().misses < 11:  # noqa: ASYNC110 (no event announces it)
        await asyncio.sleep(0)
    leading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leading
    go.set()
    assert await asyncio.gather(*waiting) == [0] * 10
    assert len(calls) == 2


async def test_a_failed_request_does_not_fail_those_that_wait(
    cached: Gateway, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, begun, go = Tasks.tally, asyncio.Event(), asyncio.Event()

    async def broken(*arguments: Any) -> TaskTally:
        if not begun.is_set():
            begun.set()
            await go.wait()
            raise ServiceUnavailable
        return await plain(*arguments)

    monkeypatch.setattr(Tasks, "tally", broken)
    client = cached.client(ada)
    leading = asyncio.ensure_future(client.ask(TOTAL))
    await begun.wait()
    waiting = [asyncio.ensure_future(total(client)) for _ in range(10)]
    while cached.cache.health().misses < 11:  # noqa: ASYNC110 (no event announces it)
        await asyncio.sleep(0)
    go.set()
    assert await asyncio.gather(*waiting) == [0] * 10
    assert (await leading).codes == ["SERVICE_UNAVAILABLE"]


async def test_requests_do_not_deadlock_on_the_connection_pool(
    options: DatabaseOptions, caching: Settings, ada: User
) -> None:
    """Requests that hold all connections need a result that a request without a connection computes."""
    async with (
        connect_database(options, pool_size=2, pool_timeout=5) as database,
        open_gateway(database, caching) as gateway,
    ):
        await _ask_for_both(gateway.client(ada))


async def _ask_for_both(client: Client) -> None:
    mixed = "query($n: Int!) { tasks(first: $n) { nodes { id } } lifeLockDashboard { totalTasks } }"
    alone = "query($n: Int!) { lifeLockDashboard { totalTasks upcomingDeadlines(first: $n) { id } } }"
    for index in range(5):
        await client.do("createTask", "task { id }", title="x")
        answers = await asyncio.gather(
            *(client.ask(document, n=number + 1) for number in range(20) for document in (alone, mixed))
        )
        assert [answer.errors for answer in answers] == [[]] * 40
        assert {answer.data["lifeLockDashboard"]["totalTasks"] for answer in answers} == {index + 1}


async def test_an_entry_is_stale_when_the_time_changes_its_value(
    database: Database, caching: Settings, ada: User
) -> None:
    """From the moment after its due date, a task is overdue and no longer an upcoming deadline."""
    moment = [now()]
    gateway = Gateway(database, settings=caching, clock=lambda: moment[0])
    client, due = gateway.client(ada), moment[0] + dt.timedelta(seconds=1)
    await client.do("createTask", "task { id }", title="x", dueDate=due.isoformat())
    document = "{ lifeLockDashboard { overdueTasks upcomingDeadlines(first: 1) { title } } }"

    async def count_due_tasks() -> tuple[int, int]:
        found = (await client.data(document))["lifeLockDashboard"]
        return found["overdueTasks"], len(found["upcomingDeadlines"])

    assert await count_due_tasks() == (0, 1)
    moment[0] = due
    assert await count_due_tasks() == (0, 1)
    assert gateway.cache.health().hits == 2
    moment[0] = due + dt.timedelta(microseconds=1)
    assert [await count_due_tasks() for _ in range(2)] == [(1, 0)] * 2
    assert gateway.cache.health().hits == 4
    moment[0] = due
    moment[0] -= dt.timedelta(seconds=1)
    assert await count_due_tasks() == (0, 1)
    await gateway.cache.close()


async def test_dashboards_are_cached_with_the_time_zone_of_the_account(cached: Gateway, ada: User) -> None:
    """For a token without a zone the account is read, which opens the snapshot the first time."""
    claims = jwt.decode(cached.token(ada), options={"verify_signature": False})
    client = cached.client_with_token(jwt.encode({key: claims[key] for key in claims if key != "zoneinfo"}, SECRET))
    for _ in range(3):
        assert await total(client) == 0
    assert cached.cache.health().hits == 3


async def test_stored_events_invalidate_the_same_tags(cached: Gateway, ada: User, admin: User) -> None:
    """Stored events are all that other processes have."""
    client, elsewhere = cached.client(ada), Gateway(cached.database)
    assert await total(client) == 0
    told, cached.database.commit_listeners[:] = cached.database.commit_listeners[:], []
    await elsewhere.client(ada).do("createTask", "task { id }", title="x")
    cached.database.commit_listeners[:] = told
    assert await total(client) == 0
    snapshot = cached.database.snapshot(viewer_of(ada))
    (row,) = await EventStore(snapshot).of_user(ada.id, limit=5)
    await snapshot.close()
    assert tags_of_row(row) == ("task", f"task:{ada.id}")
    await cached.cache.invalidate(tags_of_row(row))
    assert await total(client) == 1
    await elsewhere.http.aclose()


async def test_versions_in_memory_are_bounded(database: Database, ada: User) -> None:
    async with open_gateway(database, Settings(cache="memory", cache_entries=100)) as gateway:
        client = gateway.client(ada)
        document = "query($n: Int!) { lifeLockDashboard { upcomingDeadlines(first: $n) { id } } }"
        await client.data(document, n=199)
        await gateway.cache.invalidate(f"task:{new_id()}" for _ in range(200))
        assert len(gateway.cache._known_versions) == 100
        await client.data(document, n=199)
        assert gateway.cache.health()[1:] == (1, 1, 0, 0)


def test_types_that_are_no_data_cannot_be_cached() -> None:
    for kind in (Connection[Task], Callable[[], int], list[Any], object):
        with pytest.raises(TypeError):
            json_reader(kind)


def test_a_cache_in_redis_needs_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_CACHE", "redis")
    with pytest.raises(SettingsError, match=r"^GATEWAY_CACHE: `redis` needs GATEWAY_REDIS_URL\. See docs/settings\.md"):
        load_settings()


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({}, "memory"),
        ({"workers": 2}, "off"),
        ({"workers": 2, "redis_url": SecretStr("redis://host")}, "redis"),
        ({"workers": 2, "cache": "memory"}, "memory"),
        ({"redis_url": SecretStr("redis://host"), "cache": "off"}, "off"),
    ],
)
def test_the_kind_of_cache_depends_on_the_settings(given: dict[str, Any], kind: str) -> None:
    assert Settings(**given).cache_kind() == kind


async def test_a_deleted_category_disappears_from_the_deadlines(cached: Gateway, ada: User) -> None:
    """Its tasks change without events of their own."""
    client, due = cached.client(ada), (now() + dt.timedelta(hours=1)).isoformat()
    made = await client.do("createCategory", "category { id }", name="x")
    await client.do("createTask", "task { id }", title="x", dueDate=due, categoryId=made["category"]["id"])
    document = "{ lifeLockDashboard { upcomingDeadlines { version category { name } } } }"
    shown = (await client.data(document))["lifeLockDashboard"]["upcomingDeadlines"]
    assert shown == [{"version": 1, "category": {"name": "x"}}]
    await client.do("deleteCategory", "category { id }", id=made["category"]["id"])
    shown = (await client.data(document))["lifeLockDashboard"]["upcomingDeadlines"]
    assert shown == [{"version": 2, "category": None}]
