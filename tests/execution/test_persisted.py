"""Automatic persisted queries over HTTP, kept in the process or in a real Redis, which may go and come back."""

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

from gateway.execution.persisted import MemoryQueryStore, PersistedQueries, RedisQueryStore, digest
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
    """A database; no operation here asks it anything."""
    async with connect_database(sqlite_only) as database:
        yield database


@contextmanager
def running(socket: Path) -> Iterator[str]:
    """A Redis server, and its URL."""
    with redis_process(socket):
        yield f"unix://{socket}"


@asynccontextmanager
async def living(app: ASGIApp) -> AsyncIterator[None]:
    """The application from its start to its end, where it gives its connections back."""
    to_app: asyncio.Queue[Message] = asyncio.Queue()
    from_app: asyncio.Queue[Message] = asyncio.Queue()
    running = asyncio.ensure_future(app({"type": "lifespan", "state": {}}, to_app.get, from_app.put))
    await to_app.put({"type": "lifespan.startup"})
    assert (await from_app.get())["type"] == "lifespan.startup.complete"
    yield
    await to_app.put({"type": "lifespan.shutdown"})
    assert (await from_app.get())["type"] == "lifespan.shutdown.complete"
    await running


def hashed(query: str, **changes: Any) -> dict[str, Any]:
    return {"persistedQuery": {"version": 1, "sha256Hash": digest(query)} | changes}


async def asked(gateway: Gateway, *, by_get: bool = False, **given: Any) -> tuple[int, Any]:
    """What is answered in the newer media type."""
    headers = {"Accept": "application/graphql-response+json"}
    if by_get:
        params = {name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}
        response = await gateway.http.get("/graphql", params=params, headers=headers)
    else:
        response = await gateway.http.post("/graphql", json=given, headers=headers)
    body = response.json()
    return response.status_code, body["errors"][0]["extensions"]["code"] if "errors" in body else body


@pytest.mark.parametrize("by_get", [True, False])
async def test_a_text_is_sent_once(only: Database, *, by_get: bool) -> None:
    gateway = Gateway(only)
    assert await asked(gateway, by_get=by_get, extensions=hashed(QUERY)) == (400, "PERSISTED_QUERY_NOT_FOUND")
    assert await asked(gateway, by_get=by_get, query=QUERY, extensions=hashed(QUERY)) == (200, FOUND)
    assert await asked(gateway, by_get=by_get, extensions=hashed(QUERY)) == (200, FOUND)
    answer = await gateway.http.post("/graphql", json={"extensions": hashed("{ other }")})
    message = {"message": "PersistedQueryNotFound", "extensions": {"code": "PERSISTED_QUERY_NOT_FOUND"}}
    assert (answer.status_code, answer.json()) == (200, {"errors": [message]})


async def test_what_is_wrong_is_refused_and_not_kept(only: Database) -> None:
    gateway = Gateway(only)
    wrong = "PERSISTED_QUERY_HASH_MISMATCH"
    assert await asked(gateway, query=QUERY, extensions=hashed("{ other }")) == (400, wrong)
    for extensions in (
        hashed(QUERY, version=2),
        hashed(QUERY, sha256Hash="abc"),
        hashed(QUERY, sha256Hash=digest(QUERY).upper()),
        hashed(QUERY, sha256Hash=None),
        {"persistedQuery": 1},
    ):
        assert await asked(gateway, extensions=extensions) == (400, "BAD_REQUEST")
    for query in ("{ nonsense }", "{"):
        assert (await asked(gateway, query=query, extensions=hashed(query)))[0] == 400
        assert await asked(gateway, extensions=hashed(query)) == (400, "PERSISTED_QUERY_NOT_FOUND")
    mutation = "mutation { signOut(input: {}) { userErrors { code } } }"
    refused = await gateway.http.get("/graphql", params={"query": mutation, "extensions": json.dumps(hashed(mutation))})
    assert refused.status_code == 405
    assert await asked(gateway, extensions=hashed(mutation)) == (400, "PERSISTED_QUERY_NOT_FOUND")
    off = Gateway(only, settings=Settings(persisted_queries=False))
    assert await asked(off, extensions=hashed(QUERY)) == (400, "PERSISTED_QUERY_NOT_SUPPORTED")
    assert await asked(off, query=QUERY, extensions=hashed(QUERY)) == (200, FOUND)


async def test_the_memory_is_bounded() -> None:
    memory = MemoryQueryStore(size=10)
    for key, text in (("a", "12345"), ("b", "12345"), ("a", "12345"), ("c", "1")):
        await memory.put(key, text)
        await memory.get("a")
    assert [await memory.get(key) for key in "abc"] == ["12345", None, "1"]


async def test_processes_share_a_redis(only: Database, tmp_path: Path) -> None:
    """And it forgets what nobody asks for."""
    with running(tmp_path / "redis") as url:
        settings = Settings(redis_url=SecretStr(url), persisted_query_lifetime=1000)
        first, second = (Gateway(only, settings=settings) for _ in range(2))
        async with living(first.app), living(second.app):
            assert await asked(second, extensions=hashed(QUERY)) == (400, "PERSISTED_QUERY_NOT_FOUND")
            assert await asked(first, query=QUERY, extensions=hashed(QUERY)) == (200, FOUND)
            assert await asked(second, extensions=hashed(QUERY)) == (200, FOUND)
        store = RedisQueryStore(url, 1000)
        key = f"siso:persisted:{digest(QUERY)}"
        assert 900 < await store._client.ttl(key) <= 1000
        await store._client.expire(key, 10)
        assert await store.get(digest(QUERY)) == QUERY
        assert 900 < await store._client.ttl(key) <= 1000
        await store._client.set(key, "{ another }")
        assert await store.get(digest(QUERY)) is None
        await store.close()


async def test_redis_stops_and_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """During the outage the process keeps queries itself, no request fails, and the log says each change once."""
    monkeypatch.setattr(circuit_breaker, "RETRY_INTERVAL", 0.01)
    store = RedisQueryStore(f"unix://{tmp_path / 'redis'}", 1000)
    queries = PersistedQueries(MemoryQueryStore(), store)
    for _ in range(3):
        with pytest.raises(RequestError, match="PersistedQueryNotFound"):
            await queries.text(None, hashed(QUERY))
        await queries.keep("{ kept }", hashed("{ kept }"))
        assert await queries.text(None, hashed("{ kept }")) == "{ kept }"
    with running(tmp_path / "redis"):
        await until(lambda: len(caplog.messages) > 1)
        await queries.keep(QUERY, hashed(QUERY))
        assert await store.get(digest(QUERY)) == QUERY
    for _ in range(3):
        assert await queries.text(None, hashed(QUERY)) == QUERY
        assert await store.get(digest(QUERY)) is None
    await store.close()
    lost = (
        "Redis (persisted queries) is unavailable (ConnectionError): "
        "each process knows only the persisted queries that it has received itself."
    )
    assert caplog.messages == [lost, "Redis (persisted queries) is available again.", lost]


async def test_requests_do_not_call_an_unavailable_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the background task looks whether it is back."""
    monkeypatch.setattr(circuit_breaker, "RETRY_INTERVAL", 0.5)
    store = RedisQueryStore(f"unix://{tmp_path / 'redis'}", 1000)
    assert await store.get(digest(QUERY)) is None
    with running(tmp_path / "redis"):
        await store.put(digest(QUERY), QUERY)
        assert await store.get(digest(QUERY)) is None
        await until(lambda: store._breaker.is_available)
        assert await store.get(digest(QUERY)) is None
        await store.put(digest(QUERY), QUERY)
        assert await store.get(digest(QUERY)) == QUERY
    await store.close()
