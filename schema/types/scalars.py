"""Scalars, by the names of graphql-scalars, each with the specification it follows."""

import datetime as dt
from decimal import Decimal, InvalidOperation
from uuid import UUID

import strawberry
from graphql import GraphQLError
from strawberry.scalars import JSON
from strawberry.types.scalar import ScalarDefinition


def _date_time(value: object) -> dt.datetime:
    try:
        if isinstance(value, str) and (moment := dt.datetime.fromisoformat(value)).tzinfo is not None:
            return moment.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        pass
    message = "A DateTime is a text such as 2026-06-15T12:00:00Z, with its offset."
    raise GraphQLError(message)


def _date(value: object) -> dt.date:
    try:
        if isinstance(value, str):
            return dt.date.fromisoformat(value)
    except ValueError:
        pass
    message = "A Date is a text such as 2026-06-15."
    raise GraphQLError(message)


def _uuid(value: object) -> UUID:
    try:
        if isinstance(value, str):
            return UUID(value)
    except ValueError:
        pass
    message = "A UUID is a text such as 0195c3a4-7b1e-7c55-9d1a-2f6b1c0a9e11."
    raise GraphQLError(message)


def _decimal(value: object) -> Decimal:
    try:
        number = Decimal(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite():
        message = 'A Decimal is a text such as "12.50".'
        raise GraphQLError(message)
    return number


SCALARS: dict[object, ScalarDefinition] = {
    dt.datetime: strawberry.scalar(
        name="DateTime",
        description="A moment with its offset from UTC, such as 2026-06-15T12:00:00+00:00.",
        specified_by_url="https://scalars.graphql.org/andimarek/date-time.html",
        serialize=dt.datetime.isoformat,
        parse_value=_date_time,
    ),
    dt.date: strawberry.scalar(
        name="Date",
        description="A calendar date, such as 2026-06-15.",
        specified_by_url="https://scalars.graphql.org/andimarek/local-date.html",
        serialize=dt.date.isoformat,
        parse_value=_date,
    ),
    UUID: strawberry.scalar(
        name="UUID",
        description="A universally unique identifier, such as 0195c3a4-7b1e-7c55-9d1a-2f6b1c0a9e11.",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc9562",
        serialize=str,
        parse_value=_uuid,
    ),
    Decimal: strawberry.scalar(
        name="Decimal",
        description='A decimal number as text, such as "12.50", so that no digit is lost.',
        specified_by_url="https://speleotrove.com/decimal/decarith.html",
        serialize=str,
        parse_value=_decimal,
    ),
    JSON: strawberry.scalar(
        name="JSON",
        description="Any JSON value.",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc8259",
        serialize=lambda value: value,
        parse_value=lambda value: value,
    ),
}
