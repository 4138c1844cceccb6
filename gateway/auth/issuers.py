"""Tokens of an outside issuer: Supabase, or anything else that publishes its keys.

The algorithm belongs to the key, never to the token: HS256 to the secret that was set for it, ES256 or RS256 to a
public key as its JWK says. Keys are fetched when first needed, again after some intervals, because a key may be
withdrawn, and for a key id nobody knows, at most once an interval. While the issuer is out of reach, the keys known are
good.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jwt

from gateway.settings import Settings
from repositories.aggregates.unit_of_work import Reaction
from repositories.core.errors import ServiceUnavailable
from repositories.core.viewer import Viewer
from repositories.engines.database import Database
from resolvers.identity.outside import account_of

log = logging.getLogger(__name__)

_PUBLIC = frozenset({"ES256", "RS256"})
_TIMEOUT = 5.0
_INTERVALS = 12
"""After so many intervals the keys are fetched again, although all are known."""


class Keys:
    """An issuer's public keys by their ids; each carries the one algorithm it may be used with."""

    def __init__(self, url: str, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._interval = interval
        self._clock = clock
        self._turn = asyncio.Lock()
        self._known: Mapping[str | None, jwt.PyJWK] | None = None
        self._fetched_at = -float("inf")
        self._tried_at = -float("inf")

    async def find(self, key_id: str | None) -> jwt.PyJWK:
        """The key, or InvalidKeyError. ServiceUnavailable if no keys were ever seen."""
        if self._is_due(key_id):
            async with self._turn:
                if self._is_due(key_id):
                    await self._fetch()
        if self._known is None:
            raise ServiceUnavailable("Who you are cannot be verified right now. Try again in a moment.")
        try:
            return self._known[key_id]
        except KeyError:
            message = "no key of this id"
            raise jwt.InvalidKeyError(message) from None

    def _is_due(self, key_id: str | None) -> bool:
        """The first fetch does not count as an attempt, so that a key that is new right after it is found."""
        now = self._clock()
        is_wanted = (
            self._known is None or key_id not in self._known or now - self._fetched_at >= _INTERVALS * self._interval
        )
        pause = self._interval if self._known is not None else min(self._interval, _TIMEOUT)
        return is_wanted and now - self._tried_at >= pause

    async def _fetch(self) -> None:
        import httpx  # noqa: PLC0415 (5 MB that a gateway without an outside issuer does without)

        is_first = self._known is None
        try:
            async with httpx.AsyncClient(timeout=_TIMEOUT) as http:
                response = await http.get(self._url)
            keys = response.raise_for_status().json()["keys"]
            self._known = {key.key_id: key for key in map(_usable, keys) if key is not None}
            self._fetched_at = self._clock()
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            is_first = False
            log.warning("The keys at %s cannot be fetched: %r", self._url, error)
        if not is_first:
            self._tried_at = self._clock()


def _usable(published: Any) -> jwt.PyJWK | None:
    """The key, if it is a public one to verify signatures with."""
    try:
        key = jwt.PyJWK(published)
    except (jwt.PyJWTError, AttributeError, TypeError, ValueError):
        return None
    is_public = key.algorithm_name in _PUBLIC and key.public_key_use in {None, "sig"} and "d" not in published
    return key if is_public else None


class JWKSIssuer:
    """Verifies the tokens of one issuer."""

    def __init__(self, url: str, audience: str, *, secret: str | None = None, keys: Keys | None = None) -> None:
        self.url = url
        self._audience = audience
        self._secret = secret
        self._keys = keys

    def has_issued(self, token: str) -> bool:
        """Whether the token says so."""
        return bool(jwt.decode(token, options={"verify_signature": False}).get("iss") == self.url)

    async def claims(self, token: str) -> dict[str, Any]:
        """What the token says, once it is certain that the issuer says it; or PyJWTError."""
        header = jwt.get_unverified_header(token)
        key: str | jwt.PyJWK
        if self._secret is not None and header.get("alg") == "HS256":
            key, algorithm = self._secret, "HS256"
        elif self._keys is not None and header.get("alg") in _PUBLIC:
            key = await self._keys.find(header.get("kid"))
            algorithm = key.algorithm_name
        else:
            message = "not an algorithm of this issuer's"
            raise jwt.InvalidAlgorithmError(message)
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=self._audience,
            issuer=self.url,
            options={"require": ["exp", "sub", "aud", "iss"], "verify_iat": False},
        )
        return claims


class OutsideAccounts:
    """The issuer's users as viewers.

    What they may do is in our tables, so a verified token is remembered no longer than ours last.
    """

    def __init__(self, issuer: JWKSIssuer, database: Database, reactions: Sequence[Reaction], remembered: int) -> None:
        self._issuer = issuer
        self._database = database
        self._reactions = reactions
        self._remembered = remembered
        self.has_issued = issuer.has_issued

    async def viewer(self, token: str) -> tuple[float, Viewer]:
        """Until when the token may be remembered, and whom it names."""
        claims = await self._issuer.claims(token)
        user, roles = await account_of(self._database, self._reactions, self._issuer.url, claims)
        until = min(float(claims["exp"]), time.time() + self._remembered)
        return until, Viewer(user.id, roles, time_zone=user.time_zone)


def outside_accounts(settings: Settings, database: Database, reactions: Sequence[Reaction]) -> OutsideAccounts | None:
    """The outside issuer of the settings, if they name one."""
    if settings.issuer_url is None:
        return None
    secret = settings.issuer_secret.get_secret_value() if settings.issuer_secret else None
    keys = Keys(settings.issuer_jwks_url, settings.jwks_interval) if settings.issuer_jwks_url else None
    issuer = JWKSIssuer(settings.issuer_url, settings.issuer_audience, secret=secret, keys=keys)
    return OutsideAccounts(issuer, database, reactions, settings.access_token_lifetime)
