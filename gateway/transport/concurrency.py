"""How many operations run at once, and what happens to those nobody waits for any more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from starlette.types import Receive

from gateway.transport.error_responses import RequestRejected
from gateway.transport.requests import Disconnected


class ConcurrencyLimit:
    """Lets so many operations run at once; others wait for their turn as long as they are told to."""

    def __init__(self, size: int, patience: float) -> None:
        self._turns = asyncio.Semaphore(size)
        self._patience = patience

    async def __aenter__(self) -> None:
        """Waits for its turn, or is refused with 503 and Retry-After."""
        if not self._turns.locked():
            await self._turns.acquire()
            return
        try:
            async with asyncio.timeout(self._patience):
                await self._turns.acquire()
        except TimeoutError:
            message = "Too much is going on right now. Try again in a moment."
            raise RequestRejected(503, "SERVICE_UNAVAILABLE", message, {"Retry-After": "1"}) from None

    async def __aexit__(self, *_: object) -> None:
        """Lets the next one in."""
        self._turns.release()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """For what nobody sits and waits for: waits for its turn as long as it takes."""
        async with self._turns:
            yield


_QUICK = 0.05
"""Seconds. Most answers are sent before, and need nobody to watch the connection."""


class DisconnectWatcher:
    """Cancels the block when the client hangs up, and then raises Disconnected."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._has_left = False
        self._watching: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        """Begins to watch in a moment."""
        loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._timer = loop.call_later(_QUICK, self._begin)
        return self

    def _begin(self) -> None:
        self._watching = asyncio.ensure_future(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._task is not None:
            self._has_left = True
            self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stops watching."""
        self._timer.cancel()
        if self._watching is not None:
            self._watching.cancel()
        if self._has_left and self._task is not None:
            self._task.uncancel()
            raise Disconnected from None
