"""Commands: what a person asks to be changed, as validated data.

A command is a Pydantic model; the contract publishes it as an input (schema/kit/mutations.py). Its docstring and those
of its fields are what a frontend developer reads. A handler takes ``(work, command)`` and returns the row; it never
commits.
"""

import datetime as dt
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

from email_validator import EmailNotValidError, validate_email
from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
)
from pydantic import ValidationError as InvalidValue
from strawberry import Some

from repositories.kit.errors import Conflict, Refusal, Refusals


class Command(BaseModel):
    """Base of all commands: immutable, and nothing that is not declared gets in."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def _storable(text: str) -> str:
    if any(character == "\0" or unicodedata.category(character) == "Cs" for character in text):
        message = "Text must not contain NUL or half of a surrogate pair"
        raise ValueError(message)
    return text


def _in_range(moment: dt.datetime) -> dt.datetime:
    if not dt.datetime(1900, 1, 1, tzinfo=dt.UTC) <= moment < dt.datetime(2200, 1, 1, tzinfo=dt.UTC):
        message = "A date must be between the years 1900 and 2200"
        raise ValueError(message)
    return moment.astimezone(dt.UTC)


Storable = AfterValidator(_storable)
"""What every text column can hold, on either engine."""

Line = Annotated[str, StringConstraints(strip_whitespace=True), Storable]
"""A text without white space around it."""

Moment = Annotated[AwareDatetime, AfterValidator(_in_range)]
"""A moment with its offset, between 1900 and 2200, in UTC."""


Version = Annotated[int, Field(ge=1)]
"""The version of a row that was seen."""

_URL = TypeAdapter(AnyHttpUrl)
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_BETWEEN_DIGITS = re.compile(r"[ ().\-/]")


def _as_email(text: str) -> str:
    try:
        return validate_email(text, check_deliverability=False).normalized
    except EmailNotValidError:
        message = "This is not an e-mail address"
        raise ValueError(message) from None


def _is_url(text: str) -> str:
    try:
        _URL.validate_python(text)
    except InvalidValue:
        message = "This is not a web address; it starts with http:// or https://"
        raise ValueError(message) from None
    return text


def _as_e164(text: str) -> str:
    number = _BETWEEN_DIGITS.sub("", text)
    if not _E164.fullmatch(number):
        message = "A phone number starts with + and the code of its country, such as +49 30 1234567"
        raise ValueError(message)
    return number


Email = Annotated[str, StringConstraints(strip_whitespace=True, max_length=254), Storable, AfterValidator(_as_email)]
"""An e-mail address, with its domain in lower case."""

Phone = Annotated[str, StringConstraints(strip_whitespace=True, max_length=40), Storable, AfterValidator(_as_e164)]
"""A phone number, in E.164 afterwards: + and digits alone."""

WebAddress = Annotated[str, StringConstraints(strip_whitespace=True, max_length=255), Storable, AfterValidator(_is_url)]
"""An absolute http or https URL."""


@contextmanager
def taken_id_at(place: str) -> Iterator[None]:
    """Names the place in the input of an id that is taken; which of a batch it was, the database does not tell."""
    try:
        yield
    except Conflict as error:
        if error.path == ("id",):
            error.path = (place,)
        raise


def refuse(refusals: Sequence[Refusal]) -> None:
    """Raises all refusals at once, if there are any."""
    if refusals:
        raise refusals[0] if len(refusals) == 1 else Refusals(refusals)


def given(command: Command, *names: str) -> Mapping[str, Any]:
    """What the client gave for the ``Maybe`` fields ``names``; null stays, what was left out is not there."""
    return {name: value.value for name in names if isinstance(value := getattr(command, name), Some)}
