"""Verifies tokens of an external issuer: Supabase, or any other issuer that publishes its keys (JWKS).

The algorithm is a property of the key, never of the token: HS256 for the secret from the settings, ES256 or RS256 for a
public key, as its JWK says (gateway/auth/issuer_keys.py).
"""

import time
from collections.abc import Sequence
from typing import Any

import jwt

from gateway.auth.claims import LEEWAY, decode_token, expiry_of
from gateway.auth.issuer_keys import PUBLIC_ALGORITHMS, IssuerKeys
from gateway.auth.tokens import VerifiedToken
from gateway.settings import Settings
from repositories.aggregates.unit_of_work import Reaction
from repositories.core.clock import stored_time_zone
from repositories.core.viewer import Viewer
from repositories.engines.database import Database
from resolvers.identity.outside import account_of


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
        elif self._keys is not None and header.get("alg") in PUBLIC_ALGORITHMS:
            key = await self._keys.find(header.get("kid"))
            algorithm = key.algorithm_name
        else:
            message = "the issuer does not use this algorithm"
            raise jwt.InvalidAlgorithmError(message)
        required = ("exp", "sub", "aud", "iss")
        return decode_token(token, key, algorithm, required, audience=self._audience, issuer=self.url)


class ExternalAccounts:
    """Finds the accounts of an issuer's users.

    Roles come from the database, not from the token. A verified token is cached for ``cache_lifetime`` seconds at most,
    so that the tokens of a key that the issuer has withdrawn become invalid.
    """

    def __init__(
        self, issuer: JWKSIssuer, database: Database, reactions: Sequence[Reaction], cache_lifetime: int
    ) -> None:
        self._issuer = issuer
        self._database = database
        self._reactions = reactions
        self._cache_lifetime = cache_lifetime
        self.has_issued = issuer.has_issued

    async def verify(self, token: str) -> VerifiedToken:
        """The token with its viewer. Raises one of INVALID_TOKEN."""
        claims = await self._issuer.verify(token)
        now, expires_at = time.time(), expiry_of(claims)
        user, roles = await account_of(self._database, self._reactions, self._issuer.url, claims)
        viewer = Viewer(user.id, roles, time_zone=stored_time_zone(user.time_zone).key)
        end = now + self._cache_lifetime
        return VerifiedToken(viewer, now, min(expires_at, end), min(expires_at + LEEWAY, end))


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
