"""How processes hear of each other's events: through Redis if there is one, else as the database can."""

from collections.abc import AsyncIterator
from typing import Any

from gateway.settings import Settings
from repositories.aggregates.event_store import CHANNEL
from repositories.core.errors import ServiceUnavailable
from repositories.engines.announcements import Announcements, PostgresAnnouncements
from repositories.engines.database import Database

_PATIENCE = 1.0
_PING = 5.0
"""Seconds after which a line that is silent is tried."""


class RedisAnnouncements:
    """Redis' pub/sub."""

    def __init__(self, url: str) -> None:
        from redis import asyncio as redis  # noqa: PLC0415 (loaded only where Redis is used)
        from redis.exceptions import RedisError  # noqa: PLC0415 (as above)

        self._client = redis.from_url(
            url,
            socket_connect_timeout=_PATIENCE,
            socket_timeout=_PATIENCE,
            health_check_interval=_PING,
        )
        self._failures = (RedisError, OSError)

    async def tell(self, origin: str) -> None:
        """Publishes it; who does not hear it finds the events a moment later."""
        try:
            await self._client.publish(CHANNEL, origin)
        except self._failures as error:
            raise ServiceUnavailable from error

    async def heard(self) -> AsyncIterator[str]:
        """The origins that were published."""
        try:
            async with self._client.pubsub() as line:
                await line.subscribe(CHANNEL)
                while True:
                    message: dict[str, Any] | None = await line.get_message(timeout=_PING)
                    if message is not None and message["type"] == "subscribe":
                        yield ""
                    elif message is not None and message["type"] == "message":
                        yield message["data"].decode(errors="replace")  # others may write here too
        except self._failures as error:
            raise ServiceUnavailable from error

    async def close(self) -> None:
        """Gives the connections back."""
        await self._client.aclose()


def announcements(settings: Settings, database: Database) -> Announcements | None:
    """The line between processes under these settings; None if there is none, so that the store is looked at."""
    if settings.redis_url is not None:
        return RedisAnnouncements(settings.redis_url.get_secret_value())
    if database.announces and not database.options.pgbouncer:
        return PostgresAnnouncements(database.options, CHANNEL)
    return None
