"""A connection pool. Waiting callers are served in the order of arrival, and none waits longer than the timeout.

asyncpg's own pool wraps each connection in a proxy and each release in a task. Here, taking an idle connection and
returning it are the pop and append of a list.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from repositories.core.errors import ServiceUnavailable

_IDLE_LIMIT = 300.0
"""Seconds after which an idle connection is not reused, because firewalls drop idle connections silently."""


class Poolable(Protocol):
    """The methods of a connection that the pool calls."""

    def is_closed(self) -> bool: ...

    def on_idle(self) -> None:
        """Called when the connection is returned and no caller waits for it."""
        ...

    def terminate(self) -> None:
        """Closes the connection immediately, without telling the server."""
        ...

    async def close(self) -> None: ...


C = TypeVar("C", bound=Poolable)


class Pool(Generic[C]):
    """At most ``limit`` connections, which ``connect`` opens on demand. ``timeout`` is in seconds.

    A waiting caller is a future. Its result is a connection, or None for a free slot, in which the caller opens a
    connection itself.
    """

    def __init__(self, connect: Callable[[], Awaitable[C]], limit: int, timeout: float) -> None:
        self._connect = connect
        self._limit = limit
        self._timeout = timeout
        self._idle: list[tuple[C, float]] = []
        self._waiters: deque[asyncio.Future[C | None]] = deque()
        self._is_closing = False
        self._drained = asyncio.Event()
        self.size = 0

    @property
    def used(self) -> int:
        """The number of connections in use, including those that are being opened."""
        return self.size - len(self._idle)

    async def acquire(self) -> C:
        """Returns a connection, which the caller must :meth:`release`.

        Raises ServiceUnavailable if none becomes free within the timeout.
        """
        if self._is_closing:
            raise ServiceUnavailable
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection, idle_since = self._idle.pop()
            if not connection.is_closed() and now - idle_since < _IDLE_LIMIT:
                return connection
            self._discard(connection)
        if self.size < self._limit:
            self.size += 1
            return await self._open()
        return await self._wait_for_connection()

    def release(self, connection: C) -> None:
        """Takes a connection back. A closed connection leaves a free slot."""
        if connection.is_closed():
            self._discard(connection)
        elif not self._give_to_waiter(connection):
            connection.on_idle()
            self._idle.append((connection, asyncio.get_running_loop().time()))
            self._check_drained()

    async def close(self) -> None:
        """Waits until all connections are released, then closes them."""
        self._is_closing = True
        self._check_drained()
        await self._drained.wait()
        while self._idle:
            connection, _ = self._idle.pop()
            self.size -= 1
            await connection.close()

    async def _open(self) -> C:
        """Opens a connection in a slot that the caller already holds."""
        try:
            return await self._connect()
        except BaseException:
            self._free_slot()
            raise

    async def _wait_for_connection(self) -> C:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[C | None] = loop.create_future()
        timer = loop.call_later(self._timeout, _expire, waiter)
        self._waiters.append(waiter)
        try:
            connection = await waiter
        except BaseException:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            elif waiter.done() and not waiter.cancelled() and not waiter.exception():
                self._take_back(waiter.result())
            raise
        finally:
            timer.cancel()
        return await self._open() if connection is None else connection

    def _take_back(self, connection: C | None) -> None:
        """Takes back a connection or a slot if the task waiting for it was cancelled."""
        if connection is not None:
            self.release(connection)
        else:
            self._free_slot()

    def _give_to_waiter(self, connection: C | None) -> bool:
        """Gives the connection, or a slot, to the longest waiting caller. Returns False if no caller waits."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return True
        return False

    def _discard(self, connection: C) -> None:
        connection.terminate()
        self._free_slot()

    def _free_slot(self) -> None:
        if not self._give_to_waiter(None):
            self.size -= 1
            self._check_drained()

    def _check_drained(self) -> None:
        """Lets :meth:`close` continue once no connection is in use."""
        if self._is_closing and not self.used:
            self._drained.set()


def _expire(waiter: "asyncio.Future[C | None]") -> None:
    if not waiter.done():
        waiter.set_exception(ServiceUnavailable())
