"""Automatic persisted queries, Apollo's protocol: a client sends the SHA-256 of a document instead of its text.

A text is stored after it was parsed and validated, so clients cannot fill the store with anything else. What a store
holds is limited in bytes, in all and for each client.
"""

import hashlib
import re
from collections import Counter, OrderedDict
from collections.abc import Mapping
from typing import Any, Protocol

from gateway.execution.request_errors import RequestError

_HASH = re.compile(r"[0-9a-f]{64}")
_ENTRY_SIZE = 300
"""Bytes of a stored text without its characters."""
SHARES = 4
"""One client may use a fourth of a store."""


class PersistedQueryStore(Protocol):
    """Texts by their SHA-256. ``client`` tells apart who stored a text."""

    async def get(self, key: str) -> str | None: ...

    async def put(self, key: str, text: str, client: str) -> None: ...


class MemoryQueryStore:
    """The texts of this process, at most ``size`` bytes. A client's least recently used texts are dropped first."""

    def __init__(self, size: int = 8_000_000) -> None:
        self._size = size
        self._texts: OrderedDict[str, tuple[str, str, int]] = OrderedDict()
        """The text, the client that stored it, and the size, by key."""
        self._used: Counter[str] = Counter()

    async def get(self, key: str) -> str | None:
        entry = self._texts.get(key)
        if entry is None:
            return None
        self._texts.move_to_end(key)
        return entry[0]

    async def put(self, key: str, text: str, client: str) -> None:
        size = stored_size(text)
        if key in self._texts or size > self._size // SHARES:
            return
        while self._used[client] + size > self._size // SHARES:
            self._drop(next(each for each, (_, owner, _) in self._texts.items() if owner == client))
        while self._used.total() + size > self._size:
            self._drop(next(iter(self._texts)))
        self._texts[key] = text, client, size
        self._used[client] += size

    def _drop(self, key: str) -> None:
        _, client, size = self._texts.pop(key)
        self._used[client] -= size
        if not self._used[client]:
            del self._used[client]


def stored_size(text: str) -> int:
    """The bytes that a stored text counts as."""
    return len(text.encode()) + _ENTRY_SIZE


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class PersistedQueries:
    """Persisted queries in several stores, the fastest first. Without a store, every request must send its text."""

    def __init__(self, *stores: PersistedQueryStore) -> None:
        self._stores = stores

    async def resolve(self, query: str | None, extensions: Mapping[str, Any], client: str) -> str:
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
                    await faster.put(key, text, client)
                return text
        raise RequestError.of("PersistedQueryNotFound", "PERSISTED_QUERY_NOT_FOUND")

    async def store(self, query: str, extensions: Mapping[str, Any], client: str) -> None:
        """Stores a text if the request has its hash."""
        key = self._key(extensions)
        if key is not None:
            for store in self._stores:
                await store.put(key, query, client)

    def _key(self, extensions: Mapping[str, Any]) -> str | None:
        extension = extensions.get("persistedQuery")
        if extension is None:
            return None
        key = extension.get("sha256Hash") if isinstance(extension, dict) else None
        if not isinstance(key, str) or not _HASH.fullmatch(key) or extension.get("version") != 1:
            message = "`extensions.persistedQuery` must have `version` 1 and `sha256Hash`, 64 hexadecimal digits."
            raise RequestError.of(message, "BAD_REQUEST")
        return key
