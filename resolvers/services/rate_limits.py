"""Where it is counted how often something was tried, or how much of something was used up."""

from limits.aio.strategies import FixedWindowRateLimiter
from limits.storage import storage_from_string

_REDIS: dict[str, float | str | bool] = {
    "implementation": "redispy",
    "socket_timeout": 1,
    "socket_connect_timeout": 1,
}


def counter(store: str) -> FixedWindowRateLimiter:
    """Counts in a store, by its address; what goes wrong with the store is raised as the library's StorageError."""
    options = _REDIS if store.startswith("async+redis") else {}
    return FixedWindowRateLimiter(storage_from_string(store, wrap_exceptions=True, **options))
