"""Column types, each with its form on PostgreSQL and on SQLite.

| type      | Python    | PostgreSQL    | SQLite                                              |
|-----------|-----------|---------------|-----------------------------------------------------|
| Id        | UUID      | uuid          | text, 36 characters                                 |
| Text      | str       | text          | text                                                |
| Timestamp | datetime  | timestamptz   | text, UTC, fixed width, so that it sorts by time    |
| Day       | date      | date          | text, ISO                                           |
| Integer   | int       | integer       | integer                                             |
| BigInteger| int       | bigint        | integer                                             |
| Flag      | bool      | boolean       | integer 0 or 1                                      |
| Fixed     | Decimal   | numeric(p, s) | integer in units of 10^-s, so that sums stay exact  |
| Json      | JSON value| jsonb         | text                                                |
| Choice    | StrEnum   | text          | text                                                |
| ListOf    | list      | array         | text, JSON array (parameters only)                  |

A type converts only where the driver does not: on PostgreSQL asyncpg already speaks UUID, datetime and Decimal.
"""

import datetime as dt
import re
from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum
from typing import Any

import orjson
from sqlalchemy import types
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.types import BigInteger, Integer, Text, TypeDecorator, TypeEngine

from repositories.core.errors import ValidationError
from repositories.core.ids import as_uuid

__all__ = ["BigInteger", "Choice", "Day", "Fixed", "Flag", "Id", "Integer", "Json", "ListOf", "Text", "Timestamp"]

Convert = Callable[[Any], Any]

_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def _optional(convert: Convert) -> Convert:
    return lambda value: None if value is None else convert(value)


class Converted(TypeDecorator[Any]):
    """A type that is stored in another form on SQLite; subclasses give the two conversions."""

    cache_ok = True
    impl: TypeEngine[Any] | type[TypeEngine[Any]] = Text

    def to_sqlite(self, value: Any) -> Any:
        """From the Python value to what SQLite stores."""
        return value

    def from_sqlite(self, value: Any) -> Any:
        """From what SQLite stores to the Python value."""
        return value

    def bind_processor(self, dialect: Dialect) -> Convert | None:
        """How a parameter is converted, None for not at all."""
        return _optional(self.to_sqlite) if dialect.name == "sqlite" else None

    def result_processor(self, dialect: Dialect, coltype: object) -> Convert | None:
        """How a result is converted, None for not at all."""
        return _optional(self.from_sqlite) if dialect.name == "sqlite" else None

    def native(self) -> TypeEngine[Any]:
        """The type on PostgreSQL."""
        return Text()

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The type as ``dialect`` spells it."""
        return dialect.type_descriptor(self.native() if dialect.name == "postgresql" else self.impl_instance)


class Id(Converted):
    """A UUID."""

    impl = types.CHAR(36)

    def native(self) -> TypeEngine[Any]:
        """PostgreSQL's uuid."""
        return postgresql.UUID(as_uuid=True)

    def to_sqlite(self, value: Any) -> Any:
        """Lower-case text with hyphens."""
        return str(value)

    def from_sqlite(self, value: Any) -> Any:
        """A UUID."""
        return as_uuid(value)


class Timestamp(Converted):
    """A moment, timezone-aware, in UTC."""

    impl = types.CHAR(32)

    def native(self) -> TypeEngine[Any]:
        """PostgreSQL's timestamptz."""
        return postgresql.TIMESTAMP(timezone=True)

    def to_sqlite(self, value: Any) -> Any:
        """ISO 8601 with microseconds and +00:00, always 32 characters."""
        return value.astimezone(dt.UTC).isoformat(timespec="microseconds")

    def from_sqlite(self, value: Any) -> Any:
        """An aware datetime in UTC."""
        return dt.datetime.fromisoformat(value)


class Day(Converted):
    """A calendar date."""

    impl = types.CHAR(10)

    def native(self) -> TypeEngine[Any]:
        """PostgreSQL's date."""
        return types.Date()

    def to_sqlite(self, value: Any) -> Any:
        """YYYY-MM-DD."""
        return value.isoformat()

    def from_sqlite(self, value: Any) -> Any:
        """A date."""
        return dt.date.fromisoformat(value)


class Flag(Converted):
    """True or false."""

    impl = types.Integer

    def native(self) -> TypeEngine[Any]:
        """PostgreSQL's boolean."""
        return types.Boolean()

    def to_sqlite(self, value: Any) -> Any:
        """0 or 1."""
        return int(value)

    def from_sqlite(self, value: Any) -> Any:
        """A bool."""
        return bool(value)


class Fixed(Converted):
    """A decimal number of ``precision`` digits, ``scale`` of them after the point; never a float."""

    impl = types.BigInteger

    def __init__(self, precision: int, scale: int) -> None:
        super().__init__()
        self.precision = precision
        self.scale = scale

    def native(self) -> TypeEngine[Any]:
        """PostgreSQL's numeric."""
        return types.Numeric(self.precision, self.scale)

    def bind_processor(self, dialect: Dialect) -> Convert | None:
        """The number as it is; one that the column cannot hold is refused alike on both engines, also by a filter."""
        return _optional(self.to_sqlite if dialect.name == "sqlite" else self.checked)

    def literal_processor(self, dialect: Dialect) -> Callable[[Any], str] | None:
        """The number in the text of a constraint, in the units that the engine stores."""
        return lambda value: str(self.to_sqlite(value) if dialect.name == "sqlite" else self.checked(value))

    def fits(self, number: Decimal) -> bool:
        """Whether the column can hold the number without losing a digit; what is no number never fits."""
        if not number.is_finite() or number.adjusted() >= self.precision - self.scale:
            return number == 0
        return number == number.quantize(Decimal(1).scaleb(-self.scale))

    def checked(self, value: Any) -> Decimal:
        """The number, or ValidationError if it has too many digits."""
        number = Decimal(value)
        if self.fits(number):
            return number
        whole = self.precision - self.scale
        message = f"A number here has at most {whole} digits before the point and {self.scale} after it."
        raise ValidationError(message)

    def to_sqlite(self, value: Any) -> Any:
        """The number of smallest units."""
        return int(self.checked(value).scaleb(self.scale))

    def from_sqlite(self, value: Any) -> Any:
        """A Decimal with ``scale`` digits after the point."""
        return Decimal(value).scaleb(-self.scale)


class Json(Converted):
    """A JSON value. asyncpg hands jsonb over as text, so that both engines convert alike."""

    def native(self) -> TypeEngine[Any]:
        """PostgreSQL's jsonb."""
        return postgresql.JSONB()

    def bind_processor(self, dialect: Dialect) -> Convert | None:
        """To JSON text."""
        return _optional(to_json)

    def result_processor(self, dialect: Dialect, coltype: object) -> Convert | None:
        """From JSON text."""
        return _optional(orjson.loads)


class Choice(Converted):
    """One of the values of a StrEnum, stored as its text."""

    def __init__(self, choices: type[StrEnum]) -> None:
        super().__init__()
        self.choices = choices

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Text everywhere."""
        return Text()

    def bind_processor(self, dialect: Dialect) -> Convert | None:
        """Plain text; a StrEnum is one already, sqlite3 wants the exact type."""
        return _optional(str)

    def result_processor(self, dialect: Dialect, coltype: object) -> Convert | None:
        """The member, looked up without the cost of calling the enum."""
        members: dict[str | None, StrEnum | None] = {member.value: member for member in self.choices}
        return (members | {None: None}).__getitem__


class ListOf(Converted):
    """A list as one parameter, so that a statement's text does not depend on how many keys there are."""

    def __init__(self, item: TypeEngine[Any]) -> None:
        super().__init__()
        self.item = item

    def native(self) -> TypeEngine[Any]:
        """An array of the items' type."""
        return postgresql.ARRAY(self.item.native() if isinstance(self.item, Converted) else self.item)

    def bind_processor(self, dialect: Dialect) -> Convert | None:
        """A list for asyncpg, JSON text for SQLite."""
        if dialect.name != "sqlite":
            return list
        convert = self.item.bind_processor(dialect) if isinstance(self.item, Converted) else None
        return lambda values: to_json([convert(value) for value in values] if convert else list(values))


def to_json(value: object) -> str:
    """JSON text; UUIDs, dates and Decimals become strings. What no text column could hold is refused."""
    try:
        text = orjson.dumps(value, default=str).decode()
    except orjson.JSONEncodeError as error:
        if "surrogates" in str(error):
            raise ValidationError.for_unstorable_text() from None
        raise
    if "\\u0000" in text and _ESCAPED_NUL.search(text):
        raise ValidationError.for_unstorable_text()
    return text
