"""Issues the gateway's own bearer tokens, and verifies their signatures and claims.

A token is a JWT that this gateway signs with HS256. Its claims name the user's id (``sub``), the audience and the
expiry. Like Supabase's tokens it carries the roles in ``app_metadata.roles``. Refresh tokens and device tokens have
their own audiences, so that no kind is accepted as another. Whether the account still has these rights is decided
elsewhere (gateway/auth/authentication.py).
"""

import datetime as dt
import hmac
import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import jwt

from gateway.auth.claims import INVALID_TOKEN, LEEWAY, decode_token, expiry_of
from gateway.auth.keys import read_or_create_file
from gateway.settings import Settings, SettingsError
from repositories.core.clock import stored_time_zone
from repositories.core.viewer import Viewer
from repositories.permissions import RoleName
from repositories.tables.identity import User
from resolvers.identity.accounts import Accounts, Attempt, Attempts, Passwords, SignUpMode

JWT_SECRET = "jwt_secret"  # noqa: S105 (the name of a file)
"""The file beside the SQLite database that holds the signing key if the settings have none."""
_ALGORITHM = "HS256"
MAX_TOKEN_LENGTH = 8 * 1024
_DEVICE_LIFETIME = dt.timedelta(days=365)


def signing_key(settings: Settings) -> str:
    """The key from the settings. On SQLite, a missing key is generated and stored beside the database file."""
    if settings.jwt_secret is not None:
        return settings.jwt_secret.get_secret_value()
    if settings.database_url is not None:
        message = "GATEWAY_JWT_SECRET is needed with PostgreSQL; `openssl rand -hex 32` generates one."
        raise SettingsError(message)
    return read_or_create_file(settings.database_path.parent / JWT_SECRET, lambda: secrets.token_hex(32))


class VerifiedToken(NamedTuple):
    """A token whose signature and claims are valid. Times are in seconds since 1970."""

    viewer: Viewer
    issued_at: float
    expires_at: float
    valid_until: float
    """The end of the time for which the token needs no other verification."""


class Tokens:
    """Issues and verifies tokens that are signed with ``key``."""

    def __init__(self, key: str, audience: str) -> None:
        self._key = key
        self._audience = audience
        self._refresh_audience = f"{audience}/refresh"
        self._device_audience = f"{audience}/device"

    def derive_key(self, purpose: str) -> bytes:
        """A key of 32 bytes for another purpose. All processes of a deployment derive the same key."""
        return hmac.digest(self._key.encode(), f"siso:{purpose}".encode(), "sha256")

    def issue(self, user: User, roles: frozenset[RoleName], lifetime: int, session: UUID | None = None) -> str:
        """A token that is valid for ``lifetime`` seconds. ``zoneinfo`` is the time zone claim of OpenID Connect."""
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
        """A refresh token. It has a random id, so that no two tokens of a session are equal."""
        claims = {"sid": str(session), "aud": self._refresh_audience, "exp": expires_at, "jti": str(uuid4())}
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM)

    def session_of(self, refresh_token: str) -> UUID | None:
        """The session id in a refresh token of this gateway, else None. The session itself may have ended."""
        if len(refresh_token) > MAX_TOKEN_LENGTH:
            return None
        try:
            claims = self._decode(refresh_token, self._refresh_audience, "sid", "aud", "jti", verify_exp=False)
            return UUID(claims["sid"])
        except INVALID_TOKEN:
            return None

    def issue_device(self, user: User) -> str:
        """A token by which a device is known to its user's account. It proves an earlier sign-in and nothing else.

        ``key`` differs for each password: a device that someone used with a stolen password must not stay known after
        the password was changed.
        """
        expires_at = dt.datetime.now(dt.UTC) + _DEVICE_LIFETIME
        claims = {"sub": str(user.id), "aud": self._device_audience, "exp": expires_at, "jti": str(uuid4())}
        return jwt.encode(claims | {"key": self._password_key(user)}, self._key, algorithm=_ALGORITHM)

    def device_of(self, device_token: str, user: User) -> str | None:
        """The id of the device if the token is valid and was issued for the user's current password, else None."""
        try:
            claims = self._decode(device_token, self._device_audience, "sub", "aud", "exp", "jti", "key")
        except INVALID_TOKEN:
            return None
        is_known = (claims["sub"], claims["key"]) == (str(user.id), self._password_key(user))
        return str(claims["jti"]) if is_known else None

    def _password_key(self, user: User) -> str:
        return hmac.digest(self.derive_key("device"), (user.password_hash or "").encode(), "sha256").hex()

    def verify(self, token: str) -> VerifiedToken:
        """An access token, verified. Raises one of INVALID_TOKEN."""
        claims = self._decode(token, self._audience, "exp", "sub", "aud")
        roles = claims.get("app_metadata", {}).get("roles", [])
        viewer = Viewer(
            UUID(claims["sub"]),
            frozenset({RoleName.USER, *(RoleName(name) for name in roles)}),
            time_zone=_time_zone_of(claims),
            session=UUID(claims["sid"]) if "sid" in claims else None,
        )
        expires_at = expiry_of(claims)
        return VerifiedToken(viewer, float(claims.get("iat", 0)), expires_at, expires_at + LEEWAY)

    def _decode(self, token: str, audience: str, *required: str, **options: Any) -> dict[str, Any]:
        return decode_token(token, self._key, _ALGORITHM, required, audience=audience, strict_aud=True, **options)


def _time_zone_of(claims: Mapping[str, Any]) -> str | None:
    name = claims.get("zoneinfo")
    if name is not None and not isinstance(name, str):
        raise jwt.InvalidTokenError
    return None if name is None else stored_time_zone(name).key


def create_accounts(settings: Settings, tokens: Tokens) -> Accounts:
    """The service of the identity domain: passwords, tokens and rate limits on sign-in."""
    rates = {
        Attempt.PASSWORD_FROM_CLIENT: settings.password_attempts_per_client,
        Attempt.PASSWORD_OF_ACCOUNT: settings.password_attempts_per_account,
        Attempt.SIGN_IN_FROM_ADDRESS: settings.sign_ins_per_address,
        Attempt.SIGN_UP_FROM_ADDRESS: settings.sign_ups_per_address,
        Attempt.REFRESH_FROM_ADDRESS: settings.refreshes_per_address,
        Attempt.MAIL_FROM_ADDRESS: settings.mails_per_address,
        Attempt.MAIL_TO_RECIPIENT_FROM_CLIENT: settings.mails_per_client,
        Attempt.MAIL_TO_RECIPIENT: settings.mails_per_recipient,
        Attempt.ACCOUNT_LOOKUP: settings.account_lookups_per_user,
    }
    return Accounts(
        Passwords(),
        Attempts(settings.rate_limit_store.get_secret_value(), rates),
        tokens,
        settings.access_token_lifetime,
        settings.refresh_token_lifetime,
        SignUpMode(settings.sign_up),
    )
