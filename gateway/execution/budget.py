"""Limits what the operations of one viewer may cost in a minute. Anonymous callers are counted by their network.

    RateLimit-Policy: "cost";q=1000000;w=60;qu="cost"
    RateLimit: "cost";r=999899;t=42

These header fields are specified by draft-ietf-httpapi-ratelimit-headers-10: the quota (q) per window (w, in seconds),
and the remaining quota (r) until the window ends (t, in seconds).
"""

import hashlib
import math
import time
from dataclasses import dataclass

from limits import RateLimitItemPerMinute

from repositories.core.errors import RateLimited
from repositories.core.viewer import Viewer
from resolvers.services.rate_limits import RateLimitStore

_MEMORY = "async+memory://"
_WINDOW = 60
_MAX_KEYS = 100_000
"""Maximum number of counted viewers and networks. Beyond it, all counts are reset."""


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A viewer's budget after an operation; ``reset`` is the number of seconds until it is full again."""

    limit: int
    remaining: int
    reset: int

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the response, also to an operation that is rejected because of the budget."""
        return {
            "RateLimit-Policy": f'"cost";q={self.limit};w={_WINDOW};qu="cost"',
            "RateLimit": f'"cost";r={self.remaining};t={self.reset}',
        }


class BudgetExceeded(RateLimited):
    """The viewer's operations of this minute cost more than the budget."""

    def __init__(self, budget: BudgetState) -> None:
        super().__init__(
            budget.reset, f"Your operations may cost {budget.limit:,} per minute, and this budget is used up."
        )
        self.budget = budget


class MinuteCounter:
    """Counts in this process. The minute is the same for all keys, so one call drops the counts of the last one."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._end = 0.0

    def add(self, key: str, amount: int) -> tuple[int, float]:
        """Adds to a key's total; returns the total and the seconds until the minute ends."""
        now = time.monotonic()
        if now >= self._end or len(self._counts) >= _MAX_KEYS:
            self._counts.clear()
            self._end = now + _WINDOW
        total = self._counts[key] = self._counts.get(key, 0) + amount
        return total, self._end - now


class Budget:
    """Counts in this process or, for all processes together, in a shared store.

    While the shared store is unavailable, each process counts alone. A viewer may then spend up to the limit in each
    process: the budget protects the database from load and is no access control.
    """

    def __init__(self, store: str, limit: int) -> None:
        self._limit = limit
        self._local = MinuteCounter()
        self._shared = RateLimitStore(store, "cost", "each process counts alone") if store != _MEMORY else None
        self._item = RateLimitItemPerMinute(limit, namespace="cost")

    async def spend(self, viewer: Viewer, network: str | None, cost: int) -> BudgetState:
        """Takes the cost of an operation from its viewer's budget, or raises BudgetExceeded."""
        key = str(viewer.id or network)
        count = await self._add_shared(self._shared, key, cost) if self._shared else None
        total, seconds = count or self._local.add(key, cost)
        state = BudgetState(self._limit, max(self._limit - total, 0), max(1, math.ceil(seconds)))
        if total > self._limit:
            raise BudgetExceeded(state)
        return state

    async def close(self) -> None:
        if self._shared is not None:
            await self._shared.close()

    async def _add_shared(self, shared: RateLimitStore, key: str, cost: int) -> tuple[int, float] | None:
        """MinuteCounter.add in the shared store, which sees only a hash of the key. None if it is unavailable."""
        name = self._item.key_for(hashlib.sha256(key.encode()).hexdigest())
        storage = shared.limiter.storage

        async def add() -> tuple[int, float]:
            total = await storage.incr(name, _WINDOW, cost)
            return total, await storage.get_expiry(name) - time.time()

        return await shared.breaker.call(add)
