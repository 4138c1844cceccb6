"""Automatic persisted queries, Apollo's protocol: a client sends the SHA-256 of a document instead of its text.

A document is kept once it has been prepared, so that nobody fills the store with nonsense.
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
    """Texts by their hash."""

    async def get(self, key: str) -> str | None:
        """The text, if it is known."""
        ...

    async def put(self, key: str, text: str) -> None:
        """Keeps a text."""
        ...


class MemoryQueryStore:
    """Texts of this process, up to so many characters; the least recently used go."""

    def __init__(self, size: int = 2_000_000) -> None:
        self._size = size
        self._length = 0
        self._texts: OrderedDict[str, str] = OrderedDict()

    async def get(self, key: str) -> str | None:
        """The text, if it is known."""
        text = self._texts.get(key)
        if text is not None:
            self._texts.move_to_end(key)
        return text

    async def put(self, key: str, text: str) -> None:
        """Keeps a text."""
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
        """The text, if it is known. Extends its lifetime."""
        text: str | None = await self._breaker.call(lambda: self._client.getex(_name(key), ex=self._lifetime))
        return text if text is not None and digest(text) == key else None

    async def put(self, key: str, text: str) -> None:
        await self._breaker.call(lambda: self._client.set(_name(key), text, ex=self._lifetime))

    async def close(self) -> None:
        await self._breaker.close()
        await self._client.aclose()


def _name(key: str) -> str:
    return f"siso:persisted:{key}"


def digest(text: str) -> str:
    """The hash by which a text is known."""
    return hashlib.sha256(text.encode()).hexdigest()


class PersistedQueries:
    """The protocol over stores, which are asked in their order."""

    def __init__(self, *stores: PersistedQueryStore) -> None:
        self._stores = stores

    async def text(self, query: str | None, extensions: Mapping[str, Any]) -> str:
        """The text of a request: its own, or the one that its hash names."""
        key = self._key(extensions)
        if query is not None:
            if key is not None and digest(query) != key:
                message = "The query has another SHA-256 than `extensions.persistedQuery.sha256Hash` says."
                raise RequestError.of(message, "PERSISTED_QUERY_HASH_MISMATCH")
            return query
        if key is None or not self._stores:
            raise RequestError.of("PersistedQueryNotSupported", "PERSISTED_QUERY_NOT_SUPPORTED")
        for index, store in enumerate(self._stores):
            found = await store.get(key)
            if found is not None:
                for nearer in self._stores[:index]:
                    await nearer.put(key, found)
                return found
        raise RequestError.of("PersistedQueryNotFound", "PERSISTED_QUERY_NOT_FOUND")

    async def keep(self, query: str, extensions: Mapping[str, Any]) -> None:
        """Keeps a text that came with its hash."""
        key = self._key(extensions)
        if key is not None:
            for store in self._stores:
                await store.put(key, query)

    def _key(self, extensions: Mapping[str, Any]) -> str | None:
        given = extensions.get("persistedQuery")
        if given is None:
            return None
        key = given.get("sha256Hash") if isinstance(given, dict) else None
        if not isinstance(key, str) or not _HASH.fullmatch(key) or given.get("version") != 1:
            message = "`extensions.persistedQuery` must have `version` 1 and `sha256Hash`, 64 hexadecimal digits."
            raise RequestError.of(message, "BAD_REQUEST")
        return key


NOT_KEPT = PersistedQueries()
"""Every request brings its text."""
