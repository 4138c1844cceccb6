"""The pool by itself: who comes first is served first, nobody is forgotten, and no connection is lost."""

import asyncio
import random

import pytest

from repositories.core.errors import ServiceUnavailable
from repositories.engines import pool as pools
from repositories.engines.pool import Pool


class Line:
    """A connection that can be counted."""

    def __init__(self) -> None:
        self.closed = False
        self.rests = 0

    def is_closed(self) -> bool:
        """Whether it is lost."""
        return self.closed

    def on_idle(self) -> None:
        """Counts how often nobody needed it."""
        self.rests += 1

    def terminate(self) -> None:
        """Closes it."""
        self.closed = True

    async def close(self) -> None:
        """Closes it."""
        self.closed = True


class Exchange:
    """Opens lines, and refuses as many as it is told to."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.refusals = 0

    async def connect(self) -> Line:
        """A new line, after a turn of the event loop."""
        await asyncio.sleep(0)
        if self.refusals:
            self.refusals -= 1
            raise ServiceUnavailable
        self.lines.append(Line())
        return self.lines[-1]

    def pool(self, limit: int, timeout: float = 30) -> Pool[Line]:
        """A pool of these lines."""
        return Pool(self.connect, limit, timeout)


async def _settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def _state(pool: Pool[Line]) -> tuple[int, int]:
    return pool.size, pool.used


async def test_connections_are_opened_when_needed_and_used_again() -> None:
    exchange = Exchange()
    pool = exchange.pool(2)
    assert _state(pool) == (0, 0)
    first = await pool.acquire()
    second = await pool.acquire()
    assert _state(pool) == (2, 2)
    pool.release(first)
    assert (await pool.acquire(), first.rests) == (first, 1)
    pool.release(first)
    pool.release(second)
    assert _state(pool) == (2, 0)
    assert exchange.lines == [first, second]


async def test_first_come_first_served() -> None:
    """A connection goes from hand to hand without a rest; newcomers do not overtake."""
    pool = Exchange().pool(1)
    line = await pool.acquire()
    order: list[int] = []

    async def use(number: int) -> None:
        held = await pool.acquire()
        order.append(number)
        pool.release(held)

    waiting = [asyncio.ensure_future(use(number)) for number in range(5)]
    await _settled()
    pool.release(line)
    waiting.append(asyncio.ensure_future(use(5)))
    await asyncio.gather(*waiting)
    assert order == [0, 1, 2, 3, 4, 5]
    assert (line.rests, _state(pool)) == (1, (1, 0))


async def test_whoever_waits_too_long_is_told_so() -> None:
    """The connection then goes to the next one who waits."""
    pool = Exchange().pool(1, timeout=0.02)
    line = await pool.acquire()
    with pytest.raises(ServiceUnavailable):
        await pool.acquire()
    late = asyncio.ensure_future(pool.acquire())
    await _settled()
    pool.release(line)
    assert await late is line


async def test_a_lost_connection_makes_room() -> None:
    """For whoever waits, or for the next one who comes."""
    exchange = Exchange()
    pool = exchange.pool(1)
    line = await pool.acquire()
    waiting = asyncio.ensure_future(pool.acquire())
    await _settled()
    line.closed = True
    pool.release(line)
    other = await waiting
    assert (exchange.lines, _state(pool)) == ([line, other], (1, 1))
    pool.release(other)
    other.closed = True
    assert await pool.acquire() is exchange.lines[2]
    assert _state(pool) == (1, 1)


async def test_a_connection_that_cannot_be_opened_makes_room_too() -> None:
    exchange = Exchange()
    pool = exchange.pool(1)
    exchange.refusals = 2
    answers = await asyncio.gather(*(pool.acquire() for _ in range(3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [ServiceUnavailable, ServiceUnavailable, Line]
    assert _state(pool) == (1, 1)


async def test_a_connection_that_idled_for_long_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "_IDLE_LIMIT", 0.0)
    exchange = Exchange()
    pool = exchange.pool(3)
    line = await pool.acquire()
    pool.release(line)
    assert await pool.acquire() is not line
    assert line.closed
    assert _state(pool) == (1, 1)


async def test_closing_waits_for_what_is_in_use() -> None:
    exchange = Exchange()
    pool = exchange.pool(2)
    first, second = await pool.acquire(), await pool.acquire()
    closing = asyncio.ensure_future(pool.close())
    pool.release(first)
    await _settled()
    assert not closing.done()
    with pytest.raises(ServiceUnavailable):
        await pool.acquire()
    pool.release(second)
    await closing
    assert [line.closed for line in exchange.lines] == [True, True]
    assert _state(pool) == (0, 0)
    await pool.close()


@pytest.mark.parametrize("event", ["release", "loss"])
async def test_cancelled_in_the_moment_of_being_served(event: str) -> None:
    """What was handed over to somebody who goes away is handed on."""
    exchange = Exchange()
    pool = exchange.pool(1)
    line = await pool.acquire()
    gone, next_one = asyncio.ensure_future(pool.acquire()), asyncio.ensure_future(pool.acquire())
    await _settled()
    line.closed = event == "loss"
    pool.release(line)
    gone.cancel()
    given = await next_one
    assert gone.cancelled()
    assert (given is line) == (event == "release")
    pool.release(given)
    assert _state(pool) == (1, 0)


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_happens_nothing_is_lost(seed: int) -> None:
    """Many users on few connections, cancelled, refused and cut off at random: afterwards everything is free again."""
    chance = random.Random(seed)  # noqa: S311 (what happens next, no secrets)
    exchange = Exchange()
    limit = chance.randint(1, 4)
    pool = exchange.pool(limit)
    held: set[Line] = set()

    async def use() -> None:
        line = await pool.acquire()
        assert line not in held
        assert not line.closed
        held.add(line)
        assert pool.used <= pool.size <= limit
        try:
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            line.closed = chance.random() < 0.2
        finally:
            held.remove(line)
            pool.release(line)

    running = [asyncio.ensure_future(use()) for _ in range(60)]
    for _ in range(60):
        match chance.choice(["cancel", "refuse", "go on"]):
            case "cancel":
                chance.choice(running).cancel()
            case "refuse":
                exchange.refusals += 1
            case _:
                await asyncio.sleep(0)
    answers = await asyncio.gather(*running, return_exceptions=True)
    assert {type(answer) for answer in answers} <= {type(None), ServiceUnavailable, asyncio.CancelledError}
    assert pool.used == 0
    assert len([line for line in exchange.lines if not line.closed]) == pool.size
    exchange.refusals = 0
    lines = [await pool.acquire() for _ in range(limit)]
    for line in lines:
        pool.release(line)
    await pool.close()
    assert all(line.closed for line in exchange.lines)
