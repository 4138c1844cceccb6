"""Automatic persisted queries, Apollo's protocol: a client sends the SHA-256 of a document instead of its text.

A text is stored after it was parsed and validated, so clients cannot fill the store with anything else.
"""

import hashlib
import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Protocol

from gateway.execution.request_errors import RequestError
from resolvers.services.circuit_breaker import CircuitBreaker
from resolvers.services.redis_client import redis_client

_HASH = re.compile(r"[0-9a-f]{64}")


class PersistedQueryStore(Protocol):
    """Texts by their SHA-256."""

    async def get(self, key: str) -> str | None: ...

    async def put(self, key: str, text: str) -> None: ...


class MemoryQueryStore:
    """The texts of this process, with at most ``size`` characters in all; the least recently used are dropped."""

    def __init__(self, size: int = 2_000_000) -> None:
        self._size = size
        self._length = 0
        self._texts: OrderedDict[str, str] = OrderedDict()

    async def get(self, key: str) -> str | None:
        text = self._texts.get(key)
        if text is not None:
            self._texts.move_to_end(key)
        return text

    async def put(self, key: str, text: str) -> None:
        if key not in self._texts:
            self._texts[key] = text
            self._length += len(text)
            while self._length > self._size:
                self._length -= len(self._texts.popitem(last=False)[1])


class RedisQueryStore:
    """Texts of all processes, each for ``lifetime`` seconds. While Redis is unavailable, it contains nothing."""

    def __init__(self, url: str, lifetime: int) -> None:
        from redis.exceptions import RedisError  # noqa: PLC0415 (loaded only where Redis is used)

        self._client = redis_client(url, decode_responses=True)
        self._lifetime = lifetime
        self._breaker = CircuitBreaker(
            "Redis (persisted queries)",
            "each process knows only the persisted queries that it has received itself",
            RedisError,
            self._client.ping,
        )

    async def get(self, key: str) -> str | None:
        """The text, if it is stored. Its lifetime starts again."""
        text: str | None = await self._breaker.call(lambda: self._client.getex(_name(key), ex=self._lifetime))
        return text if text is not None and sha256(text) == key else None

    async def put(self, key: str, text: str) -> None:
        await self._breaker.call(lambda: self._client.set(_name(key), text, ex=self._lifetime))

    async def close(self) -> None:
        await self._breaker.close()
        await self._client.aclose()


def _name(key: str) -> str:
    return f"siso:persisted:{key}"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class PersistedQueries:
    """Persisted queries in several stores, the fastest first. Without a store, every request must send its text."""

    def __init__(self, *stores: PersistedQueryStore) -> None:
        self._stores = stores

    async def resolve(self, query: str | None, extensions: Mapping[str, Any]) -> str:
        """The text of a request: its own, or the stored one with its hash."""
        key = self._key(extensions)
        if query is not None:
            if key is not None and sha256(query) != key:
                message = "`extensions.persistedQuery.sha256Hash` is not the SHA-256 of the query."
                raise RequestError.of(message, "PERSISTED_QUERY_HASH_MISMATCH")
            return query
        if key is None or not self._stores:
            raise RequestError.of("PersistedQueryNotSupported", "PERSISTED_QUERY_NOT_SUPPORTED")
        for index, store in enumerate(self._stores):
            text = await store.get(key)
            if text is not None:
                for faster in self._stores[:index]:
                    await faster.put(key, text)
                return text
        raise RequestError.of("PersistedQueryNotFound", "PERSISTED_QUERY_NOT_FOUND")

    async def store(self, query: str, extensions: Mapping[str, Any]) -> None:
        """Stores a text if the request has its hash."""
        key = self._key(extensions)
        if key is not None:
            for store in self._stores:
                await store.put(key, query)

    def _key(self, extensions: Mapping[str, Any]) -> str | None:
        extension = extensions.get("persistedQuery")
        if extension is None:
            return None
        key = extension.get("sha256Hash") if isinstance(extension, dict) else None
        if not isinstance(key, str) or not _HASH.fullmatch(key) or extension.get("version") != 1:
            message = "`extensions.persistedQuery` must have `version` 1 and `sha256Hash`, 64 hexadecimal digits."
            raise RequestError.of(message, "BAD_REQUEST")
        return key
