"""Circuit breakers around a real Redis that stops, hangs and starts again, and around many concurrent calls."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from redis.exceptions import RedisError

from repositories.core.errors import RateLimited, ServiceUnavailable
from resolvers.caching.store import redis_store
from resolvers.identity.accounts import Attempt, Attempts
from resolvers.services import circuit_breaker
from resolvers.services import redis_client as redis_client_module
from resolvers.services.circuit_breaker import CircuitBreaker
from resolvers.services.redis_client import redis_client
from tests.stores import redis_process
from tests.waiting import until

LOST = "Redis is unavailable (ConnectionError): nothing is counted."
HUNG = "Redis is unavailable (TimeoutError): nothing is counted."
BACK = "Redis is available again."


class Counter:
    """A counter in Redis behind a circuit breaker. Notes the probes, and how many of them run at once."""

    def __init__(self, socket: Path) -> None:
        self.client = redis_client(f"unix://{socket}")
        self.probes = 0
        self.running_probes = 0
        self.most_running_probes = 0
        self.breaker = CircuitBreaker("Redis", "nothing is counted", RedisError, self.probe, self.recover)
        self.recoveries = 0

    async def probe(self) -> None:
        self.probes += 1
        self.running_probes += 1
        self.most_running_probes = max(self.most_running_probes, self.running_probes)
        try:
            await self.client.ping()
        finally:
            self.running_probes -= 1

    async def recover(self) -> None:
        self.recoveries += 1

    async def increment(self) -> int | None:
        return await self.breaker.call(lambda: self.client.incr("count"))


@pytest.fixture(autouse=True)
def _long_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents that a busy machine looks like an outage. A stopped Redis refuses connections at once."""
    monkeypatch.setattr(circuit_breaker, "RETRY_INTERVAL", 0.01)
    monkeypatch.setattr(circuit_breaker, "TIMEOUT", 60.0)
    monkeypatch.setattr(redis_client_module, "SOCKET_TIMEOUT", 60.0)


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "redis"


@pytest_asyncio.fixture
async def counter(socket: Path) -> AsyncIterator[Counter]:
    """Leaves no task behind."""
    tasks = asyncio.all_tasks()
    made = Counter(socket)
    yield made
    await made.breaker.close()
    await made.client.aclose()
    assert asyncio.all_tasks() - tasks == {asyncio.current_task()}


async def test_redis_stops_and_starts(counter: Counter, socket: Path, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        with redis_process(socket):
            await until(lambda: counter.breaker.is_available)
            assert [await counter.increment() for _ in range(3)] == [1, 2, 3]
        assert [await counter.increment() for _ in range(3)] == [None] * 3
    assert counter.breaker.failures == 2
    assert counter.recoveries == 1
    assert caplog.messages == [LOST, BACK, LOST]


async def test_redis_hangs(
    counter: Counter, socket: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Calls that run already wait for the timeout, later ones do not wait."""
    with redis_process(socket) as server:
        assert await counter.increment() == 1
        monkeypatch.setattr(circuit_breaker, "TIMEOUT", 0.1)
        os.kill(server.pid, signal.SIGSTOP)
        assert await asyncio.gather(*(counter.increment() for _ in range(20))) == [None] * 20
        start = time.monotonic()
        assert [await counter.increment() for _ in range(1000)] == [None] * 1000
        assert time.monotonic() - start < 0.1
        probes = counter.probes
        await until(lambda: counter.probes > probes + 1)
        assert not counter.breaker.is_available
        monkeypatch.undo()
        os.kill(server.pid, signal.SIGCONT)
        await until(lambda: counter.breaker.is_available)
        count = await counter.increment()
    assert count is not None
    assert counter.breaker.failures == 20
    assert caplog.messages == [HUNG, BACK]


async def test_concurrent_failures_share_one_probe(
    counter: Counter, socket: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Under load, through several outages: one log line each, one probe at a time, and no call raises."""
    is_over = False
    counts: list[int | None] = []

    async def load() -> None:
        while not is_over:
            counts.append(await counter.increment())
            await asyncio.sleep(0)

    clients = [asyncio.ensure_future(load()) for _ in range(50)]
    for outage in range(1, 4):
        await until(lambda: not counter.breaker.is_available)
        probes = counter.probes
        await until(lambda: counter.probes > probes + 2)  # noqa: B023 (is called in this iteration only)
        with redis_process(socket):
            await until(lambda: counter.breaker.is_available)
            before = len(counts)
            await until(lambda: len(counts) > before + 100)  # noqa: B023 (as above)
        assert counter.recoveries == outage
    is_over = True
    await asyncio.gather(*clients)
    assert counter.most_running_probes == 1
    assert caplog.messages[:6] == [LOST, BACK] * 3


async def test_the_store_is_not_used_before_the_recovery_has_succeeded(
    socket: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Here it needs a second Redis."""
    client, other = redis_client(f"unix://{socket}"), redis_client(f"unix://{tmp_path / 'other'}")
    probes = 0

    async def probe() -> None:
        nonlocal probes
        await client.ping()
        probes += 1

    breaker = CircuitBreaker("Redis", "nothing is counted", RedisError, probe, other.ping)
    with ExitStack() as servers:
        assert await breaker.call(client.ping) is None
        servers.enter_context(redis_process(socket))
        await until(lambda: probes > 3)
        assert await breaker.call(client.ping) is None
        assert caplog.messages == [LOST]
        servers.enter_context(redis_process(tmp_path / "other"))
        await until(lambda: breaker.is_available)
        assert await breaker.call(client.ping) is True
        await breaker.close()
        await client.aclose()
        await other.aclose()
    assert caplog.messages == [LOST, BACK]


async def test_other_errors_are_not_outages(counter: Counter, socket: Path) -> None:
    async def divide() -> float:
        return 1 / 0

    with redis_process(socket):
        with pytest.raises(ZeroDivisionError):
            await counter.breaker.call(divide)
        assert counter.breaker.failures == 0
        assert await counter.increment() == 1


async def test_a_recovery_with_a_programming_error_is_logged_and_tried_again(
    counter: Counter, socket: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken() -> None:
        raise KeyError("a mistake")

    monkeypatch.setattr(counter.breaker, "_on_recovery", broken)
    assert await counter.increment() is None
    with redis_process(socket):
        await until(lambda: "programming error" in caplog.text)
        assert await counter.increment() is None
        assert "KeyError: 'a mistake'" in caplog.text
        monkeypatch.undo()
        await until(lambda: counter.breaker.is_available)
        assert await counter.increment() == 1


async def test_nothing_runs_after_the_circuit_breaker_is_closed(counter: Counter, socket: Path) -> None:
    """This holds even if a call fails afterwards."""
    tasks = asyncio.all_tasks()
    assert await counter.increment() is None
    assert asyncio.all_tasks() > tasks
    await counter.breaker.close()
    assert asyncio.all_tasks() == tasks
    other = Counter(socket)
    await other.breaker.close()
    assert await other.increment() is None
    assert asyncio.all_tasks() == tasks
    await other.client.aclose()


async def test_writes_that_the_cache_missed_are_made_before_it_is_used_again(
    socket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This includes a write that is missed while the recovery is writing the others."""
    store = redis_store(f"unix://{socket}", b"secret")
    assert await store.put({"a": b"1"}, None) is None
    store.put_on_recovery({"a": b"1"})
    breaker: Any = store._breaker
    set_many, is_first = store._backend.set_many, True

    async def miss_another(values: Mapping[str, Any], *arguments: Any) -> None:
        nonlocal is_first
        await set_many(values, *arguments)
        if is_first:
            is_first = False
            store.put_on_recovery({"b": b"2"})

    monkeypatch.setattr(store._backend, "set_many", miss_another)
    with redis_process(socket):
        await until(lambda: breaker.is_available)
        assert await store.get(["a", "b"]) == [b"1", b"2"]
        assert store._missed_writes == {}
        await store.close()


async def test_attempts_are_rejected_while_their_store_is_unavailable(
    socket: Path, caplog: pytest.LogCaptureFixture
) -> None:
    attempts = Attempts(f"async+redis+unix://{socket}", dict.fromkeys(Attempt, "2 per hour"))
    subject = Attempt.PASSWORD_OF_ACCOUNT, "ada@example.com"
    for _ in range(3):
        with pytest.raises(ServiceUnavailable, match="Attempts cannot be counted right now"):
            await attempts.count(*subject)
    await attempts.forget(*subject)
    with redis_process(socket):
        await until(lambda: len(caplog.messages) > 1)
        for _ in range(2):
            await attempts.count(*subject)
        with pytest.raises(RateLimited):
            await attempts.count(*subject)
        await attempts.forget(*subject)
        await attempts.count(*subject)
    await attempts.close()
    assert caplog.messages == [
        (
            "The rate limit store (attempts) is unavailable (ConnectionError): "
            "signing up, signing in and password checks are rejected."
        ),
        "The rate limit store (attempts) is available again.",
    ]


async def test_closing_ends_a_probe_that_loses_a_cancellation() -> None:
    """As a library does that takes the cancellation for its own timeout."""
    started, lost = asyncio.Event(), 0

    async def probe() -> None:
        nonlocal lost
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            lost += 1
            if lost > 1:
                raise
            raise RedisError from None

    async def fail() -> None:
        raise RedisError

    breaker = CircuitBreaker("Redis", "nothing is counted", RedisError, probe)
    await breaker.call(fail)
    await started.wait()
    async with asyncio.timeout(30):
        await breaker.close()
    assert not breaker.is_available
