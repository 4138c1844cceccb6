"""What one request has: its viewer, its snapshot of the database, its loaders, its moment, what the process lends it.

Made for a request and never shared with another: what was loaded for one viewer must not be seen by the next.
"""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

from repositories.aggregates.unit_of_work import Reaction, UnitOfWork, open_unit_of_work
from repositories.core.clock import LocalDay, date_of, day, now, time_zone
from repositories.core.errors import Forbidden, ServiceUnavailable, Unauthenticated
from repositories.core.viewer import Viewer
from repositories.engines.database import Database, Snapshot
from repositories.permissions import Permission

T = TypeVar("T")


Services = Mapping[type[Any], Any]
"""What resolvers need of the process, by its class."""

NO_SERVICES: Services = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class RequestOrigin:
    """Where a request comes from, as far as it tells."""

    address: str | None = None
    user_agent: str | None = None


UNKNOWN_ORIGIN = RequestOrigin()


async def shielded(future: asyncio.Future[T]) -> T:
    """Awaits what is shared with other fields: if one is cancelled because its sibling failed, the others keep it.

    Its error counts as seen even if nobody is left to see it.
    """
    future.add_done_callback(_seen)
    return await asyncio.shield(future)


def _seen(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()


@dataclass(frozen=True, slots=True)
class AccountTimeZone:
    """The service that looks up the time zone of the viewer's account, for tokens that do not carry it."""

    find: Callable[["Context"], Awaitable[str]]


class Context:
    """One request. ``now`` is one moment for all of its fields.

    What it reads is current, or with ``since`` a state that has all there was at that position (Database.snapshot).
    ``needs_retry`` says that such a state could not be read to its end: all of it has to be read anew.
    """

    def __init__(  # noqa: PLR0913 (the parts of a request)
        self,
        database: Database,
        viewer: Viewer,
        reactions: Sequence[Reaction],
        at: Callable[[], dt.datetime] = now,
        *,
        services: Services = NO_SERVICES,
        client: RequestOrigin = UNKNOWN_ORIGIN,
        after: str | None = None,
        since: int | None = None,
    ) -> None:
        self.database = database
        self.needs_retry = False
        self._since = since
        self.viewer = viewer
        self.client = client
        self.after = after
        """Of a subscription that was interrupted: the id of the last event that arrived."""
        self._services = services
        self.now = at()
        self._clock = at
        self._reactions = reactions
        self._snapshot: Snapshot | None = None
        self.is_closed = False
        self.loaders: dict[Hashable, Any] = {}
        self._once: dict[Hashable, asyncio.Future[Any]] = {}

    @property
    def snapshot(self) -> Snapshot:
        """The request's view of the database; opened by its first statement."""
        if self.is_closed:
            raise ServiceUnavailable("The request ended before this could be read.")
        if self._snapshot is None:
            self._snapshot = self.database.snapshot(self.viewer, self._since)
        return self._snapshot

    async def close(self) -> None:
        """Gives the connection back. Called before the answer is encoded."""
        self.is_closed = True
        await self.forget()

    async def forget(self) -> None:
        """Forgets everything read so far, so that what is read from now on is current."""
        self.loaders.clear()
        self._once.clear()
        if self._snapshot is not None:
            snapshot, self._snapshot = self._snapshot, None
            await snapshot.close()
            self.needs_retry = self.needs_retry or snapshot.needs_retry

    @property
    def opened_at(self) -> float | None:
        """When the snapshot was opened, as ``time.monotonic`` counts; None if it is not."""
        return None if self._snapshot is None else self._snapshot.opened_at

    def is_current(self) -> bool:
        """Whether what is read is the current state; if nothing was read yet, it is from here on, also with a replica.

        For what is kept for others, who must not be shown an older one.
        """
        if self._snapshot is None:
            self._since = None
        return self._since is None or not self.database.has_replica

    @property
    def holds_connection(self) -> bool:
        """Whether the request has a database connection at this moment."""
        return self._snapshot is not None and self._snapshot.holds_connection

    def find(self, kind: type[T]) -> T | None:
        """What the process lends, or None where it does not."""
        found: T | None = self._services.get(kind)
        return found

    def service(self, kind: type[T]) -> T:
        """What the process lends, such as ``context.service(Accounts)``."""
        found: T = self._services[kind]
        return found

    async def become(self, viewer: Viewer) -> None:
        """For who has just signed in: from here on, the rest of the answer included, the request is theirs."""
        await self.forget()
        self.viewer = viewer

    def authorise(self, permission: Permission) -> None:
        """Refuses viewers who lack a permission: Unauthenticated if nobody is signed in, else Forbidden."""
        if not self.viewer.may(permission):
            raise Forbidden if self.viewer.is_authenticated else Unauthenticated

    @property
    def viewer_id(self) -> UUID:
        """The id of the signed-in viewer, or Unauthenticated."""
        if self.viewer.id is None:
            raise Unauthenticated
        return self.viewer.id

    @asynccontextmanager
    async def unit_of_work(self, viewer: Viewer | None = None) -> AsyncIterator[UnitOfWork]:
        """The unit of work of one mutation field, on the viewer's behalf if nobody else's.

        It never holds two connections: the snapshot is given back first.
        """
        await self.forget()
        async with open_unit_of_work(self.database, viewer or self.viewer, self._reactions, self._clock()) as work:
            yield work
        await self.forget()

    async def once(self, key: Hashable, compute: Callable[[], Awaitable[T]]) -> T:
        """The result of ``compute``, run once per request however many fields ask for it."""
        known: asyncio.Future[T] | None = self._once.get(key)
        if known is None:
            known = self._once[key] = asyncio.ensure_future(compute())
        return await shielded(known)

    async def time_zone(self, wanted: str | None = None) -> ZoneInfo:
        """The zone asked for, else the viewer's: from the token, or from the account if the token does not tell."""
        return time_zone(wanted or self.viewer.time_zone or await self.service(AccountTimeZone).find(self))

    async def today(self, wanted: str | None = None) -> tuple[LocalDay, ZoneInfo]:
        """The viewer's day, and the zone it is in."""
        zone = await self.time_zone(wanted)
        return day(date_of(self.now, zone), zone), zone
