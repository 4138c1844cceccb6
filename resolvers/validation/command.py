"""Commands: the validated inputs of mutations, and what their handlers have in common.

A command is a Pydantic model. schema/operations/mutation.py publishes it as a GraphQL input, with its docstrings as
descriptions for frontend developers. A handler takes ``(work, command)``, returns the row, and never commits.
"""

import datetime as dt
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    PrivateAttr,
    StringConstraints,
)
from pydantic_core import CoreSchema, core_schema
from strawberry import Some
from strawberry.scalars import JSON

from repositories.aggregates.repository import row_version
from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.core.clock import is_in_range, time_zone
from repositories.core.email_address import normalize_email, parse_email
from repositories.core.encryption import DecryptionError
from repositories.core.errors import Conflict, InputError, InputErrors, StaleVersion, ValidationError
from repositories.core.formats import E164, is_web_address
from repositories.core.money import currency_digits
from repositories.core.text import normalize_text
from repositories.sql.table import Table, declared
from repositories.sql.types import to_json

R = TypeVar("R", bound=Table)


class Command(BaseModel):
    """Base of all commands. Immutable, and rejects fields that are not declared. Exceptions contain no input value."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)
    _is_partial: bool = PrivateAttr(default=False)

    def mark_as_partial(self) -> None:
        """Says that this is the valid part of an invalid input (valid_parts.py)."""
        self._is_partial = True

    @property
    def is_partial(self) -> bool:
        """Whether this is the valid part of an invalid input. Its handler cannot run."""
        return self._is_partial


_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""NUL and surrogates. A regular expression, because a loop over long texts would block the event loop."""


def _check_storable(text: str) -> str:
    if _UNSTORABLE.search(text):
        message = "Text must not contain NUL or half of a surrogate pair"
        raise ValueError(message)
    return text


_INVISIBLE_CATEGORIES = {"Cc", "Cf", "Cs", "Me", "Mn", "Zl", "Zp", "Zs"}
"""Unicode categories of characters that are invisible when alone: controls, formats, accents, spaces."""
_LINE_CATEGORIES = {"Cc", "Zl", "Zp"}
"""Unicode categories of control characters, U+001C to U+001F and U+0085 included, and of separators of lines."""
_INVISIBLE_CHARACTERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and symbols that are invisible: the fillers of Hangul and the empty Braille pattern."""


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) in _INVISIBLE_CATEGORIES or character in _INVISIBLE_CHARACTERS


def _check_visible(text: str) -> str:
    if text and all(map(_is_invisible, text)):
        message = "This needs at least one visible character"
        raise ValueError(message)
    return text


_ZERO_WIDTH = frozenset("\u200b\u2060\ufeff")
"""Characters without width and without a meaning in any script. The joiners U+200C and U+200D have one."""


def _breaks_line(character: str) -> bool:
    return unicodedata.category(character) in _LINE_CATEGORIES or character in _ZERO_WIDTH


def _check_single_line(text: str) -> str:
    if not text.isprintable() and any(map(_breaks_line, text)):  # no printable character breaks a line
        message = "This must not contain control characters, line breaks or characters without width"
        raise ValueError(message)
    return text


def matching(pattern: str, message: str) -> AfterValidator:
    """Requires that the whole text matches the pattern. The message tells users the format in words."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(message)
        return text

    return AfterValidator(check)


def _as_utc(moment: dt.datetime) -> dt.datetime:
    if not is_in_range(moment):
        message = "A date must be between the years 1900 and 2200"
        raise ValueError(message)
    return moment.astimezone(dt.UTC)


@dataclass(frozen=True, slots=True)
class _Text:
    """Converts a text to its normal form before anything else, such as its length, is checked, and checks it then."""

    check: Callable[[str], str]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        checked = core_schema.no_info_after_validator_function(self.check, handler(source))
        return core_schema.no_info_before_validator_function(_normalize, checked)


def _normalize(value: Any) -> Any:
    return normalize_text(value) if isinstance(value, str) else value


Storable = _Text(_check_storable)
"""A text that every text column can store on both engines."""

SingleLine = _Text(lambda text: _check_single_line(_check_storable(text)))
"""A storable text without control characters and line breaks."""

Visible = _Text(lambda text: _check_single_line(_check_visible(_check_storable(text))))
"""A storable text in one line with a visible character, for names and titles."""

VisibleText = _Text(lambda text: _check_visible(_check_storable(text)))
"""A storable text with a visible character. It may have several lines."""


def _check_date(date: dt.date) -> dt.date:
    if not is_in_range(date):
        message = "A date must be between the years 1900 and 2200"
        raise ValueError(message)
    return date


Moment = Annotated[AwareDatetime, AfterValidator(_as_utc)]
"""A time with an offset, between 1900 and 2200, converted to UTC."""

Date = Annotated[dt.date, AfterValidator(_check_date)]
"""A date between 1900 and 2200."""


Version = Annotated[int, Field(ge=1)]
"""The `version` of the row that was read."""

_NO_PHONE = "A phone number starts with + and the code of its country, such as +49 30 1234567"
_BETWEEN_DIGITS = "().-/\N{MINUS SIGN}"
_SPACES_AND_DASHES = {"Zs", "Pd"}
"""Unicode categories of all spaces, the no-break space included, and of all dashes."""


def _as_email(text: str) -> str:
    try:
        return parse_email(text)
    except ValueError:
        message = "This is not an e-mail address"
        raise ValueError(message) from None


def _check_url(text: str) -> str:
    if not is_web_address(text):
        message = "This is not a web address; it starts with http:// or https://"
        raise ValueError(message)
    return text


def _as_e164(text: str) -> str:
    """Full-width digits and signs count as the usual ones."""
    text = unicodedata.normalize("NFKC", text)
    if "(0)" in text:
        message = "Leave out the (0) of the phone number, because it is not dialled after the code of the country"
        raise ValueError(message)
    number = "".join(
        character
        for character in text
        if character not in _BETWEEN_DIGITS and unicodedata.category(character) not in _SPACES_AND_DASHES
    )
    if not E164.fullmatch(number):
        raise ValueError(_NO_PHONE)
    return number


def _as_time_zone(name: str) -> str:
    try:
        return time_zone(name).key
    except ValidationError as error:
        raise ValueError(error.message) from None


Email = Annotated[str, StringConstraints(max_length=254), Storable, AfterValidator(_as_email)]
"""An e-mail address, converted to its normal form (repositories/core/email_address.py)."""

LookupEmail = Annotated[str, StringConstraints(max_length=254), SingleLine, AfterValidator(normalize_email)]
"""An e-mail address to look for, converted to its normal form. A text that is no address is accepted: it finds nothing.

Texts are counted and looked up in this form, so that a limit per address holds for every spelling of it.
"""

Phone = Annotated[str, StringConstraints(strip_whitespace=True, max_length=40), Storable, AfterValidator(_as_e164)]
"""A phone number, converted to E.164: + and digits only."""

WebAddress = Annotated[
    str, StringConstraints(strip_whitespace=True, max_length=255), Storable, AfterValidator(_check_url)
]
"""An absolute http or https URL."""

TimeZone = Annotated[str, StringConstraints(max_length=64), AfterValidator(_as_time_zone)]
"""The name of an IANA time zone."""


def _check_currency(code: str) -> str:
    try:
        currency_digits(code)
    except ValidationError as error:
        raise ValueError(error.message) from None
    return code


Currency = Annotated[str, StringConstraints(max_length=3), AfterValidator(_check_currency)]
"""The code of a currency in ISO 4217."""


MAX_JSON_BYTES = 8192


def _check_json_object(value: Any) -> Any:
    if not isinstance(value, dict):
        message = "This must be a JSON object"
        raise ValueError(message)  # noqa: TRY004 (a TypeError would not be a validation error)
    try:
        size = len(to_json(value).encode())
    except ValidationError as error:
        raise ValueError(error.message) from None
    if size > MAX_JSON_BYTES:
        message = f"A JSON object may have at most {MAX_JSON_BYTES:,} bytes"
        raise ValueError(message)
    return value


JsonObject = Annotated[JSON, AfterValidator(_check_json_object)]
"""A JSON object of at most 8 KB."""


@contextmanager
def locate_taken_id(field: str) -> Iterator[None]:
    """Adds the field of the input to the Conflict of an id that is already used.

    The database does not tell which row of a batch it was.
    """
    try:
        yield
    except Conflict as error:
        if error.path != ("id",):
            raise
        one = "This databaseId is taken; make another, or leave it out."
        several = "One of the databaseIds is taken; make others, or leave them out."
        raise Conflict(one if field == "database_id" else several, path=(field,)) from error


def raise_all(errors: Sequence[InputError]) -> None:
    """Raises all errors together, if there are any."""
    if errors:
        raise errors[0] if len(errors) == 1 else InputErrors(errors)


def check_version(row: R, version: int | None) -> R:
    """Returns the row. Raises the errors of :func:`version_errors`."""
    raise_all(version_errors(row, version))
    return row


def version_errors(row: Table, version: int | None) -> list[InputError]:
    """STALE_VERSION if another version of the row was read; None is not checked."""
    return [StaleVersion(row)] if version is not None and version != row_version(row) else []


def provided_fields(command: Command, *names: str) -> Mapping[str, Any]:
    """The values of those ``Maybe`` fields that the client provided. Null is a value."""
    return {name: value.value for name in names if isinstance(value := getattr(command, name), Some)}


def changed_fields(work: UnitOfWork, row: Table, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that differ from the row. Values of encrypted columns are compared decrypted."""
    return {name: value for name, value in values.items() if value != _decrypt_value(work, row, name)}


def _decrypt_value(work: UnitOfWork, row: Table, name: str) -> Any:
    """A value of the row. A value that cannot be decrypted equals no other, so that it can be replaced."""
    value, column = getattr(row, name), getattr(type(row), name)
    if value is None or not declared(column).encrypted:
        return value
    try:
        return work.connection.cipher.decrypt(column, row.id, value)
    except DecryptionError:
        return ...
