"""The connection pool: callers are served in order, none waits forever, and no connection is lost."""

import asyncio
import random

import pytest

from repositories.core.errors import ServiceUnavailable
from repositories.engines import pool as pools
from repositories.engines.pool import Pool
from tests.waiting import until


class FakeConnection:
    """A connection without a server. ``idle_count`` counts the calls of ``on_idle``."""

    def __init__(self) -> None:
        self.closed = False
        self.idle_count = 0

    def is_closed(self) -> bool:
        return self.closed

    def on_idle(self) -> None:
        self.idle_count += 1

    def terminate(self) -> None:
        self.closed = True

    async def close(self) -> None:
        self.closed = True


class FakeServer:
    """Opens fake connections. The next ``failures`` attempts fail."""

    def __init__(self) -> None:
        self.connections: list[FakeConnection] = []
        self.failures = 0

    async def connect(self) -> FakeConnection:
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise ServiceUnavailable
        self.connections.append(FakeConnection())
        return self.connections[-1]

    def pool(self, limit: int, timeout: float = 30) -> Pool[FakeConnection]:
        return Pool(self.connect, limit, timeout)


async def _run_event_loop() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def _state(pool: Pool[FakeConnection]) -> tuple[int, int]:
    return pool.size, pool.used


async def test_connections_are_opened_on_demand_and_reused() -> None:
    server = FakeServer()
    pool = server.pool(2)
    assert _state(pool) == (0, 0)
    first = await pool.acquire()
    second = await pool.acquire()
    assert _state(pool) == (2, 2)
    pool.release(first)
    assert (await pool.acquire(), first.idle_count) == (first, 1)
    pool.release(first)
    pool.release(second)
    assert _state(pool) == (2, 0)
    assert server.connections == [first, second]


async def test_waiting_callers_are_served_in_order() -> None:
    """A released connection goes directly to the longest waiting caller. A later caller does not overtake."""
    pool = FakeServer().pool(1)
    connection = await pool.acquire()
    order: list[int] = []

    async def use(number: int) -> None:
        held = await pool.acquire()
        order.append(number)
        pool.release(held)

    waiting = [asyncio.ensure_future(use(number)) for number in range(5)]
    await _run_event_loop()
    pool.release(connection)
    waiting.append(asyncio.ensure_future(use(5)))
    await asyncio.gather(*waiting)
    assert order == [0, 1, 2, 3, 4, 5]
    assert (connection.idle_count, _state(pool)) == (1, (1, 0))


async def test_a_connection_is_idle_if_nobody_takes_it_for_a_while() -> None:
    """Each is idle after its own delay, and one timer is enough for all."""
    pool = Pool(FakeServer().connect, 3, 30, idle_delay=0.05)
    first, second = await pool.acquire(), await pool.acquire()
    pool.release(first)
    assert await pool.acquire() is first
    pool.release(second)
    pool.release(first)
    assert await pool.acquire() is first
    assert (first.idle_count, second.idle_count) == (0, 0)
    await until(lambda: second.idle_count == 1)
    assert first.idle_count == 0
    pool.release(first)
    await until(lambda: first.idle_count == 1)
    pool.release(await pool.acquire())
    await pool.close()
    counts = first.idle_count, second.idle_count
    await asyncio.sleep(0.1)
    assert (first.idle_count, second.idle_count) == counts


async def test_a_caller_that_waits_too_long_gets_service_unavailable() -> None:
    """The next waiting caller gets the released connection."""
    pool = FakeServer().pool(1, timeout=0.02)
    connection = await pool.acquire()
    with pytest.raises(ServiceUnavailable):
        await pool.acquire()
    late = asyncio.ensure_future(pool.acquire())
    await _run_event_loop()
    pool.release(connection)
    assert await late is connection


async def test_a_closed_connection_leaves_a_free_slot() -> None:
    """A waiting caller or the next caller opens a connection in it."""
    server = FakeServer()
    pool = server.pool(1)
    connection = await pool.acquire()
    waiting = asyncio.ensure_future(pool.acquire())
    await _run_event_loop()
    connection.closed = True
    pool.release(connection)
    other = await waiting
    assert (server.connections, _state(pool)) == ([connection, other], (1, 1))
    pool.release(other)
    other.closed = True
    assert await pool.acquire() is server.connections[2]
    assert _state(pool) == (1, 1)


async def test_a_failed_connection_attempt_leaves_a_free_slot() -> None:
    server = FakeServer()
    pool = server.pool(1)
    server.failures = 2
    results = await asyncio.gather(*(pool.acquire() for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [ServiceUnavailable, ServiceUnavailable, FakeConnection]
    assert _state(pool) == (1, 1)


async def test_a_connection_that_was_idle_too_long_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "_IDLE_LIMIT", 0.0)
    server = FakeServer()
    pool = server.pool(3)
    connection = await pool.acquire()
    pool.release(connection)
    assert await pool.acquire() is not connection
    assert connection.closed
    assert _state(pool) == (1, 1)


async def test_closing_waits_for_connections_in_use() -> None:
    server = FakeServer()
    pool = server.pool(2)
    first, second = await pool.acquire(), await pool.acquire()
    closing = asyncio.ensure_future(pool.close())
    pool.release(first)
    await _run_event_loop()
    assert not closing.done()
    with pytest.raises(ServiceUnavailable):
        await pool.acquire()
    pool.release(second)
    await closing
    assert [connection.closed for connection in server.connections] == [True, True]
    assert _state(pool) == (0, 0)
    await pool.close()


@pytest.mark.parametrize("event", ["release", "loss"])
async def test_a_cancelled_caller_passes_its_connection_on(event: str) -> None:
    """The caller is cancelled after it was given a connection or a slot, and before it has resumed."""
    server = FakeServer()
    pool = server.pool(1)
    connection = await pool.acquire()
    cancelled, waiting = asyncio.ensure_future(pool.acquire()), asyncio.ensure_future(pool.acquire())
    await _run_event_loop()
    connection.closed = event == "loss"
    pool.release(connection)
    cancelled.cancel()
    received = await waiting
    assert cancelled.cancelled()
    assert (received is connection) == (event == "release")
    pool.release(received)
    assert _state(pool) == (1, 0)


@pytest.mark.parametrize("seed", range(20))
async def test_random_use_loses_no_connection(seed: int) -> None:
    """Callers are cancelled and connections fail at random. Afterwards all connections are free."""
    source = random.Random(seed)  # noqa: S311 (not a secret)
    server = FakeServer()
    limit = source.randint(1, 4)
    pool = server.pool(limit)
    held: set[FakeConnection] = set()

    async def use() -> None:
        connection = await pool.acquire()
        assert connection not in held
        assert not connection.closed
        held.add(connection)
        assert pool.used <= pool.size <= limit
        try:
            for _ in range(source.randrange(4)):
                await asyncio.sleep(0)
            connection.closed = source.random() < 0.2
        finally:
            held.remove(connection)
            pool.release(connection)

    running = [asyncio.ensure_future(use()) for _ in range(60)]
    for _ in range(60):
        match source.choice(["cancel", "fail", "continue"]):
            case "cancel":
                source.choice(running).cancel()
            case "fail":
                server.failures += 1
            case _:
                await asyncio.sleep(0)
    results = await asyncio.gather(*running, return_exceptions=True)
    assert {type(result) for result in results} <= {type(None), ServiceUnavailable, asyncio.CancelledError}
    assert pool.used == 0
    assert len([connection for connection in server.connections if not connection.closed]) == pool.size
    server.failures = 0
    connections = [await pool.acquire() for _ in range(limit)]
    for connection in connections:
        pool.release(connection)
    await pool.close()
    assert all(connection.closed for connection in server.connections)
