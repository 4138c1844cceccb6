"""The health of the gateway."""

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
class SystemHealth:
    """The health of the gateway, as seen by the process that answers. Only selected fields are computed."""

    context: Context

    async def engine(self) -> str:
        """The database: postgresql or sqlite."""
        return self.context.database.engine.value

    async def connections(self) -> int:
        """The number of open database connections of this process for requests."""
        return self.context.database.pool_state().size

    async def connections_in_use(self) -> int:
        """The number of these connections that are in use."""
        return self.context.database.pool_state().used

    async def revision(self) -> str:
        """The newest migration of the database."""
        return await fetch_revision(self.context.snapshot)

    async def users(self) -> int:
        """The number of accounts without deleted ones."""
        return await Users(self.context.snapshot).count()

    async def sessions(self) -> int:
        """The number of sessions that have not ended."""
        return await Sessions(self.context.snapshot).count(Sessions.alive(self.context.now))

    async def events(self) -> int:
        """The number of stored events."""
        return await EventStore(self.context.snapshot).count()

    async def followers(self) -> int:
        """The number of subscribers to events in this process.

        They are the subscriptions, and each WebSocket or event stream of a signed-in user, which must learn of the end
        of the session.
        """
        feed = self.context.optional_service(Feed)
        return 0 if feed is None else feed.subscriber_count

    async def cache(self) -> CacheHealth | None:
        """The counters of the cache. Null if the gateway has no cache."""
        found = self.context.optional_service(Cache)
        return None if found is None else found.health()

    async def uptime_seconds(self) -> int:
        """The time since the start of this process in seconds."""
        return int(time.monotonic() - _STARTED)


async def system_health(context: Context) -> SystemHealth:
    """The health of the gateway. For administrators."""
    return SystemHealth(context)
