"""Verifies tokens of an external issuer: Supabase, or any other issuer that publishes its keys (JWKS).

The algorithm is a property of the key, never of the token: HS256 for the secret from the settings, ES256 or RS256 for a
public key, as its JWK says. Keys are fetched when they are first needed, again after several intervals (the issuer may
have withdrawn a key), and for an unknown key id, at most once per interval. While the issuer is unreachable, the known
keys stay valid.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jwt

from gateway.settings import Settings
from repositories.aggregates.unit_of_work import Reaction
from repositories.core.clock import stored_time_zone
from repositories.core.errors import ServiceUnavailable
from repositories.core.viewer import Viewer
from repositories.engines.database import Database
from resolvers.identity.outside import account_of

log = logging.getLogger(__name__)

_PUBLIC = frozenset({"ES256", "RS256"})
_FETCH_TIMEOUT = 5.0
_REFRESH_INTERVALS = 12
"""Known keys are fetched again after this many intervals."""


class IssuerKeys:
    """The public keys of an issuer by their ids. Each has the one algorithm that it may be used with.

    ``interval`` is the minimum time between two fetches, in seconds.
    """

    def __init__(self, url: str, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._interval = interval
        self._clock = clock
        self._lock = asyncio.Lock()
        self._known: Mapping[str | None, jwt.PyJWK] | None = None
        self._fetched_at = -float("inf")
        self._tried_at = -float("inf")

    async def find(self, key_id: str | None) -> jwt.PyJWK:
        """The key; InvalidKeyError if it does not exist, ServiceUnavailable if no keys could be fetched yet."""
        if self._is_fetch_due(key_id):
            async with self._lock:
                if self._is_fetch_due(key_id):
                    await self._fetch()
        if self._known is None:
            raise ServiceUnavailable("Your token cannot be verified right now. Try again in a moment.")
        try:
            return self._known[key_id]
        except KeyError:
            message = "no key with this id"
            raise jwt.InvalidKeyError(message) from None

    def _is_fetch_due(self, key_id: str | None) -> bool:
        """Whether to fetch the keys now.

        The first fetch does not count as an attempt, so that a key published right after it is found at once.
        """
        now = self._clock()
        is_wanted = (
            self._known is None
            or key_id not in self._known
            or now - self._fetched_at >= _REFRESH_INTERVALS * self._interval
        )
        pause = self._interval if self._known is not None else min(self._interval, _FETCH_TIMEOUT)
        return is_wanted and now - self._tried_at >= pause

    async def _fetch(self) -> None:
        import httpx  # noqa: PLC0415 (takes 5 MB; loaded only with an external issuer)

        is_first = self._known is None
        try:
            async with httpx.AsyncClient(timeout=_FETCH_TIMEOUT) as http:
                response = await http.get(self._url)
            keys = response.raise_for_status().json()["keys"]
            self._known = {key.key_id: key for key in map(_parse_key, keys) if key is not None}
            self._fetched_at = self._clock()
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            is_first = False
            log.warning("The issuer's keys at %s cannot be fetched: %r.", self._url, error)
        if not is_first:
            self._tried_at = self._clock()


def _parse_key(jwk: Any) -> jwt.PyJWK | None:
    """The key, or None if it is not a public key for verifying signatures."""
    try:
        key = jwt.PyJWK(jwk)
    except (jwt.PyJWTError, AttributeError, TypeError, ValueError):
        return None
    is_public = key.algorithm_name in _PUBLIC and key.public_key_use in {None, "sig"} and "d" not in jwk
    return key if is_public else None


class JWKSIssuer:
    """Verifies the tokens of one issuer."""

    def __init__(self, url: str, audience: str, *, secret: str | None = None, keys: IssuerKeys | None = None) -> None:
        self.url = url
        self._audience = audience
        self._secret = secret
        self._keys = keys

    def has_issued(self, token: str) -> bool:
        """Whether the token names this issuer; its signature is not verified."""
        return bool(jwt.decode(token, options={"verify_signature": False}).get("iss") == self.url)

    async def verify(self, token: str) -> dict[str, Any]:
        """The claims of a valid token, else PyJWTError."""
        header = jwt.get_unverified_header(token)
        key: str | jwt.PyJWK
        if self._secret is not None and header.get("alg") == "HS256":
            key, algorithm = self._secret, "HS256"
        elif self._keys is not None and header.get("alg") in _PUBLIC:
            key = await self._keys.find(header.get("kid"))
            algorithm = key.algorithm_name
        else:
            message = "the issuer does not use this algorithm"
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


class ExternalAccounts:
    """Finds the accounts of an issuer's users.

    Roles come from the database, not from the token. A verified token is therefore cached for ``cache_lifetime``
    seconds at most, so that a role that is taken away ends as soon as with the gateway's own tokens.
    """

    def __init__(
        self, issuer: JWKSIssuer, database: Database, reactions: Sequence[Reaction], cache_lifetime: int
    ) -> None:
        self._issuer = issuer
        self._database = database
        self._reactions = reactions
        self._cache_lifetime = cache_lifetime
        self.has_issued = issuer.has_issued

    async def verify(self, token: str) -> tuple[float, Viewer]:
        """Returns the time until which the token may be cached, in seconds since 1970, and its viewer."""
        claims = await self._issuer.verify(token)
        user, roles = await account_of(self._database, self._reactions, self._issuer.url, claims)
        until = min(float(claims["exp"]), time.time() + self._cache_lifetime)
        return until, Viewer(user.id, roles, time_zone=stored_time_zone(user.time_zone).key)


def create_external_accounts(
    settings: Settings, database: Database, reactions: Sequence[Reaction]
) -> ExternalAccounts | None:
    """The external issuer of the settings, if they name one."""
    if settings.issuer_url is None:
        return None
    secret = settings.issuer_secret.get_secret_value() if settings.issuer_secret else None
    keys = IssuerKeys(settings.issuer_jwks_url, settings.jwks_interval) if settings.issuer_jwks_url else None
    issuer = JWKSIssuer(settings.issuer_url, settings.issuer_audience, secret=secret, keys=keys)
    return ExternalAccounts(issuer, database, reactions, settings.access_token_lifetime)
