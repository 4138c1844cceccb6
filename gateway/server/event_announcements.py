"""Chooses how processes announce events to each other: Redis if it is configured, otherwise PostgreSQL's NOTIFY."""

from collections.abc import AsyncIterator
from typing import Any

from gateway.settings import Settings
from repositories.aggregates.event_store import CHANNEL
from repositories.core.errors import ServiceUnavailable
from repositories.engines.announcements import Announcements, PostgresAnnouncements
from repositories.engines.database import Database
from resolvers.services.circuit_breaker import CircuitBreaker
from resolvers.services.redis_client import redis_client

_HEALTH_CHECK_INTERVAL = 5.0
"""Seconds without a message after which the subscription's connection is checked with a PING."""


class RedisAnnouncements:
    """Redis pub/sub."""

    def __init__(self, url: str) -> None:
        from redis.exceptions import RedisError  # noqa: PLC0415 (loaded only where Redis is used)

        self._client = redis_client(url, health_check_interval=_HEALTH_CHECK_INTERVAL)
        self._connection_errors = (RedisError, OSError)
        self._breaker = CircuitBreaker(
            "Redis (announcements of events)",
            "other processes find the events of this process by polling",
            RedisError,
            self._client.ping,
        )

    async def publish(self, process_id: str) -> None:
        await self._breaker.call(lambda: self._client.publish(CHANNEL, process_id))

    async def listen(self) -> AsyncIterator[str]:
        try:
            async with self._client.pubsub() as subscription:
                await subscription.subscribe(CHANNEL)
                while True:
                    message: dict[str, Any] | None = await subscription.get_message(timeout=_HEALTH_CHECK_INTERVAL)
                    if message is not None and message["type"] == "subscribe":
                        yield ""
                    elif message is not None and message["type"] == "message":
                        yield message["data"].decode(errors="replace")  # other clients may publish arbitrary bytes
        except self._connection_errors as error:
            raise ServiceUnavailable from error

    async def close(self) -> None:
        await self._breaker.close()
        await self._client.aclose()


def open_announcements(settings: Settings, database: Database) -> Announcements | None:
    """Returns the channel for these settings, or None if there is none, so that processes only poll the event store."""
    if settings.redis_url is not None:
        return RedisAnnouncements(settings.redis_url.get_secret_value())
    if database.announces_events and not database.options.pgbouncer:
        return PostgresAnnouncements(database.options, CHANNEL)
    return None
