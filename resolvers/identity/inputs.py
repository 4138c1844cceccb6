"""What people may call themselves, and how they prove who they are."""

import unicodedata
from functools import cache
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, StringConstraints, ValidationInfo

from repositories.core.clock import time_zone
from repositories.core.email_address import normalize_email
from repositories.core.errors import ValidationError
from resolvers.validation.command import Storable, Visible, matching
from resolvers.validation.global_ids import GlobalKey

SessionKey = Annotated[UUID, GlobalKey("Session")]

SAME_AS_EMAIL = "The password must not be the e-mail address"


def _zone(name: str) -> str:
    try:
        return time_zone(name).key
    except ValidationError as error:
        raise ValueError(error.message) from None


def is_email(password: str, email: str) -> bool:
    """Whether the password is the e-mail address, in any spelling."""
    return normalize_email(password.strip()) == email


def not_the_email(password: str, info: ValidationInfo) -> str:
    """For a command with an ``email`` before its password."""
    if is_email(password, info.data.get("email", "")):
        raise ValueError(SAME_AS_EMAIL)
    return password


def normalize_password(password: str) -> str:
    """One spelling for what looks the same on every keyboard (NIST SP 800-63B)."""
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


Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=2, max_length=50), Visible]
NewPassword = Annotated[
    str, StringConstraints(min_length=10, max_length=128), Storable, AfterValidator(_check_uncommon)
]
"""A password that is being set."""
GivenPassword = Annotated[str, StringConstraints(max_length=128), Storable]
"""One to compare with; how long it must be was decided when it was set."""
TimeZone = Annotated[str, StringConstraints(max_length=64), AfterValidator(_zone)]
Locale = Annotated[
    str,
    matching(
        "[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?",
        "A locale is a language, and a region if it matters, such as en or de-AT",
    ),
]
