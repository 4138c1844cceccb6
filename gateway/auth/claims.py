"""Verifies the signature and the standard claims of a JWT, whoever has issued it."""

from collections.abc import Mapping, Sequence
from typing import Any

import jwt

from repositories.core.errors import ValidationError

LEEWAY = 30
"""Seconds by which the clocks of the issuer and of the gateway may differ, for ``exp``, ``nbf`` and ``iat``."""
_MAX_EXPIRY = 253_402_300_799
"""The last second of the year 9999. A later expiry is an error of the issuer, and no event loop can wait for it."""

INVALID_TOKEN: tuple[type[Exception], ...] = (
    *(jwt.PyJWTError, ValidationError, ValueError, TypeError, LookupError, AttributeError),
    *(ArithmeticError, RecursionError),
)
"""What reading a token can raise if it is invalid: a claim may be any JSON value."""


def decode_token(  # noqa: PLR0913 (what must be true of a token)
    token: str,
    key: str | jwt.PyJWK,
    algorithm: str,
    required: Sequence[str],
    *,
    audience: str,
    issuer: str | None = None,
    **options: bool,
) -> dict[str, Any]:
    """The claims of a valid token. Raises one of INVALID_TOKEN. ``options`` are those of PyJWT."""
    checks: Any = {"require": list(required), **options}
    claims: dict[str, Any] = jwt.decode(
        token, key, algorithms=[algorithm], audience=audience, issuer=issuer, leeway=LEEWAY, options=checks
    )
    return claims


def expiry_of(claims: Mapping[str, Any]) -> float:
    """The expiry in seconds since 1970. Raises one of INVALID_TOKEN."""
    expiry = int(claims["exp"])
    if expiry > _MAX_EXPIRY:
        message = "the expiry is too far in the future"
        raise jwt.InvalidTokenError(message)
    return float(expiry)
