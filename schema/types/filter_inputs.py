"""Filter and order inputs, with which clients choose and sort the rows of a list."""

import datetime as dt
import inspect
from collections.abc import Callable, Container, Iterator, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Any, Generic, TypeVar, cast
from uuid import UUID

import strawberry
from strawberry.types.field import StrawberryField
from strawberry.utils.str_converters import to_camel_case

from repositories.core.errors import Path, ValidationError
from repositories.core.text import normalize_text
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
    Related,
    Search,
    SortKey,
    check_value,
)
from repositories.sql.table import Table
from resolvers.validation.global_ids import parse_global_id
from schema.types.costs import PATTERN, cost
from schema.types.enums import describe_enum
from schema.types.references import later

T = TypeVar("T", bound=type)
E = TypeVar("E")

_EQ = "Equal to this value. Null: the row has no value."
_NE = "Matches exactly the rows that `eq` does not match."
_IN = "Equal to one of these values. A null in the list stands for having no value."
_NOT_IN = "Matches exactly the rows that `in` does not match."
_NULL = "True: the row has no value. False: the row has a value."
_GT, _GTE = "Greater than this value.", "Greater than or equal to this value."
_LT, _LTE = "Less than this value.", "Less than or equal to this value."
_RULE = (
    "All conditions that are given must hold. Null is a value for `eq`, for `ne` and in the lists of `in` and `notIn`; "
    "anywhere else it is a VALIDATION_ERROR. A row without a value matches no other condition."
)


def _condition(description: str, name: str | None = None, *, weight: int | None = None) -> Any:
    directives = () if weight is None else (cost(weight),)
    return strawberry.field(description=description, name=name, default=strawberry.UNSET, directives=directives)


@strawberry.input(description=f"Conditions on a global id. {_RULE}")
class IdFilter:
    eq: strawberry.ID | None = _condition(_EQ)
    ne: strawberry.ID | None = _condition(_NE)
    in_: list[strawberry.ID | None] | None = _condition(_IN, "in")
    not_in: list[strawberry.ID | None] | None = _condition(_NOT_IN)
    is_null: bool | None = _condition(_NULL)


@strawberry.input(description=f"Conditions on a UUID. {_RULE}")
class UuidFilter:
    eq: UUID | None = _condition(_EQ)
    in_: list[UUID | None] | None = _condition(_IN, "in")
    is_null: bool | None = _condition(_NULL)


@strawberry.input(description=f"Conditions on an enum. {_RULE}")
class ChoiceFilter(Generic[E]):
    eq: E | None = _condition(_EQ)
    ne: E | None = _condition(_NE)
    in_: list[E | None] | None = _condition(_IN, "in")
    not_in: list[E | None] | None = _condition(_NOT_IN)
    is_null: bool | None = _condition(_NULL)


@strawberry.input(description=f"Conditions on a text. Only `eq`, `ne`, `in` and `notIn` are case-sensitive. {_RULE}")
class TextFilter:
    eq: str | None = _condition(_EQ)
    ne: str | None = _condition(_NE)
    in_: list[str | None] | None = _condition(_IN, "in")
    not_in: list[str | None] | None = _condition(_NOT_IN)
    contains: str | None = _condition("Contains this text.", weight=PATTERN)
    prefix: str | None = _condition("Starts with this text.", "startsWith", weight=PATTERN)
    like: str | None = _condition(
        "Matches this pattern: % stands for any text, _ for any single character. "
        "A backslash before %, _ or a backslash makes it a plain character.",
        weight=PATTERN,
    )
    is_null: bool | None = _condition(_NULL)


@strawberry.input(description=f"Conditions on an integer. {_RULE}")
class IntFilter:
    eq: int | None = _condition(_EQ)
    ne: int | None = _condition(_NE)
    in_: list[int | None] | None = _condition(_IN, "in")
    not_in: list[int | None] | None = _condition(_NOT_IN)
    gt: int | None = _condition(_GT)
    gte: int | None = _condition(_GTE)
    lt: int | None = _condition(_LT)
    lte: int | None = _condition(_LTE)
    is_null: bool | None = _condition(_NULL)


@strawberry.input(description=f"Conditions on a decimal number. {_RULE}")
class DecimalFilter:
    eq: Decimal | None = _condition(_EQ)
    ne: Decimal | None = _condition(_NE)
    gt: Decimal | None = _condition(_GT)
    gte: Decimal | None = _condition(_GTE)
    lt: Decimal | None = _condition(_LT)
    lte: Decimal | None = _condition(_LTE)
    is_null: bool | None = _condition(_NULL)


@strawberry.input(description=f"A condition on a boolean. {_RULE}")
class BooleanFilter:
    eq: bool | None = _condition(_EQ)
    is_null: bool | None = _condition(_NULL)


@strawberry.input(description=f"Conditions on a point in time. {_RULE}")
class DateTimeFilter:
    eq: dt.datetime | None = _condition(_EQ)
    ne: dt.datetime | None = _condition(_NE)
    gt: dt.datetime | None = _condition("Later than this time.")
    gte: dt.datetime | None = _condition("At this time or later.")
    lt: dt.datetime | None = _condition("Earlier than this time.")
    lte: dt.datetime | None = _condition("At this time or earlier.")
    is_null: bool | None = _condition(_NULL)


@strawberry.input(description=f"Conditions on a date. {_RULE}")
class DateFilter:
    eq: dt.date | None = _condition(_EQ)
    ne: dt.date | None = _condition(_NE)
    gt: dt.date | None = _condition("Later than this date.")
    gte: dt.date | None = _condition("On this date or later.")
    lt: dt.date | None = _condition("Earlier than this date.")
    lte: dt.date | None = _condition("On this date or earlier.")
    is_null: bool | None = _condition(_NULL)


@strawberry.input(description="Whether a row has a value. Null in place of true or false is a VALIDATION_ERROR.")
class NullFilter:
    is_null: bool | None = _condition(_NULL)


Rewrite = Callable[[Compare], Filter]
"""Makes the filter from a comparison with the value of a condition."""


def where(description: str, *, key: str | None = None, rewrite: Rewrite | None = None) -> Any:
    """A condition on the column of the same name; ``key`` is the name of the type whose global ids it contains.

    ``rewrite`` is for a condition that is not on a column of the table.
    """
    return strawberry.field(
        description=description, default=strawberry.UNSET, metadata={"key": key, "rewrite": rewrite}
    )


def related(description: str, column: str, target: type[Table]) -> Any:
    """Conditions on the row of ``target`` to which ``column`` refers."""
    return strawberry.field(
        description=f"{description} The row must exist, and the viewer must be allowed to see it.",
        default=strawberry.UNSET,
        metadata={"related": (column, target)},
    )


def filter_input(row: type[Table], *, searched: Sequence[str] = ()) -> Callable[[T], T]:
    """Publishes a class as the filter of a table: its own conditions, ``search`` in some columns, and, or and not."""

    def publish(cls: T) -> T:
        itself, list_of = later(cls.__name__, lambda: published), cast("Any", list)
        for field, annotation, description in (
            ("and_", list_of[itself] | None, "All of these filters match."),
            ("or_", list_of[itself] | None, "At least one of these filters matches."),
            ("not_", itself | None, "This filter does not match."),
        ):
            cls.__annotations__[field] = annotation
            setattr(cls, field, _condition(description, field.strip("_")))
        if searched:
            columns = " or ".join(to_camel_case(column) for column in searched)
            cls.__annotations__["search"] = str | None
            description = f"At most {MAX_WORDS} words separated by spaces. Each occurs in {columns}, ignoring case."
            setattr(cls, "search", _condition(description, weight=PATTERN))  # noqa: B010 (like the fields above)
        cls.filtered = row  # type: ignore[attr-defined]
        cls.searched = tuple(searched)  # type: ignore[attr-defined]
        published = strawberry.input(cls, description=f"{inspect.cleandoc(cls.__doc__ or '')} {_FIELD_RULE}")
        return published

    return publish


_FIELD_RULE = "A condition that is left out is ignored. Null in its place is a VALIDATION_ERROR."
_MAX_DEPTH = 8
_NULLABLE = frozenset({"eq", "ne"})


def convert_filter(value: Any) -> Filter | None:
    """The :class:`Filter` of a filter input, None for null. A ValidationError has the path of the wrong value."""
    return None if value is None else And(tuple(_convert_fields(value, (), 0)))


def _provided_fields(
    value: Any, path: Path, nullable: Container[str] = ()
) -> Iterator[tuple[StrawberryField, Any, Path]]:
    """The fields of an input that are not left out, with values and paths. Only ``nullable`` fields can be null."""
    for field in type(value).__strawberry_definition__.fields:
        inner = getattr(value, field.python_name)
        if inner is strawberry.UNSET:
            continue
        inner_path = (*path, field.graphql_name or to_camel_case(field.python_name))
        if inner is None and field.python_name not in nullable:
            message = "Null is not a condition. Leave it out, or use `eq: null` to find rows without a value."
            raise ValidationError(message, path=inner_path)
        yield field, inner, inner_path


def _convert_fields(value: Any, path: Path, depth: int) -> Iterator[Filter]:
    if depth > _MAX_DEPTH:
        message = f"A filter may be nested at most {_MAX_DEPTH} levels deep."
        raise ValidationError(message)
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
                yield _check(table, Search.of_table(table, type(value).searched, inner), inner_path)
            case _ if "related" in field.metadata:
                column, target = field.metadata["related"]
                yield Related(column, target, And(tuple(_convert_fields(inner, inner_path, depth + 1))))
            case column:
                for operator, operand, operand_path in _provided_fields(inner, inner_path, _NULLABLE):
                    key, rewrite = field.metadata.get("key"), field.metadata.get("rewrite")
                    compare = _convert_condition(column, operator.python_name, operand, key, operand_path)
                    yield _check(table, compare, operand_path) if rewrite is None else rewrite(compare)


def _convert_all(values: Sequence[Any], path: Path, depth: int) -> Iterator[Filter]:
    for index, value in enumerate(values):
        yield And(tuple(_convert_fields(value, (*path, index), depth + 1)))


def _convert_condition(column: str, operator: str, operand: Any, key: str | None, path: Path) -> Compare:
    if isinstance(operand, list):
        operand = tuple(_convert_operand(item, key, (*path, index)) for index, item in enumerate(operand))
    else:
        operand = _convert_operand(operand, key, path)
    return Compare(column, Op(operator.strip("_")), operand)


def _convert_operand(value: Any, key: str | None, path: Path) -> Any:
    """The UUID of a global id of type ``key``, and the normal form of any other text."""
    if not isinstance(value, str):
        return value
    return normalize_text(value) if key is None else _parse_id(key, value, path)


def _check(table: Any, condition: Compare | Search, path: Path) -> Filter:
    try:
        check_value(table, condition)
    except ValidationError as error:
        error.path = (*path, *_invalid_item(table, condition))
        raise
    return condition


def _invalid_item(table: Any, condition: Compare | Search) -> Path:
    """The index of the first invalid value of a list; empty without a list, and for a list that is itself invalid."""
    if isinstance(condition, Compare) and isinstance(condition.value, tuple):
        for index, item in enumerate(condition.value):
            try:
                check_value(table, Compare(condition.column, Op.EQ, item))
            except ValidationError:
                return (index,)
    return ()


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


def convert_order(keys: Sequence[Any] | None) -> tuple[SortKey, ...]:
    """The sort keys of order inputs, none for null."""
    if keys is not None and len(keys) > _MAX_SORT_KEYS:
        message = f"A list can be sorted by at most {_MAX_SORT_KEYS} keys."
        raise ValidationError(message)
    return tuple(SortKey(str(key.field), key.direction, key.nulls) for key in keys or ())
