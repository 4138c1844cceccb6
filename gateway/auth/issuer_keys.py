"""The published keys (JWKS) of an external issuer.

A background task fetches them, never a request: when the first token arrives, after each interval of use, and when a
token names an unknown key. A request whose key is known does not wait. A request whose key is unknown waits for the
fetch, for two seconds at most. While the issuer is unreachable, the known keys stay valid.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import jwt
import orjson

from repositories.core.errors import ServiceUnavailable

log = logging.getLogger(__name__)

PUBLIC_ALGORITHMS = frozenset({"ES256", "RS256"})
_FETCH_TIMEOUT = 5.0
_MAX_WAIT = 2.0
"""Seconds that a request waits for a fetch."""
_MAX_BYTES = 256 * 1024
_MAX_KEYS = 100
_RETRY_PAUSE = 5.0
"""Seconds between a failed fetch and the next one for a key that is not known."""
_COOLDOWN = 30.0
"""Seconds for which a key that was not found causes no further fetch."""
_MAX_NOT_FOUND = 1000
_MAX_BURST, _FETCH_EVERY = 10, 3.0
"""Unknown keys cause one fetch in this many seconds, after a burst. So tokens with invented key ids neither flood the
issuer nor prevent that a new key is found within seconds."""


class IssuerKeys:
    """The public keys of an issuer by their ids. Each has the one algorithm that it may be used with.

    ``interval`` is the time in seconds after which the keys are fetched again.
    """

    def __init__(self, url: str, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._interval = interval
        self._clock = clock
        self._known: Mapping[str | None, jwt.PyJWK] = {}
        self._fetch_task: asyncio.Task[None] | None = None
        self._fetched_at = self._failed_at = -float("inf")
        """The ends of the last successful and of the last failed fetch."""
        self._not_found: OrderedDict[str | None, float] = OrderedDict()
        self._credit, self._credited_at = float(_MAX_BURST), clock()

    async def find(self, key_id: str | None) -> jwt.PyJWK:
        """The key; InvalidKeyError if there is none, ServiceUnavailable if that cannot be decided now."""
        age = self._clock() - max(self._fetched_at, self._failed_at)
        if age >= self._interval:
            self._start_fetch()
        is_missing = key_id not in self._known
        if is_missing or age >= 2 * self._interval:
            if is_missing and not self._is_cooling_down(key_id) and self._may_fetch():
                self._start_fetch()
            await self._wait_for_fetch(key_id)
        if key_id in self._known:
            return self._known[key_id]
        if self._is_cooling_down(key_id):
            message = "no key with this id"
            raise jwt.InvalidKeyError(message)
        raise ServiceUnavailable("Your token cannot be verified right now. Try again in a moment.")

    def _start_fetch(self) -> None:
        if self._fetch_task is None:
            self._fetch_task = asyncio.create_task(self._fetch())

    async def _wait_for_fetch(self, key_id: str | None) -> None:
        """Waits until the running fetch has ended, and notes the key if the issuer does not publish it."""
        fetch = self._fetch_task
        if fetch is None:
            return
        await asyncio.wait([fetch], timeout=_MAX_WAIT)
        if fetch.done() and self._fetched_at > self._failed_at and key_id not in self._known:
            self._not_found[key_id] = self._clock()
            self._not_found.move_to_end(key_id)
            if len(self._not_found) > _MAX_NOT_FOUND:
                self._not_found.popitem(last=False)

    def _is_cooling_down(self, key_id: str | None) -> bool:
        return self._clock() - self._not_found.get(key_id, -float("inf")) < _COOLDOWN

    def _may_fetch(self) -> bool:
        """Whether an unknown key may cause a fetch now; if so, it is counted."""
        now = self._clock()
        if self._fetch_task is not None or now - self._failed_at < _RETRY_PAUSE:
            return False
        self._credit = min(_MAX_BURST, self._credit + (now - self._credited_at) / _FETCH_EVERY)
        self._credited_at = now
        if self._credit < 1:
            return False
        self._credit -= 1
        return True

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(_FETCH_TIMEOUT):
                self._known = _parse_keys(await _download(self._url))
            self._fetched_at = self._clock()
        except Exception as error:  # noqa: BLE001 (whatever the issuer sends, the known keys stay valid)
            self._failed_at = self._clock()
            log.warning("The issuer's keys at %s cannot be fetched: %r.", self._url, error)
        finally:
            self._fetch_task = None


async def _download(url: str) -> bytes:
    """The content, at most 256 KB. Redirects are errors, and so are compressed contents, whose size is unknown."""
    import httpx  # noqa: PLC0415 (takes 5 MB; loaded only with an external issuer)

    content = bytearray()
    async with (
        httpx.AsyncClient(timeout=_FETCH_TIMEOUT, follow_redirects=False) as http,
        http.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response,
    ):
        response.raise_for_status()
        async for chunk in response.aiter_raw():
            content += chunk
            if len(content) > _MAX_BYTES:
                message = f"more than {_MAX_BYTES} bytes"
                raise ValueError(message)
    return bytes(content)


def _parse_keys(content: bytes) -> Mapping[str | None, jwt.PyJWK]:
    """The usable keys of a JWKS. Entries that are no usable keys do not affect the others."""
    keys = (_parse_key(key) for key in orjson.loads(content)["keys"][:_MAX_KEYS])
    return {key.key_id: key for key in keys if key is not None}


def _parse_key(jwk: Any) -> jwt.PyJWK | None:
    """The key, or None if it is not a public key for verifying signatures."""
    try:
        key = jwt.PyJWK(jwk)
    except Exception:  # noqa: BLE001 (PyJWT expects a key, and this may be any JSON)
        return None
    is_public = key.algorithm_name in PUBLIC_ALGORITHMS and key.public_key_use in {None, "sig"} and "d" not in jwk
    return key if is_public and isinstance(key.key_id, str | None) else None
