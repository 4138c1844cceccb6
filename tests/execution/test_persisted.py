"""Automatic persisted queries over HTTP, stored in the process or in a real Redis, which may be unavailable."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pydantic import SecretStr
from starlette.types import ASGIApp, Message

from gateway.execution.persisted import MemoryQueryStore, PersistedQueries, RedisQueryStore, sha256
from gateway.execution.request_errors import RequestError
from gateway.settings import Settings
from repositories.engines.database import Database, DatabaseOptions
from resolvers.services import circuit_breaker
from tests.api.client import Gateway, connect_database
from tests.stores import redis_process
from tests.waiting import until

QUERY = "{ __typename }"
FOUND = {"data": {"__typename": "Query"}}


@pytest_asyncio.fixture
async def only(sqlite_only: DatabaseOptions) -> AsyncIterator[Database]:
    """A database that no operation of these tests reads."""
    async with connect_database(sqlite_only) as database:
        yield database


@contextmanager
def run_redis(socket: Path) -> Iterator[str]:
    """Runs a Redis server, whose URL it yields."""
    with redis_process(socket):
        yield f"unix://{socket}"


@asynccontextmanager
async def run_lifespan(app: ASGIApp) -> AsyncIterator[None]:
    """Runs the lifespan of the application, at the end of which it closes its connections."""
    to_app: asyncio.Queue[Message] = asyncio.Queue()
    from_app: asyncio.Queue[Message] = asyncio.Queue()
    running = asyncio.ensure_future(app({"type": "lifespan", "state": {}}, to_app.get, from_app.put))
    await to_app.put({"type": "lifespan.startup"})
    assert (await from_app.get())["type"] == "lifespan.startup.complete"
    yield
    await to_app.put({"type": "lifespan.shutdown"})
    assert (await from_app.get())["type"] == "lifespan.shutdown.complete"
    await running


def by_hash(query: str, **overrides: Any) -> dict[str, Any]:
    return {"persistedQuery": {"version": 1, "sha256Hash": sha256(query)} | overrides}


async def ask(gateway: Gateway, *, by_get: bool = False, **given: Any) -> tuple[int, Any]:
    """The status, and the code of the first error or the body, in the media type of GraphQL over HTTP."""
    headers = {"Accept": "application/graphql-response+json"}
    if by_get:
        params = {name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}
        response = await gateway.http.get("/graphql", params=params, headers=headers)
    else:
        response = await gateway.http.post("/graphql", json=given, headers=headers)
    body = response.json()
    return response.status_code, body["errors"][0]["extensions"]["code"] if "errors" in body else body


@pytest.mark.parametrize("by_get", [True, False])
async def test_a_query_text_is_sent_once(only: Database, *, by_get: bool) -> None:
    gateway = Gateway(only)
    assert await ask(gateway, by_get=by_get, extensions=by_hash(QUERY)) == (400, "PERSISTED_QUERY_NOT_FOUND")
    assert await ask(gateway, by_get=by_get, query=QUERY, extensions=by_hash(QUERY)) == (200, FOUND)
    assert await ask(gateway, by_get=by_get, extensions=by_hash(QUERY)) == (200, FOUND)
    answer = await gateway.http.post("/graphql", json={"extensions": by_hash("{ other }")})
    message = {"message": "PersistedQueryNotFound", "extensions": {"code": "PERSISTED_QUERY_NOT_FOUND"}}
    assert (answer.status_code, answer.json()) == (200, {"errors": [message]})


async def test_invalid_requests_are_rejected_and_not_stored(only: Database) -> None:
    gateway = Gateway(only)
    wrong = "PERSISTED_QUERY_HASH_MISMATCH"
    assert await ask(gateway, query=QUERY, extensions=by_hash("{ other }")) == (400, wrong)
    for extensions in (
        by_hash(QUERY, version=2),
        by_hash(QUERY, sha256Hash="abc"),
        by_hash(QUERY, sha256Hash=sha256(QUERY).upper()),
        by_hash(QUERY, sha256Hash=None),
        {"persistedQuery": 1},
    ):
        assert await ask(gateway, extensions=extensions) == (400, "BAD_REQUEST")
    for query in ("{ nonsense }", "{"):
        assert (await ask(gateway, query=query, extensions=by_hash(query)))[0] == 400
        assert await ask(gateway, extensions=by_hash(query)) == (400, "PERSISTED_QUERY_NOT_FOUND")
    mutation = "mutation { signOut(input: {}) { userErrors { code } } }"
    response = await gateway.http.get(
        "/graphql", params={"query": mutation, "extensions": json.dumps(by_hash(mutation))}
    )
    assert response.status_code == 405
    assert await ask(gateway, extensions=by_hash(mutation)) == (400, "PERSISTED_QUERY_NOT_FOUND")
    off = Gateway(only, settings=Settings(persisted_queries=False))
    assert await ask(off, extensions=by_hash(QUERY)) == (400, "PERSISTED_QUERY_NOT_SUPPORTED")
    assert await ask(off, query=QUERY, extensions=by_hash(QUERY)) == (200, FOUND)


async def test_the_memory_is_bounded() -> None:
    memory = MemoryQueryStore(size=10)
    for key, text in (("a", "12345"), ("b", "12345"), ("a", "12345"), ("c", "1")):
        await memory.put(key, text)
        await memory.get("a")
    assert [await memory.get(key) for key in "abc"] == ["12345", None, "1"]


async def test_processes_share_a_redis(only: Database, tmp_path: Path) -> None:
    """Queries that are not requested expire."""
    with run_redis(tmp_path / "redis") as url:
        settings = Settings(redis_url=SecretStr(url), persisted_query_lifetime=1000)
        first, second = (Gateway(only, settings=settings) for _ in range(2))
        async with run_lifespan(first.app), run_lifespan(second.app):
            assert await ask(second, extensions=by_hash(QUERY)) == (400, "PERSISTED_QUERY_NOT_FOUND")
            assert await ask(first, query=QUERY, extensions=by_hash(QUERY)) == (200, FOUND)
            assert await ask(second, extensions=by_hash(QUERY)) == (200, FOUND)
        store = RedisQueryStore(url, 1000)
        key = f"siso:persisted:{sha256(QUERY)}"
        assert 900 < await store._client.ttl(key) <= 1000
        await store._client.expire(key, 10)
        assert await store.get(sha256(QUERY)) == QUERY
        assert 900 < await store._client.ttl(key) <= 1000
        await store._client.set(key, "{ another }")
        assert await store.get(sha256(QUERY)) is None
        await store.close()


async def test_redis_stops_and_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """During the outage the process stores queries itself, no request fails, and each change is logged once."""
    monkeypatch.setattr(circuit_breaker, "RETRY_INTERVAL", 0.01)
    store = RedisQueryStore(f"unix://{tmp_path / 'redis'}", 1000)
    queries = PersistedQueries(MemoryQueryStore(), store)
    for _ in range(3):
        with pytest.raises(RequestError, match="PersistedQueryNotFound"):
            await queries.resolve(None, by_hash(QUERY))
        await queries.store("{ kept }", by_hash("{ kept }"))
        assert await queries.resolve(None, by_hash("{ kept }")) == "{ kept }"
    with run_redis(tmp_path / "redis"):
        await until(lambda: len(caplog.messages) > 1)
        await queries.store(QUERY, by_hash(QUERY))
        assert await store.get(sha256(QUERY)) == QUERY
    for _ in range(3):
        assert await queries.resolve(None, by_hash(QUERY)) == QUERY
        assert await store.get(sha256(QUERY)) is None
    await store.close()
    lost = (
        "Redis (persisted queries) is unavailable (ConnectionError): "
        "each process knows only the persisted queries that it has received itself."
    )
    assert caplog.messages == [lost, "Redis (persisted queries) is available again.", lost]


async def test_requests_do_not_call_an_unavailable_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the background task calls it."""
    monkeypatch.setattr(circuit_breaker, "RETRY_INTERVAL", 0.5)
    store = RedisQueryStore(f"unix://{tmp_path / 'redis'}", 1000)
    assert await store.get(sha256(QUERY)) is None
    with run_redis(tmp_path / "redis"):
        await store.put(sha256(QUERY), QUERY)
        assert await store.get(sha256(QUERY)) is None
        await until(lambda: store._breaker.is_available)
        assert await store.get(sha256(QUERY)) is None
        await store.put(sha256(QUERY), QUERY)
        assert await store.get(sha256(QUERY)) == QUERY
    await store.close()
