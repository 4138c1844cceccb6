"""The live dashboard of tasks."""

from resolvers.life_lock.queries import Dashboard, dashboard
from resolvers.request.context import Context
from resolvers.streaming.deliveries import Source, stream_query
from resolvers.streaming.feed import owner_topic

_ON_DASHBOARD = frozenset({"task", "category"})


def live_dashboard(context: Context, time_zone: str | None = None) -> Source:
    """The viewer's dashboard, at once and whenever one of the viewer's tasks or categories changes."""

    async def resolve(later: Context) -> Dashboard:
        return await dashboard(later, time_zone)

    owner = owner_topic(context.viewer_id)
    return stream_query(context, [owner], lambda event: event.aggregate_type in _ON_DASHBOARD, resolve)
