"""Caches whose keys come from clients. Together they hold at most the bytes of one budget.

A client can make as many different documents, filters, orders and inputs as it likes, so a limit on the number of cache
entries does not limit memory. Each entry has an estimated size instead, and the least recently used entry of all caches
is evicted first.

    statements: BoundedCache[Key, Statement] = BoundedCache()
    statement = statements.get(key) or statements.put(key, build(), size)

docs/decisions/0030-cache-memory.md lists the caches. They are used in the thread of the event loop only.
"""

import gc
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import wraps
from sys import getsizeof
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

ENTRY_SIZE = 400
"""Bytes of an entry without its key and value: the places in two dicts, and the entry itself."""

_MAX_SHARE = 8
"""An entry of more than this part of the budget is not cached, so that one request cannot evict everything. After
evictions of as many bytes, garbage is collected, because documents and plans have reference cycles."""


class _Entry:
    __slots__ = ("entries", "key", "size", "value")

    def __init__(self, entries: dict[Any, "_Entry"], key: Any, value: Any, size: int) -> None:
        self.entries = entries
        self.key = key
        self.value = value
        self.size = size


class ByteBudget:
    """The bytes that several caches may use together, and the order in which their entries were last used."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = 0
        self._evicted = 0
        """Bytes that were evicted since the last garbage collection."""
        self.order: OrderedDict[_Entry, None] = OrderedDict()
        self.freed: list[dict[Any, _Entry]] = []
        """The entries of caches that were freed, which the garbage collector may do at any moment in any thread."""

    @property
    def max_entry_size(self) -> int:
        return self.size // _MAX_SHARE

    def resize(self, size: int) -> None:
        self.size = size
        self.evict()

    def evict(self) -> None:
        """Removes the entries of freed caches, and the least recently used entries until the others fit."""
        while self.freed or self.used > self.size:
            if self.freed:
                for entry in list(self.freed.pop().values()):
                    self.remove(entry)
            else:
                self._evict_oldest()
        if self._evicted > self.size // _MAX_SHARE:
            self._evicted = 0
            gc.collect()

    def _evict_oldest(self) -> None:
        oldest = next(iter(self.order))
        self._evicted += oldest.size
        self.remove(oldest)

    def remove(self, entry: _Entry) -> None:
        """Removes an entry from its cache. Caches inside its value are freed with it."""
        del self.order[entry]
        self.used -= entry.size
        del entry.entries[entry.key]


CLIENT_CACHES = ByteBudget(64 * 2**20)
"""The budget of this process. The setting `cache_bytes` changes its size."""


class BoundedCache(Generic[K, V]):
    """A cache whose entries count towards a budget. After the cache itself is freed, its entries are removed."""

    def __init__(self, budget: ByteBudget = CLIENT_CACHES) -> None:
        self._budget = budget
        self._entries: dict[K, _Entry] = {}
        self._touch = budget.order.move_to_end

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __del__(self) -> None:
        self._budget.freed.append(self._entries)

    def get(self, key: K) -> V | None:
        """The cached value, which becomes the most recently used one."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._touch(entry)
        value: V = entry.value
        return value

    def put(self, key: K, value: V, size: int) -> V:
        """Caches a value whose estimated size, with its key, is in bytes. Returns the value."""
        self.pop(key)
        size += ENTRY_SIZE
        if size <= self._budget.max_entry_size:
            entry = self._entries[key] = _Entry(self._entries, key, value, size)
            self._budget.order[entry] = None
            self._budget.used += size
            self._budget.evict()
        return value

    def grow(self, key: K, size: int) -> None:
        """Adds to the size of an entry, if it is still cached. An entry that becomes too large is removed."""
        entry = self._entries.get(key)
        if entry is None:
            return
        entry.size += size
        self._budget.used += size
        if entry.size > self._budget.max_entry_size:
            self._budget.remove(entry)
        self._budget.evict()

    def growth_of(self, key: K) -> Callable[[int], None]:
        """:meth:`grow` for one entry, as a function that does not keep the cache in memory."""
        reference = weakref.ref(self)

        def grow(size: int) -> None:
            cache = reference()
            if cache is not None:
                cache.grow(key, size)

        return grow

    def pop(self, key: K) -> V | None:
        """Removes a value. Returns it if it was cached."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._budget.remove(entry)
        value: V = entry.value
        return value

    def pop_oldest(self) -> None:
        """Removes the value that was cached first."""
        self.pop(next(iter(self._entries)))

    def clear(self) -> None:
        """Removes all values."""
        for entry in list(self._entries.values()):
            self._budget.remove(entry)


def bounded_cache(size_of: Callable[[Any], int]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Caches the results of a function in the budget of this process, except None.

    ``size_of`` estimates the size of a result. The arguments must be hashable; their sizes are added.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        cache: BoundedCache[Any, R] = BoundedCache()
        entries, touch = cache._entries, cache._touch  # noqa: SLF001 (both are in this module)

        @wraps(function)
        def get(*arguments: P.args, **keywords: P.kwargs) -> R:
            key = (arguments, *keywords.items()) if keywords else arguments
            entry = entries.get(key)
            if entry is not None:  # like cache.get, without another call
                touch(entry)
                return entry.value  # type: ignore[no-any-return]
            result = function(*arguments, **keywords)
            if result is not None:
                cache.put(key, result, size_of(result) + getsizeof(key) + sum(map(getsizeof, arguments)))
            return result

        return get

    return decorate
