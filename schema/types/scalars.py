"""The scalars of the schema: what they accept, which is their specification to the letter, and what they return."""

import datetime as dt
import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID

import strawberry
from graphql import GraphQLError, ValueNode
from graphql.utilities import value_from_ast_untyped
from strawberry.scalars import JSON
from strawberry.types.scalar import ScalarDefinition

from repositories.core.money import MAX_AMOUNT, BigInt

T = TypeVar("T")

_FULL_DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_HOUR_AND_MINUTE = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_DATE = re.compile(_FULL_DATE)
_DATE_TIME = re.compile(
    rf"{_FULL_DATE}[Tt]{_HOUR_AND_MINUTE}:[0-5][0-9](?:\.[0-9]{{1,9}})?(?:[Zz]|[+-]{_HOUR_AND_MINUTE})"
)
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")
_UUID = re.compile("[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}")

_MAX_DIGITS = 100
"""Characters of a Decimal: more than any column has."""

_INT_RANGE = range(-(2**63), 2**64)
"""The integers that orjson writes."""


def _parser(form: re.Pattern[str], convert: Callable[[str], T], message: str) -> Callable[[object], T]:
    """The function that makes the value of a text that has the form; ``message`` is that of all its errors."""

    def parse(value: object) -> T:
        if isinstance(value, str) and form.fullmatch(value):
            try:
                return convert(value)
            except (ValueError, OverflowError):
                pass
        raise GraphQLError(message)

    return parse


def _date_time(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text.upper()).astimezone(dt.UTC)


_parse_decimal_text = _parser(_DECIMAL, Decimal, 'A Decimal must be a string such as "12.50".')


def _parse_decimal(value: object) -> Decimal:
    """A string, or an integer. Never a float, which may have lost digits."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    return _parse_decimal_text(text if isinstance(text, str) and len(text) <= _MAX_DIGITS else None)


def serialize_date_time(value: dt.datetime) -> str:
    """``2026-06-15T12:00:00+00:00``, or with six digits of a fraction."""
    if value.tzinfo is not dt.UTC:
        if value.tzinfo is None:
            message = "This datetime has no time zone."
            raise ValueError(message)
        value = value.astimezone(dt.UTC)
    return value.isoformat()


def serialize_date(value: dt.date) -> str:
    """``2026-06-15``. A datetime is not a date."""
    if value.__class__ is not dt.date:
        message = "This is not a date."
        raise TypeError(message)
    return value.isoformat()


def serialize_decimal(value: Decimal) -> str:
    """All digits, without an exponent."""
    text = str(value)
    if "E" in text:
        return f"{value:f}"
    if not value.is_finite():
        message = "This number is not finite."
        raise ValueError(message)
    return text


def _parse_big_int(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and -MAX_AMOUNT <= value <= MAX_AMOUNT:
        return value
    message = f"A BigInt must be an integer from -{MAX_AMOUNT} to {MAX_AMOUNT}."
    raise GraphQLError(message)


def serialize_big_int(value: int) -> int:
    """As a JSON number."""
    return _parse_big_int(value)


def serialize_uuid(value: UUID) -> str:
    """In lower case."""
    if not isinstance(value, UUID):
        message = "This is not a UUID."
        raise TypeError(message)
    return str(value)


def _parse_json_literal(node: ValueNode, variables: Mapping[str, Any] | None = None) -> Any:
    """A literal may have numbers that JSON in a request cannot have."""
    value = value_from_ast_untyped(node, dict(variables or {}))
    rest = [value]
    while rest:
        each = rest.pop()
        if isinstance(each, dict):
            rest += each.values()
        elif isinstance(each, list):
            rest += each
        elif (isinstance(each, int) and each not in _INT_RANGE) or (
            isinstance(each, float) and not math.isfinite(each)
        ):
            message = "A number in a JSON value must have at most 64 bits."
            raise GraphQLError(message)
    return value


def _unchanged(value: Any) -> Any:
    return value


SCALARS: dict[object, ScalarDefinition] = {
    dt.datetime: strawberry.scalar(
        name="DateTime",
        description="A point in time as RFC 3339's `date-time`, such as 2026-06-15T12:00:00Z. In an input, any offset "
        "and up to nine digits of a fraction are accepted, of which six are kept; leap seconds are not accepted. In a "
        "response, the offset is +00:00, and the fraction has six digits or is left out if it is zero.",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc3339#section-5.6",
        serialize=serialize_date_time,
        parse_value=_parser(
            _DATE_TIME, _date_time, "A DateTime must be a string with an offset, such as 2026-06-15T12:00:00Z."
        ),
    ),
    dt.date: strawberry.scalar(
        name="Date",
        description="A calendar date as RFC 3339's `full-date`, such as 2026-06-15.",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc3339#section-5.6",
        serialize=serialize_date,
        parse_value=_parser(_DATE, dt.date.fromisoformat, "A Date must be a string such as 2026-06-15."),
    ),
    UUID: strawberry.scalar(
        name="UUID",
        description="A universally unique identifier, such as 0195c3a4-7b1e-7c55-9d1a-2f6b1c0a9e11. In a response, its "
        "letters are lower case.",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc9562#section-4",
        serialize=serialize_uuid,
        parse_value=_parser(_UUID, UUID, "A UUID must be a string such as 0195c3a4-7b1e-7c55-9d1a-2f6b1c0a9e11."),
    ),
    Decimal: strawberry.scalar(
        name="Decimal",
        description='A decimal number as a string, such as "12.50", with its exact digits: the `decimal` of XML '
        f"Schema. It has no exponent, and at most {_MAX_DIGITS} characters. In an input, an integer is accepted too.",
        specified_by_url="https://www.w3.org/TR/xmlschema11-2/#decimal",
        serialize=serialize_decimal,
        parse_value=_parse_decimal,
    ),
    BigInt: strawberry.scalar(
        name="BigInt",
        description=f"An integer from -{MAX_AMOUNT} to {MAX_AMOUNT} (53 bits), which every JavaScript number can hold "
        "exactly: the integers of I-JSON. It is a JSON number.",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc7493#section-2.2",
        serialize=serialize_big_int,
        parse_value=_parse_big_int,
    ),
    JSON: strawberry.scalar(
        name="JSON",
        description="Any JSON value. Its numbers have at most 64 bits.",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc8259",
        serialize=_unchanged,
        parse_value=_unchanged,
        parse_literal=_parse_json_literal,
    ),
}
