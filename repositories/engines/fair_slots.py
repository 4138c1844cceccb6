"""Slots that callers share fairly. Those who wait are served in turn: one of each key, then one of each key again.

A key stands for a viewer. Without turns, a viewer who sends a hundred operations at once lets all others wait for all
of them. Without a share, they wait for the slowest of them, if these hold all slots.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from repositories.core.errors import RateLimited, ServiceUnavailable

T = TypeVar("T")


class QueueFull(Exception):
    """As many callers of the key wait as may."""


class FairSlots(Generic[T]):
    """``size`` slots, of which one key may hold ``share``. The key None stands for work without a limit of its own.

    A released slot can carry an item, such as an open connection, to the caller who gets the slot. ``take_back`` gets
    the key and the item of a slot whose caller was cancelled before it could use it. At most ``max_waiting`` callers of
    a key wait.

        item = None if slots.take(key) else await slots.wait(key, timeout)
        ...
        slots.release(key, item)
    """

    def __init__(
        self,
        size: int,
        share: int,
        take_back: Callable[[Hashable, T | None], object] | None = None,
        *,
        max_waiting: int | None = None,
    ) -> None:
        self._size = size
        self._share = share
        self._max_waiting = max_waiting
        self._take_back = take_back or self.release
        self._held: dict[Hashable, int] = {}
        self._ready: OrderedDict[Hashable, deque[asyncio.Future[T | None]]] = OrderedDict()
        """The waiting callers of the keys that hold less than their share."""
        self._blocked: dict[Hashable, deque[asyncio.Future[T | None]]] = {}
        """The waiting callers of the others."""
        self.used = 0

    def take(self, key: Hashable) -> bool:
        """Takes a free slot, if there is one and the key holds less than its share. It never overtakes."""
        held = self._held.get(key, 0)
        if self.used >= self._size or (held >= self._share and key is not None) or key in self._ready:
            return False
        self._held[key] = held + 1
        self.used += 1
        return True

    async def wait(self, key: Hashable, timeout: float | None) -> T | None:  # noqa: ASYNC109 (a timer is faster)
        """Waits for a slot, and returns the item that it carries, if it carries one.

        TimeoutError after ``timeout`` seconds. QueueFull, at once, if too many callers of the key wait.
        """
        waiting = self._blocked if self.has_its_share(key) else self._ready
        queue = waiting.setdefault(key, deque())
        if self._max_waiting is not None and len(queue) >= self._max_waiting:
            raise QueueFull
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T | None] = loop.create_future()
        queue.append(future)
        timer = None if timeout is None else loop.call_later(timeout, _expire, future)
        try:
            return await future
        except BaseException:
            if future.cancelled() or future.exception() is not None:
                self._forget(key, future)
            else:
                self._take_back(key, future.result())
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def release(self, key: Hashable, item: T | None = None) -> bool:
        """Returns a slot. Returns whether a waiting caller gets it, and the item with it."""
        self.used -= 1
        held = self._held[key]
        if held > 1:
            self._held[key] = held - 1
        else:
            del self._held[key]
        if key in self._blocked:
            self._ready[key] = self._blocked.pop(key)
        while self._ready:
            next_key, queue = self._ready.popitem(last=False)
            future = queue.popleft()
            if future.done():
                self._queue_again(next_key, queue)
                continue
            self._held[next_key] = self._held.get(next_key, 0) + 1
            self.used += 1
            self._queue_again(next_key, queue)
            future.set_result(item)
            return True
        return False

    def has_its_share(self, key: Hashable) -> bool:
        """Whether the key holds as many slots as it may, so that its callers wait for each other."""
        return key is not None and self._held.get(key, 0) >= self._share

    def _queue_again(self, key: Hashable, queue: deque[asyncio.Future[T | None]]) -> None:
        """Puts the other callers of a key that was served behind those of all other keys."""
        if queue:
            (self._blocked if self.has_its_share(key) else self._ready)[key] = queue

    def _forget(self, key: Hashable, future: asyncio.Future[T | None]) -> None:
        """Removes a caller that waits no longer."""
        for waiting in (self._ready, self._blocked):
            queue = waiting.get(key)
            if queue is not None and future in queue:
                queue.remove(future)
                if not queue:
                    del waiting[key]


async def wait_for_connection(slots: FairSlots[T], key: Hashable, timeout: float) -> T | None:  # noqa: ASYNC109 (as above)
    """:meth:`FairSlots.wait` for a database connection, with errors for clients.

    RateLimited if the viewer's own operations hold the viewer's share, ServiceUnavailable if all are in use.
    """
    try:
        return await slots.wait(key, timeout)
    except (TimeoutError, QueueFull):
        if slots.has_its_share(key):
            raise RateLimited(1, "Too many of your operations use the database at the same time.") from None
        raise ServiceUnavailable("All database connections are in use. Try again in a moment.") from None


def _expire(future: "asyncio.Future[T | None]") -> None:
    if not future.done():
        future.set_exception(TimeoutError())
