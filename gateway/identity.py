"""From a bearer token to a viewer.

Tokens are JWTs signed with HS256 by this gateway. A token names its subject (the user's id), its audience and its end,
and carries the user's roles in ``app_metadata.roles``, as Supabase's do; a role that is taken away is therefore gone
when the token ends. Whatever is wrong with a token, the answer is the same: nothing tells an attacker which part was
right.
"""

import datetime as dt
import secrets
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import jwt

from gateway.keys import kept
from gateway.settings import Settings, SettingsError
from repositories.kit.calendar import time_zone
from repositories.kit.errors import Unauthenticated, ValidationError
from repositories.kit.viewer import Role, Viewer
from repositories.tables.identity import User, UserRole

_ALGORITHM = "HS256"
_REMEMBERED = 10_000


def signing_key(settings: Settings) -> str:
    """The secret from the settings; on SQLite, without one, a secret of its own, kept beside the database file."""
    if settings.jwt_secret is not None:
        return settings.jwt_secret.get_secret_value()
    if settings.database_url is not None:
        message = "GATEWAY_JWT_SECRET is needed with PostgreSQL; `openssl rand -hex 32` makes one."
        raise SettingsError(message)
    return kept(settings.database_path.parent / "jwt_secret", lambda: secrets.token_hex(32))


def roles_of(user: User, granted: Iterable[Role] = ()) -> frozenset[Role]:
    """The roles a user has: by the users table, and those that were granted (repositories/administration.py)."""
    return frozenset({Role.USER, *granted}) | ({Role.ADMIN} if user.role is UserRole.ADMIN else set())


class Tokens:
    """Issues and verifies bearer tokens.

    A verified token is remembered until it ends, for it costs more to verify than to run a query.
    """

    def __init__(self, key: str, audience: str) -> None:
        self._key = key
        self._audience = audience
        self._verified: OrderedDict[str, tuple[float, Viewer]] = OrderedDict()

    def issue(self, user: User, lifetime: int, granted: Iterable[Role] = ()) -> str:
        """A token for a user with the roles ``granted`` besides, valid for ``lifetime`` seconds.

        ``zoneinfo`` is OpenID Connect's time zone claim.
        """
        now = dt.datetime.now(dt.UTC)
        claims = {
            "sub": str(user.id),
            "aud": self._audience,
            "iat": now,
            "exp": now + dt.timedelta(seconds=lifetime),
            "role": "authenticated",
            "app_metadata": {"roles": sorted(roles_of(user, granted))},
            "zoneinfo": user.time_zone,
        }
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM)

    def viewer(self, token: str) -> Viewer:
        """The viewer whom a token names, or Unauthenticated."""
        known = self._verified.get(token)
        if known is not None and known[0] > dt.datetime.now(dt.UTC).timestamp():
            return known[1]
        try:
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
                frozenset({Role.USER, *(Role(name) for name in roles)}),
                time_zone=time_zone(claims["zoneinfo"]).key if "zoneinfo" in claims else None,
            )
        except (jwt.InvalidTokenError, ValueError, AttributeError, TypeError, ValidationError) as error:
            message = "The Authorization header is not valid. Send `Bearer` and a current token, or no header at all."
            raise Unauthenticated(message) from error
        self._verified[token] = (float(claims["exp"]), viewer)
        if len(self._verified) > _REMEMBERED:
            self._verified.popitem(last=False)
        return viewer

    def viewer_of_header(self, header: str) -> Viewer:
        """The viewer whom an Authorization header names, or Unauthenticated."""
        scheme, _, token = header.partition(" ")
        return self.viewer(token.strip() if scheme.lower() == "bearer" else "")
