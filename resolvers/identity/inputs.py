"""The types of passwords and tokens in commands."""

import unicodedata
from functools import cache
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo

from repositories.core.email_address import normalize_email
from resolvers.validation.command import SingleLine, Storable

SAME_AS_EMAIL = "The password must not be the e-mail address"


def is_email(password: str, email: str) -> bool:
    """Whether the password is the e-mail address, in any spelling of it. ``email`` is in its normal form."""
    return normalize_email(password.strip()) == email


def not_the_email(password: str, info: ValidationInfo) -> str:
    """Validates the password of a command whose field ``email`` is validated before."""
    if is_email(password, info.data.get("email", "")):
        raise ValueError(SAME_AS_EMAIL)
    return password


def normalize_password(password: str) -> str:
    """The password in the Unicode form NFKC, so that it does not depend on the keyboard (NIST SP 800-63B)."""
    return unicodedata.normalize("NFKC", password)


def is_common(password: str) -> bool:
    """Whether the password is one of the most common ones, in any case and with any spaces around it."""
    return normalize_password(password).strip().casefold() in _common_passwords()


@cache
def _common_passwords() -> frozenset[str]:
    from zxcvbn.frequency_lists import FREQUENCY_LISTS  # noqa: PLC0415 (takes 12 MB; loaded with the first password)

    return frozenset(map(str.casefold, FREQUENCY_LISTS["passwords"]))


def _check_uncommon(password: str) -> str:
    if is_common(password):
        message = "This is one of the most common passwords. Choose another one, such as three or four unrelated words"
        raise ValueError(message)
    return password


_SHORTEST, _LONGEST = 10, 128
NewPassword = Annotated[
    str, StringConstraints(min_length=_SHORTEST, max_length=_LONGEST), Storable, AfterValidator(_check_uncommon)
]
GivenPassword = Annotated[str, StringConstraints(max_length=_LONGEST), Storable]
"""A password to compare with the stored one. It has no minimum length, because it may be older than the minimum."""
SecretToken = Annotated[str, StringConstraints(max_length=200), SingleLine]
"""A token from an e-mail."""

# Fields of commands with their descriptions

_COMMON = "not the e-mail address and none of the most common passwords"
NewPasswordField = Annotated[
    NewPassword,
    Field(repr=False, description=f"The new password, {_SHORTEST} to {_LONGEST} characters, {_COMMON}."),
]
OwnPasswordField = Annotated[
    GivenPassword | None,
    Field(repr=False, description="The account's password. Accounts of an external issuer have none."),
]
TokenField = Annotated[SecretToken, Field(repr=False, description="The token from the message. It can be used once.")]
