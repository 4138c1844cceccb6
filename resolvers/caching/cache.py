"""The cache of results of expensive resolvers. An entry is valid until something that it depends on has changed.

    @cached(own=(NoteWritten,))
    async def notes_per_day(self) -> list[DayCount]:

An event invalidates two **tags**: the type of its aggregate, and that type together with the aggregate's owner. An
entry declares the tags that it depends on by naming one event of each aggregate. Every tag has a random **version**. An
entry is stored with the versions that were current when its snapshot was opened, and is stale once one of them has
changed. docs/decisions/0016-cache.md explains why no entry can be stored that is older than an invalidation.
"""

import asyncio
import datetime as dt
import hashlib
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Generic, NamedTuple, TypeVar

import orjson

from repositories.core.errors import UnreadableValue
from repositories.core.event import Event
from repositories.tables.events import DomainEvent
from resolvers.caching.json_values import JSONReader, to_json
from resolvers.caching.tags import tags_of_event, tags_of_row
from resolvers.loading.loader import Loader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from resolvers.caching.store import CacheStore
    from resolvers.request.context import Context

T = TypeVar("T")

_ROOT_TAG = "everything"
"""Every entry depends on this tag."""
_VERSION_LIFETIME = 24 * 3600.0
_LOCK_LIFETIME = 5.0
_MAX_WAIT = 2.0
"""Seconds that a process waits for a computation of another process."""
_POLL_INTERVAL = 0.02
_CLOCK_TOLERANCE = dt.timedelta(seconds=1)
"""How much earlier than its computation an entry may be used: a request that started earlier may read it later."""
_ABANDONED = b"abandoned"
"""The result of a computation whose request ended early. A waiting request takes over."""
_FAILED = b"failed"
"""The result of a computation that failed. Every waiting request computes for itself."""


class CacheHealth(NamedTuple):
    """Counters of the cache of computed values in this process since its start."""

    backend: Annotated[str, "The store: memory, which belongs to this process, or redis, which all processes share."]
    hits: Annotated[int, "The number of lookups that found a current value."]
    misses: Annotated[int, "The number of lookups that found no value."]
    stale: Annotated[int, "The number of lookups that found an outdated value."]
    errors: Annotated[int, "The number of lookups that Redis did not answer in time."]


class CacheKey(NamedTuple):
    """Identifies a result. ``arguments`` contains everything else that the result depends on, such as the viewer."""

    function: str
    arguments: bytes
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ResultType(Generic[T]):
    """``read`` makes a result from its JSON.

    ``valid_until`` is the last moment at which a result is right, None if a result does not depend on the time.
    """

    read: JSONReader
    valid_until: Callable[[T], dt.datetime | None] | None


class _Lookup(NamedTuple):
    """The current versions of the key's tags, and the stored entry, None if there is none."""

    storage_key: str
    versions: list[str]
    entry: bytes | None

    @property
    def identity(self) -> tuple[str, ...]:
        """Differs for every version of the entry."""
        return (self.storage_key, *self.versions)


class _Computation(NamedTuple):
    """A computation in flight, the request that runs it, and the future that other requests wait for."""

    context: "Context"
    result: asyncio.Future[bytes]


_HIT, _MISS, _STALE = "hit", "miss", "stale"


class _Outcome(NamedTuple):
    """The result of reading an entry. ``value`` is set for hits only."""

    kind: str
    value: Any = None

    @property
    def is_hit(self) -> bool:
        return self.kind == _HIT


class Cache:
    """This process's access to the cache, in memory or in a shared store.

    ``secret`` hides from readers of the storage keys which viewers and arguments they belong to. Entries are stored
    for ``lifetime`` seconds at most. ``entries`` limits how many versions are remembered.
    """

    def __init__(self, store: "CacheStore", secret: bytes, *, lifetime: float, entries: int) -> None:
        self.store = store
        self._outcomes = Counter[str]()
        self._secret = secret
        self._lifetime = lifetime
        self._entries = entries
        self._version_lifetime = max(_VERSION_LIFETIME, 2 * lifetime) if store.is_shared else None
        self._known_versions: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._computations: dict[tuple[str, ...], _Computation] = {}

    def health(self) -> CacheHealth:
        hits, misses, stale = (self._outcomes[outcome] for outcome in (_HIT, _MISS, _STALE))
        return CacheHealth(self.store.name, hits, misses, stale, self.store.failures)

    async def close(self) -> None:
        await self.store.close()

    # Invalidation

    async def invalidate_for_events(self, events: Sequence[Event]) -> None:
        """Makes the entries stale that depend on the events.

        Must be called after the commit, before anything tells a client or another process about it.
        """
        await self.invalidate(tag for event in events for tag in tags_of_event(event))

    async def invalidate_for_rows(self, rows: Sequence[DomainEvent]) -> None:
        """Invalidates for stored events, which another process has committed."""
        await self.invalidate(tag for row in rows for tag in tags_of_row(row))

    async def invalidate(self, tags: Iterable[str]) -> None:
        """Makes the entries stale that depend on the tags.

        If the store is unavailable, all entries become stale before it is used again.
        """
        versions = {self._tag_key(tag): _new_version() for tag in set(tags)}
        values = {key: version.encode() for key, version in versions.items()}
        if await self.store.put(values, self._version_lifetime):
            self._remember(versions)
        else:
            self.store.put_on_recovery({self._tag_key(_ROOT_TAG): _new_version().encode()})

    # Entries

    async def get_or_compute(
        self, context: "Context", result_type: ResultType[T], key: CacheKey, compute: Callable[[], Awaitable[T]]
    ) -> T:
        """The stored result, or that of ``compute`` on the request's snapshot, which is stored if that is allowed.

        Concurrent requests for the same key wait for the first one.
        """
        lookup: _Lookup | None = await asyncio.shield(self._loader(context).load(key))
        if lookup is None:
            return await compute()
        outcome = _read(result_type, lookup, context.now)
        self._outcomes[outcome.kind] += 1
        while not outcome.is_hit and (computation := self._computations.get(lookup.identity)):
            entry = await _wait_for(computation, context)
            outcome = _read(result_type, lookup._replace(entry=entry), context.now)
            if not outcome.is_hit and entry != _ABANDONED:
                return await compute()
        if outcome.is_hit:
            return outcome.value  # type: ignore[no-any-return]
        if not (context.pin_to_primary() and self._are_older(key, lookup, context.opened_at)):
            return await compute()
        return await self._compute_and_store(context, result_type, key, lookup, compute)

    async def _compute_and_store(
        self,
        context: "Context",
        result_type: ResultType[T],
        key: CacheKey,
        lookup: _Lookup,
        compute: Callable[[], Awaitable[T]],
    ) -> T:
        """Computes for all concurrent requests, unless another process has already stored the entry."""
        computation = _Computation(context, asyncio.get_running_loop().create_future())
        self._computations[lookup.identity] = computation
        try:
            async with self._lock(result_type, key, lookup, context) as outcome:
                result: T = outcome.value if outcome.is_hit else await compute()
                valid_until = result_type.valid_until
                since, until = (None, None) if valid_until is None else (context.now, valid_until(result))
                try:
                    entry = to_json([lookup.versions, since, until, result])
                except UnreadableValue:  # concurrent requests compute it, too
                    computation.result.set_result(_FAILED)
                    return result
                computation.result.set_result(entry)
                if not outcome.is_hit:
                    await self.store.put({lookup.storage_key: entry}, self._lifetime)
        except Exception:
            if not computation.result.done() and not context.is_closed:
                computation.result.set_result(_FAILED)
            raise
        else:
            return result
        finally:
            computation.result.cancel()
            del self._computations[lookup.identity]

    @asynccontextmanager
    async def _lock(
        self, result_type: ResultType[Any], key: CacheKey, lookup: _Lookup, context: "Context"
    ) -> "AsyncIterator[_Outcome]":
        """Holds the entry's lock in a shared store, or yields a hit if another process has stored the entry meanwhile.

        Continues without the lock after _MAX_WAIT, and at once if the request holds a database connection: a request
        with a connection must not wait for one that may still need a connection.
        """
        lock, holder, end = f"{lookup.storage_key}:lock", secrets.token_hex(8), time.monotonic() + _MAX_WAIT
        outcome, has_lock, may_wait = _Outcome(_MISS), False, True
        try:
            while may_wait and not has_lock and not outcome.is_hit:
                may_wait = self.store.is_shared and not context.holds_connection and time.monotonic() < end
                has_lock = may_wait and (await self.store.lock(lock, holder, _LOCK_LIFETIME)) is not False
                (again,) = await self._look_up([key])
                outcome = _Outcome(_MISS) if again is None else _read(result_type, again, context.now)
                if may_wait and not has_lock and not outcome.is_hit:
                    await asyncio.sleep(_POLL_INTERVAL)
            yield outcome
        finally:
            if has_lock:
                await self.store.unlock(lock, holder)

    # Versions

    def _loader(self, context: "Context") -> "Loader[CacheKey, _Lookup | None]":
        """Looks up the keys of concurrent fields of a request in one round trip."""
        loader: Loader[CacheKey, _Lookup | None] | None = context.loaders.get(Cache)
        if loader is None:
            loader = context.loaders[Cache] = Loader(self._look_up)
        return loader

    async def _look_up(self, keys: Sequence[CacheKey]) -> list[_Lookup | None]:
        """The entries and the versions of their tags. Tags without a version get one. None without a store."""
        storage_keys = [self._storage_key(key.function, key.arguments) for key in keys]
        tags = {tag: self._tag_key(tag) for key in keys for tag in (_ROOT_TAG, *key.tags)}
        values = await self.store.get([*storage_keys, *tags.values()])
        if values is None:
            return [None] * len(keys)
        versions = {
            tag_key: value.decode() if value is not None else await self._create_version(tag_key)
            for tag_key, value in zip(tags.values(), values[len(storage_keys) :], strict=True)
        }
        self._remember(versions)
        return [
            _Lookup(storage_key, [versions[tags[tag]] for tag in (_ROOT_TAG, *key.tags)], entry)
            for storage_key, key, entry in zip(storage_keys, keys, values, strict=False)
        ]

    async def _create_version(self, tag_key: str) -> str:
        """Stores and returns the first version of a tag, or returns the one that another process has just stored."""
        version = _new_version()
        if await self.store.add(tag_key, version.encode(), self._version_lifetime):
            return version
        (other,) = await self.store.get([tag_key]) or [None]
        if other is not None:
            return other.decode()
        await self.store.put({tag_key: version.encode()}, self._version_lifetime)
        return version

    def _remember(self, versions: Mapping[str, str]) -> None:
        """Remembers when this process first saw each version."""
        moment = time.monotonic()
        for tag_key, version in versions.items():
            if self._known_versions.get(tag_key, ("",))[0] != version:
                self._known_versions[tag_key] = version, moment
            self._known_versions.move_to_end(tag_key)
        while len(self._known_versions) > self._entries:
            self._known_versions.popitem(last=False)

    def _are_older(self, key: CacheKey, lookup: _Lookup, opened_at: float | None) -> bool:
        """Whether this process saw all versions before the snapshot was opened.

        Only then does the snapshot include everything that the versions stand for.
        """
        known = (self._known_versions.get(self._tag_key(tag), ("", 0.0)) for tag in (_ROOT_TAG, *key.tags))
        return all(
            version == current and (opened_at is None or moment < opened_at)
            for (version, moment), current in zip(known, lookup.versions, strict=True)
        )

    def _storage_key(self, function: str, arguments: bytes) -> str:
        return f"siso:cache:{function}:{hashlib.blake2b(arguments, digest_size=20, key=self._secret).hexdigest()}"

    def _tag_key(self, tag: str) -> str:
        aggregate, _, owner = tag.partition(":")
        return self._storage_key(f"tag:{aggregate}", owner.encode()) if owner else f"siso:cache:tag:{aggregate}"


def _new_version() -> str:
    return secrets.token_hex(16)


def _read(result_type: ResultType[Any], lookup: _Lookup, now: dt.datetime) -> _Outcome:
    """Reads an entry, which is a hit only if it is valid at this time. An entry that cannot be read is a miss."""
    try:
        versions, since, until, body = orjson.loads(lookup.entry or b"")
        is_early = since is not None and now < dt.datetime.fromisoformat(since) - _CLOCK_TOLERANCE
        is_late = until is not None and now > dt.datetime.fromisoformat(until)
        if versions != lookup.versions or is_early or is_late:
            return _Outcome(_STALE)
        return _Outcome(_HIT, result_type.read(body))
    except (ValueError, TypeError, KeyError, ArithmeticError):
        return _Outcome(_MISS)


async def _wait_for(computation: _Computation, context: "Context") -> bytes:
    """The entry, or why there is none.

    A request that holds a database connection does not wait for one that holds none: if the waiting requests held all
    connections of the pool, the other one would never get one.
    """
    while not computation.result.done():
        if context.holds_connection and not computation.context.holds_connection:
            return _FAILED
        await asyncio.wait((computation.result,), timeout=_POLL_INTERVAL)
    return _ABANDONED if computation.result.cancelled() else computation.result.result()
