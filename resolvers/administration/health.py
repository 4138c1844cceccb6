"""The health of the gateway, as seen by the process that executes the request."""

import time
from dataclasses import dataclass

from repositories.administration import fetch_revision
from repositories.aggregates.event_store import EventStore
from repositories.identity import Sessions, Users
from resolvers.caching.cache import Cache, CacheHealth
from resolvers.request.context import Context
from resolvers.streaming.feed import Feed

_STARTED = time.monotonic()


@dataclass(frozen=True, slots=True)
class Health:
    """The values of the health report. Each method reads its value when it is called."""

    context: Context

    async def engine(self) -> str:
        return self.context.database.engine.value

    async def connections(self) -> int:
        return self.context.database.pool_state().size

    async def connections_in_use(self) -> int:
        """The connections in use, including the request's own after its first statement."""
        return self.context.database.pool_state().used

    async def revision(self) -> str:
        return await fetch_revision(self.context.snapshot)

    async def users(self) -> int:
        return await Users(self.context.snapshot).count()

    async def sessions(self) -> int:
        return await Sessions(self.context.snapshot).count(Sessions.alive(self.context.now))

    async def events(self) -> int:
        return await EventStore(self.context.snapshot).count()

    async def followers(self) -> int:
        """The number of subscriptions and of connections that end with their session."""
        feed = self.context.optional_service(Feed)
        return 0 if feed is None else feed.subscriber_count

    async def cache(self) -> CacheHealth | None:
        found = self.context.optional_service(Cache)
        return None if found is None else found.health()

    async def uptime_seconds(self) -> int:
        return int(time.monotonic() - _STARTED)


async def health(context: Context) -> Health:
    return Health(context)
