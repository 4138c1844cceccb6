"""Automatic persisted queries over HTTP, stored in the process or in a real Redis, which may be unavailable."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pydantic import SecretStr
from starlette.types import ASGIApp, Message

from gateway.execution.persisted import MemoryQueryStore, PersistedQueries, PersistedQueryStore, sha256
from gateway.execution.persisted_redis import RedisQueryStore
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


TEXT = 100
"""Characters of the texts below. Each counts as 400 bytes."""


def _text(name: str) -> str:
    return name.ljust(TEXT)


async def _stored(store: PersistedQueryStore, names: str) -> str:
    """The names of the texts that are stored."""
    return "".join([name for name in names if await store.get(sha256(_text(name))) is not None])


async def _assert_bounds(store: PersistedQueryStore) -> None:
    """A store of 12,000 bytes, of which one client may use 3,000: seven texts."""
    for name in "abcdefg":
        await store.put(sha256(_text(name)), _text(name), "ada")
    assert await _stored(store, "abcdefg") == "abcdefg"
    await store.get(sha256(_text("a")))
    for name in "hi":
        await store.put(sha256(_text(name)), _text(name), "ada")
    assert await _stored(store, "abcdefghi") == "adefghi"
    for client in ("bob", "cleo", "dora"):
        for number in range(20):
            text = _text(f"{client}{number}")
            await store.put(sha256(text), text, client)
    assert await _stored(store, "adefghi") == "adefghi"
    for number in range(4):
        text = _text(f"eve{number}")
        await store.put(sha256(text), text, "eve")
    bobs = [await store.get(sha256(_text(f"bob{number}"))) is not None for number in range(12, 20)]
    assert bobs == [False, False, False, True, True, True, True, True]
    await store.put(sha256("x" * 3000), "x" * 3000, "eve")
    assert await store.get(sha256("x" * 3000)) is None
    assert await store.get(sha256(_text("eve0"))) == _text("eve0")


async def test_the_memory_is_bounded() -> None:
    store = MemoryQueryStore(12_000)
    await _assert_bounds(store)
    assert store._used.total() == sum(size for _, _, size in store._texts.values()) <= 12_000


async def test_redis_is_bounded(tmp_path: Path) -> None:
    """In all and for each client, whichever process stores the texts. Texts of the store's own size are counted."""
    with run_redis(tmp_path / "redis") as url:
        store = RedisQueryStore(url, 1000, 12_000)
        await _assert_bounds(store)
        used = {name.decode(): int(size) for name, size in (await store._client.hgetall(store._keys[3])).items()}
        assert used.pop("total") == sum(used.values()) == 400 * await store._client.hlen(store._keys[0]) <= 12_000
        await store.close()


async def test_reading_a_text_renews_every_key_of_redis(tmp_path: Path) -> None:
    with run_redis(tmp_path / "redis") as url:
        store = RedisQueryStore(url, 1000, 12_000)
        await store.put(sha256(QUERY), QUERY, "ada")
        names = [name async for name in store._client.scan_iter("siso:persisted:*") if b"probe" not in name]
        assert len(names) == 5
        for name in names:
            await store._client.expire(name, 10)
        assert await store.get(sha256(QUERY)) == QUERY
        for name in names:
            assert 900 < await store._client.ttl(name) <= 1000
        await store.close()


async def test_many_large_texts_leave_redis_small(tmp_path: Path) -> None:
    """1,500 texts of 58 kB are 87 MB."""
    with run_redis(tmp_path / "redis") as url:
        store = RedisQueryStore(url, 1000, 4_000_000)
        before = (await store._client.info("memory"))["used_memory"]
        for number in range(1500):
            text = f"{number}".ljust(58_000)
            await store.put(sha256(text), text, f"{number % 8}")
        assert (await store._client.info("memory"))["used_memory"] - before < 8_000_000
        await store.close()


async def test_processes_share_a_redis(only: Database, tmp_path: Path) -> None:
    """Queries that are not requested expire, and texts that somebody has changed are not used."""
    with run_redis(tmp_path / "redis") as url:
        settings = Settings(redis_url=SecretStr(url), persisted_query_lifetime=1000)
        first, second = (Gateway(only, settings=settings) for _ in range(2))
        async with run_lifespan(first.app), run_lifespan(second.app):
            assert await ask(second, extensions=by_hash(QUERY)) == (400, "PERSISTED_QUERY_NOT_FOUND")
            assert await ask(first, query=QUERY, extensions=by_hash(QUERY)) == (200, FOUND)
            assert await ask(second, extensions=by_hash(QUERY)) == (200, FOUND)
        store = RedisQueryStore(url, 1000, 1_000_000)
        texts, _, uses, _ = store._keys
        assert 900 < await store._client.ttl(texts) <= 1000
        await store._client.zadd(uses, {sha256(QUERY): time.time() - 900})
        assert await store.get(sha256(QUERY)) == QUERY
        await store.put(sha256("{ a }"), "{ a }", "ada")
        assert await store.get(sha256(QUERY)) == QUERY
        await store._client.zadd(uses, {sha256(QUERY): time.time() - 1100})
        await store.put(sha256("{ b }"), "{ b }", "ada")
        assert await store.get(sha256(QUERY)) is None
        for wrong in (b"{ another }", b"\xff\xfe"):
            await store._client.hset(texts, sha256("{ a }"), wrong)
            assert await store.get(sha256("{ a }")) is None
        await store.put(sha256("{ a }"), "{ a }", "ada")
        assert await store.get(sha256("{ a }")) == "{ a }"
        await store.close()


async def test_redis_stops_and_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """During the outage the process stores queries itself, no request fails, and each change is logged once."""
    monkeypatch.setattr(circuit_breaker, "RETRY_INTERVAL", 0.01)
    store = RedisQueryStore(f"unix://{tmp_path / 'redis'}", 1000, 1_000_000)
    queries = PersistedQueries(MemoryQueryStore(), store)
    for _ in range(3):
        with pytest.raises(RequestError, match="PersistedQueryNotFound"):
            await queries.resolve(None, by_hash(QUERY), "ada")
        await queries.store("{ kept }", by_hash("{ kept }"), "ada")
        assert await queries.resolve(None, by_hash("{ kept }"), "ada") == "{ kept }"
    with run_redis(tmp_path / "redis"):
        await until(lambda: len(caplog.messages) > 1)
        await queries.store(QUERY, by_hash(QUERY), "ada")
        assert await store.get(sha256(QUERY)) == QUERY
    for _ in range(3):
        assert await queries.resolve(None, by_hash(QUERY), "ada") == QUERY
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
    store = RedisQueryStore(f"unix://{tmp_path / 'redis'}", 1000, 1_000_000)
    assert await store.get(sha256(QUERY)) is None
    with run_redis(tmp_path / "redis"):
        await store.put(sha256(QUERY), QUERY, "ada")
        assert await store.get(sha256(QUERY)) is None
        await until(lambda: store._breaker.is_available)
        assert await store.get(sha256(QUERY)) is None
        await store.put(sha256(QUERY), QUERY, "ada")
        assert await store.get(sha256(QUERY)) == QUERY
    await store.close()
