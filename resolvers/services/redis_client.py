"""How the gateway's clients of Redis connect: with short timeouts, and without retries.

A command is never sent twice. Sent again late, a version of the cache would revive stale entries, and a rate limit
would count an operation twice.
"""

from typing import Any

SOCKET_TIMEOUT = 0.3
"""Seconds to connect, and to wait for an answer. Shorter than the circuit breaker's timeout, so that the client closes
a broken connection itself instead of being cancelled."""


def redis_options() -> dict[str, Any]:
    """Keyword arguments for any client that is based on redis-py."""
    from redis.asyncio.retry import Retry  # noqa: PLC0415 (loaded only where Redis is used)
    from redis.backoff import NoBackoff  # noqa: PLC0415 (as above)

    return {
        "socket_timeout": SOCKET_TIMEOUT,
        "socket_connect_timeout": SOCKET_TIMEOUT,
        "retry": Retry(NoBackoff(), 0),
    }


def redis_client(url: str, **options: Any) -> Any:
    """A ``redis.asyncio.Redis``. Its type hints do not know ``decode_responses``."""
    from redis.asyncio import Redis  # noqa: PLC0415 (as above)

    return Redis.from_url(url, **redis_options(), **options)
