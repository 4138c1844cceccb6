"""Filter and order inputs: how clients say which rows, in which order."""

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
from repositories.sql.filters import And, Compare, Direction, Filter, Not, Nulls, Op, Or, Order, Search, check_value
from repositories.sql.table import Table
from resolvers.validation.global_ids import parse_global_id
from schema.types.enums import choices

T = TypeVar("T", bound=type)
E = TypeVar("E")

_EQ, _NE = "Is this.", "Is not this."
_IN, _NOT_IN = "Is one of these.", "Is none of these."
_NULL = "True: has no value. False: has one."
_GT, _GTE, _LT, _LTE = "Is after this.", "Is this or after it.", "Is before this.", "Is this or before it."


def _op(description: str, name: str | None = None) -> Any:
    return strawberry.field(description=description, name=name, default=strawberry.UNSET)


@strawberry.input(description="Conditions on an id; all that are given must hold.")
class IdFilter:
    """Global ids."""

    eq: strawberry.ID | None = _op(_EQ)
    ne: strawberry.ID | None = _op(_NE)
    in_: list[strawberry.ID] | None = _op(_IN, "in")
    not_in: list[strawberry.ID] | None = _op(_NOT_IN)
    is_null: bool | None = _op(_NULL)


@strawberry.input(description="Conditions on a bare UUID; all that are given must hold.")
class UuidFilter:
    """Keys of rows of any type."""

    eq: UUID | None = _op(_EQ)
    in_: list[UUID] | None = _op(_IN, "in")


@strawberry.input(description="Conditions on a choice; all that are given must hold.")
class ChoiceFilter(Generic[E]):
    """Enums."""

    eq: E | None = _op(_EQ)
    ne: E | None = _op(_NE)
    in_: list[E] | None = _op(_IN, "in")
    not_in: list[E] | None = _op(_NOT_IN)


@strawberry.input(
    description="Conditions on a text; all that are given must hold. Case matters to `eq`, `ne`, `in` and `notIn` only."
)
class TextFilter:
    """Free text."""

    eq: str | None = _op(_EQ)
    ne: str | None = _op(_NE)
    in_: list[str] | None = _op(_IN, "in")
    not_in: list[str] | None = _op(_NOT_IN)
    contains: str | None = _op("Has this in it.")
    prefix: str | None = _op("Starts with this.", "startsWith")
    like: str | None = _op(
        "Matches this pattern, where % stands for any text, _ for any character and \\ takes their meaning away."
    )
    is_null: bool | None = _op(_NULL)


@strawberry.input(description="Conditions on a whole number; all that are given must hold.")
class IntFilter:
    """Whole numbers."""

    eq: int | None = _op(_EQ)
    ne: int | None = _op(_NE)
    in_: list[int] | None = _op(_IN, "in")
    not_in: list[int] | None = _op(_NOT_IN)
    gt: int | None = _op("Is more than this.")
    gte: int | None = _op("Is this or more.")
    lt: int | None = _op("Is less than this.")
    lte: int | None = _op("Is this or less.")


@strawberry.input(description="Conditions on a decimal number; all that are given must hold.")
class DecimalFilter:
    """Money."""

    eq: Decimal | None = _op(_EQ)
    ne: Decimal | None = _op(_NE)
    gt: Decimal | None = _op("Is more than this.")
    gte: Decimal | None = _op("Is this or more.")
    lt: Decimal | None = _op("Is less than this.")
    lte: Decimal | None = _op("Is this or less.")
    is_null: bool | None = _op(_NULL)


@strawberry.input(description="A condition on a yes or no.")
class BooleanFilter:
    """Flags."""

    eq: bool | None = _op(_EQ)


@strawberry.input(description="Conditions on a moment; all that are given must hold.")
class DateTimeFilter:
    """Moments."""

    eq: dt.datetime | None = _op(_EQ)
    ne: dt.datetime | None = _op(_NE)
    gt: dt.datetime | None = _op(_GT)
    gte: dt.datetime | None = _op(_GTE)
    lt: dt.datetime | None = _op(_LT)
    lte: dt.datetime | None = _op(_LTE)
    is_null: bool | None = _op(_NULL)


def where(description: str, *, key: str | None = None) -> Any:
    """A condition on the column of the same name; ``key`` names the type whose global ids it holds."""
    return strawberry.field(description=description, default=strawberry.UNSET, metadata={"key": key})


def filter_input(row: type[Table], *, searched: Sequence[str] = ()) -> Callable[[T], T]:
    """Publishes a class as the filter of a table: its fields, ``search`` over some columns, and and/or/not."""

    def publish(cls: T) -> T:
        name = cls.__name__
        for field, annotation, text in (
            ("and_", f"list[{name}] | None", "All of these hold."),
            ("or_", f"list[{name}] | None", "At least one of these holds."),
            ("not_", f"{name} | None", "This does not hold."),
        ):
            cls.__annotations__[field] = annotation
            setattr(cls, field, strawberry.field(description=text, name=field.strip("_"), default=strawberry.UNSET))
        if searched:
            spelled = " or ".join(to_camel_case(column) for column in searched)
            cls.__annotations__["search"] = str | None
            text = f"Every one of these words occurs in {spelled}, whatever its case."
            setattr(cls, "search", strawberry.field(description=text, default=strawberry.UNSET))  # noqa: B010 (one way for all)
        cls.filtered = row  # type: ignore[attr-defined]
        cls.searched = tuple(searched)  # type: ignore[attr-defined]
        return strawberry.input(cls, description=inspect.cleandoc(cls.__doc__ or ""))

    return publish


_DEEPEST = 8


def to_filter(given: Any, place: Path = ("filter",), depth: int = 0) -> Filter | None:
    """A filter input as the data floor understands it; a refusal names the place in it."""
    if given is None:
        return None
    if depth > _DEEPEST:
        message = f"A filter may be nested {_DEEPEST} levels deep."
        raise ValidationError(message, path=("filter",))
    return And(tuple(_parts(given, place, depth)))


def _given(given: Any, place: Path) -> Iterator[tuple[StrawberryField, Any, Path]]:
    """The fields of an input that were given, each with its value and place."""
    for field in type(given).__strawberry_definition__.fields:
        value = getattr(given, field.python_name)
        if value is not None and value is not strawberry.UNSET:
            yield field, value, (*place, field.graphql_name or to_camel_case(field.python_name))


def _parts(given: Any, place: Path, depth: int) -> Iterator[Filter]:
    table = type(given).filtered.__table__
    for field, value, at in _given(given, place):
        match field.python_name:
            case "and_":
                yield And(tuple(_nested(value, at, depth)))
            case "or_":
                yield Or(tuple(_nested(value, at, depth)))
            case "not_":
                yield Not(And(tuple(_parts(value, at, depth + 1))))
            case "search":
                yield _checked(table, Search(type(given).searched, value), at)
            case name:
                for compared, wanted, there in _given(value, at):
                    made = _condition(name, compared.python_name, wanted, field.metadata.get("key"), there)
                    yield _checked(table, made, there)


def _nested(values: Sequence[Any], place: Path, depth: int) -> Iterator[Filter]:
    for index, value in enumerate(values):
        made = to_filter(value, (*place, index), depth + 1)
        if made is not None:
            yield made


def _condition(column: str, op: str, value: Any, key: str | None, place: Path) -> Compare:
    if isinstance(value, list):
        value = tuple(_key(key, item, (*place, index)) if key else item for index, item in enumerate(value))
    elif key is not None and not isinstance(value, bool):
        value = _key(key, value, place)
    return Compare(column, Op(op.strip("_")), value)


def _checked(table: Any, made: Compare | Search, place: Path) -> Filter:
    try:
        check_value(table, made)
    except ValidationError as error:
        error.path = place
        raise
    return made


def _key(type_name: str, text: str, place: Path) -> UUID:
    try:
        found, value = parse_global_id(text)
    except ValueError as error:
        raise ValidationError(str(error), path=place) from None
    if found != type_name:
        message = f"A filter names an id of {found} where one of {type_name} belongs."
        raise ValidationError(message, path=place)
    return value


choices(
    Direction, "Which way a list is sorted.", ASC="Smallest, earliest or A first.", DESC="Largest, latest or Z first."
)
choices(
    Nulls,
    "Where rows without a value stand in a sorted list.",
    FIRST="Before those that have one.",
    LAST="After those that have one.",
)


def order_input(row: type[Table], **columns: str) -> Any:
    """The order input of a table: its sortable columns, each with a description."""
    name = row.__name__
    fields = StrEnum(f"{name}OrderField", {column.upper(): column for column in columns})  # type: ignore[misc]
    described = {column.upper(): text for column, text in columns.items()}
    choices(fields, f"What {row.__table__.name.replace('_', ' ')} can be sorted by.", **described)
    namespace = {
        "__annotations__": {"field": fields, "direction": Direction, "nulls": Nulls},
        "field": strawberry.field(description="What to sort by."),
        "direction": strawberry.field(description="Which way.", default=Direction.ASC),
        "nulls": strawberry.field(description="Where rows without a value stand.", default=Nulls.LAST),
    }
    return strawberry.input(type(f"{name}Order", (), namespace), description="A key to sort by.")


_MOST_KEYS = 5


def to_order(given: Sequence[Any] | None) -> tuple[Order, ...]:
    """Order inputs as the data floor understands them."""
    if given is not None and len(given) > _MOST_KEYS:
        message = f"A list may be sorted by {_MOST_KEYS} keys."
        raise ValidationError(message, path=("order",))
    return tuple(Order(str(key.field), key.direction, key.nulls) for key in given or ())
