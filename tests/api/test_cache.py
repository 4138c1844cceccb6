"""Dashboards are kept until something they show has changed, and never a moment longer."""

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
    """A Redis of this test's own."""
    with redis_process(tmp_path / "redis"):
        yield f"unix://{tmp_path / 'redis'}"


def in_redis(url: str, **more: Any) -> Settings:
    """Settings that cache there."""
    return Settings(cache="redis", redis_url=SecretStr(url), **more)


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no outage; those have tests of their own."""
    monkeypatch.setattr(circuit_breaker, "TIMEOUT", 60.0)
    monkeypatch.setattr(redis_client, "SOCKET_TIMEOUT", 60.0)
    monkeypatch.setattr(cache, "_MAX_WAIT", 60.0)
    monkeypatch.setattr(cache, "_LOCK_LIFETIME", 120.0)


@pytest.fixture(params=["memory", "redis"])
def caching(request: pytest.FixtureRequest) -> Settings:
    """Settings of each kind of cache."""
    return Settings(cache="memory") if request.param == "memory" else in_redis(request.getfixturevalue("redis"))


@asynccontextmanager
async def opened(database: Database, settings: Settings, **more: Any) -> AsyncIterator[Gateway]:
    """A gateway, which gives everything back at the end."""
    made = Gateway(database, settings=settings, **more)
    try:
        yield made
    finally:
        await made.cache.close()
        await made.http.aclose()
    assert database.pool_state().used == 0


@pytest_asyncio.fixture
async def cached(database: Database, caching: Settings) -> AsyncIterator[Gateway]:
    """A gateway with each kind of cache over each engine."""
    async with opened(database, caching) as made:
        yield made


async def total(client: Client) -> int:
    """The number of tasks that the dashboard shows."""
    shown: int = (await client.data(TOTAL))["lifeLockDashboard"]["totalTasks"]
    return shown


async def test_what_was_computed_is_not_computed_again(
    cached: Gateway, ada: User, admin: User, statements: list[str]
) -> None:
    await make_tasks(cached.database, ada, 3)
    client = cached.client(ada)
    first = await client.data(LIFE_LOCK)
    statements.clear()
    assert await client.data(LIFE_LOCK) == first
    assert statements == []
    counted = (await cached.client(admin).data(HEALTH))["systemHealth"]["cache"]
    assert counted == {"backend": cached.cache.store.name, "hits": 5, "misses": 5, "stale": 0, "errors": 0}


async def test_a_change_is_shown_at_once(cached: Gateway, ada: User, bob: User) -> None:
    client, other = cached.client(ada), cached.client(bob)
    assert (await total(client), await total(other)) == (0, 0)
    await client.do("createTask", "task { id }", title="x")
    assert (await total(client), await total(other)) == (1, 0)
    assert (cached.cache.health().hits, cached.cache.health().stale) == (1, 1)


async def test_reading_is_one_round_trip(database: Database, redis: str, ada: User) -> None:
    """However many tiles are asked for, and however many tags they depend on."""
    gateway = Gateway(database, settings=in_redis(redis))
    client = gateway.client(ada)
    await client.data(LIFE_LOCK)
    asked: list[int] = []
    look = gateway.cache.store.get

    async def get(keys: Sequence[str]) -> list[bytes | None] | None:
        asked.append(len(keys))
        return await look(keys)

    gateway.cache.store.get = get  # type: ignore[method-assign]
    await client.data(LIFE_LOCK)
    assert asked == [5 + 3]
    await gateway.cache.close()


class Held:
    """A method of a repository whose calls wait, once they have their result, until they may go on."""

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


async def test_what_began_before_a_commit_is_not_kept_after_it(
    cached: Gateway, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The computation ends, and is stored, after the commit has invalidated what it depends on."""
    client, held = cached.client(ada), Held(monkeypatch, Tasks, "tally")
    reading = asyncio.ensure_future(total(client))
    await held.computed.wait()
    await client.do("createTask", "task { id }", title="x")
    later = asyncio.ensure_future(total(client))
    held.go.set()
    assert (await reading, await later, await total(client)) == (0, 1, 1)
    assert held.calls == 2


async def test_a_snapshot_older_than_the_versions_is_not_kept(
    cached: Gateway, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list opens the request's snapshot, then somebody commits, and only then the versions are read."""
    client, look = cached.client(ada), cached.cache.store.get
    asked, go, opened = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def get(names: Sequence[str]) -> list[bytes | None] | None:
        asked.set()
        await go.wait()
        return await look(names)

    def listen(text: str) -> None:
        if "SELECT" in text and "tasks" in text:
            opened.set()

    cached.database.statement_listeners.append(listen)
    monkeypatch.setattr(cached.cache.store, "get", get)
    reading = asyncio.ensure_future(client.data("{ tasks { nodes { id } } lifeLockDashboard { totalTasks } }"))
    await asked.wait()
    await opened.wait()
    await client.do("createTask", "task { id }", title="x")
    go.set()
    assert await reading == {"tasks": {"nodes": []}, "lifeLockDashboard": {"totalTasks": 0}}
    assert [await total(client) for _ in range(2)] == [1, 1]


async def test_a_page_with_a_list_fills_the_cache_too(cached: Gateway, ada: User) -> None:
    """Once the versions were seen before its snapshot was opened."""
    client = cached.client(ada)
    for _ in range(3):
        await client.data("{ tasks { nodes { id } } lifeLockDashboard { totalTasks } }")
    assert cached.cache.health().hits == 1


async def test_a_hundred_misses_are_one_computation(cached: Gateway, ada: User, statements: list[str]) -> None:
    await make_tasks(cached.database, ada, 3)
    client = cached.client(ada)
    statements.clear()
    assert await asyncio.gather(*(total(client) for _ in range(100))) == [3] * 100
    assert [text.split(None, 1)[0] for text in statements] == ["BEGIN", "SELECT"]


async def test_two_processes_compute_once(options: DatabaseOptions, redis: str, ada: User) -> None:
    settings, seen = in_redis(redis), list[str]()
    async with (
        connect_database(options) as one,
        connect_database(options) as other,
        opened(one, settings) as first,
        opened(other, settings) as second,
    ):
        for gateway in (first, second):
            gateway.database.statement_listeners.append(seen.append)
        asking = [total(gateway.client(ada)) for gateway in (first, second) for _ in range(50)]
        assert await asyncio.gather(*asking) == [0] * 100
        assert [text.split(None, 1)[0] for text in seen] == ["BEGIN", "SELECT"]


async def test_one_that_is_cancelled_takes_nobody_with_it(
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
    while cached.cache.health().misses < 11:  # noqa: ASYNC110 (nobody tells)
        await asyncio.sleep(0)
    leading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leading
    go.set()
    assert await asyncio.gather(*waiting) == [0] * 10
    assert len(calls) == 2


async def test_one_that_fails_fails_alone(cached: Gateway, ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
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
    while cached.cache.health().misses < 11:  # noqa: ASYNC110 (nobody tells)
        await asyncio.sleep(0)
    go.set()
    assert await asyncio.gather(*waiting) == [0] * 10
    assert (await leading).codes == ["SERVICE_UNAVAILABLE"]


async def test_a_pool_never_waits_for_itself(options: DatabaseOptions, caching: Settings, ada: User) -> None:
    """Requests that hold the last connections ask for what one without a connection computes."""
    async with connect_database(options, pool_size=2, pool_timeout=5) as database, opened(database, caching) as gateway:
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


async def test_a_value_ends_when_the_clock_changes_it(database: Database, caching: Settings, ada: User) -> None:
    """A task is overdue, and no deadline any more, from the moment after it was due."""
    moment = [now()]
    gateway = Gateway(database, settings=caching, clock=lambda: moment[0])
    client, due = gateway.client(ada), moment[0] + dt.timedelta(hours=1)
    await client.do("createTask", "task { id }", title="x", dueDate=due.isoformat())
    document = "{ lifeLockDashboard { overdueTasks upcomingDeadlines(first: 1) { title } } }"

    async def shown() -> tuple[int, int]:
        found = (await client.data(document))["lifeLockDashboard"]
        return found["overdueTasks"], len(found["upcomingDeadlines"])

    assert await shown() == (0, 1)
    moment[0] = due
    assert await shown() == (0, 1)
    assert gateway.cache.health().hits == 2
    moment[0] = due + dt.timedelta(microseconds=1)
    assert [await shown() for _ in range(2)] == [(1, 0)] * 2
    assert gateway.cache.health().hits == 4
    moment[0] = due
    moment[0] -= dt.timedelta(hours=1)
    assert await shown() == (0, 1)
    await gateway.cache.close()


async def test_an_account_s_time_zone_does_not_keep_dashboards_from_being_cached(cached: Gateway, ada: User) -> None:
    """A token that does not tell the zone takes a look at the account, which opens the snapshot once."""
    claims = jwt.decode(cached.token(ada), options={"verify_signature": False})
    client = cached.client_with_token(jwt.encode({key: claims[key] for key in claims if key != "zoneinfo"}, SECRET))
    for _ in range(3):
        assert await total(client) == 0
    assert cached.cache.health().hits == 3


async def test_stored_events_invalidate_what_fresh_ones_do(cached: Gateway, ada: User, admin: User) -> None:
    """Of another process, which has nothing but the table of events."""
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


async def test_the_memory_of_a_process_is_bounded(database: Database, ada: User) -> None:
    async with opened(database, Settings(cache="memory", cache_entries=100)) as gateway:
        client = gateway.client(ada)
        document = "query($n: Int!) { lifeLockDashboard { upcomingDeadlines(first: $n) { id } } }"
        for number in range(1, 200):
            await client.data(document, n=number)
        assert len(gateway.cache.store._backend.store) == 100
        await gateway.cache.invalidate(f"task:{new_id()}" for _ in range(200))
        assert len(gateway.cache._known_versions) == 100
        await client.data(document, n=199)
        assert gateway.cache.health()[1:] == (0, 200, 0, 0)


def test_what_is_no_data_cannot_be_declared() -> None:
    for kind in (Connection[Task], Callable[[], int], list[Any], object):
        with pytest.raises(TypeError):
            json_reader(kind)


def test_redis_needs_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_where_values_are_kept(given: dict[str, Any], kind: str) -> None:
    assert Settings(**given).cache_kind() == kind


async def test_a_deleted_category_is_gone_from_the_deadlines(cached: Gateway, ada: User) -> None:
    """Its tasks are changed without an event of their own."""
    client, due = cached.client(ada), (now() + dt.timedelta(hours=1)).isoformat()
    made = await client.do("createCategory", "category { id }", name="x")
    await client.do("createTask", "task { id }", title="x", dueDate=due, categoryId=made["category"]["id"])
    document = "{ lifeLockDashboard { upcomingDeadlines { version category { name } } } }"
    shown = (await client.data(document))["lifeLockDashboard"]["upcomingDeadlines"]
    assert shown == [{"version": 1, "category": {"name": "x"}}]
    await client.do("deleteCategory", "category { id }", id=made["category"]["id"])
    shown = (await client.data(document))["lifeLockDashboard"]["upcomingDeadlines"]
    assert shown == [{"version": 2, "category": None}]
