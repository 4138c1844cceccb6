"""A connection pool. Waiting callers are served in turn by viewer, and none waits longer than the timeout.

asyncpg's own pool wraps each connection in a proxy and each release in a task. Here, taking an idle connection and
returning it are the pop and append of a list.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, Protocol, TypeVar

from repositories.core.errors import ServiceUnavailable
from repositories.engines.fair_slots import FairSlots, wait_for_connection

_IDLE_LIMIT = 300.0
"""Seconds after which an idle connection is not reused, because firewalls drop idle connections silently."""


class Poolable(Protocol):
    """The methods of a connection that the pool calls."""

    def is_closed(self) -> bool: ...

    def on_idle(self) -> None:
        """Called, perhaps more than once, when no caller has taken the connection for a while."""
        ...

    def terminate(self) -> None:
        """Closes the connection immediately, without telling the server."""
        ...

    async def close(self) -> None: ...


C = TypeVar("C", bound=Poolable)


class Pool(Generic[C]):
    """At most ``limit`` connections, which ``connect`` opens on demand. ``timeout`` is in seconds.

    One viewer may use ``share`` of the connections, by default half of them, so that the others never wait for the
    slowest statements of one viewer. A connection is released for the viewer for whom it was acquired.

    A connection that nobody takes for ``idle_delay`` seconds after its release is told that it is idle.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[C]],
        limit: int,
        timeout: float,
        share: int | None = None,
        *,
        idle_delay: float = 0.0,
    ) -> None:
        self._connect = connect
        self._timeout = timeout
        self._idle_delay = idle_delay
        self._idle_timer: asyncio.TimerHandle | None = None
        """It is for all connections, because a timer for each release would cost more than it saves."""
        self._slots: FairSlots[C] = FairSlots(limit, share or max(1, limit // 2), self._take_back)
        self._viewers: dict[C, Hashable] = {}
        """The viewers for whom connections are in use."""
        self._idle: list[tuple[C, float]] = []
        self._is_closing = False
        self._drained = asyncio.Event()

    @property
    def size(self) -> int:
        """The number of connections, including those that are being opened."""
        return self.used + len(self._idle)

    @property
    def used(self) -> int:
        """The number of connections in use, including those that are being opened."""
        return self._slots.used

    async def acquire(self, viewer: Hashable = None) -> C:
        """Returns a connection, which the caller must :meth:`release`. None stands for the gateway's own work.

        Raises ServiceUnavailable if none becomes free within the timeout, or RateLimited if the viewer's own
        operations use too many.
        """
        if self._is_closing:
            raise ServiceUnavailable
        slots = self._slots
        connection: C | None = None
        if not slots.take(viewer):
            connection = await wait_for_connection(slots, viewer, self._timeout)
        try:
            connection = connection or self._pop_idle() or await self._connect()
        except BaseException:
            self._free_slot(viewer)
            raise
        self._viewers[connection] = viewer
        return connection

    def release(self, connection: C) -> None:
        """Takes a connection back. A closed connection leaves a free slot."""
        viewer = self._viewers.pop(connection)
        if connection.is_closed():
            connection.terminate()
            self._free_slot(viewer)
        elif not self._slots.release(viewer, connection):
            loop = asyncio.get_running_loop()
            self._idle.append((connection, loop.time()))
            if not self._idle_delay:
                connection.on_idle()
            elif self._idle_timer is None:
                self._idle_timer = loop.call_later(self._idle_delay, self._report_idle, loop)
            self._check_drained()

    def _report_idle(self, loop: asyncio.AbstractEventLoop) -> None:
        """Tells the connections that nobody has taken for ``idle_delay`` that they are idle."""
        self._idle_timer = None
        latest = loop.time() - self._idle_delay
        for connection, idle_since in self._idle:
            if idle_since <= latest:
                connection.on_idle()
            elif self._idle_timer is None:
                self._idle_timer = loop.call_at(idle_since + self._idle_delay, self._report_idle, loop)

    def discard_idle(self) -> None:
        """Closes the connections that are not in use, for example after a failover to another server."""
        while self._idle:
            self._idle.pop()[0].terminate()

    async def close(self) -> None:
        """Waits until all connections are released, then closes them."""
        self._is_closing = True
        self._check_drained()
        await self._drained.wait()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        while self._idle:
            connection, _ = self._idle.pop()
            await connection.close()

    def _pop_idle(self) -> C | None:
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection, idle_since = self._idle.pop()
            if not connection.is_closed() and now - idle_since < _IDLE_LIMIT:
                return connection
            connection.terminate()
        return None

    def _take_back(self, viewer: Hashable, connection: C | None) -> None:
        """Takes back a connection or a slot if the task waiting for it was cancelled."""
        if connection is not None:
            self._viewers[connection] = viewer
            self.release(connection)
        else:
            self._free_slot(viewer)

    def _free_slot(self, viewer: Hashable) -> None:
        self._slots.release(viewer)
        self._check_drained()

    def _check_drained(self) -> None:
        """Lets :meth:`close` continue once no connection is in use."""
        if self._is_closing and not self.used:
            self._drained.set()
