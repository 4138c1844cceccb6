"""The event feed: every committed event once, in the order of its sequence number, for the listeners of this process.

The feed reads new events from the event store when this process commits, when another process announces a commit, and
after each poll interval. An announcement may be lost without harm, because the feed always reads on from its position.

    unit of work ─ commit ─┬─ on_commit ──────────────── wake ─┐
                           └─ NOTIFY or Redis ─ _listen ─ wake ┴─ catch_up ─ domain_events ─┬─ listeners (caches)
                                                                                            └─ subscribers
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from uuid import UUID

from repositories.aggregates.event_store import EventHorizon, EventStore, owner_id_of
from repositories.core.background_tasks import end_tasks
from repositories.core.errors import GatewayError, TooSlow
from repositories.core.event import Event
from repositories.core.viewer import SERVICE
from repositories.engines.announcements import Announcements
from repositories.engines.database import Database
from repositories.tables.events import DomainEvent
from resolvers.services.circuit_breaker import RETRY_INTERVAL, OutageLog

log = logging.getLogger(__name__)

Listener = Callable[[Sequence[DomainEvent]], Awaitable[None]]
EventFilter = Callable[[DomainEvent], bool]

ALL_EVENTS = "*"
"""The topic of every event."""
_BATCH_SIZE = 500
_MAX_OWN_EVENTS = 10_000
"""How many events of this process are remembered. Listeners receive events that are forgotten a second time."""
_RECHECK_INTERVAL = 0.1
"""Seconds until the feed reads again while an open transaction has drawn a sequence number."""


def aggregate_topic(aggregate: UUID) -> str:
    """The topic of the events of one aggregate."""
    return f"aggregate:{aggregate}"


def actor_topic(user: UUID | None) -> str:
    """The topic of the events that a user caused."""
    return f"actor:{user}"


def owner_topic(user: UUID | None) -> str:
    """The topic of the events of all aggregates that a user owns."""
    return f"owner:{user}"


def topics_of(event: DomainEvent) -> tuple[str, str, str, str]:
    return ALL_EVENTS, aggregate_topic(event.aggregate_id), actor_topic(event.user_id), owner_topic(owner_id_of(event))


class Subscriber:
    """A queue of the events that ``matches`` accepts, of the subscriber's topics.

    ``queue_size`` is how many events may wait. If it is None, only the latest event is kept, for subscribers that need
    to know only that something has changed.
    """

    def __init__(self, since: int, matches: EventFilter, queue_size: int | None) -> None:
        self.since = since
        """The subscriber receives events with higher sequence numbers."""
        self._matches = matches
        self._queue_size = queue_size
        self._queue: deque[DomainEvent] = deque()
        self._has_changed = asyncio.Event()
        self._failure: GatewayError | None = None

    def enqueue(self, event: DomainEvent) -> None:
        """Adds an event of the subscriber's topics. If the queue is full, the subscriber fails with TooSlow instead.

        The feed never waits for a subscriber.
        """
        if self._failure is not None or event.sequence <= self.since or not self._matches(event):
            return
        if self._queue_size is None:
            self._queue = deque([event])
        elif len(self._queue) >= self._queue_size:
            self._queue.clear()
            self._failure = TooSlow(self._queue_size)
        else:
            self._queue.append(event)
        self._has_changed.set()

    async def take_all(self) -> list[DomainEvent]:
        """Waits for at least one event and takes all events of the queue. Raises TooSlow after a full queue."""
        while not self._queue:
            if self._failure is not None:
                raise self._failure
            self._has_changed.clear()
            await self._has_changed.wait()
        events = list(self._queue)
        self._queue.clear()
        return events


@dataclass(frozen=True, slots=True)
class FeedOptions:
    """Intervals are in seconds.

    ``poll_interval`` is the longest time until new events are read without an announcement. ``queue_size`` is how many
    events may wait for a subscriber, ``replay_limit`` how many events are read for a subscriber that resumes, and
    ``live_interval`` the shortest time between two results of a live query.
    """

    poll_interval: float = 1.0
    queue_size: int = 1000
    replay_limit: int = 10_000
    live_interval: float = 1.0


class Feed:
    """The feed of one process.

    ``listeners`` receive the events of other processes, and every subscriber the events of its topics.
    """

    def __init__(
        self, database: Database, announcements: Announcements | None = None, options: FeedOptions = FeedOptions()
    ) -> None:
        self.listeners: list[Listener] = []
        self.options = options
        self.is_listening = asyncio.Event()
        """Set while the process is subscribed to announcements. Otherwise it only polls."""
        self.complete_at = float("inf")
        """The time (``time.monotonic``) until which all events are known. It is infinite before the feed runs."""
        self._awaited = (self.complete_at, 0)
        """A later time, and the sequence number up to which the events must be delivered for it."""
        self._database = database
        self._announcements = announcements
        self._position: int | None = None
        self._own_events: set[UUID] = set()
        self._subscribers: dict[str, set[Subscriber]] = {}
        self._wake = asyncio.Event()
        self._has_commits_to_announce = asyncio.Event()
        self._lock = asyncio.Lock()
        self._reading_outages = OutageLog("The event store", "subscribers wait for their events")
        self._listening_outages = OutageLog(
            "The subscription to announcements of events", "events of other processes are found by polling"
        )
        self._is_running = False
        database.commit_listeners.append(self.on_commit)

    async def on_commit(self, events: Sequence[Event]) -> None:
        """Called after a commit of this process, which has already informed the listeners."""
        if self._is_running and self.listeners:
            self._own_events.update(event.id for event in events)
            if len(self._own_events) > _MAX_OWN_EVENTS:
                self._own_events.clear()
        self._has_commits_to_announce.set()
        if self._subscribers:
            self._wake.set()

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Reads events and exchanges announcements in the background while the block runs."""
        tasks = [asyncio.ensure_future(self._read())]
        if self._announcements is not None:
            tasks += [
                asyncio.ensure_future(self._listen(self._announcements)),
                asyncio.ensure_future(self._publish(self._announcements)),
            ]
        self._is_running = True
        self.complete_at = time.monotonic()
        try:
            yield
        finally:
            self._is_running = False
            await end_tasks(tasks)
            if self._announcements is not None:
                await self._announcements.close()

    @asynccontextmanager
    async def subscribe(
        self, topics: Iterable[str], matches: EventFilter, *, queue_size: int | None
    ) -> AsyncIterator[Subscriber]:
        """A new subscriber, which receives every matching event that is committed from now on."""
        await self.catch_up()
        subscriber, unique_topics = Subscriber(self._position or 0, matches, queue_size), set(topics)
        for topic in unique_topics:
            self._subscribers.setdefault(topic, set()).add(subscriber)
        try:
            yield subscriber
        finally:
            for topic in unique_topics:
                remaining = self._subscribers[topic]
                remaining.discard(subscriber)
                if not remaining:
                    del self._subscribers[topic]

    @property
    def subscriber_count(self) -> int:
        return len(set().union(*self._subscribers.values()))

    async def catch_up(self) -> bool:
        """Delivers the events that are committed now.

        Returns False if some of them have to wait, because an open transaction has drawn an earlier sequence number.
        """
        async with self._lock:
            started = time.monotonic()
            async with self.open_event_store() as store:
                horizon = await store.horizon()
            if self._position is None:
                self._position = horizon.readable_up_to
            elif horizon.highest < self._position:
                self._rewind(horizon.readable_up_to)
            elif not (self.listeners or self._subscribers):
                self._position = horizon.readable_up_to
            while self._position < horizon.readable_up_to:
                async with self.open_event_store() as store:
                    batch = await store.between(self._position, horizon.readable_up_to, limit=_BATCH_SIZE)
                await self._deliver(batch)
                self._position = batch[-1].sequence if len(batch) == _BATCH_SIZE else horizon.readable_up_to
            self._note_progress(started, horizon)
            return horizon.readable_up_to >= horizon.highest

    def _note_progress(self, started: float, horizon: EventHorizon) -> None:
        """Moves ``complete_at`` on to a time up to whose highest sequence number all events are delivered."""
        if horizon.readable_up_to >= horizon.highest:
            self.complete_at, self._awaited = started, (started, 0)
        elif horizon.readable_up_to >= self._awaited[1]:
            self.complete_at, self._awaited = self._awaited[0], (started, horizon.highest)

    def _rewind(self, position: int) -> None:
        """Continues from a lower position after a failover to a database that lacks the latest events.

        The new primary gives their sequence numbers to other events.
        """
        log.warning("The database has lost events, probably in a failover. The feed continues with its new events.")
        self._position = position
        for subscriber in set().union(*self._subscribers.values()):
            subscriber.since = position

    async def _deliver(self, batch: Sequence[DomainEvent]) -> None:
        of_others = [event for event in batch if event.id not in self._own_events]
        self._own_events.difference_update(event.id for event in batch)
        if of_others:
            for listener in self.listeners:
                await listener(of_others)
        for event in batch:
            for subscriber in {one for topic in topics_of(event) for one in self._subscribers.get(topic, ())}:
                subscriber.enqueue(event)

    async def _read(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.options.poll_interval):
                    await self._wake.wait()
            self._wake.clear()
            try:
                if not await self.catch_up():
                    asyncio.get_running_loop().call_later(_RECHECK_INTERVAL, self._wake.set)
            except GatewayError as error:
                self._reading_outages.record_failure(error.__cause__ or error)
                await asyncio.sleep(RETRY_INTERVAL)
            except Exception:
                log.exception("The event feed failed because of a programming error; it tries again.")
                await asyncio.sleep(RETRY_INTERVAL)
            else:
                self._reading_outages.record_success()

    async def _listen(self, announcements: Announcements) -> None:
        while True:
            try:
                async for process_id in announcements.listen():
                    self._listening_outages.record_success()
                    self.is_listening.set()
                    if process_id != self._database.process_id:
                        self._wake.set()
            except GatewayError as error:
                self._listening_outages.record_failure(error.__cause__ or error)
            except Exception:
                log.exception("The subscription to announcements failed because of a programming error; it is renewed.")
            self.is_listening.clear()
            await asyncio.sleep(RETRY_INTERVAL)

    async def _publish(self, announcements: Announcements) -> None:
        """Publishes one announcement for all commits since the previous one."""
        while True:
            await self._has_commits_to_announce.wait()
            self._has_commits_to_announce.clear()
            await announcements.publish(self._database.process_id)

    @asynccontextmanager
    async def open_event_store(self) -> AsyncIterator[EventStore]:
        """The event store on a new snapshot, for one statement.

        Events up to a horizon must be read on a younger snapshot than the horizon itself (EventStore.horizon).
        """
        async with self._database.snapshot(SERVICE) as snapshot:
            yield EventStore(snapshot)
