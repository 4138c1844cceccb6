"""Where cached values are kept: bytes by name, in this process or in Redis, through cashews.

What is read from Redis is signed by a key that only the gateway has, and is bytes: nothing is unpickled. cashews' own
signatures are not used, because whoever writes a value there may choose the algorithm, one of which adds up bytes.
"""

import asyncio
import hashlib
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from cashews.backends.interface import Backend
from cashews.backends.memory import Memory
from cashews.backends.redis import Redis
from cashews.exceptions import CacheError, SignIsMissingError
from cashews.serialize import Serializer, Signer
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

T = TypeVar("T")

log = logging.getLogger(__name__)

PATIENCE = 1.0
"""Seconds after which a Redis that does not answer counts as gone, whatever the reason."""
_SOCKET = 0.3
"""Seconds for one step, so that the client gives up, and tidies up, before it is cut short."""
PAUSE = 2.0
"""Seconds until a Redis that was gone is tried again."""
_FAILURES = (CacheError, RedisError, OSError)


class Signatures(Signer):
    """HMAC-SHA256 over the name and the value, in front of the value."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, key: str, value: bytes) -> bytes:
        """The signed value."""
        return self._signature(key, value) + value

    def check_sign(self, key: str, value: bytes) -> bytes:
        """The value; one without a valid signature counts as not there."""
        size = hashlib.sha256().digest_size
        if not hmac.compare_digest(value[:size], self._signature(key, value[size:])):
            raise SignIsMissingError
        return value[size:]

    def _signature(self, key: str, value: bytes) -> bytes:
        return hmac.digest(self._secret, b"%b\0%b" % (key.encode(), value), "sha256")


class _Redis(Redis):
    async def close(self) -> None:
        """Closes the connections by the client's own way of today, which cashews does not know."""
        if self.is_init:
            self._sha.clear()  # scripts go on using the connections they were registered with
            client: Any = self._client
            await client.connection_pool.disconnect()


class CacheStore:
    """A cashews backend that may go and come back.

    While it is gone every call answers None at once. It is tried again after a moment, by nobody who waits for it.
    """

    def __init__(self, backend: Backend, name: str, *, is_shared: bool, pause: float = PAUSE) -> None:
        """``name`` is for people; a store that ``is_shared`` is one that other processes use too."""
        self.name = name
        self.is_shared = is_shared
        self.failures = 0
        self._backend = backend
        self._init: Callable[[], Awaitable[None]] = backend.init
        self._pause = pause
        self._retry_at: float | None = None
        self._returning: asyncio.Task[None] | None = None
        self._missed: dict[str, bytes] = {}

    async def get(self, names: Sequence[str]) -> list[bytes | None] | None:
        """The values in one round trip; None for each that is not there or that nobody here has signed."""
        found = await self._ask(lambda: self._backend.get_many(*names))
        return None if found is None else [value if type(value) is bytes else None for value in found]

    async def put(self, values: Mapping[str, bytes], lifetime: float | None) -> bool | None:
        """Keeps values for so many seconds, all of them at once."""
        return await self._ask(lambda: _done(self._backend.set_many(values, lifetime)))

    async def add(self, name: str, value: bytes, lifetime: float | None) -> bool | None:
        """Keeps a value for so many seconds, unless there is one; whether there was none."""
        return await self._ask(lambda: self._backend.set(name, value, expire=lifetime, exist=False))

    async def lock(self, name: str, holder: str, lifetime: float) -> bool | None:
        """Whether the lock is the holder's now, for at most so many seconds."""
        return await self._ask(lambda: self._backend.set_lock(name, holder, lifetime))

    async def unlock(self, name: str, holder: str) -> None:
        """Gives the lock back, if it is still the holder's."""
        await self._ask(lambda: _done(self._backend.unlock(name, holder)))

    def catch_up(self, values: dict[str, bytes]) -> None:
        """What to keep before anything else is asked again of a store that is gone."""
        self._missed = self._missed | values

    async def close(self) -> None:
        """Gives the connections back."""
        if self._returning is not None:
            self._returning.cancel()
            await asyncio.wait((self._returning,))
        with suppress(*_FAILURES):
            await self._called(self._backend.close)

    async def _ask(self, call: Callable[[], Awaitable[T]]) -> T | None:
        if self._retry_at is not None:
            if self._returning is None and time.monotonic() >= self._retry_at:
                self._returning = asyncio.ensure_future(self._return())
            return None
        try:
            return await self._called(call)
        except _FAILURES as error:
            self.failures += 1
            if self._retry_at is None:
                log.warning("Redis cannot be used (%s): nothing is cached meanwhile.", type(error).__name__)
            self._retry_at = time.monotonic() + self._pause
            return None

    async def _called(self, call: Callable[[], Awaitable[T]]) -> T:
        async with asyncio.timeout(PATIENCE if self.is_shared else None):
            if not self._backend.is_init:
                await self._init()
            return await call()

    async def _return(self) -> None:
        """Tries it again, on new connections."""
        try:
            await self._called(self._backend.close)
            await self._called(self._init)
            await self._called(self._backend.ping)
            while missed := self._missed:
                await self._called(partial(self._backend.set_many, missed))
                if missed == self._missed:
                    self._missed = {}
        except _FAILURES:
            self._retry_at = time.monotonic() + self._pause
        else:
            self._retry_at = None
            log.warning("Redis can be used again for the cache.")
        finally:
            self._returning = None


async def _done(call: Awaitable[object]) -> bool:
    await call
    return True


def memory_store(entries: int) -> CacheStore:
    """This process's memory, for so many values and versions; those that were not used for longest go."""
    return CacheStore(Memory(size=entries, check_interval=0), "memory", is_shared=False)


def redis_store(url: str, secret: bytes, *, pause: float = PAUSE) -> CacheStore:
    """A Redis that all processes share, whose values are signed with ``secret``.

    Nothing is sent twice: a version that arrives again, late, would make what is stale look fresh.
    """
    serializer = Serializer()  # type: ignore[no-untyped-call]
    serializer.set_signer(Signatures(secret))
    backend = _Redis(
        url,
        suppress=False,
        serializer=serializer,
        client_name="siso-cache",
        retry=Retry(NoBackoff(), 0),
        socket_timeout=_SOCKET,
        socket_connect_timeout=_SOCKET,
        max_connections=32,
    )
    return CacheStore(backend, "redis", is_shared=True, pause=pause)
