"""The feed: every committed event, in the order of its sequence, once, to whoever follows it in this process.

It is woken by this process' own commits and by announcements of others', and reads what is new from the store. Nothing
depends on an announcement: after a lost one the feed reads on from where it was, at the latest a moment later.

    unit of work ─ commit ─┬─ committed ──────────── wake ─┐
                           └─ NOTIFY or Redis ─ heard ─────┴─ catch_up ─ domain_events ─┬─ listeners (caches)
                                                                                        └─ subscribers
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from uuid import UUID

from repositories.aggregates.event_store import EventStore, owner_id_of
from repositories.core.errors import GatewayError, TooSlow
from repositories.core.event import Event
from repositories.core.viewer import SERVICE
from repositories.engines.announcements import Announcements
from repositories.engines.database import Database
from repositories.tables.events import DomainEvent
from resolvers.services.circuit_breaker import RETRY_INTERVAL, OutageLog

log = logging.getLogger(__name__)

Listener = Callable[[Sequence[DomainEvent]], Awaitable[None]]

EVERYTHING = "*"
_BATCH = 500
_MOST_OWN = 10_000
"""How many events of this process are remembered; of those that are not, its listeners hear twice."""
_UNSETTLED = 0.1
"""Seconds until the feed looks again when a transaction is still open that has drawn a number."""


def about(aggregate: UUID) -> str:
    """The topic of what happens to something."""
    return f"aggregate:{aggregate}"


def done_by(user: UUID | None) -> str:
    """The topic of what somebody does."""
    return f"actor:{user}"


def owned_by(user: UUID | None) -> str:
    """The topic of what happens to anything that somebody owns."""
    return f"owner:{user}"


def topics_of(event: DomainEvent) -> tuple[str, str, str, str]:
    """What an event is about, as subscribers name it."""
    return EVERYTHING, about(event.aggregate_id), done_by(event.user_id), owned_by(owner_id_of(event))


class Subscriber:
    """One who follows the feed: takes the events of its topics that it ``wants``, of which ``size`` at most wait.

    Without a size only the last one waits, for those who want to know that something happened.
    """

    def __init__(self, since: int, wants: Callable[[DomainEvent], bool], size: int | None) -> None:
        self.since = since
        """The sequence number after which its events begin."""
        self._wants = wants
        self._size = size
        self._waiting: deque[DomainEvent] = deque()
        self._is_new = asyncio.Event()
        self._failure: GatewayError | None = None

    def offer(self, event: DomainEvent) -> None:
        """An event of its topics. Who has not taken so many others is cut off, so that nobody waits for it."""
        if self._failure is not None or event.sequence <= self.since or not self._wants(event):
            return
        if self._size is None:
            self._waiting = deque([event])
        elif len(self._waiting) >= self._size:
            self._waiting.clear()
            self._failure = TooSlow(self._size)
        else:
            self._waiting.append(event)
        self._is_new.set()

    async def take(self) -> list[DomainEvent]:
        """All events that wait, one at least; TooSlow if it was cut off."""
        while not self._waiting:
            if self._failure is not None:
                raise self._failure
            self._is_new.clear()
            await self._is_new.wait()
        taken = list(self._waiting)
        self._waiting.clear()
        return taken


@dataclass(frozen=True, slots=True)
class FeedOptions:
    """How the feed and its subscribers behave; times are seconds.

    ``poll`` is how long it takes at most until new events are looked for unasked, ``waiting`` how many events are kept
    for a subscriber that is busy, ``replay`` how many are looked through for one that comes back, and ``interval`` how
    often a live query is answered anew at most.
    """

    poll: float = 1.0
    waiting: int = 1000
    replay: int = 10_000
    interval: float = 1.0


class Feed:
    """One for each process."""

    def __init__(
        self, database: Database, announcements: Announcements | None = None, options: FeedOptions = FeedOptions()
    ) -> None:
        self.listeners: list[Listener] = []
        self.options = options
        self.is_listening = asyncio.Event()
        """Set while announcements of other processes are heard; otherwise the store is only looked at."""
        self._database = database
        self._announcements = announcements
        self._position: int | None = None
        self._own: set[UUID] = set()
        self._topics: dict[str, set[Subscriber]] = {}
        self._wake = asyncio.Event()
        self._untold = asyncio.Event()
        self._turn = asyncio.Lock()
        self._reading_outages = OutageLog("The event store", "subscribers wait for their events")
        self._listening_outages = OutageLog(
            "The subscription to announcements of events", "events of other processes are found by polling"
        )
        self._is_running = False
        database.commit_listeners.append(self.committed)

    async def committed(self, events: Sequence[Event]) -> None:
        """This process has committed events; its listeners were told of them before this is called."""
        if self._is_running and self.listeners:
            self._own.update(event.id for event in events)
            if len(self._own) > _MOST_OWN:
                self._own.clear()
        self._untold.set()
        if self._topics:
            self._wake.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follows the store while the block runs."""
        tasks = [asyncio.ensure_future(self._follow())]
        if self._announcements is not None:
            tasks += [
                asyncio.ensure_future(self._hear(self._announcements)),
                asyncio.ensure_future(self._tell(self._announcements)),
            ]
        self._is_running = True
        try:
            yield
        finally:
            self._is_running = False
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._announcements is not None:
                await self._announcements.close()

    @asynccontextmanager
    async def subscriber(
        self, topics: Iterable[str], wants: Callable[[DomainEvent], bool], *, size: int | None
    ) -> AsyncIterator[Subscriber]:
        """A new subscriber, which misses nothing that is committed from here on."""
        await self.catch_up()
        made, named = Subscriber(self._position or 0, wants, size), set(topics)
        for topic in named:
            self._topics.setdefault(topic, set()).add(made)
        try:
            yield made
        finally:
            for topic in named:
                followers = self._topics[topic]
                followers.discard(made)
                if not followers:
                    del self._topics[topic]

    @property
    def subscribers(self) -> int:
        """How many follow."""
        return len(set().union(*self._topics.values()))

    async def catch_up(self) -> bool:
        """Passes on what was committed up to now; False if some of it has to wait for a transaction that is open."""
        async with self._turn:
            async with self.reading() as events:
                horizon = await events.horizon()
            if self._position is None:
                self._position = horizon.readable_up_to
            elif horizon.highest < self._position:
                self._begin_anew(horizon.readable_up_to)
            elif not (self.listeners or self._topics):
                self._position = horizon.readable_up_to
            while self._position < horizon.readable_up_to:
                async with self.reading() as events:
                    batch = await events.between(self._position, horizon.readable_up_to, limit=_BATCH)
                await self._pass_on(batch)
                self._position = batch[-1].sequence if len(batch) == _BATCH else horizon.readable_up_to
            return horizon.readable_up_to >= horizon.highest

    def _begin_anew(self, position: int) -> None:
        """After a failover to a database that has not got all events: its next ones have numbers that were used."""
        log.warning("The database has fewer events than before; the feed goes on with what is new in it.")
        self._position = position
        for subscriber in set().union(*self._topics.values()):
            subscriber.since = position

    async def _pass_on(self, batch: Sequence[DomainEvent]) -> None:
        others = [event for event in batch if event.id not in self._own]
        self._own.difference_update(event.id for event in batch)
        if others:
            for listener in self.listeners:
                await listener(others)
        for event in batch:
            for subscriber in {one for topic in topics_of(event) for one in self._topics.get(topic, ())}:
                subscriber.offer(event)

    async def _follow(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.options.poll):
                    await self._wake.wait()
            self._wake.clear()
            try:
                if not await self.catch_up():
                    asyncio.get_running_loop().call_later(_UNSETTLED, self._wake.set)
            except GatewayError as error:
                self._reading_outages.record_failure(error.__cause__ or error)
                await asyncio.sleep(RETRY_INTERVAL)
            except Exception:
                log.exception("The feed of events could not go on, and tries again.")
                await asyncio.sleep(RETRY_INTERVAL)
            else:
                self._reading_outages.record_success()

    async def _hear(self, announcements: Announcements) -> None:
        while True:
            try:
                async for origin in announcements.listen():
                    self._listening_outages.record_success()
                    self.is_listening.set()
                    if origin != self._database.process_id:
                        self._wake.set()
            except GatewayError as error:
                self._listening_outages.record_failure(error.__cause__ or error)
            except Exception:
                log.exception("Announcements of other processes cannot be heard; they are listened to again.")
            self.is_listening.clear()
            await asyncio.sleep(RETRY_INTERVAL)

    async def _tell(self, announcements: Announcements) -> None:
        while True:
            await self._untold.wait()
            self._untold.clear()
            await announcements.publish(self._database.process_id)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[EventStore]:
        """The store, for one statement: what is read up to a horizon must be younger than it."""
        async with self._database.snapshot(SERVICE) as snapshot:
            yield EventStore(snapshot)
