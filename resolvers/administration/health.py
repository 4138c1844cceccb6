"""How the gateway is, as the process that answers sees it."""

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
    """What there is to say; everything is looked at when it is asked for."""

    context: Context

    async def engine(self) -> str:
        """Which database it is."""
        return self.context.database.engine.value

    async def connections(self) -> int:
        """Those that are open."""
        return self.context.database.pool_state().size

    async def connections_in_use(self) -> int:
        """Those that are not idle; this request's own is one of them once something was read."""
        return self.context.database.pool_state().used

    async def revision(self) -> str:
        """The migration that the database is at."""
        return await fetch_revision(self.context.snapshot)

    async def users(self) -> int:
        """Accounts that are not deleted."""
        return await Users(self.context.snapshot).count()

    async def sessions(self) -> int:
        """Sessions that have not ended."""
        return await Sessions(self.context.snapshot).count(Sessions.alive(self.context.now))

    async def events(self) -> int:
        """All events."""
        return await EventStore(self.context.snapshot).count()

    async def followers(self) -> int:
        """Subscriptions, and whatever is open for somebody who is signed in and waits for the end of the session."""
        feed = self.context.optional_service(Feed)
        return 0 if feed is None else feed.subscriber_count

    async def cache(self) -> CacheHealth | None:
        """How the cache does, None without one."""
        found = self.context.optional_service(Cache)
        return None if found is None else found.health()

    async def uptime_seconds(self) -> int:
        """Since this process began."""
        return int(time.monotonic() - _STARTED)


async def health(context: Context) -> Health:
    """The gateway's health."""
    return Health(context)
