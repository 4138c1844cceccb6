"""The cost budget of a viewer per minute: how it is counted, and what happens when it is used up."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.execution.budget import Budget, BudgetExceeded
from gateway.transport.error_responses import error_headers
from repositories.core.ids import new_id
from repositories.core.viewer import ANONYMOUS, Viewer
from resolvers.services import circuit_breaker
from tests.stores import redis_process, redis_server
from tests.waiting import until

MEMORY = "async+memory://"
ADA, BOB = Viewer(new_id()), Viewer(new_id())


@pytest.fixture(scope="module")
def redis_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with redis_server(tmp_path_factory.mktemp("redis")) as socket:
        yield socket


@pytest_asyncio.fixture
async def shared(redis_socket: Path) -> AsyncIterator[Callable[[int], Budget]]:
    """Makes budgets that share a Redis, as several processes do."""
    made: list[Any] = []

    def make(limit: int) -> Budget:
        budget = Budget(f"async+redis+unix://{redis_socket}", limit)
        made.append(budget._shared)
        return budget

    yield make
    for store in made:
        await store.limiter.storage.bridge.storage.flushdb()
        await store.close()


async def remaining_after(budget: Budget, viewer: Viewer, cost: int, address: str | None = None) -> int:
    """Spends, and returns what remains."""
    left = await budget.spend(viewer, address, cost)
    assert 0 < left.reset <= 60
    return left.remaining


async def test_each_viewer_and_each_address_of_anonymous_callers_has_a_budget() -> None:
    budget = Budget(MEMORY, 100)
    assert await remaining_after(budget, ADA, 30, "10.0.0.1") == 70
    assert await remaining_after(budget, ADA, 30, "10.0.0.2") == 40
    assert await remaining_after(budget, BOB, 1) == 99
    assert await remaining_after(budget, ANONYMOUS, 10, "10.0.0.1") == 90
    assert await remaining_after(budget, ANONYMOUS, 10, "10.0.0.1") == 80
    assert await remaining_after(budget, ANONYMOUS, 10, "10.0.0.2") == 90
    assert await remaining_after(budget, ADA, 40) == 0


async def test_an_operation_beyond_the_budget_is_rejected_with_the_time_to_wait() -> None:
    budget = Budget(MEMORY, 1000)
    await budget.spend(ADA, None, 900)
    with pytest.raises(BudgetExceeded) as caught:
        await budget.spend(ADA, None, 101)
    error = caught.value
    assert (error.code, error.status) == ("RATE_LIMITED", 429)
    assert error.message == (
        "Your operations may cost 1,000 per minute, and this budget is used up. "
        f"Try again in {error.retry_after} seconds."
    )
    assert error_headers(error) == {
        "Retry-After": str(error.retry_after),
        "RateLimit-Policy": '"cost";q=1000;w=60;qu="cost"',
        "RateLimit": f'"cost";r=0;t={error.retry_after}',
    }
    with pytest.raises(BudgetExceeded):
        await budget.spend(ADA, None, 1)


async def test_the_budget_is_full_again_after_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = 1000.0
    monkeypatch.setattr("gateway.execution.budget.time.monotonic", lambda: moment)
    budget = Budget(MEMORY, 10)
    await budget.spend(ADA, None, 10)
    moment = 1059.5
    with pytest.raises(BudgetExceeded, match=r"Try again in 1 seconds\.$"):
        await budget.spend(ADA, None, 1)
    moment = 1060.0
    assert await remaining_after(budget, ADA, 1) == 9


async def test_the_counts_in_memory_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.execution.budget._MAX_KEYS", 3)
    budget = Budget(MEMORY, 10)
    for number in range(7):
        await budget.spend(ANONYMOUS, f"10.0.0.{number}", 1)
    assert len(budget._local._counts) == 1


async def test_processes_share_a_store(shared: Callable[[int], Budget]) -> None:
    one, other = shared(100), shared(100)
    assert await remaining_after(one, ADA, 30) == 70
    assert await remaining_after(other, ADA, 30) == 40
    assert await remaining_after(other, BOB, 1) == 99
    with pytest.raises(BudgetExceeded):
        await one.spend(ADA, None, 41)


async def test_a_shared_store_sees_only_hashes_of_viewers(shared: Callable[[int], Budget]) -> None:
    budget: Any = shared(100)
    await budget.spend(ADA, None, 1)
    await budget.spend(ANONYMOUS, "10.0.0.1", 1)
    keys = [key.decode() for key in await budget._shared.limiter.storage.bridge.storage.keys("*")]
    assert len(keys) == 2
    assert not any(str(ADA.id) in key or "10.0.0.1" in key for key in keys)


async def test_each_process_counts_alone_while_the_store_is_unavailable(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says so once."""
    budget = Budget(f"async+redis+unix://{tmp_path / 'gone.socket'}", 100)
    assert await remaining_after(budget, ADA, 30) == 70
    assert await remaining_after(budget, ADA, 30) == 40
    with pytest.raises(BudgetExceeded):
        await budget.spend(ADA, None, 41)
    await budget.close()
    assert caplog.messages == [
        "The rate limit store (cost) is unavailable (ConnectionError): each process counts alone."
    ]


async def test_the_store_is_used_again_after_an_outage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The shared count does not include the costs that were counted in the process meanwhile."""
    monkeypatch.setattr(circuit_breaker, "RETRY_INTERVAL", 0.01)
    socket = tmp_path / "redis"
    budget = Budget(f"async+redis+unix://{socket}", 100)
    assert await remaining_after(budget, ADA, 30) == 70
    with redis_process(socket):
        await until(lambda: len(caplog.messages) > 1)
        assert await remaining_after(budget, ADA, 10) == 90
    assert await remaining_after(budget, ADA, 30) == 40
    await budget.close()
    lost = "The rate limit store (cost) is unavailable (ConnectionError): each process counts alone."
    assert caplog.messages == [lost, "The rate limit store (cost) is available again.", lost]
