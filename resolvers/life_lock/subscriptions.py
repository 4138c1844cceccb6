"""Tasks and their dashboard as they change."""

from collections.abc import Sequence
from uuid import UUID

from repositories.engines.database import Snapshot
from repositories.life_lock.tasks import Tasks
from repositories.tables.events import DomainEvent
from resolvers.life_lock.queries import Dashboard, dashboard
from resolvers.loading.edges import one
from resolvers.request.context import Context
from resolvers.streaming.deliveries import Source, stream_events, stream_query
from resolvers.streaming.feed import aggregate_topic, owner_topic

task_of_event = one(Tasks.by_id, key=DomainEvent.aggregate_id)

_TASK = "task"
_ON_DASHBOARD = frozenset({_TASK, "category"})


def task_changed(context: Context, ids: Sequence[UUID] | None = None) -> Source:
    """What happens to tasks that the viewer may see: those of the ids, or all of the viewer's own."""
    topics = [owner_topic(context.viewer_id)] if ids is None else [aggregate_topic(key) for key in ids]
    return stream_events(context, topics, lambda event: event.aggregate_type == _TASK, _visible_tasks)


async def _visible_tasks(snapshot: Snapshot, events: Sequence[DomainEvent]) -> list[DomainEvent]:
    """A task that was deleted is announced too, to those who may see it."""
    visible = await Tasks(snapshot).visible_ids([event.aggregate_id for event in events])
    return [event for event in events if event.aggregate_id in visible]


def live_dashboard(context: Context, time_zone: str | None = None) -> Source:
    """The viewer's dashboard, at once and whenever one of the viewer's tasks or categories changes."""

    async def resolve(later: Context) -> Dashboard:
        return await dashboard(later, time_zone)

    owner = owner_topic(context.viewer_id)
    return stream_query(context, [owner], lambda event: event.aggregate_type in _ON_DASHBOARD, resolve)
