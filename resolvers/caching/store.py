"""The store of cache entries: bytes by key, in this process or in Redis, through the library cashews.

Entries in Redis are signed with a key that only the gateway has, and are never unpickled. cashews' own signatures are
not used: they let the writer of an entry choose the algorithm, and one of its algorithms adds up bytes.
"""

import asyncio
import hashlib
import hmac
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from cashews.backends.interface import Backend
from cashews.backends.redis import Redis
from cashews.exceptions import CacheError, SignIsMissingError
from cashews.serialize import Serializer, Signer
from redis.exceptions import RedisError

from repositories.core.byte_budget import BoundedCache
from resolvers.services.circuit_breaker import TIMEOUT, CircuitBreaker
from resolvers.services.redis_client import redis_options

T = TypeVar("T")

_FAILURES = (CacheError, RedisError)
_VALUE_SIZE = 200
"""Bytes of a key, a value and the time at which it expires, without their characters."""


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


class _Memory:
    """Values in the memory of this process, within the budget of the caches whose keys come from clients."""

    is_init = True

    def __init__(self) -> None:
        self._values: BoundedCache[str, tuple[float, bytes]] = BoundedCache()

    def _get(self, key: str) -> bytes | None:
        expires_at, value = self._values.get(key) or (0.0, None)
        return value if expires_at > time.monotonic() else None

    def _set(self, key: str, value: bytes, expire: float | None) -> None:
        expires_at = math.inf if expire is None else time.monotonic() + expire
        value = bytes(memoryview(value))  # a copy, because orjson allocates up to five times what it returns
        self._values.put(key, (expires_at, value), len(key) + len(value) + _VALUE_SIZE)

    async def get_many(self, *keys: str) -> tuple[bytes | None, ...]:
        return tuple(map(self._get, keys))

    async def set_many(self, values: Mapping[str, bytes], expire: float | None) -> None:
        for key, value in values.items():
            self._set(key, value, expire)

    async def set(self, key: str, value: bytes, expire: float | None, *, exist: bool) -> bool:
        if (self._get(key) is not None) is not exist:
            return False
        self._set(key, value, expire)
        return True

    async def close(self) -> None:
        self._values.clear()


class CacheStore:
    """A cashews backend. ``name`` is shown to administrators.

    A store that ``is_shared`` with other processes may be unavailable: then every call returns None at once.
    """

    def __init__(self, backend: "Backend | _Memory", name: str, *, is_shared: bool) -> None:
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


def memory_store() -> CacheStore:
    """The memory of this process."""
    return CacheStore(_Memory(), "memory", is_shared=False)


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
