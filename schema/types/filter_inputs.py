"""Filter and order inputs, with which clients choose and sort the rows of a list."""

import datetime as dt
import inspect
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Any, Generic, TypeVar
from uuid import UUID

import strawberry
from strawberry.types.field import StrawberryField
from strawberry.utils.str_converters import to_camel_case

from repositories.core.errors import Path, ValidationError
from repositories.sql.filters import (
    MAX_WORDS,
    And,
    Compare,
    Direction,
    Filter,
    Not,
    Nulls,
    Op,
    Or,
    Order,
    Search,
    check_value,
)
from repositories.sql.table import Table
from resolvers.validation.global_ids import parse_global_id
from schema.types.enums import describe_enum

T = TypeVar("T", bound=type)
E = TypeVar("E")

_EQ = "Equal to this value."
_NE = "Not equal to this value. Rows without a value do not match."
_IN = "Equal to one of these values."
_NOT_IN = "Equal to none of these values. Rows without a value do not match."
_NULL = "True: the row has no value. False: the row has a value."
_GT, _GTE = "Greater than this value.", "Greater than or equal to this value."
_LT, _LTE = "Less than this value.", "Less than or equal to this value."
_RULE = "All conditions must hold. Conditions that are null are ignored."


def _condition(description: str, name: str | None = None) -> Any:
    return strawberry.field(description=description, name=name, default=strawberry.UNSET)


@strawberry.input(description=f"Conditions on a global id. {_RULE}")
class IdFilter:
    eq: strawberry.ID | None = _condition(_EQ)
    ne: strawberry.ID | None = _condition(_NE)
    in_: list[strawberry.ID] | None = _condition(_IN, "in")
    not_in: list[strawberry.ID] | None = _condition(_NOT_IN)
    is_null: bool | None = _condition(_NULL)


@strawberry.input(description=f"Conditions on a UUID. {_RULE}")
class UuidFilter:
    eq: UUID | None = _condition(_EQ)
    in_: list[UUID] | None = _condition(_IN, "in")


@strawberry.input(description=f"Conditions on an enum. {_RULE}")
class ChoiceFilter(Generic[E]):
    eq: E | None = _condition(_EQ)
    ne: E | None = _condition(_NE)
    in_: list[E] | None = _condition(_IN, "in")
    not_in: list[E] | None = _condition(_NOT_IN)


@strawberry.input(description=f"Conditions on a text. Only `eq`, `ne`, `in` and `notIn` are case-sensitive. {_RULE}")
class TextFilter:
    eq: str | None = _condition(_EQ)
    ne: str | None = _condition(_NE)
    in_: list[str] | None = _condition(_IN, "in")
    not_in: list[str] | None = _condition(_NOT_IN)
    contains: str | None = _condition("Contains this text.")
    prefix: str | None = _condition("Starts with this text.", "startsWith")
    like: str | None = _condition(
        "Matches this pattern: % stands for any text, _ for any single character. "
        "A backslash before %, _ or a backslash makes it a plain character."
    )
    is_null: bool | None = _condition(_NULL)


@strawberry.input(description=f"Conditions on an integer. {_RULE}")
class IntFilter:
    eq: int | None = _condition(_EQ)
    ne: int | None = _condition(_NE)
    in_: list[int] | None = _condition(_IN, "in")
    not_in: list[int] | None = _condition(_NOT_IN)
    gt: int | None = _condition(_GT)
    gte: int | None = _condition(_GTE)
    lt: int | None = _condition(_LT)
    lte: int | None = _condition(_LTE)


@strawberry.input(description=f"Conditions on a decimal number. {_RULE}")
class DecimalFilter:
    eq: Decimal | None = _condition(_EQ)
    ne: Decimal | None = _condition(_NE)
    gt: Decimal | None = _condition(_GT)
    gte: Decimal | None = _condition(_GTE)
    lt: Decimal | None = _condition(_LT)
    lte: Decimal | None = _condition(_LTE)
    is_null: bool | None = _condition(_NULL)


@strawberry.input(description="A condition on a boolean. It is ignored if it is null.")
class BooleanFilter:
    eq: bool | None = _condition(_EQ)


@strawberry.input(description=f"Conditions on a point in time. {_RULE}")
class DateTimeFilter:
    eq: dt.datetime | None = _condition(_EQ)
    ne: dt.datetime | None = _condition(_NE)
    gt: dt.datetime | None = _condition("Later than this time.")
    gte: dt.datetime | None = _condition("At this time or later.")
    lt: dt.datetime | None = _condition("Earlier than this time.")
    lte: dt.datetime | None = _condition("At this time or earlier.")
    is_null: bool | None = _condition(_NULL)


def where(description: str, *, key: str | None = None) -> Any:
    """A condition on the column of the same name; ``key`` is the name of the type whose global ids it contains."""
    return strawberry.field(description=description, default=strawberry.UNSET, metadata={"key": key})


def filter_input(row: type[Table], *, searched: Sequence[str] = ()) -> Callable[[T], T]:
    """Publishes a class as the filter of a table: its own conditions, ``search`` in some columns, and, or and not."""

    def publish(cls: T) -> T:
        name = cls.__name__
        for field, annotation, description in (
            ("and_", f"list[{name}] | None", "All of these filters match."),
            ("or_", f"list[{name}] | None", "At least one of these filters matches."),
            ("not_", f"{name} | None", "This filter does not match."),
        ):
            cls.__annotations__[field] = annotation
            setattr(cls, field, _condition(description, field.strip("_")))
        if searched:
            columns = " or ".join(to_camel_case(column) for column in searched)
            cls.__annotations__["search"] = str | None
            description = (
                f"Words separated by spaces. Each occurs in {columns}, ignoring case. "
                f"Words after the first {MAX_WORDS} are ignored."
            )
            setattr(cls, "search", _condition(description))  # noqa: B010 (like the fields above)
        cls.filtered = row  # type: ignore[attr-defined]
        cls.searched = tuple(searched)  # type: ignore[attr-defined]
        return strawberry.input(cls, description=inspect.cleandoc(cls.__doc__ or ""))

    return publish


_MAX_DEPTH = 8


def convert_filter(value: Any, path: Path = ("filter",), depth: int = 0) -> Filter | None:
    """The :class:`Filter` of a filter input, None for null. A ValidationError has the path of the wrong value."""
    if value is None:
        return None
    if depth > _MAX_DEPTH:
        message = f"A filter may be nested at most {_MAX_DEPTH} levels deep."
        raise ValidationError(message, path=("filter",))
    return And(tuple(_convert_fields(value, path, depth)))


def _provided_fields(value: Any, path: Path) -> Iterator[tuple[StrawberryField, Any, Path]]:
    """The fields of an input that are neither left out nor null, with their values and paths."""
    for field in type(value).__strawberry_definition__.fields:
        inner = getattr(value, field.python_name)
        if inner is not None and inner is not strawberry.UNSET:
            yield field, inner, (*path, field.graphql_name or to_camel_case(field.python_name))


def _convert_fields(value: Any, path: Path, depth: int) -> Iterator[Filter]:
    table = type(value).filtered.__table__
    for field, inner, inner_path in _provided_fields(value, path):
        match field.python_name:
            case "and_":
                yield And(tuple(_convert_all(inner, inner_path, depth)))
            case "or_":
                yield Or(tuple(_convert_all(inner, inner_path, depth)))
            case "not_":
                yield Not(And(tuple(_convert_fields(inner, inner_path, depth + 1))))
            case "search":
                yield _check(table, Search(type(value).searched, inner), inner_path)
            case column:
                for operator, operand, operand_path in _provided_fields(inner, inner_path):
                    key = field.metadata.get("key")
                    compare = _convert_condition(column, operator.python_name, operand, key, operand_path)
                    yield _check(table, compare, operand_path)


def _convert_all(values: Sequence[Any], path: Path, depth: int) -> Iterator[Filter]:
    for index, value in enumerate(values):
        converted = convert_filter(value, (*path, index), depth + 1)
        if converted is not None:
            yield converted


def _convert_condition(column: str, operator: str, operand: Any, key: str | None, path: Path) -> Compare:
    if isinstance(operand, list):
        operand = tuple(_parse_id(key, item, (*path, index)) if key else item for index, item in enumerate(operand))
    elif key is not None and not isinstance(operand, bool):
        operand = _parse_id(key, operand, path)
    return Compare(column, Op(operator.strip("_")), operand)


def _check(table: Any, condition: Compare | Search, path: Path) -> Filter:
    try:
        check_value(table, condition)
    except ValidationError as error:
        error.path = path
        raise
    return condition


def _parse_id(type_name: str, text: str, path: Path) -> UUID:
    try:
        actual, key = parse_global_id(text)
    except ValueError as error:
        raise ValidationError(str(error), path=path) from None
    if actual != type_name:
        message = f"This must be the id of a {type_name}, not of a {actual}."
        raise ValidationError(message, path=path)
    return key


describe_enum(
    Direction,
    "The direction in which a list is sorted.",
    ASC="Ascending: the smallest or earliest value first, texts from A to Z.",
    DESC="Descending: the largest or latest value first, texts from Z to A.",
)
describe_enum(
    Nulls,
    "The position of rows without a value in a sorted list.",
    FIRST="Before all rows that have a value.",
    LAST="After all rows that have a value.",
)


def order_input(row: type[Table], **columns: str) -> Any:
    """The order input of a table. ``columns`` are the columns that clients may sort by, with their descriptions."""
    name = row.__name__
    fields = StrEnum(f"{name}OrderField", {column.upper(): column for column in columns})  # type: ignore[misc]
    descriptions = {column.upper(): description for column, description in columns.items()}
    describe_enum(fields, f"The columns that {row.__table__.name.replace('_', ' ')} can be sorted by.", **descriptions)
    namespace = {
        "__annotations__": {"field": fields, "direction": Direction, "nulls": Nulls},
        "field": strawberry.field(description="The column to sort by."),
        "direction": strawberry.field(description="Ascending or descending.", default=Direction.ASC),
        "nulls": strawberry.field(description="The position of rows without a value.", default=Nulls.LAST),
    }
    return strawberry.input(
        type(f"{name}Order", (), namespace),
        description="A sort key. It orders the rows that are equal in all keys before it.",
    )


_MAX_SORT_KEYS = 5


def convert_order(keys: Sequence[Any] | None) -> tuple[Order, ...]:
    """The sort keys of order inputs, none for null."""
    if keys is not None and len(keys) > _MAX_SORT_KEYS:
        message = f"A list can be sorted by at most {_MAX_SORT_KEYS} keys."
        raise ValidationError(message, path=("order",))
    return tuple(Order(str(key.field), key.direction, key.nulls) for key in keys or ())
