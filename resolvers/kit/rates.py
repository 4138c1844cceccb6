"""Where it is counted how often something was tried, or how much of something was used up."""

from limits.aio.strategies import FixedWindowRateLimiter
from limits.storage import storage_from_string


def counter(store: str) -> FixedWindowRateLimiter:
    """Counts in a store, by its address; what goes wrong with the store is raised as the library's StorageError."""
    client = {"implementation": "redispy"} if store.startswith(("async+redis:", "async+rediss:")) else {}
    return FixedWindowRateLimiter(storage_from_string(store, wrap_exceptions=True, **client))
