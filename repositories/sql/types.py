"""Column types and how each of them is stored on PostgreSQL and on SQLite.

| type      | Python    | PostgreSQL    | SQLite                                              |
|-----------|-----------|---------------|-----------------------------------------------------|
| Id        | UUID      | uuid          | text, 36 characters                                 |
| Text      | str       | text          | text                                                |
| Email     | str       | text          | text, in the normal form of addresses               |
| Timestamp | datetime  | timestamptz   | text, UTC, fixed width, so that it sorts by time    |
| Day       | date      | date          | text, ISO                                           |
| Integer   | int       | integer       | integer                                             |
| BigInteger| int       | bigint        | integer                                             |
| Flag      | bool      | boolean       | integer 0 or 1                                      |
| Fixed     | Decimal   | numeric(p, s) | integer in units of 10^-s, so that sums stay exact  |
| Json      | JSON value| jsonb         | text                                                |
| Choice    | StrEnum   | text          | text                                                |
| ListOf    | list      | array         | text, JSON array (parameters only)                  |

A type converts only values that the driver does not convert: asyncpg converts UUID, datetime and Decimal itself.
"""

import datetime as dt
import re
from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import types
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.types import BigInteger, Integer, Text, TypeDecorator, TypeEngine

from repositories.core.email_address import normalize_email
from repositories.core.errors import UnreadableValue, ValidationError
from repositories.core.ids import as_uuid

__all__ = [
    "BigInteger",
    "Choice",
    "Day",
    "Email",
    "Fixed",
    "Flag",
    "Id",
    "Integer",
    "Json",
    "ListOf",
    "Text",
    "Timestamp",
]

Convert = Callable[[Any], Any]

_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def _optional(convert: Convert) -> Convert:
    return lambda value: None if value is None else convert(value)


class Converted(TypeDecorator[Any]):
    """Base of types that SQLite stores in another form. Subclasses define the conversions to and from that form."""

    cache_ok = True
    impl: TypeEngine[Any] | type[TypeEngine[Any]] = Text

    def to_sqlite(self, value: Any) -> Any:
        return value

    def from_sqlite(self, value: Any) -> Any:
        return value

    def bind_processor(self, dialect: Dialect) -> Convert | None:
        """The conversion of parameters; None if they are not converted."""
        return _optional(self.to_sqlite) if dialect.name == "sqlite" else None

    def result_processor(self, dialect: Dialect, coltype: object) -> Convert | None:
        """The conversion of results; None if they are not converted."""
        return _optional(self.from_sqlite) if dialect.name == "sqlite" else None

    def native(self) -> TypeEngine[Any]:
        """The type on PostgreSQL."""
        return Text()

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(self.native() if dialect.name == "postgresql" else self.impl_instance)


class Id(Converted):
    impl = types.CHAR(36)

    def native(self) -> TypeEngine[Any]:
        return postgresql.UUID(as_uuid=True)

    def to_sqlite(self, value: Any) -> Any:
        """TypeError for a text, as from asyncpg: SQLite would store any."""
        if not isinstance(value, UUID):
            message = f"An id is a UUID, not {value!r}."
            raise TypeError(message)
        return str(value)

    def from_sqlite(self, value: Any) -> Any:
        return as_uuid(value)


class Email(Converted):
    """An e-mail address. Whatever is stored in the column or compared with it is converted to the normal form first."""

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return Text()

    def bind_processor(self, dialect: Dialect) -> Convert | None:
        return _optional(normalize_email)

    def result_processor(self, dialect: Dialect, coltype: object) -> Convert | None:
        return None


class Timestamp(Converted):
    """A timezone-aware datetime in UTC."""

    impl = types.CHAR(32)
    literal_format = "%Y-%m-%d %H:%M:%S+00"
    """The format of constants in SQL. SQLite compares them with the texts that it stores, up to the date."""

    def native(self) -> TypeEngine[Any]:
        return postgresql.TIMESTAMP(timezone=True)

    def to_sqlite(self, value: Any) -> Any:
        """ISO 8601 with microseconds and +00:00, always 32 characters."""
        return value.astimezone(dt.UTC).isoformat(timespec="microseconds")

    def from_sqlite(self, value: Any) -> Any:
        return dt.datetime.fromisoformat(value)


class Day(Converted):
    impl = types.CHAR(10)
    literal_format = "%Y-%m-%d"

    def native(self) -> TypeEngine[Any]:
        return types.Date()

    def to_sqlite(self, value: Any) -> Any:
        return value.isoformat()

    def from_sqlite(self, value: Any) -> Any:
        return dt.date.fromisoformat(value)


class Flag(Converted):
    impl = types.Integer

    def native(self) -> TypeEngine[Any]:
        return types.Boolean()

    def to_sqlite(self, value: Any) -> Any:
        return int(value)

    def from_sqlite(self, value: Any) -> Any:
        return bool(value)


class Fixed(Converted):
    """A Decimal of ``precision`` digits, ``scale`` of them after the decimal point."""

    impl = types.BigInteger

    def __init__(self, precision: int, scale: int) -> None:
        super().__init__()
        self.precision = precision
        self.scale = scale

    def native(self) -> TypeEngine[Any]:
        return types.Numeric(self.precision, self.scale)

    def bind_processor(self, dialect: Dialect) -> Convert | None:
        """Raises ValidationError on both engines for a number that does not fit, also if it is a filter's value."""
        return _optional(self.to_sqlite if dialect.name == "sqlite" else self.check)

    def literal_processor(self, dialect: Dialect) -> Callable[[Any], str] | None:
        """The number in the text of a constraint, in the unit that the engine stores."""
        return lambda value: str(self.to_sqlite(value) if dialect.name == "sqlite" else self.check(value))

    def fits(self, number: Decimal) -> bool:
        """Whether the column can store the number without losing a digit. NaN and infinities never fit."""
        if not number.is_finite() or number.adjusted() >= self.precision - self.scale:
            return number == 0
        return number == number.quantize(Decimal(1).scaleb(-self.scale))

    def check(self, value: Any) -> Decimal:
        """The value as a Decimal, or ValidationError if it has too many digits."""
        number = Decimal(value)
        if self.fits(number):
            return number
        whole = self.precision - self.scale
        message = f"A number here may have at most {whole} digits before the decimal point and {self.scale} after it."
        raise ValidationError(message)

    def to_sqlite(self, value: Any) -> Any:
        return int(self.check(value).scaleb(self.scale))

    def from_sqlite(self, value: Any) -> Any:
        return Decimal(value).scaleb(-self.scale)


class Json(Converted):
    """A JSON value. asyncpg passes jsonb as text, so both engines use the same conversions."""

    def native(self) -> TypeEngine[Any]:
        return postgresql.JSONB()

    def bind_processor(self, dialect: Dialect) -> Convert | None:
        return _optional(to_json)

    def result_processor(self, dialect: Dialect, coltype: object) -> Convert | None:
        return _optional(orjson.loads)


class Choice(Converted):
    """A member of a StrEnum, stored as its text."""

    def __init__(self, choices: type[StrEnum]) -> None:
        super().__init__()
        self.choices = choices

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return Text()

    def bind_processor(self, dialect: Dialect) -> Convert | None:
        """Converts to exactly ``str``, because sqlite3 does not accept a subclass such as a StrEnum."""
        return _optional(str)

    def result_processor(self, dialect: Dialect, coltype: object) -> Convert | None:
        """Looks the member up in a dict, which is faster than calling the enum."""
        members: dict[str | None, StrEnum | None] = {member.value: member for member in self.choices}
        return (members | {None: None}).__getitem__


class ListOf(Converted):
    """A list that is one parameter, so that a statement's text does not depend on the length of the list."""

    def __init__(self, item: TypeEngine[Any]) -> None:
        super().__init__()
        self.item = item

    def native(self) -> TypeEngine[Any]:
        return postgresql.ARRAY(self.item.native() if isinstance(self.item, Converted) else self.item)

    def bind_processor(self, dialect: Dialect) -> Convert | None:
        """A list for asyncpg, JSON text for SQLite."""
        convert = self.item.bind_processor(dialect) if isinstance(self.item, Converted) else None

        def to_list(values: Any) -> list[Any]:
            return [convert(value) for value in values] if convert else list(values)

        return to_list if dialect.name != "sqlite" else lambda values: to_json(to_list(values))


def _to_text(value: Any) -> str:
    if isinstance(value, UnreadableValue):
        raise value
    return str(value)


def to_json(value: object) -> str:
    """JSON text. UUIDs, dates and Decimals become strings; a text that cannot be stored is a ValidationError."""
    try:
        text = orjson.dumps(value, default=_to_text).decode()
    except orjson.JSONEncodeError as error:
        if "surrogates" in str(error):
            raise ValidationError.for_unstorable_text() from None
        raise
    if "\\u0000" in text and _ESCAPED_NUL.search(text):
        raise ValidationError.for_unstorable_text()
    return text
