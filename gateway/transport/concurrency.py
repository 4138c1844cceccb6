"""Limits how many operations run at the same time, and cancels operations whose client has disconnected."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from starlette.types import Receive

from gateway.transport.error_responses import RequestRejected
from gateway.transport.requests import Disconnected


class ConcurrencyLimit:
    """At most ``size`` operations run at the same time in this process; the others wait.

    ``async with limit`` waits for at most ``timeout`` seconds and then raises RequestRejected (503, ``Retry-After``).
    """

    def __init__(self, size: int, timeout: float) -> None:
        self._semaphore = asyncio.Semaphore(size)
        self._timeout = timeout

    async def __aenter__(self) -> None:
        if not self._semaphore.locked():
            await self._semaphore.acquire()
            return
        try:
            async with asyncio.timeout(self._timeout):
                await self._semaphore.acquire()
        except TimeoutError:
            message = "The gateway is busy. Try again in a moment."
            raise RequestRejected(503, "SERVICE_UNAVAILABLE", message, {"Retry-After": "1"}) from None

    async def __aexit__(self, *_: object) -> None:
        self._semaphore.release()

    @asynccontextmanager
    async def wait_unlimited(self) -> AsyncIterator[None]:
        """Waits without a timeout. For deliveries of subscriptions: no client waits for a response meanwhile."""
        async with self._semaphore:
            yield


_WATCH_DELAY = 0.05
"""Seconds before the connection is watched. Most responses are sent earlier and save the task that watches."""


class DisconnectWatcher:
    """Cancels the ``with`` block when the client disconnects, and then raises Disconnected."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._is_disconnected = False
        self._watcher: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._timer = loop.call_later(_WATCH_DELAY, self._start)
        return self

    def _start(self) -> None:
        self._watcher = asyncio.ensure_future(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._task is not None:
            self._is_disconnected = True
            self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        if self._is_disconnected and self._task is not None:
            self._task.uncancel()
            raise Disconnected from None
