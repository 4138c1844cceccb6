"""A few connections for many: whoever comes first is served first, and nobody waits for longer than the limit.

asyncpg's own pool wraps every connection in a proxy and every release in a task; here taking a free connection and
giving it back are a list's pop and append.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from repositories.core.errors import ServiceUnavailable

_IDLE_LIMIT = 300.0
"""Seconds after which a connection that nobody used is not trusted any more: firewalls forget them without a word."""


class Poolable(Protocol):
    """What a pool needs to know of a connection."""

    def is_closed(self) -> bool:
        """Whether it is lost."""
        ...

    def rest(self) -> None:
        """Called when nobody needs it for the moment."""
        ...

    def terminate(self) -> None:
        """Closes it at once."""
        ...

    async def close(self) -> None:
        """Closes it in good order."""
        ...


C = TypeVar("C", bound=Poolable)


class Pool(Generic[C]):
    """At most ``limit`` connections, opened by ``connect`` when they are needed."""

    def __init__(self, connect: Callable[[], Awaitable[C]], limit: int, timeout: float) -> None:
        self._connect = connect
        self._limit = limit
        self._timeout = timeout
        self._idle: list[tuple[C, float]] = []
        self._waiting: deque[asyncio.Future[C | None]] = deque()
        self._is_closing = False
        self._all_back = asyncio.Event()
        self.size = 0

    @property
    def used(self) -> int:
        """How many connections are in use, those that are being opened included."""
        return self.size - len(self._idle)

    async def acquire(self) -> C:
        """A connection, or ServiceUnavailable when none comes free in time; for :meth:`release` afterwards."""
        if self._is_closing:
            raise ServiceUnavailable
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection, since = self._idle.pop()
            if not connection.is_closed() and now - since < _IDLE_LIMIT:
                return connection
            self._drop(connection)
        if self.size < self._limit:
            self.size += 1
            return await self._open()
        return await self._wait()

    def release(self, connection: C) -> None:
        """Takes a connection back; one that is closed makes room for another."""
        if connection.is_closed():
            self._drop(connection)
        elif not self._hand_over(connection):
            connection.rest()
            self._idle.append((connection, asyncio.get_running_loop().time()))
            self._tell_closing()

    async def close(self) -> None:
        """Closes the connections, after those in use are back."""
        self._is_closing = True
        self._tell_closing()
        await self._all_back.wait()
        while self._idle:
            connection, _ = self._idle.pop()
            self.size -= 1
            await connection.close()

    async def _open(self) -> C:
        """One more connection, for which there is room."""
        try:
            return await self._connect()
        except BaseException:
            self._leave()
            raise

    async def _wait(self) -> C:
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[C | None] = loop.create_future()
        limit = loop.call_later(self._timeout, _give_up, turn)
        self._waiting.append(turn)
        try:
            connection = await turn
        except BaseException:
            if turn in self._waiting:
                self._waiting.remove(turn)
            elif turn.done() and not turn.cancelled() and not turn.exception():
                self._return(turn.result())
            raise
        finally:
            limit.cancel()
        return await self._open() if connection is None else connection

    def _return(self, connection: C | None) -> None:
        """What was handed over to somebody who went away."""
        if connection is not None:
            self.release(connection)
        else:
            self._leave()

    def _hand_over(self, connection: C | None) -> bool:
        """Gives the first who waits a connection, or with None the room for one."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(connection)
                return True
        return False

    def _drop(self, connection: C) -> None:
        connection.terminate()
        self._leave()

    def _leave(self) -> None:
        if not self._hand_over(None):
            self.size -= 1
            self._tell_closing()

    def _tell_closing(self) -> None:
        if self._is_closing and not self.used:
            self._all_back.set()


def _give_up(turn: "asyncio.Future[C | None]") -> None:
    if not turn.done():
        turn.set_exception(ServiceUnavailable())
