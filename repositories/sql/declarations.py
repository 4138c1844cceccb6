"""What a column declares: the values of the arguments of :func:`repositories.sql.table.column`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import sqlalchemy as sa

LINE_BREAKS = r"[\u0001-\u001F\u007F-\u009F\u2028\u2029\u200B\u2060\uFEFF]"
"""A regular expression, for PostgreSQL too: the characters that a single line must not contain."""


class Writer(Enum):
    """Which inputs of mutations contain a column."""

    CLIENT = "the inputs that create and change rows"
    ON_CREATE = "the input that creates rows"
    ON_UPDATE = "the input that changes rows"
    GATEWAY = "no input: only the gateway writes the column"


class Format(Enum):
    """Formats of texts that need more than a length."""

    EMAIL = "an e-mail address"
    PHONE = "a phone number in E.164"
    WEB_ADDRESS = "an absolute http or https URL"
    TIME_ZONE = "the name of an IANA time zone"
    CURRENCY = "the code of a currency in ISO 4217"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A format that a regular expression describes. ``message`` tells users the format in words."""

    regex: str
    message: str


@dataclass(frozen=True, slots=True)
class Inverse:
    """The field of the referenced row with the rows that refer to it, a connection."""

    field: str
    description: str


@dataclass(frozen=True, slots=True)
class Declared:
    """What :func:`column` declares, apart from what SQLAlchemy keeps itself."""

    kind: Any
    """The Python type of the values, without None."""
    description: str
    default: Any
    input_default: Any
    writer: Writer
    length: tuple[int, int] | None
    range: tuple[int | None, int | None] | None
    single_line: bool
    format: Format | Pattern | None
    searched: bool
    filtered: bool
    sorted: bool
    encrypted: bool
    secret: bool
    history: bool
    transitions: Mapping[Any, Sequence[Any]] | None
    inverse: Inverse | None
    constraints: tuple[sa.Constraint, ...]


def declared(column: Any) -> Declared:
    """The declaration of a column of a :class:`Table`."""
    found: Declared = column.info["declared"]
    return found


class DeclarationError(Exception):
    """A declaration contradicts itself. Raised at import; the message names the table and the column."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}")


def place_of(column: sa.Column[Any]) -> str:
    """The names of the table and the column, for the message of an error."""
    return f"{column.table.name}.{column.name}"


def reference_keys(column: sa.Column[Any]) -> list[sa.ForeignKey]:
    """The foreign keys by which a column refers to the id of a row, also as one of several columns.

    They are found by their text, because the other table may not be declared yet.
    """
    keys = column.foreign_keys if column.name != "id" else ()
    return [key for key in keys if key.target_fullname.endswith(".id")]
