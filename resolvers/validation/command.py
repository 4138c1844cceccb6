"""Commands: what a person asks to be changed, as validated data.

A command is a Pydantic model; the contract publishes it as an input (schema/operations/mutation.py). Its docstring and those
of its fields are what a frontend developer reads. A handler takes ``(work, command)`` and returns the row; it never
commits.
"""

import datetime as dt
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar
from uuid import UUID

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

from repositories.aggregates.repository import row_version
from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.core.encryption import DecryptionError
from repositories.core.errors import Conflict, InputError, InputErrors, StaleVersion
from repositories.sql.table import Table
from resolvers.validation.global_ids import GlobalKey

R = TypeVar("R", bound=Table)


class Command(BaseModel):
    """Base of all commands: immutable, and nothing that is not declared gets in."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def _storable(text: str) -> str:
    if any(character == "\0" or unicodedata.category(character) == "Cs" for character in text):
        message = "Text must not contain NUL or half of a surrogate pair"
        raise ValueError(message)
    return text


_UNSEEN = {"Cc", "Cf", "Cs", "Me", "Mn", "Zl", "Zp", "Zs"}
"""Categories of characters that show nothing by themselves: controls, formats, accents, spaces."""
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and symbols that show nothing: Hangul's fillers and the empty Braille pattern."""


def _visible(text: str) -> str:
    if text and all(unicodedata.category(character) in _UNSEEN or character in _BLANK for character in text):
        message = "This shows nothing; write something that can be seen"
        raise ValueError(message)
    return text


def shaped(pattern: str, message: str) -> AfterValidator:
    """For a text that has to match all of a pattern, with what to tell a person, who reads no patterns."""
    wanted = re.compile(pattern)

    def check(text: str) -> str:
        if not wanted.fullmatch(text):
            raise ValueError(message)
        return text

    return AfterValidator(check)


def _in_range(moment: dt.datetime) -> dt.datetime:
    if not dt.datetime(1900, 1, 1, tzinfo=dt.UTC) <= moment < dt.datetime(2200, 1, 1, tzinfo=dt.UTC):
        message = "A date must be between the years 1900 and 2200"
        raise ValueError(message)
    return moment.astimezone(dt.UTC)


Storable = AfterValidator(_storable)
"""What every text column can hold, on either engine."""

Visible = AfterValidator(lambda text: _visible(_storable(text)))
"""The same, if something of it can be seen: for names and titles."""

Line = Annotated[str, StringConstraints(strip_whitespace=True), Storable]
"""A text without white space around it."""

UserKey = Annotated[UUID, GlobalKey("User")]
"""The id of a user."""

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
        address = _URL.validate_python(text)
    except InvalidValue:
        address = None
    if address is None or address.username or not text.isprintable() or " " in text:
        message = "This is not a web address; it starts with http:// or https://"
        raise ValueError(message)
    return text


def _as_e164(text: str) -> str:
    number = "" if "(0)" in text else _BETWEEN_DIGITS.sub("", text)
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
    """Says that an id is taken, and at which place in the input; which one of a batch, the database does not tell."""
    try:
        yield
    except Conflict as error:
        if error.path != ("id",):
            raise
        message = "This databaseId is taken; make another, or leave it out."
        several = "One of the databaseIds is taken; make others, or leave them out."
        raise Conflict(message if place == "database_id" else several, path=(place,)) from error


def raise_all(refusals: Sequence[InputError]) -> None:
    """Raises all refusals at once, if there are any."""
    if refusals:
        raise refusals[0] if len(refusals) == 1 else InputErrors(refusals)


def check_version(row: R, version: int | None) -> R:
    """The row, unless the client saw another version of it than there is by now; None for clients that do not tell."""
    if version is not None and version != row_version(row):
        raise StaleVersion(row)
    return row


def provided_fields(command: Command, *names: str) -> Mapping[str, Any]:
    """What the client gave for the ``Maybe`` fields ``names``; null stays, what was left out is not there."""
    return {name: value.value for name in names if isinstance(value := getattr(command, name), Some)}


def changes(work: UnitOfWork, row: Table, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the values wanted that the row does not have yet; encrypted ones are compared in plain sight."""
    return {name: value for name, value in wanted.items() if value != _plain(work, row, name)}


def _plain(work: UnitOfWork, row: Table, name: str) -> Any:
    """A value as the person knows it; one that cannot be decrypted equals nothing, so that it can be replaced."""
    value, column = getattr(row, name), getattr(type(row), name)
    if value is None or not column.info["encrypted"]:
        return value
    try:
        return work.connection.cipher.decrypt(column, row.id, value)
    except DecryptionError:
        return ...
