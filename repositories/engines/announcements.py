"""Hearing that events were committed, by this process or another; what they are is read from the store.

An announcement may be lost, for nobody keeps it: who listens reads the store from where it was (resolvers/streaming/feed.py).
"""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any, Protocol

import asyncpg

from repositories.core.errors import ServiceUnavailable
from repositories.engines.database import DatabaseOptions


class Announcements(Protocol):
    """The line between processes."""

    async def tell(self, origin: str) -> None:
        """Says that the process called ``origin`` has committed events; ServiceUnavailable if nobody can be told."""
        ...

    def heard(self) -> AsyncIterator[str]:
        """The origins of announcements. The first item, "", says that it listens; ServiceUnavailable ends it."""
        ...

    async def close(self) -> None:
        """Gives back what it holds."""
        ...


class PostgresAnnouncements:
    """PostgreSQL's NOTIFY, which the transactions send themselves, heard by a connection of its own."""

    def __init__(self, options: DatabaseOptions, channel: str) -> None:
        self._url = re.sub(r"^postgresql\+asyncpg:", "postgresql:", options.service_url or options.url or "")
        self._timeout = options.connect_timeout
        self._channel = channel

    async def tell(self, origin: str) -> None:
        """Nothing: the transaction has told everybody."""

    async def heard(self) -> AsyncIterator[str]:
        """The origins of notifications."""
        said: asyncio.Queue[str | None] = asyncio.Queue()
        settings = {"application_name": "siso-gateway events"}
        try:
            connection: Any = await asyncpg.connect(self._url, timeout=self._timeout, server_settings=settings)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            raise ServiceUnavailable from error
        try:
            connection.add_termination_listener(lambda _: said.put_nowait(None))
            await connection.add_listener(
                self._channel, lambda _connection, _pid, _channel, text: said.put_nowait(text)
            )
            yield ""
            while (origin := await said.get()) is not None:
                yield origin
            raise ServiceUnavailable
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise ServiceUnavailable from error
        finally:
            connection.terminate()

    async def close(self) -> None:
        """Nothing: the connection ends with who listens."""
