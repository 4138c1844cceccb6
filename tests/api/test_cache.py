"""Dashboards are kept until something they show has changed, and never a moment longer."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pydantic import SecretStr

from gateway.settings import Settings
from repositories.kit.database import Database
from repositories.kit.viewer import Role
from repositories.tables.identity import User
from tests.api.client import Client, Gateway, gid
from tests.factories import make_partner, make_referral, make_task, make_tasks, make_user
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


@pytest.fixture(params=["memory", "redis"])
def caching(request: pytest.FixtureRequest) -> Settings:
    """Settings of each kind of cache."""
    return Settings(cache="memory") if request.param == "memory" else in_redis(request.getfixturevalue("redis"))


@pytest_asyncio.fixture
async def cached(database: Database, caching: Settings) -> AsyncIterator[Gateway]:
    """A gateway with each kind of cache over each engine."""
    made = Gateway(database, settings=caching)
    yield made
    await made.cache.close()
    await made.http.aclose()
    assert database.pool_state().used == 0


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
