"""Live changes of the rows of an aggregate."""

from collections.abc import Sequence
from uuid import UUID

from repositories.aggregates.derived import repository_of
from repositories.engines.database import Snapshot
from repositories.sql.aggregate import Aggregate
from repositories.tables.events import DomainEvent
from resolvers.request.context import Context
from resolvers.streaming.deliveries import Source, stream_events, visible_events
from resolvers.streaming.feed import ALL_EVENTS, aggregate_topic, owner_topic


def stream_changes(context: Context, aggregate: Aggregate, ids: Sequence[UUID] | None = None) -> Source:
    """The events of rows that the viewer may see: of the rows with these ids, or of all rows of the viewer.

    Aggregates without an owner have no rows of the viewer; without ids, the events of all their rows are streamed.
    """
    owner = context.viewer_id
    if ids is not None:
        topics = [aggregate_topic(key) for key in ids]
    else:
        topics = [owner_topic(owner) if aggregate.has_owner else ALL_EVENTS]

    async def visible(snapshot: Snapshot, events: Sequence[DomainEvent]) -> list[DomainEvent]:
        """The events of rows that the viewer may see, and those that the viewer may read in the log.

        A row that was deleted permanently, or that has another owner now, is known by its events only.
        """
        keys = await repository_of(aggregate.row)(snapshot).visible_ids([event.aggregate_id for event in events])
        of_others = [event for event in events if event.aggregate_id not in keys]
        readable = {event.id for event in await visible_events(snapshot, of_others)} if of_others else set()
        return [event for event in events if event.aggregate_id in keys or event.id in readable]

    return stream_events(context, topics, lambda event: event.aggregate_type == aggregate.name, visible)
