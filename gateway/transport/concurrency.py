"""Limits how many operations run at the same time, and cancels operations whose client has disconnected."""

import asyncio
from collections.abc import Hashable
from types import TracebackType
from typing import Self

from starlette.types import Receive

from gateway.transport.error_responses import RequestRejected
from gateway.transport.requests import Disconnected
from repositories.core.errors import RateLimited
from repositories.core.viewer import Viewer
from repositories.engines.fair_slots import FairSlots, QueueFull


class ConcurrencyLimit:
    """At most ``size`` operations run at the same time in this process, at most ``per_viewer`` of one viewer.

    The others wait, and viewers take turns. Anonymous callers are one viewer per network.

        async with limit.turn(viewer):
            ...
    """

    def __init__(self, size: int, timeout: float, *, per_viewer: int, max_waiting: int) -> None:
        self.slots: FairSlots[None] = FairSlots(size, min(size, per_viewer), max_waiting=max_waiting)
        self.timeout = timeout

    def turn(self, viewer: Viewer) -> "Turn":
        """Waits for at most ``timeout`` seconds and then raises RequestRejected.

        The status is 429 if the viewer's own operations are the reason, otherwise 503.
        """
        return Turn(self, viewer.key, self.timeout)

    def turn_of_delivery(self, viewer: Viewer) -> "Turn":
        """Waits without a timeout. For deliveries of subscriptions: no client waits for a response meanwhile."""
        return Turn(self, viewer.key, None)


class Turn:
    """The ``async with`` block of one operation."""

    __slots__ = ("_key", "_limit", "_timeout")

    def __init__(self, limit: ConcurrencyLimit, key: Hashable, timeout: float | None) -> None:
        self._limit = limit
        self._key = key
        self._timeout = timeout

    async def __aenter__(self) -> None:
        slots, key = self._limit.slots, self._key
        if slots.take(key):
            return
        try:
            await slots.wait(key, self._timeout)
        except (TimeoutError, QueueFull):
            if slots.has_its_share(key):
                error = RateLimited(1, "Too many of your operations are running at the same time.")
                raise RequestRejected.from_exception(error) from None
            message = "The gateway is busy. Try again in a moment."
            raise RequestRejected(503, "SERVICE_UNAVAILABLE", message, {"Retry-After": "1"}) from None

    async def __aexit__(self, *_: object) -> None:
        self._limit.slots.release(self._key)


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
            self._watcher = None  # it refers to this object, and only a garbage collection would free such a cycle
        if self._is_disconnected and self._task is not None:
            self._task.uncancel()
            raise Disconnected from None
