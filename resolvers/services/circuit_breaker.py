"""A circuit breaker around each store that processes share, such as Redis, and a log of outages.

The gateway works without these stores, so an unavailable store must not delay requests.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from repositories.core.background_tasks import end_tasks

T = TypeVar("T")

log = logging.getLogger(__name__)

TIMEOUT = 1.0
"""Seconds after which a call to a store counts as failed."""
RETRY_INTERVAL = 1.0
"""Seconds between two attempts to reach an unavailable store."""


class OutageLog:
    """Logs once when ``name`` becomes unavailable, with the ``consequence``, and once when it is available again."""

    def __init__(self, name: str, consequence: str) -> None:
        self._name = name
        self._consequence = consequence
        self._is_unavailable = False

    def record_failure(self, error: BaseException) -> None:
        if not self._is_unavailable:
            self._is_unavailable = True
            log.warning("%s is unavailable (%s): %s.", self._name, type(error).__name__, self._consequence)

    def record_success(self) -> None:
        if self._is_unavailable:
            self._is_unavailable = False
            log.warning("%s is available again.", self._name)


class CircuitBreaker:
    """Calls a store. After a failed call, all calls return None at once until the store can be reached again.

    A call fails if it takes longer than TIMEOUT, or raises OSError or one of ``failures``; other exceptions pass
    through. A background task then calls ``probe`` every RETRY_INTERVAL seconds. ``probe`` reconnects and raises one of
    ``failures`` if the store cannot be reached. ``on_recovery`` runs after a successful probe and must succeed too
    before the store is called again; it may use the store without the circuit breaker.

    ``name`` and ``consequence`` are for the log (see OutageLog).
    """

    def __init__(
        self,
        name: str,
        consequence: str,
        failures: type[Exception] | tuple[type[Exception], ...],
        probe: Callable[[], Awaitable[object]],
        on_recovery: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self.failures = 0
        """The number of calls that failed. Calls that were not made because the store was unavailable do not count."""
        self._name = name
        self._outages = OutageLog(name, consequence)
        several = failures if isinstance(failures, tuple) else (failures,)
        self._failures: tuple[type[Exception], ...] = (OSError, *several)
        self._probe = probe
        self._on_recovery = on_recovery
        self.is_available = True
        self._is_closed = False
        self._recovery: asyncio.Task[None] | None = None

    async def call(self, operation: Callable[[], Awaitable[T]]) -> T | None:
        """The result of ``operation``, or None if it failed or if the store is unavailable."""
        if not self.is_available:
            return None
        try:
            async with asyncio.timeout(TIMEOUT):
                return await operation()
        except self._failures as error:
            self.failures += 1
            self._open(error)
            return None

    async def close(self) -> None:
        """Stops the background task. The store itself is closed by its owner."""
        self._is_closed = True
        if self._recovery is not None:
            await end_tasks([self._recovery])

    def _open(self, error: Exception) -> None:
        """Makes further calls return at once. Concurrent calls may fail together; they share one background task."""
        self._outages.record_failure(error)
        self.is_available = False
        if self._recovery is None and not self._is_closed:
            self._recovery = asyncio.ensure_future(self._recover())

    async def _recover(self) -> None:
        while not self.is_available:
            await asyncio.sleep(RETRY_INTERVAL)
            try:
                async with asyncio.timeout(TIMEOUT):
                    await self._probe()
                if self._on_recovery is not None:
                    async with asyncio.timeout(TIMEOUT):
                        await self._on_recovery()
            except self._failures:
                continue
            except Exception:
                log.exception("%s cannot be used again because of a programming error; retrying.", self._name)
                continue
            # Nothing is awaited between the end of `on_recovery` and here, so it has seen every call that failed.
            self.is_available = True
            self._recovery = None
            self._outages.record_success()
