"""What subscriptions are made of: occasions, each answered on a context of its own, under the viewer's policies.

A source is an async generator of occasions. The first item is None: from there on nothing is missed. It holds no
database connection while it waits.

    def task_changed(context: Context) -> Source:
        return follow(context, [owned_by(context.viewer_id)], wants, visible)
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
from resolvers.streaming.feed import Feed, topics_of

Wants = Callable[[DomainEvent], bool]
Authorise = Callable[[Snapshot, Sequence[DomainEvent]], Awaitable[list[DomainEvent]]]
"""Of a batch of events, those that the snapshot's viewer may be told of."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A reason to answer: ``value(context)`` is the root field's value, ``id`` that from which one can go on later."""

    value: Callable[[Context], Awaitable[Any]]
    id: str | None = None

    @classmethod
    def of(cls, event: DomainEvent) -> Self:
        """An event that is itself the value."""

        async def value(_: Context) -> DomainEvent:
            return event

        return cls(value, str(event.id))


Source = AsyncGenerator[Delivery | None, None]


async def visible_events(snapshot: Snapshot, events: Sequence[DomainEvent]) -> list[DomainEvent]:
    """Those of the events that the snapshot's viewer may see."""
    found = await EventStore.by_id(snapshot, [event.id for event in events])
    return [event for event in events if event.id in found]


async def follow(
    context: Context, topics: Collection[str], wants: Wants, authorise: Authorise = visible_events
) -> Source:
    """The events of some topics that the viewer wants and, by the database's policies at that moment, may see.

    After ``context.resume_after``, the last event that the subscriber saw, those come first that happened since. TooSlow ends
    it for who does not take them, CannotResume is raised if it cannot go on from there.
    """
    feed = context.service(Feed)
    last = None if context.resume_after is None else await _position(feed, context.resume_after)
    async with feed.subscriber(topics, wants, size=feed.options.waiting) as subscriber:
        until = subscriber.since
        subscriber.since = max(until, last or 0)
        yield None
        if last is not None:
            async for batch in _missed(last, until, feed, frozenset(topics), wants):
                for event in await _allowed(context, batch, authorise):
                    yield Delivery.of(event)
        while True:
            for event in await _allowed(context, await subscriber.take(), authorise):
                yield Delivery.of(event)


async def live(
    context: Context, topics: Collection[str], wants: Wants, value: Callable[[Context], Awaitable[Any]]
) -> Source:
    """At once, and again whenever an event of some topics happens, but no more than once in an interval."""
    feed = context.service(Feed)
    async with feed.subscriber(topics, wants, size=None) as subscriber:
        yield None
        while True:
            yield Delivery(value)
            await asyncio.sleep(feed.options.interval)
            await subscriber.take()


async def _missed(
    last: int, until: int, feed: Feed, topics: frozenset[str], wants: Wants
) -> AsyncIterator[list[DomainEvent]]:
    """What happened since an event, up to where the subscriber begins."""
    seen = 0
    while last < until:
        async with feed.reading() as events:
            batch = await events.between(last, until, limit=min(feed.options.replay - seen, 500))
        if not batch:
            return
        yield [event for event in batch if not topics.isdisjoint(topics_of(event)) and wants(event)]
        last, seen = batch[-1].sequence, seen + len(batch)
        if seen >= feed.options.replay and last < until:
            raise CannotResume(
                f"More than {feed.options.replay} events have happened since, so not all of them can be sent. "
                "Start anew without the id, and read the current state."
            )


async def _position(feed: Feed, after: str) -> int:
    try:
        key = UUID(after)
    except ValueError:
        key = None
    async with feed.reading() as events:
        found = None if key is None else (await EventStore.by_id(events.connection, [key])).get(key)
    if found is None:
        raise CannotResume("This event is not known here. Start anew without the id, and read the current state.")
    return found.sequence


async def _allowed(context: Context, events: Sequence[DomainEvent], authorise: Authorise) -> list[DomainEvent]:
    if not events:
        return []
    async with context.database.snapshot(context.viewer) as snapshot:
        return await authorise(snapshot, events)
