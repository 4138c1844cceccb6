"""Fair slots: viewers take turns, none holds more than its share, and no slot is lost."""

import asyncio
import random
from collections import Counter

import pytest

from repositories.core.errors import RateLimited, ServiceUnavailable
from repositories.engines.fair_slots import FairSlots, QueueFull
from tests.repositories.test_pool import FakeServer

ADA, BOB, EVE = "ada", "bob", "eve"


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_keys_take_turns() -> None:
    """A key that has queued five callers is served as often as one that has queued one."""
    slots: FairSlots[None] = FairSlots(1, 1)
    assert slots.take(None)
    served: list[str] = []

    async def use(key: str) -> None:
        await slots.wait(key, None)
        served.append(key)
        slots.release(key)

    waiting = [asyncio.ensure_future(use(key)) for key in (EVE, EVE, EVE, EVE, EVE, ADA, BOB)]
    await _settle()
    slots.release(None)
    await asyncio.gather(*waiting)
    assert served == [EVE, ADA, BOB, EVE, EVE, EVE, EVE]
    assert slots.used == 0


async def test_a_key_holds_no_more_than_its_share() -> None:
    """The slots that are left are for others. Work without a key has no share of its own."""
    slots: FairSlots[None] = FairSlots(4, 2)
    assert [slots.take(key) for key in (EVE, EVE, EVE, ADA, None, BOB)] == [True, True, False, True, True, False]
    assert (slots.has_its_share(EVE), slots.has_its_share(ADA), slots.has_its_share(None)) == (True, False, False)
    third = asyncio.ensure_future(slots.wait(EVE, None))
    await _settle()
    slots.release(None)
    await _settle()
    assert not third.done()
    slots.release(EVE)
    await third
    assert slots.used == 3


async def test_waiting_ends_after_the_timeout_and_with_a_full_queue() -> None:
    slots: FairSlots[None] = FairSlots(1, 1, max_waiting=2)
    assert slots.take(EVE)
    waiting = [asyncio.ensure_future(slots.wait(EVE, 0.02)) for _ in range(2)]
    await _settle()
    with pytest.raises(QueueFull):
        await slots.wait(EVE, 0.02)
    other = asyncio.ensure_future(slots.wait(ADA, None))
    assert [type(error) for error in await asyncio.gather(*waiting, return_exceptions=True)] == [TimeoutError] * 2
    slots.release(EVE)
    await other
    slots.release(ADA)
    assert (slots.used, slots.take(EVE)) == (0, True)


@pytest.mark.parametrize("seed", range(20))
async def test_random_use_loses_no_slot(seed: int) -> None:
    """Callers are cancelled and time out at random. No key ever holds more than its share, and all are served."""
    source = random.Random(seed)  # noqa: S311 (not a secret)
    size, share = source.randint(1, 5), source.randint(1, 3)
    slots: FairSlots[int] = FairSlots(size, share)
    held: Counter[str] = Counter()

    async def use(key: str) -> None:
        if not slots.take(key):
            await slots.wait(key, source.choice([None, None, 0.0]))
        held[key] += 1
        assert held[key] <= share
        assert held.total() <= slots.used <= size
        try:
            for _ in range(source.randrange(4)):
                await asyncio.sleep(0)
        finally:
            held[key] -= 1
            slots.release(key)

    running = [asyncio.ensure_future(use(source.choice([ADA, BOB, EVE]))) for _ in range(60)]
    for _ in range(60):
        if source.random() < 0.4:
            source.choice(running).cancel()
        else:
            await asyncio.sleep(0)
    results = await asyncio.gather(*running, return_exceptions=True)
    assert {type(result) for result in results} <= {type(None), TimeoutError, asyncio.CancelledError}
    assert slots.used == 0
    assert not slots._ready
    assert not slots._blocked


async def test_one_viewer_uses_half_of_the_connections() -> None:
    """The errors name the reason: the viewer's own operations, or those of all viewers."""
    pool = FakeServer().pool(4, timeout=0.02)
    held = [await pool.acquire(EVE) for _ in range(2)]
    with pytest.raises(RateLimited, match=r"^Too many of your operations use the database at the same time\. "):
        await pool.acquire(EVE)
    held += [await pool.acquire(ADA), await pool.acquire(None)]
    with pytest.raises(ServiceUnavailable, match=r"^All database connections are in use\. Try again in a moment\.$"):
        await pool.acquire(BOB)
    for connection in held:
        pool.release(connection)
    assert (pool.used, pool.size) == (0, 4)
