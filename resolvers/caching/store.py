"""The store of cache entries: bytes by key, in this process or in Redis, through the library cashews.

Entries in Redis are signed with a key that only the gateway has, and are never unpickled. cashews' own signatures are
not used: they let the writer of an entry choose the algorithm, and one of its algorithms adds up bytes.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from cashews.backends.interface import Backend
from cashews.backends.memory import Memory
from cashews.backends.redis import Redis
from cashews.exceptions import CacheError, SignIsMissingError
from cashews.serialize import Serializer, Signer
from redis.exceptions import RedisError

from resolvers.services.circuit_breaker import TIMEOUT, CircuitBreaker
from resolvers.services.redis_client import redis_options

T = TypeVar("T")

_FAILURES = (CacheError, RedisError)


class Signatures(Signer):
    """HMAC-SHA256 over the key and the value, in front of the value."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, key: str, value: bytes) -> bytes:
        return self._signature(key, value) + value

    def check_sign(self, key: str, value: bytes) -> bytes:
        """The value without its signature. A value without a valid signature counts as missing."""
        size = hashlib.sha256().digest_size
        if not hmac.compare_digest(value[:size], self._signature(key, value[size:])):
            raise SignIsMissingError
        return value[size:]

    def _signature(self, key: str, value: bytes) -> bytes:
        return hmac.digest(self._secret, b"%b\0%b" % (key.encode(), value), "sha256")


class _Redis(Redis):
    async def close(self) -> None:
        """Closes the connections. cashews' own method calls one that redis-py has deprecated."""
        if self.is_init:
            self._sha.clear()  # registered scripts hold on to the connections they were registered with
            client: Any = self._client
            await client.connection_pool.disconnect()


class CacheStore:
    """A cashews backend. ``name`` is shown to administrators.

    A store that ``is_shared`` with other processes may be unavailable: then every call returns None at once.
    """

    def __init__(self, backend: Backend, name: str, *, is_shared: bool) -> None:
        self.name = name
        self.is_shared = is_shared
        self._backend: Any = backend  # some of cashews' methods have no types
        self._missed_writes: dict[str, bytes] = {}
        self._breaker = (
            CircuitBreaker("Redis (cache)", "nothing is cached", _FAILURES, self._reconnect, self._write_missed)
            if is_shared
            else None
        )

    @property
    def failures(self) -> int:
        """The number of calls that failed since the process started."""
        return self._breaker.failures if self._breaker else 0

    async def get(self, keys: Sequence[str]) -> list[bytes | None] | None:
        """The values in one round trip; None for each key that is missing or whose value has no valid signature."""
        values: tuple[Any, ...] | None = await self._call(lambda: self._backend.get_many(*keys))
        return None if values is None else [value if type(value) is bytes else None for value in values]

    async def put(self, values: Mapping[str, bytes], lifetime: float | None) -> bool | None:
        """Stores values for ``lifetime`` seconds, in one round trip."""
        return await self._call(lambda: _true(self._backend.set_many(values, lifetime)))

    async def add(self, key: str, value: bytes, lifetime: float | None) -> bool | None:
        """Stores a value for ``lifetime`` seconds unless the key exists. Returns whether it was stored."""
        return await self._call(lambda: self._backend.set(key, value, expire=lifetime, exist=False))

    async def lock(self, key: str, holder: str, lifetime: float) -> bool | None:
        """Tries to take the lock for ``lifetime`` seconds. Returns whether ``holder`` has it now."""
        return await self._call(lambda: self._backend.set_lock(key, holder, lifetime))

    async def unlock(self, key: str, holder: str) -> None:
        """Releases the lock if ``holder`` still has it."""
        await self._call(lambda: _true(self._backend.unlock(key, holder)))

    def put_on_recovery(self, values: Mapping[str, bytes]) -> None:
        """Stores values, without a lifetime, before the unavailable store is used again."""
        self._missed_writes = {**self._missed_writes, **values}

    async def close(self) -> None:
        if self._breaker is not None:
            await self._breaker.close()
        with suppress(OSError, *_FAILURES):
            async with asyncio.timeout(TIMEOUT):
                await self._backend.close()

    async def _call(self, operation: Callable[[], Awaitable[T]]) -> T | None:
        async def run() -> T:
            if not self._backend.is_init:
                await self._backend.init()
            return await operation()

        return await (self._breaker.call(run) if self._breaker is not None else run())

    async def _reconnect(self) -> None:
        await self._backend.close()
        await self._backend.init()
        await self._backend.ping()

    async def _write_missed(self) -> None:
        while missed := self._missed_writes:
            await self._backend.set_many(missed)
            if missed is self._missed_writes:
                self._missed_writes = {}


async def _true(operation: Awaitable[object]) -> bool:
    """Returns True, because None means that the store is unavailable."""
    await operation
    return True


def memory_store(entries: int) -> CacheStore:
    """The memory of this process, for at most ``entries`` values and versions. The least recently used are evicted."""
    return CacheStore(Memory(size=entries, check_interval=0), "memory", is_shared=False)


def redis_store(url: str, secret: bytes) -> CacheStore:
    """A Redis that all processes share. Values are signed with ``secret``."""
    serializer = Serializer()  # type: ignore[no-untyped-call]
    serializer.set_signer(Signatures(secret))
    backend = _Redis(
        url,
        suppress=False,
        serializer=serializer,
        client_name="siso-cache",
        max_connections=32,
        **redis_options(),
    )
    return CacheStore(backend, "redis", is_shared=True)
