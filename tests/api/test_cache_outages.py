"""The cache while Redis is unavailable, and with entries in Redis that the gateway did not write."""

import asyncio
import hashlib
import os
import pickle
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cashews.serialize import simple_sign
from pydantic import SecretStr
from redis.asyncio import Redis

from gateway.settings import Settings
from repositories.engines.database import Database, DatabaseOptions
from repositories.tables.identity import User
from tests.api.client import Answer, Client, Gateway, connect_database
from tests.stores import redis_process
from tests.waiting import until

TOTAL = "{ lifeLockDashboard { totalTasks } }"


@asynccontextmanager
async def caching(database: Database, socket: Path) -> AsyncIterator[Gateway]:
    """A gateway whose cache is in Redis."""
    made = Gateway(database, settings=Settings(cache="redis", redis_url=SecretStr(f"unix://{socket}")))
    try:
        yield made
    finally:
        await made.cache.close()
        await made.http.aclose()


async def total(client: Client) -> int:
    """The number of tasks that the dashboard shows."""
    shown: int = (await client.data(TOTAL))["lifeLockDashboard"]["totalTasks"]
    return shown


@asynccontextmanager
async def under_load(client: Client) -> AsyncIterator[list[Answer]]:
    """Eight clients that query the dashboard continuously, and their responses so far."""
    answers: list[Answer] = []
    is_over = asyncio.Event()

    async def ask() -> None:
        while not is_over.is_set():
            answers.append(await client.ask(TOTAL))

    clients = [asyncio.ensure_future(ask()) for _ in range(8)]
    try:
        yield answers
    finally:
        is_over.set()
        await asyncio.gather(*clients)


@pytest.mark.parametrize("hangs", [False, True], ids=["ends", "hangs"])
async def test_redis_stops_and_starts_under_load(
    database: Database, tmp_path: Path, ada: User, caplog: pytest.LogCaptureFixture, *, hangs: bool
) -> None:
    socket = tmp_path / "redis"
    async with caching(database, socket) as gateway:
        health = gateway.cache.health
        async with under_load(gateway.client(ada)) as answers:
            with redis_process(socket) as server:
                await until(lambda: health().hits > 50)
                if hangs:
                    os.kill(server.pid, signal.SIGSTOP)
                else:
                    server.terminate()
                    await until(lambda: server.poll() is not None)
                await until(lambda: health().errors > 0)
                without = len(answers)
                await until(lambda: len(answers) > without + 50)
                if hangs:
                    hits = health().hits
                    os.kill(server.pid, signal.SIGCONT)
                    await until(lambda: health().hits > hits + 50)
            if not hangs:
                hits = health().hits
                with redis_process(socket):
                    await until(lambda: health().hits > hits + 50)
    assert {(answer.status, str(answer.body)) for answer in answers} == {
        (200, "{'data': {'lifeLockDashboard': {'totalTasks': 0}}}")
    }
    lost, back = (
        re.compile(r"Redis \(cache\) is unavailable \(\w+\): nothing is cached\."),
        re.compile(r"Redis \(cache\) is available again\."),
    )
    logged = [record.getMessage() for record in caplog.records if record.name == "resolvers.services.circuit_breaker"]
    assert lost.fullmatch(logged[0])
    assert back.fullmatch(logged[1])
    assert sum(lost.fullmatch(text) is not None for text in logged) <= 2  # the last server ends before the load does


async def test_missed_invalidations_make_everything_stale(options: DatabaseOptions, tmp_path: Path, ada: User) -> None:
    socket = tmp_path / "redis"
    with redis_process(socket) as server:
        async with (
            connect_database(options) as one,
            connect_database(options) as other,
            caching(one, socket) as first,
            caching(other, socket) as second,
        ):
            client = first.client(ada)
            assert [await total(client), await total(client), await total(second.client(ada))] == [0, 0, 0]
            os.kill(server.pid, signal.SIGSTOP)
            await client.do("createTask", "task { id }", title="x")
            assert first.cache.health().errors == 1
            os.kill(server.pid, signal.SIGCONT)
            shown, hits = set(), first.cache.health().hits
            while first.cache.health().hits == hits:
                shown.add(await total(client))
                await asyncio.sleep(0.01)
            assert shown == {1}
            assert await total(second.client(ada)) == 1


async def test_a_gateway_starts_without_redis(database: Database, tmp_path: Path, ada: User) -> None:
    async with caching(database, tmp_path / "redis") as gateway:
        client = gateway.client(ada)
        assert await total(client) == 0
        await client.do("createTask", "task { id }", title="x")
        assert await total(client) == 1
        assert gateway.cache.health()[1:] == (0, 0, 0, 1)


class CreatesFolder:
    """Creates a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def forge_entries(key: bytes) -> Iterator[bytes]:
    """An entry with the value 99, with the weakest signature of cashews, for every possible sum of a secret's bytes."""
    body = b"bytes:[[],null,null,[99,99,99,99,null]]"
    for total_of_secret in range(0, 8161, 1020):
        digits = f"{int(simple_sign(b'', key + body), 16) + total_of_secret:x}"
        yield b"sum:" + digits.encode() + b"_" + body


async def test_entries_without_a_valid_signature_are_misses(
    database: Database, tmp_path: Path, ada: User, bob: User
) -> None:
    """Pickles, numbers, garbage and the value of another key are misses."""
    socket, trap = tmp_path / "redis", tmp_path / "trap"
    with redis_process(socket):
        redis: Any = Redis(unix_socket_path=str(socket))
        async with caching(database, socket) as gateway:
            client = gateway.client(ada)
            await gateway.client(bob).do("createTask", "task { id }", title="x")
            assert await total(gateway.client(bob)) == 1
            (of_bob,) = [name for name in await redis.keys() if b"tally" in name]
            assert await total(client) == 0
            (name,) = [name for name in await redis.keys() if b"tally" in name and name != of_bob]
            entries = [
                *(b"", b"5", b"garbage", b"md5:0_0", b"\xff" * 40, pickle.dumps(CreatesFolder(trap))),
                *(
                    b"md5:"
                    + hashlib.md5(pickle.dumps(CreatesFolder(trap)), usedforsecurity=False).hexdigest().encode()
                    + b"_x",
                ),
                *forge_entries(name),
                await redis.get(of_bob),
                (await redis.get(name))[:-1],
            ]
            for entry in entries:
                before = gateway.cache.health()
                await redis.set(name, entry)
                assert await total(client) == 0
                assert gateway.cache.health() == before._replace(misses=before.misses + 1)
                assert await redis.get(name) != entry
            for tag in [name for name in await redis.keys() if b":tag:" in name]:
                await redis.set(tag, b"5")
            assert [await total(client) for _ in range(2)] == [0, 0]
            assert (gateway.cache.health().stale, gateway.cache.health().errors) == (1, 0)
        await redis.aclose()
    assert not trap.exists()


async def test_keys_reveal_nothing_about_users(database: Database, tmp_path: Path, ada: User) -> None:
    socket = tmp_path / "redis"
    with redis_process(socket):
        redis: Any = Redis(unix_socket_path=str(socket))
        async with caching(database, socket) as gateway:
            client = gateway.client(ada)
            await client.do("createTask", "task { id }", title="x")
            await client.data(
                "{ lifeLockDashboard { totalTasks upcomingDeadlines { id } } clientDashboard { totalRevenue } "
                "gamificationDashboard { rank } }"
            )
            names = [name.decode() for name in await redis.keys()]
        await redis.aclose()
    assert len(names) > 8
    hashed = re.compile(r"siso:cache:[a-z_.A-Z:]+:[0-9a-f]{40}")
    plain = {"siso:cache:tag:everything", *(f"siso:cache:tag:{kind}" for kind in ("task", "user", "user_achievement"))}
    assert [name for name in names if not hashed.fullmatch(name) and name not in plain] == []
    assert not any(str(ada.id) in name or ada.id.hex in name for name in names)
