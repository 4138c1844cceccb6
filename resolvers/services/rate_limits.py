"""Counters of rate limits, in this process or in a store that all processes share."""

from typing import Any

from limits.aio.storage import RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter
from limits.storage import storage_from_string

from resolvers.services.circuit_breaker import CircuitBreaker
from resolvers.services.redis_client import redis_options


def rate_limiter(address: str) -> FixedWindowRateLimiter:
    """Counts in a store, by its address in the library `limits`, such as ``async+redis://host:6379``."""
    options = {"implementation": "redispy", **redis_options()} if address.startswith("async+redis") else {}
    return FixedWindowRateLimiter(storage_from_string(address, **options))


class RateLimitStore:
    """A limiter, and the circuit breaker through which it and its storage are to be called.

    ``purpose`` and ``consequence`` are for the log of outages.
    """

    def __init__(self, address: str, purpose: str, consequence: str) -> None:
        self.limiter = rate_limiter(address)
        name = f"The rate limit store ({purpose})"
        self.breaker = CircuitBreaker(name, consequence, self.limiter.storage.base_exceptions, self._probe)

    async def close(self) -> None:
        await self.breaker.close()
        storage = self.limiter.storage
        if isinstance(storage, RedisStorage):  # the library itself never closes its connections
            bridge: Any = storage.bridge
            await bridge.storage.aclose()

    async def _probe(self) -> None:
        """Counts something. A store that is full or read-only can be reached, but it cannot count."""
        await self.limiter.storage.incr("siso:probe", 1)
