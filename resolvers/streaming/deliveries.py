"""Sources of subscriptions: streams of deliveries, each resolved in a context of its own, under the viewer's policies.

A source is an async generator of deliveries. Its first item is None: from then on it misses nothing. It holds no
database connection while it waits.

    def note_changed(context: Context) -> Source:
        return stream_events(context, [owner_topic(context.viewer_id)], matches)
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID

from repositories.aggregates.event_store import EventStore
from repositories.core.errors import CannotResume
from repositories.engines.database import Snapshot
from repositories.tables.events import DomainEvent
from resolvers.request.context import Context
from resolvers.streaming.feed import EventFilter, Feed, topics_of

Authorise = Callable[[Snapshot, Sequence[DomainEvent]], Awaitable[list[DomainEvent]]]
"""Selects from a batch of events those that the snapshot's viewer may see."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One result of a subscription. ``resolve(context)`` is the value of its root field.

    ``id`` is what the client gives to resume after this delivery, None if it cannot.
    """

    resolve: Callable[[Context], Awaitable[Any]]
    id: str | None = None

    @classmethod
    def of_event(cls, event: DomainEvent) -> Self:
        """An event that is itself the value of the root field."""

        async def resolve(_: Context) -> DomainEvent:
            return event

        return cls(resolve, str(event.id))


Source = AsyncGenerator[Delivery | None, None]


async def visible_events(snapshot: Snapshot, events: Sequence[DomainEvent]) -> list[DomainEvent]:
    """The events that the snapshot's viewer may see by the policy of domain_events."""
    visible = await EventStore.by_id(snapshot, [event.id for event in events])
    return [event for event in events if event.id in visible]


async def stream_events(
    context: Context, topics: Collection[str], matches: EventFilter, authorise: Authorise = visible_events
) -> Source:
    """The matching events of some topics that the viewer may see at the time of delivery.

    If ``context.resume_after`` is set, the events since then come first. Raises CannotResume if that is not possible,
    and TooSlow if the client does not take the events fast enough.
    """
    feed = context.service(Feed)
    last = None if context.resume_after is None else await _sequence_of(feed, context.resume_after)
    async with feed.subscribe(topics, matches, queue_size=feed.options.queue_size) as subscriber:
        until = subscriber.since
        subscriber.since = max(until, last or 0)
        yield None
        if last is not None:
            async for batch in _replay(last, until, feed, frozenset(topics), matches):
                for event in await _authorise_events(context, batch, authorise):
                    yield Delivery.of_event(event)
        while True:
            for event in await _authorise_events(context, await subscriber.take_all(), authorise):
                yield Delivery.of_event(event)


async def stream_query(
    context: Context, topics: Collection[str], matches: EventFilter, resolve: Callable[[Context], Awaitable[Any]]
) -> Source:
    """A live query: its result at once, and again after matching events, but at most once per ``live_interval``."""
    feed = context.service(Feed)
    async with feed.subscribe(topics, matches, queue_size=None) as subscriber:
        yield None
        while True:
            yield Delivery(resolve)
            await asyncio.sleep(feed.options.live_interval)
            await subscriber.take_all()


async def _replay(
    last: int, until: int, feed: Feed, topics: frozenset[str], matches: EventFilter
) -> AsyncIterator[list[DomainEvent]]:
    """The matching events after the sequence number ``last``, up to ``until``, in batches."""
    count = 0
    while last < until:
        async with feed.open_event_store() as store:
            batch = await store.between(last, until, limit=min(feed.options.replay_limit - count, 500))
        if not batch:
            return
        yield [event for event in batch if not topics.isdisjoint(topics_of(event)) and matches(event)]
        last, count = batch[-1].sequence, count + len(batch)
        if count >= feed.options.replay_limit and last < until:
            raise CannotResume(
                f"More than {feed.options.replay_limit} events have happened since, so not all of them can be sent. "
                "Subscribe again without the id, and read the current state."
            )


async def _sequence_of(feed: Feed, event_id: str) -> int:
    """The sequence number of an event, or CannotResume if there is no such event."""
    try:
        key = UUID(event_id)
    except ValueError:
        key = None
    async with feed.open_event_store() as store:
        event = None if key is None else (await EventStore.by_id(store.connection, [key])).get(key)
    if event is None:
        raise CannotResume("There is no such event. Subscribe again without the id, and read the current state.")
    return event.sequence


async def _authorise_events(context: Context, events: Sequence[DomainEvent], authorise: Authorise) -> list[DomainEvent]:
    if not events:
        return []
    async with context.database.snapshot(context.viewer) as snapshot:
        return await authorise(snapshot, events)
