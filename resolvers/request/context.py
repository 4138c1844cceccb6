"""The context of one request: its viewer, its snapshot of the database, its loaders, its time, and the services.

A context is never shared between requests, because the rows that were loaded for one viewer must not reach another.
"""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from types import MappingProxyType
from typing import Any, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

from repositories.aggregates.unit_of_work import Reaction, UnitOfWork, open_unit_of_work
from repositories.core.clock import LocalDay, date_of, day, now, stored_time_zone, time_zone
from repositories.core.errors import Forbidden, ServiceUnavailable, Unauthenticated
from repositories.core.viewer import Viewer
from repositories.engines.database import Database, Snapshot
from repositories.permissions import Requirement
from resolvers.request.key_claims import Idempotency
from resolvers.services.client_addresses import client_network

T = TypeVar("T")

Services = Mapping[type[Any], Any]
"""What the process provides to resolvers, such as the cache, by class."""

NO_SERVICES: Services = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class RequestOrigin:
    """The network address and the user agent of a client, None if unknown."""

    address: str | None = None
    user_agent: str | None = None

    @property
    def network(self) -> str | None:
        """The network of the address, by which limits count."""
        return client_network(self.address)


UNKNOWN_ORIGIN = RequestOrigin()


async def await_shared(future: asyncio.Future[T]) -> T:
    """Awaits a future that several fields share.

    If one field is cancelled because its sibling failed, the future keeps running for the others. If all of them are
    cancelled, asyncio does not complain that the future's error was never retrieved.
    """
    future.add_done_callback(_retrieve_error)
    return await asyncio.shield(future)


def _retrieve_error(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()


@dataclass(frozen=True, slots=True)
class AccountCalendar:
    """The service that looks up the calendar of the viewer's account.

    ``time_zone`` returns the IANA name, for tokens without one. ``first_weekday`` returns the day on which weeks start,
    0 (Monday) to 6 (Sunday).
    """

    time_zone: Callable[["Context"], Awaitable[str]]
    first_weekday: Callable[["Context"], Awaitable[int]]


class Context:
    """One request. All of its fields see the same ``now``.

    Reads show the current state. With ``since``, they may show an older state that includes everything up to that
    position (Database.snapshot). ``needs_retry`` is set if such a state could not be read to the end: then the whole
    operation has to run again.

    ``resume_after`` is the id of the last event that the client of an interrupted subscription has received.
    """

    def __init__(  # noqa: PLR0913 (the parts of a request)
        self,
        database: Database,
        viewer: Viewer,
        reactions: Sequence[Reaction],
        clock: Callable[[], dt.datetime] = now,
        *,
        services: Services = NO_SERVICES,
        origin: RequestOrigin = UNKNOWN_ORIGIN,
        resume_after: str | None = None,
        since: int | None = None,
        idempotency: Idempotency | None = None,
    ) -> None:
        self.database = database
        self.needs_retry = False
        self._since = since
        self.viewer = viewer
        self.origin = origin
        self.resume_after = resume_after
        self.idempotency = idempotency
        self._services = services
        self.now = clock()
        self._clock = clock
        self._reactions = reactions
        self._snapshot: Snapshot | None = None
        self.is_closed = False
        self.connection_time = 0.0
        """Seconds for which the reads and the units of work of the request held a connection."""
        self.loaders: dict[Hashable, Any] = {}
        self._computed: dict[Hashable, asyncio.Future[Any]] = {}
        self.timeout: asyncio.Timeout | None = None
        """The timeout of the mutation field that runs."""

    @property
    def snapshot(self) -> Snapshot:
        """The request's snapshot of the database. Its first statement opens it."""
        if self.is_closed:
            raise ServiceUnavailable("The request ended before this could be read.")
        if self._snapshot is None:
            self._snapshot = self.database.snapshot(self.viewer, self._since)
        return self._snapshot

    async def close(self) -> None:
        """Returns the connection to the pool. Called before the response is encoded."""
        self.is_closed = True
        await self.discard_reads()

    async def discard_reads(self) -> None:
        """Closes the snapshot and clears the loaders, so that later reads show the current state."""
        self.loaders.clear()
        self._computed.clear()
        if self._snapshot is not None:
            snapshot, self._snapshot = self._snapshot, None
            await snapshot.close()
            self.connection_time += snapshot.connection_time
            self.needs_retry = self.needs_retry or snapshot.needs_retry

    @property
    def opened_at(self) -> float | None:
        """The time when the snapshot was opened, by ``time.monotonic``, or None."""
        return None if self._snapshot is None else self._snapshot.opened_at

    def pin_to_primary(self) -> bool:
        """Pins the request to the primary if it has not read anything yet.

        Returns whether its reads show the current state, so that their results may be cached for other requests.
        """
        if self._snapshot is None:
            self._since = None
        return self._since is None or not self.database.has_replica

    @property
    def holds_connection(self) -> bool:
        """Whether the request holds a database connection at the moment."""
        return self._snapshot is not None and self._snapshot.holds_connection

    def service(self, kind: type[T]) -> T:
        """A service of the process, such as ``context.service(Accounts)``."""
        service: T = self._services[kind]
        return service

    def optional_service(self, kind: type[T]) -> T | None:
        """A service of the process, None if the process does not have it."""
        return self._services.get(kind)

    async def switch_viewer(self, viewer: Viewer) -> None:
        """Runs the remaining fields of the request as the user who has just signed in."""
        await self.discard_reads()
        self.viewer = viewer

    def authorise(self, permission: Requirement) -> None:
        """Raises Forbidden if the viewer lacks the permission, and Unauthenticated if the viewer is anonymous."""
        if not self.viewer.may(permission):
            raise Forbidden if self.viewer.is_authenticated else Unauthenticated

    @property
    def viewer_id(self) -> UUID:
        """The id of the signed-in viewer. Raises Unauthenticated if the viewer is anonymous."""
        if self.viewer.id is None:
            raise Unauthenticated
        return self.viewer.id

    @asynccontextmanager
    async def unit_of_work(self, viewer: Viewer | None = None) -> AsyncIterator[UnitOfWork]:
        """The unit of work of one mutation field, on behalf of the request's viewer unless another one is given.

        The snapshot is closed first, so that the request never holds two connections. The timeout of the operation does
        not interrupt the end of the block, where the transaction is committed: a field that times out has changed
        nothing.
        """
        await self.discard_reads()
        started = None
        try:
            async with open_unit_of_work(self.database, viewer or self.viewer, self._reactions, self._clock()) as work:
                started = monotonic()
                claim = self.idempotency if self.idempotency is not None and self.idempotency.is_running else None
                if claim is not None:
                    await claim.claim(work)
                yield work
                if claim is not None:
                    await claim.complete(work)
                if self.timeout is not None and not self.timeout.expired():
                    self.timeout.reschedule(None)
        finally:
            if started is not None:
                self.connection_time += monotonic() - started
        await self.discard_reads()

    async def compute_once(self, key: Hashable, compute: Callable[[], Awaitable[T]]) -> T:
        """The result of ``compute``, which runs once per request, however many fields need it."""
        future: asyncio.Future[T] | None = self._computed.get(key)
        if future is None:
            future = self._computed[key] = asyncio.ensure_future(compute())
        return await await_shared(future)

    async def time_zone(self, requested: str | None = None) -> ZoneInfo:
        """The requested zone, else the viewer's: from the token, or from the account if the token has none."""
        if requested:
            return time_zone(requested)
        return stored_time_zone(self.viewer.time_zone or await self.service(AccountCalendar).time_zone(self))

    async def first_weekday(self) -> int:
        """The day on which the viewer's weeks start, by the preferences: 0 (Monday) to 6 (Sunday)."""
        return await self.service(AccountCalendar).first_weekday(self)

    async def today(self, requested_zone: str | None = None) -> tuple[LocalDay, ZoneInfo]:
        """The current day in a zone (see ``time_zone``), and the zone."""
        zone = await self.time_zone(requested_zone)
        return day(date_of(self.now, zone), zone), zone
