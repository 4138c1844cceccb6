"""Turns the Authorization header into a viewer, with the rights and the time zone that the viewer has now.

Verified tokens are cached until they expire: verifying costs more than a query. A request with a cached token takes a
few comparisons and no statement. The account is looked up again if an event says that it, its roles or its session has
changed (gateway/auth/account_changes.py), or if events have been late for too long. All invalid tokens get the same
error message, which tells an attacker nothing about the reason.
"""

import time
from dataclasses import dataclass
from typing import Protocol

import jwt

from gateway.auth.account_changes import AccountChanges
from gateway.auth.claims import INVALID_TOKEN
from gateway.auth.tokens import MAX_TOKEN_LENGTH, Tokens, VerifiedToken
from repositories.core.byte_budget import BoundedCache
from repositories.core.errors import Unauthenticated
from repositories.core.viewer import Viewer
from repositories.engines.database import Database
from resolvers.identity.rights import current_viewer
from resolvers.streaming.feed import Feed

_CACHED_TOKEN_SIZE = 900
"""Bytes of a cached token without the characters of its text."""
_MAX_FEED_DELAY = 30.0
"""Seconds for which events may be late. After that, each account is looked up again once in this time."""


class ExternalIssuer(Protocol):
    """Verifies the tokens of an external issuer and finds the accounts of its users."""

    def has_issued(self, token: str) -> bool:
        """Whether the token names the issuer; its signature is not verified yet."""
        ...

    async def verify(self, token: str) -> VerifiedToken:
        """The token with its viewer. Raises one of INVALID_TOKEN if it is invalid."""
        ...


@dataclass(slots=True)
class _CachedToken:
    token: VerifiedToken
    viewer: Viewer | None
    """The viewer with the current roles and time zone; None if the account or the session has ended."""
    checked: int
    """The number of the last change that was considered."""
    looked_up_at: float


class Authenticator:
    """Verifies the tokens of requests."""

    def __init__(self, tokens: Tokens, database: Database, feed: Feed, external: ExternalIssuer | None = None) -> None:
        self._tokens = tokens
        self._database = database
        self._feed = feed
        self._external = external
        self._changes = AccountChanges()
        self._cache: BoundedCache[str, _CachedToken] = BoundedCache()
        database.commit_listeners.append(self._changes.on_commit)
        feed.listeners.append(self._changes.on_events)

    async def start(self, lifetime: int) -> None:
        """Reads the changes that concern tokens with this lifetime (seconds). Call it while the feed runs."""
        await self._feed.catch_up()
        await self._changes.load(self._database, lifetime)

    async def authenticate(self, header: str) -> tuple[float, Viewer]:
        """The expiry of the token in an Authorization header, in seconds since 1970, and its viewer.

        Raises Unauthenticated if the token is invalid, or if its account or session has ended. The token of an
        external issuer may expire later; it must be verified again at that time.
        """
        scheme, _, token = header.partition(" ")
        return await self.verify(token.strip() if scheme.lower() == "bearer" else "")

    async def verify(self, token: str) -> tuple[float, Viewer]:
        """Like :meth:`authenticate`, for the token alone."""
        cached = self._cache.get(token)
        if cached is None or cached.token.valid_until <= time.time():
            cached = await self._verify(token)
        is_late = self._feed.complete_at < time.monotonic() - _MAX_FEED_DELAY
        if cached.checked != self._changes.count or is_late:
            await self._check(cached)
        if cached.viewer is None:
            message = "This session has ended. Sign in again."
            raise Unauthenticated(message)
        return cached.token.expires_at, cached.viewer

    async def _verify(self, token: str) -> _CachedToken:
        started, count = time.monotonic(), self._changes.count
        try:
            if len(token) > MAX_TOKEN_LENGTH:
                raise jwt.InvalidTokenError
            external = self._external if self._external is not None and self._external.has_issued(token) else None
            verified = await external.verify(token) if external else self._tokens.verify(token)
        except INVALID_TOKEN as error:
            message = "The Authorization header is not valid. Send `Bearer` and a current token, or no header at all."
            raise Unauthenticated(message) from error
        cached = _CachedToken(verified, verified.viewer, count if external else 0, started if external else 0.0)
        return self._cache.put(token, cached, len(token) + _CACHED_TOKEN_SIZE)

    async def _check(self, cached: _CachedToken) -> None:
        """Looks the account up if it may have changed since it was last looked up."""
        now, count, verified = time.monotonic(), self._changes.count, cached.token
        is_late = max(self._feed.complete_at, cached.looked_up_at) < now - _MAX_FEED_DELAY
        if is_late or self._changes.latest(verified.viewer, verified.issued_at) > cached.checked:
            cached.viewer = await current_viewer(self._database, verified.viewer)
            cached.looked_up_at = now
        cached.checked = count
