"""What is expensive to compute is computed once and kept, until something it depends on has changed.

    @cached(own=(TaskUpdated, CategoryUpdated))
    async def category_breakdown(self) -> list[CategoryTotals]:

An event invalidates two **tags**: its aggregate's type, and that type with its owner. A value declares on which tags
it depends by naming one event of each aggregate. Every tag has a random **version**; a value is kept with the versions
that were current when its snapshot was opened, and is stale once one of them is another. docs/decisions/0016-cache.md
says why a value can never be kept that is older than an invalidation.
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
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar
from uuid import UUID

import orjson

from repositories.aggregates.event_store import owner_id_of
from repositories.core.event import Event
from repositories.tables.events import DomainEvent
from resolvers.caching.json_values import Reader, written
from resolvers.loading.loader import Loader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from resolvers.caching.store import CacheStore
    from resolvers.request.context import Context

T = TypeVar("T")

_ROOT = "everything"
"""The tag on which every value depends."""
_VERSION_LIFETIME = 24 * 3600.0
_LOCK_LIFETIME = 5.0
_LONGEST_WAIT = 2.0
"""Seconds that one process waits for another one's computation."""
_STEP = 0.02
_EARLIEST = dt.timedelta(seconds=1)
"""How long before the moment it was computed for a value may be shown: requests overtake one another."""
_ABANDONED = b"abandoned"
"""What a flight brings if its request ended: another one takes its place."""
_FAILED = b"failed"
"""What it brings if it broke: whoever waited sees for himself."""


def tag(aggregate: str, owner: UUID | None = None) -> str:
    """What depends on aggregates of a type: on all of them, or on an owner's."""
    return aggregate if owner is None else f"{aggregate}:{owner}"


def tags_of_event(event: Event) -> tuple[str, str]:
    """What an event invalidates."""
    return tag(event.aggregate), tag(event.aggregate, event.owner_id)


def tags_of_row(row: DomainEvent) -> tuple[str, str]:
    """What a stored event invalidates."""
    return tag(row.aggregate_type), tag(row.aggregate_type, owner_id_of(row))


class CacheHealth(NamedTuple):
    """How often a value was asked for in this process since it began, by what was found, and how often Redis failed."""

    backend: str
    hits: int
    misses: int
    stale: int
    errors: int


class Question(NamedTuple):
    """What is asked for: everything that decides the answer, and the tags it depends on."""

    function: str
    asked: bytes
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """What is known of all answers of a function: how to read one, and until when it is right if nothing happens."""

    read: Reader
    until: Callable[[T], dt.datetime | None] | None


class _Found(NamedTuple):
    """The current versions of a question's tags, and what is kept under its name, if anything is."""

    name: str
    versions: list[str]
    kept: bytes | None

    @property
    def place(self) -> tuple[str, ...]:
        """What tells it from an older or a newer one."""
        return (self.name, *self.versions)


class _Flight(NamedTuple):
    """A computation that others wait for, and the request that does it."""

    context: "Context"
    result: asyncio.Future[bytes]


_HIT, _MISS, _STALE = "hit", "miss", "stale"


class _Reading(NamedTuple):
    outcome: str
    value: Any = None

    @property
    def is_right(self) -> bool:
        return self.outcome == _HIT


class Cache:
    """What this process keeps or shares.

    ``secret`` hides in names who asked what. Values are kept for ``lifetime`` seconds at most; ``entries`` bounds how
    many versions are remembered to have been seen.
    """

    def __init__(self, store: "CacheStore", secret: bytes, *, lifetime: float, entries: int) -> None:
        self.store = store
        self._counts = Counter[str]()
        self._secret = secret
        self._lifetime = lifetime
        self._entries = entries
        self._version_lifetime = max(_VERSION_LIFETIME, 2 * lifetime) if store.is_shared else None
        self._seen: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._flights: dict[tuple[str, ...], _Flight] = {}

    def health(self) -> CacheHealth:
        """What was counted so far."""
        hits, misses, stale = (self._counts[outcome] for outcome in (_HIT, _MISS, _STALE))
        return CacheHealth(self.store.name, hits, misses, stale, self.store.failures)

    async def close(self) -> None:
        """Gives the connections back."""
        await self.store.close()

    # invalidation

    async def committed(self, events: Sequence[Event]) -> None:
        """Makes stale what depends on the events; to be called before anybody is told that they are committed."""
        await self.invalidate(tag for event in events for tag in tags_of_event(event))

    async def happened(self, rows: Sequence[DomainEvent]) -> None:
        """The same for events that another process has committed, as they are stored."""
        await self.invalidate(tag for row in rows for tag in tags_of_row(row))

    async def invalidate(self, tags: Iterable[str]) -> None:
        """Makes stale what depends on the tags. With a store that is gone, everything is, once it is back."""
        versions = {self._name_of_tag(tag): _version() for tag in set(tags)}
        if await self.store.put({name: made.encode() for name, made in versions.items()}, self._version_lifetime):
            self._see(versions)
        else:
            self.store.put_on_recovery({self._name_of_tag(_ROOT): _version().encode()})

    # answers

    async def answer(
        self, context: "Context", kind: Kind[T], question: Question, compute: Callable[[], Awaitable[T]]
    ) -> T:
        """What is kept if it is right, else what ``compute`` says on the request's snapshot, which is kept if possible.

        Requests that ask the same wait for the first of them.
        """
        found: _Found | None = await asyncio.shield(self._loader(context).load(question))
        if found is None:
            return await compute()
        known = _read(kind, found, context.now)
        self._counts[known.outcome] += 1
        while not known.is_right and (flight := self._flights.get(found.place)):
            kept = await _landed(flight, context)
            known = _read(kind, found._replace(kept=kept), context.now)
            if not known.is_right and kept != _ABANDONED:
                return await compute()
        if known.is_right:
            return known.value  # type: ignore[no-any-return]
        if not (context.pin_to_primary() and self._were_seen(question, found, context.opened_at)):
            return await compute()
        return await self._lead(context, kind, question, found, compute)

    async def _lead(
        self,
        context: "Context",
        kind: Kind[T],
        question: Question,
        found: _Found,
        compute: Callable[[], Awaitable[T]],
    ) -> T:
        """Computes for everybody who asks meanwhile, and keeps the value; another process may have been quicker."""
        flight = self._flights[found.place] = _Flight(context, asyncio.get_running_loop().create_future())
        try:
            async with self._turn(kind, question, found, context) as known:
                value: T = known.value if known.is_right else await compute()
                since, until = (None, None) if kind.until is None else (context.now, kind.until(value))
                kept = written([found.versions, since, until, value])
                flight.result.set_result(kept)
                if not known.is_right:
                    await self.store.put({found.name: kept}, self._lifetime)
        except Exception:
            if not flight.result.done() and not context.is_closed:
                flight.result.set_result(_FAILED)
            raise
        else:
            return value
        finally:
            flight.result.cancel()
            del self._flights[found.place]

    @asynccontextmanager
    async def _turn(
        self, kind: Kind[Any], question: Question, found: _Found, context: "Context"
    ) -> "AsyncIterator[_Reading]":
        """Holds the lock of a shared value, or finds what somebody else computed meanwhile.

        Whoever has waited too long goes on without the lock, as does who holds a database connection.
        """
        lock, holder, end = f"{found.name}:lock", secrets.token_hex(8), time.monotonic() + _LONGEST_WAIT
        known, has_lock, may_wait = _Reading(_MISS), False, True
        try:
            while may_wait and not has_lock and not known.is_right:
                may_wait = self.store.is_shared and not context.holds_connection and time.monotonic() < end
                has_lock = may_wait and (await self.store.lock(lock, holder, _LOCK_LIFETIME)) is not False
                (again,) = await self._look_up([question])
                known = _Reading(_MISS) if again is None else _read(kind, again, context.now)
                if may_wait and not has_lock and not known.is_right:
                    await asyncio.sleep(_STEP)
            yield known
        finally:
            if has_lock:
                await self.store.unlock(lock, holder)

    # versions

    def _loader(self, context: "Context") -> "Loader[Question, _Found | None]":
        """What a request asks for in the same moment is one round trip."""
        loader: Loader[Question, _Found | None] | None = context.loaders.get(Cache)
        if loader is None:
            loader = context.loaders[Cache] = Loader(self._look_up)
        return loader

    async def _look_up(self, questions: Sequence[Question]) -> list[_Found | None]:
        """What is kept, and the versions of all tags, made for tags that have none; None if the store is gone."""
        names = [self._name(question.function, question.asked) for question in questions]
        tags = {tag: self._name_of_tag(tag) for question in questions for tag in (_ROOT, *question.tags)}
        values = await self.store.get([*names, *tags.values()])
        if values is None:
            return [None] * len(questions)
        versions = {
            name: value.decode() if value is not None else await self._first_version(name)
            for name, value in zip(tags.values(), values[len(names) :], strict=True)
        }
        self._see(versions)
        return [
            _Found(name, [versions[tags[tag]] for tag in (_ROOT, *question.tags)], kept)
            for name, question, kept in zip(names, questions, values, strict=False)
        ]

    async def _first_version(self, name: str) -> str:
        """The version of a tag that has none, also if others make one at the same time."""
        made = _version()
        if await self.store.add(name, made.encode(), self._version_lifetime):
            return made
        (other,) = await self.store.get([name]) or [None]
        if other is not None:
            return other.decode()
        await self.store.put({name: made.encode()}, self._version_lifetime)
        return made

    def _see(self, versions: Mapping[str, str]) -> None:
        moment = time.monotonic()
        for name, version in versions.items():
            if self._seen.get(name, ("",))[0] != version:
                self._seen[name] = version, moment
            self._seen.move_to_end(name)
        while len(self._seen) > self._entries:
            self._seen.popitem(last=False)

    def _were_seen(self, question: Question, found: _Found, opened_at: float | None) -> bool:
        """Whether all versions were seen here before the snapshot was opened, so that it shows what they stand for."""
        seen = (self._seen.get(self._name_of_tag(tag), ("", 0.0)) for tag in (_ROOT, *question.tags))
        return all(
            version == current and (opened_at is None or moment < opened_at)
            for (version, moment), current in zip(seen, found.versions, strict=True)
        )

    def _name(self, kind: str, personal: bytes) -> str:
        return f"siso:cache:{kind}:{hashlib.blake2b(personal, digest_size=20, key=self._secret).hexdigest()}"

    def _name_of_tag(self, name: str) -> str:
        kind, _, owner = name.partition(":")
        return self._name(f"tag:{kind}", owner.encode()) if owner else f"siso:cache:tag:{kind}"


def _version() -> str:
    return secrets.token_hex(16)


def _read(kind: Kind[Any], found: _Found, now: dt.datetime) -> _Reading:
    """The value, if something is kept that is right at this moment. What cannot be read counts as nothing."""
    try:
        versions, since, until, body = orjson.loads(found.kept or b"")
        is_early = since is not None and now < _moment(since) - _EARLIEST
        is_late = until is not None and now > _moment(until)
        if versions != found.versions or is_early or is_late:
            return _Reading(_STALE)
        return _Reading(_HIT, kind.read(body))
    except (ValueError, TypeError, KeyError, ArithmeticError):
        return _Reading(_MISS)


def _moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


async def _landed(flight: _Flight, context: "Context") -> bytes:
    """What the flight brought, or why it brought nothing.

    Whoever holds a database connection does not wait for a request that has none yet, so that a pool never waits for
    itself.
    """
    while not flight.result.done():
        if context.holds_connection and not flight.context.holds_connection:
            return _FAILED
        await asyncio.wait((flight.result,), timeout=_STEP)
    return _ABANDONED if flight.result.cancelled() else flight.result.result()
