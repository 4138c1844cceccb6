"""Announcements between processes that events were committed. The events themselves are read from the event store.

Announcements can be lost, because they are not stored. Listeners therefore also poll the event store
(resolvers/streaming/feed.py).
"""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any, Protocol

import asyncpg

from repositories.core.errors import ServiceUnavailable
from repositories.engines.database import DatabaseOptions


class Announcements(Protocol):
    """A channel between processes. Each message is the ``Database.process_id`` of the process that committed events."""

    async def publish(self, process_id: str) -> None:
        """Announces that the process has committed events. The announcement may be lost."""
        ...

    def listen(self) -> AsyncIterator[str]:
        """Yields "" once the subscription is active, then the process id of each announcement.

        Raises ServiceUnavailable if the channel is or becomes unreachable.
        """
        ...

    async def close(self) -> None: ...


class PostgresAnnouncements:
    """PostgreSQL's NOTIFY, which the transactions send, and LISTEN on a separate connection."""

    def __init__(self, options: DatabaseOptions, channel: str) -> None:
        self._url = re.sub(r"^postgresql\+asyncpg:", "postgresql:", options.service_url or options.url or "")
        self._timeout = options.connect_timeout
        self._channel = channel

    async def publish(self, process_id: str) -> None:
        """Does nothing, because the transaction has already sent the notification (EventStore.announce)."""

    async def listen(self) -> AsyncIterator[str]:
        """Yields the payloads of the notifications."""
        payloads: asyncio.Queue[str | None] = asyncio.Queue()
        settings = {"application_name": "siso-gateway events"}
        try:
            connection: Any = await asyncpg.connect(self._url, timeout=self._timeout, server_settings=settings)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            raise ServiceUnavailable from error
        try:
            connection.add_termination_listener(lambda _: payloads.put_nowait(None))
            await connection.add_listener(
                self._channel, lambda _connection, _pid, _channel, payload: payloads.put_nowait(payload)
            )
            yield ""
            while (payload := await payloads.get()) is not None:
                yield payload
            raise ServiceUnavailable
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise ServiceUnavailable from error
        finally:
            connection.terminate()

    async def close(self) -> None:
        """Does nothing, because :meth:`listen` closes its connection itself."""
