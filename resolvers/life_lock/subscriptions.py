"""The live dashboard of tasks."""

from resolvers.life_lock import queries
from resolvers.request.annotations import TimeZone
from resolvers.request.context import Context
from resolvers.streaming.deliveries import Source, stream_query
from resolvers.streaming.feed import owner_topic

_ON_DASHBOARD = frozenset({"task", "category"})


def life_lock_dashboard(context: Context, time_zone: TimeZone = None) -> Source:
    """Numbers about the viewer's tasks: at once, and again after changes of the viewer's tasks and categories.

    They are delivered at most once per interval (a setting of the gateway, one second by default). Numbers that change
    with time alone, such as overdue tasks, are delivered with the next result.
    """

    async def resolve(later: Context) -> queries.LifeLockDashboard:
        return await queries.life_lock_dashboard(later, time_zone)

    owner = owner_topic(context.viewer_id)
    return stream_query(context, [owner], lambda event: event.aggregate_type in _ON_DASHBOARD, resolve)
