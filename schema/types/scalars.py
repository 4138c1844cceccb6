"""The scalars of the schema, with the names of the graphql-scalars library and their specifications."""

import datetime as dt
from decimal import Decimal, InvalidOperation
from uuid import UUID

import strawberry
from graphql import GraphQLError
from strawberry.scalars import JSON
from strawberry.types.scalar import ScalarDefinition


def _date_time(value: object) -> dt.datetime:
    try:
        if isinstance(value, str) and (time := dt.datetime.fromisoformat(value)).tzinfo is not None:
            return time.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        pass
    message = "A DateTime must be a string with an offset from UTC, such as 2026-06-15T12:00:00Z."
    raise GraphQLError(message)


def _date(value: object) -> dt.date:
    try:
        if isinstance(value, str):
            return dt.date.fromisoformat(value)
    except ValueError:
        pass
    message = "A Date must be a string such as 2026-06-15."
    raise GraphQLError(message)


def _uuid(value: object) -> UUID:
    try:
        if isinstance(value, str):
            return UUID(value)
    except ValueError:
        pass
    message = "A UUID must be a string such as 0195c3a4-7b1e-7c55-9d1a-2f6b1c0a9e11."
    raise GraphQLError(message)


def _decimal(value: object) -> Decimal:
    try:
        number = Decimal(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite():
        message = 'A Decimal must be a string such as "12.50".'
        raise GraphQLError(message)
    return number


SCALARS: dict[object, ScalarDefinition] = {
    dt.datetime: strawberry.scalar(
        name="DateTime",
        description="A point in time with its offset from UTC, such as 2026-06-15T12:00:00+00:00.",
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
        description='A decimal number as a string, such as "12.50", with its exact digits.',
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
