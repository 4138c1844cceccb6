"""Persisted queries in Redis, shared by all processes and limited in bytes."""

import hashlib
import time

from gateway.execution.persisted import SHARES, sha256, stored_size
from resolvers.services.circuit_breaker import CircuitBreaker
from resolvers.services.redis_client import redis_client

_PREFIX = "siso:persisted:"

_KEYS = """
local texts, owners, uses, bytes = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local function uses_of(client) return uses .. ':' .. client end
local function renew(client, lifetime)
    for _, name in ipairs({texts, owners, uses, bytes, uses_of(client)}) do redis.call('EXPIRE', name, lifetime) end
end
"""
"""``texts`` and ``owners`` (size and client) are hashes by key, ``bytes`` a hash by client, and ``uses`` sorted sets of
keys by the time of their last use: one of all keys, and one for each client."""

_GET = (
    _KEYS
    + """
local text = redis.call('HGET', texts, ARGV[1])
if text then
    redis.call('ZADD', uses, 'XX', ARGV[2], ARGV[1])
    local owner = redis.call('HGET', owners, ARGV[1])
    local client = owner and owner:match(' (.*)$')
    if client then
        redis.call('ZADD', uses_of(client), 'XX', ARGV[2], ARGV[1])
        renew(client, ARGV[3])
    end
end
return text
"""
)
_PUT = (
    _KEYS
    + """
local key, text, client, size = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local now, lifetime, limit, share = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local function used(name) return tonumber(redis.call('HGET', bytes, name) or 0) end
local function drop(old)
    local owner = redis.call('HGET', owners, old)
    redis.call('HDEL', texts, old)
    redis.call('HDEL', owners, old)
    redis.call('ZREM', uses, old)
    if owner then
        local old_size, name = owner:match('^(%d+) (.*)$')
        redis.call('ZREM', uses_of(name), old)
        redis.call('HINCRBY', bytes, 'total', -old_size)
        if redis.call('HINCRBY', bytes, name, -old_size) <= 0 then redis.call('HDEL', bytes, name) end
    end
end
local function drop_oldest(name)
    local oldest = redis.call('ZRANGE', name, 0, 0)[1]
    if oldest then drop(oldest) end
    return oldest
end
local expired = redis.call('ZRANGEBYSCORE', uses, '-inf', now - lifetime, 'LIMIT', 0, 100)
for _, old in ipairs(expired) do drop(old) end
drop(key)
while used(client) + size > share and drop_oldest(uses_of(client)) do end
while used('total') + size > limit and drop_oldest(uses) do end
redis.call('HSET', texts, key, text)
redis.call('HSET', owners, key, size .. ' ' .. client)
redis.call('ZADD', uses, now, key)
redis.call('ZADD', uses_of(client), now, key)
redis.call('HINCRBY', bytes, client, size)
redis.call('HINCRBY', bytes, 'total', size)
renew(client, lifetime)
"""
)


class RedisQueryStore:
    """Texts of all processes, each for ``lifetime`` seconds after its last use, and at most ``size`` bytes.

    While Redis is unavailable, the store contains nothing. A store that cannot be written is unavailable too.
    """

    def __init__(self, url: str, lifetime: int, size: int) -> None:
        from redis.exceptions import RedisError  # noqa: PLC0415 (loaded only where Redis is used)

        self._client = redis_client(url)
        self._keys = [f"{_PREFIX}{name}" for name in ("texts", "owners", "uses", "bytes")]
        self._get = self._client.register_script(_GET)
        self._put = self._client.register_script(_PUT)
        self._lifetime = lifetime
        self._size = size
        self._breaker = CircuitBreaker(
            "Redis (persisted queries)",
            "each process knows only the persisted queries that it has received itself",
            RedisError,
            lambda: self._client.set(f"{_PREFIX}probe", b"", ex=1),
        )

    async def get(self, key: str) -> str | None:
        """The text, if it is stored. Its lifetime starts again."""
        text = await self._breaker.call(lambda: self._get(keys=self._keys, args=[key, time.time(), self._lifetime]))
        if not isinstance(text, bytes) or hashlib.sha256(text).hexdigest() != key:
            return None
        return text.decode()

    async def put(self, key: str, text: str, client: str) -> None:
        size = stored_size(text)
        if size <= self._size // SHARES:
            owner = sha256(client)[:16]  # the addresses of clients are not stored
            limits = [time.time(), self._lifetime, self._size, self._size // SHARES]
            values = [key, text, owner, size, *limits]
            await self._breaker.call(lambda: self._put(keys=self._keys, args=values))

    async def close(self) -> None:
        await self._breaker.close()
        await self._client.aclose()
