"""What one viewer's operations may cost in a minute; of anonymous callers, those from one address.

    RateLimit-Policy: "cost";q=1000000;w=60;qu="cost"
    RateLimit: "cost";r=999899;t=42

are the fields of draft-ietf-httpapi-ratelimit-headers-10: quota and window, what remains and for how many seconds.
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
_MOST_KEPT = 100_000
"""Of whom a process keeps count; beyond it the minute begins anew for all, so that nobody can fill the memory."""


@dataclass(frozen=True, slots=True)
class Spent:
    """A budget after an operation; ``reset`` is in how many seconds it is full again."""

    limit: int
    remaining: int
    reset: int

    @property
    def headers(self) -> dict[str, str]:
        """For the answer, whether the operation was run or not."""
        return {
            "RateLimit-Policy": f'"cost";q={self.limit};w={_WINDOW};qu="cost"',
            "RateLimit": f'"cost";r={self.remaining};t={self.reset}',
        }


class BudgetSpent(RateLimited):
    """The viewer's operations of this minute cost too much together."""

    def __init__(self, spent: Spent) -> None:
        super().__init__(spent.reset, f"Your operations may cost {spent.limit:,} a minute, and that is used up.")
        self.spent = spent


class Minutes:
    """Counts in this process. All viewers' minutes begin together, so that the old ones are forgotten at once."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._end = 0.0

    def add(self, key: str, amount: int) -> tuple[int, float]:
        """How much it comes to in this minute, and how many seconds are left of it."""
        now = time.monotonic()
        if now >= self._end or len(self._counts) >= _MOST_KEPT:
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
        self._here = Minutes()
        self._shared = RateLimitStore(store, "cost", "each process counts alone") if store != _MEMORY else None
        self._item = RateLimitItemPerMinute(limit, namespace="cost")

    async def spend(self, viewer: Viewer, address: str | None, cost: int) -> Spent:
        """Takes the cost of an operation from its viewer's budget, or raises BudgetSpent."""
        key = str(viewer.id or address)
        counted = await self._add_shared(self._shared, key, cost) if self._shared else None
        total, seconds = counted or self._here.add(key, cost)
        spent = Spent(self._limit, max(self._limit - total, 0), max(1, math.ceil(seconds)))
        if total > self._limit:
            raise BudgetSpent(spent)
        return spent

    async def close(self) -> None:
        if self._shared is not None:
            await self._shared.close()

    async def _add_shared(self, shared: RateLimitStore, key: str, cost: int) -> tuple[int, float] | None:
        """The same as Minutes.add, in the shared store, which sees only a hash of the key. None if unavailable."""
        name = self._item.key_for(hashlib.sha256(key.encode()).hexdigest())
        storage = shared.limiter.storage

        async def add() -> tuple[int, float]:
            total = await storage.incr(name, _WINDOW, cost)
            return total, await storage.get_expiry(name) - time.time()

        return await shared.breaker.call(add)
