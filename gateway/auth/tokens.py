"""From a bearer token to a viewer.

Tokens are JWTs signed with HS256 by this gateway. A token names its subject (the user's id), its audience and its end,
and carries the user's roles in ``app_metadata.roles``, as Supabase's do; a role that is taken away is therefore gone
when the token ends. Refresh tokens have an audience of their own, so that neither passes for the other. Tokens of an
outside issuer are told by their ``iss`` (gateway/auth/issuers.py). Whatever is wrong with a token, the answer is the same:
nothing tells an attacker which part was right.
"""

import datetime as dt
import hmac
import secrets
from collections import OrderedDict
from typing import Any, Protocol
from uuid import UUID, uuid4

import jwt

from gateway.auth.keys import read_or_create
from gateway.settings import Settings, SettingsError
from repositories.core.clock import time_zone
from repositories.core.errors import Unauthenticated, ValidationError
from repositories.core.viewer import Viewer
from repositories.permissions import RoleName
from repositories.tables.identity import User
from resolvers.identity.accounts import Accounts, Attempt, Attempts, Passwords

JWT_SECRET = "jwt_secret"  # noqa: S105 (the name of a file)
"""The file that keeps a secret that nobody gave."""
_ALGORITHM = "HS256"
_REMEMBERED = 10_000


def signing_key(settings: Settings) -> str:
    """The secret from the settings; on SQLite, without one, a secret of its own, kept beside the database file."""
    if settings.jwt_secret is not None:
        return settings.jwt_secret.get_secret_value()
    if settings.database_url is not None:
        message = "GATEWAY_JWT_SECRET is needed with PostgreSQL; `openssl rand -hex 32` makes one."
        raise SettingsError(message)
    return read_or_create(settings.database_path.parent / JWT_SECRET, lambda: secrets.token_hex(32))


class ExternalIssuer(Protocol):
    """An outside issuer, and the accounts of its users."""

    def has_issued(self, token: str) -> bool:
        """Whether a token says that it is the issuer's."""
        ...

    async def viewer(self, token: str) -> tuple[float, Viewer]:
        """Until when a token may be remembered, and whom it names; what is wrong with it is raised."""
        ...


class Tokens:
    """Issues and verifies tokens.

    A verified token is remembered until it ends, for it costs more to verify than to run a query.
    """

    def __init__(self, key: str, audience: str, outside: ExternalIssuer | None = None) -> None:
        self._key = key
        self._audience = audience
        self._refresh_audience = f"{audience}/refresh"
        self._outside = outside
        self._verified: OrderedDict[str, tuple[float, Viewer]] = OrderedDict()

    def derived_key(self, purpose: str) -> bytes:
        """32 bytes of a secret for another purpose, the same in every process of a deployment."""
        return hmac.digest(self._key.encode(), f"siso:{purpose}".encode(), "sha256")

    def issue(self, user: User, roles: frozenset[RoleName], lifetime: int, session: UUID | None = None) -> str:
        """A token for a user, valid for ``lifetime`` seconds; ``zoneinfo`` is OpenID Connect's time zone claim."""
        now = dt.datetime.now(dt.UTC)
        claims = {
            "sub": str(user.id),
            "aud": self._audience,
            "iat": now,
            "exp": now + dt.timedelta(seconds=lifetime),
            "role": "authenticated",
            "app_metadata": {"roles": sorted(roles)},
            "zoneinfo": user.time_zone,
        }
        if session is not None:
            claims["sid"] = str(session)
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM)

    def issue_refresh(self, session: UUID, expires_at: dt.datetime) -> str:
        """A refresh token of a session, different from every other."""
        claims = {"sid": str(session), "aud": self._refresh_audience, "exp": expires_at, "jti": str(uuid4())}
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM)

    def session_of(self, refresh_token: str) -> UUID | None:
        """The session of a refresh token that was issued here; whether it has ended is told by the session."""
        options: Any = {"require": ["sid", "aud", "jti"], "strict_aud": True, "verify_exp": False}
        try:
            claims = jwt.decode(
                refresh_token, self._key, algorithms=[_ALGORITHM], audience=self._refresh_audience, options=options
            )
            return UUID(claims["sid"])
        except (jwt.PyJWTError, ValueError):
            return None

    async def viewer(self, token: str) -> Viewer:
        """The viewer whom a token names, or Unauthenticated."""
        return (await self.verified(token))[1]

    async def verified(self, token: str) -> tuple[float, Viewer]:
        """Until when a token counts, in seconds since 1970, and the viewer whom it names, or Unauthenticated.

        An outside issuer's token has to be looked at anew after that, for it may last longer.
        """
        known = self._verified.get(token)
        if known is not None and known[0] > dt.datetime.now(dt.UTC).timestamp():
            return known
        try:
            outside = self._outside if self._outside is not None and self._outside.has_issued(token) else None
            verified = await outside.viewer(token) if outside else self._own(token)
        except (jwt.PyJWTError, ValueError, AttributeError, TypeError, ValidationError) as error:
            message = "The Authorization header is not valid. Send `Bearer` and a current token, or no header at all."
            raise Unauthenticated(message) from error
        self._verified[token] = verified
        if len(self._verified) > _REMEMBERED:
            self._verified.popitem(last=False)
        return verified

    def _own(self, token: str) -> tuple[float, Viewer]:
        claims: dict[str, Any] = jwt.decode(
            token,
            self._key,
            algorithms=[_ALGORITHM],
            audience=self._audience,
            options={"require": ["exp", "sub", "aud"], "strict_aud": True},
        )
        roles = claims.get("app_metadata", {}).get("roles", [])
        viewer = Viewer(
            UUID(claims["sub"]),
            frozenset({RoleName.USER, *(RoleName(name) for name in roles)}),
            time_zone=time_zone(claims["zoneinfo"]).key if "zoneinfo" in claims else None,
            session=UUID(claims["sid"]) if "sid" in claims else None,
        )
        return float(claims["exp"]), viewer

    async def of_header(self, header: str) -> tuple[float, Viewer]:
        """What :meth:`verified` tells of the token in an Authorization header."""
        scheme, _, token = header.partition(" ")
        return await self.verified(token.strip() if scheme.lower() == "bearer" else "")


def accounts(settings: Settings, tokens: Tokens) -> Accounts:
    """What the identity domain needs of the process."""
    rates = {
        Attempt.PASSWORD_OF_ACCOUNT: settings.password_attempts_per_account,
        Attempt.SIGN_IN_FROM_ADDRESS: settings.sign_ins_per_address,
        Attempt.SIGN_UP_FROM_ADDRESS: settings.sign_ups_per_address,
        Attempt.REFRESH_FROM_ADDRESS: settings.refreshes_per_address,
    }
    return Accounts(
        Passwords(),
        Attempts(settings.rate_limit_store, rates),
        tokens,
        settings.access_token_lifetime,
        settings.refresh_token_lifetime,
    )
