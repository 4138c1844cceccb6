"""Filters, sort keys and groups of lists, derived from the columns that are filtered, searched, sorted and grouped."""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from functools import cache
from types import new_class
from typing import Any
from uuid import UUID

import strawberry
from strawberry.utils.str_converters import to_camel_case

from repositories.sql.aggregate import Aggregate, aggregates
from repositories.sql.table import Table, declared
from repositories.sql.types import Choice
from resolvers.aggregates.row_queries import FieldChange
from resolvers.loading.edges import Connection
from resolvers.validation.global_ids import global_id
from schema.types.connections import ConnectionView
from schema.types.costs import AGGREGATE, assumed_size, cost
from schema.types.enums import describe_enum, publish_enum
from schema.types.filter_inputs import (
    BooleanFilter,
    ChoiceFilter,
    DateFilter,
    DateTimeFilter,
    DecimalFilter,
    IdFilter,
    IntFilter,
    NullFilter,
    TextFilter,
    UuidFilter,
    filter_input,
    order_input,
    related,
    where,
)
from schema.types.references import later
from schema.types.view import Argument, resolver

_CONDITIONS: Mapping[Any, Any] = {
    str: TextFilter,
    int: IntFilter,
    Decimal: DecimalFilter,
    bool: BooleanFilter,
    dt.datetime: DateTimeFilter,
    dt.date: DateFilter,
    UUID: UuidFilter,
}
_CHOICE: Any = ChoiceFilter


_conditions: dict[type[Table], dict[str, tuple[Any, Any]]] = {}


def add_condition(row: type[Table], name: str, kind: Any, condition: Any) -> None:
    """Adds a condition to the filter of an aggregate: its name, its type, and the result of ``where``."""
    _conditions.setdefault(row, {})[name] = (kind | None, condition)


@cache
def filter_of(aggregate: Aggregate) -> Any:
    """The filter input: conditions on columns, on the rows that the row refers to, and those of the domain.

    A nullable column that is not filtered has the condition `isNull`.
    """
    namespace: dict[str, Any] = {"__doc__": f"Conditions on {aggregate.plural.replace('_', ' ')}."}
    annotations: dict[str, Any] = {"id": IdFilter | None}
    namespace["id"] = where(f"The id of the {aggregate.noun}.", key=aggregate.type_name)
    for column in aggregate.table.columns:
        facts, name = declared(column), column.name
        if not facts.filtered:
            if facts.description and column.nullable:
                annotations[name], namespace[name] = NullFilter | None, where(facts.description)
            continue
        reference = aggregate.references.get(name)
        if reference is not None:
            annotations[name] = IdFilter | None
            namespace[name] = where(facts.description, key=reference.target.__name__)
        else:
            condition = _CONDITIONS.get(facts.kind)
            annotations[name] = (condition or _CHOICE[publish_enum(facts.kind)]) | None
            namespace[name] = where(facts.description)
        if reference is not None and reference.field != name and reference.target in aggregates:
            target = aggregates[reference.target]
            annotations[reference.field] = _optional(later(f"{target.type_name}Filter", _finder(filter_of, target)))
            namespace[reference.field] = related(
                f"Conditions on the {reference.field.replace('_', ' ')}.", name, reference.target
            )
    for name, (kind, condition) in _conditions.get(aggregate.row, {}).items():
        annotations[name], namespace[name] = kind, condition
    namespace["__annotations__"] = annotations
    cls = type(f"{aggregate.type_name}Filter", (), namespace)
    return filter_input(aggregate.row, searched=aggregate.searched)(cls)


def _finder(find: Callable[[Aggregate], Any], aggregate: Aggregate) -> Callable[[], Any]:
    return lambda: find(aggregate)


def _optional(kind: Any) -> Any:
    return kind | None


@cache
def order_of(aggregate: Aggregate) -> Any:
    """The input for sort keys; None if no column can be sorted by."""
    columns = {
        column.name: declared(column).description + (" Ignores case." if declared(column).kind is str else "")
        for column in aggregate.table.columns
        if declared(column).sorted
    }
    return order_input(aggregate.row, **columns) if columns else None


# groups


@dataclass(frozen=True, slots=True)
class Group:
    """A value that rows have in common, and the number of these rows."""

    key: str | None
    count: int


@strawberry.type(name="Group", description="The rows of a list that have the same value in one column.")
class GroupView:
    key: str | None = strawberry.field(
        description="The value: the name of an enum value, `true` or `false`, or the global id of an object. Null for "
        "rows without a value."
    )
    count: int = strawberry.field(description="The number of rows with this value.")


@cache
def group_fields(aggregate: Aggregate) -> Any:
    """The enum of the columns by which rows can be counted."""
    columns = {column.name.upper(): column for column in aggregate.grouped}
    enum = StrEnum(f"{aggregate.type_name}GroupField", {key: column.name for key, column in columns.items()})  # type: ignore[misc]
    text = f"The columns by which {aggregate.plural.replace('_', ' ')} can be counted."
    descriptions = {key: declared(column).description for key, column in columns.items()}
    return describe_enum(enum, text, **descriptions)


def _key_of(aggregate: Aggregate, by: str) -> Callable[[Any], str | None]:
    """The function that makes the key of a group from the value of the column."""
    reference = aggregate.references.get(by)
    if reference is not None:
        return lambda value: None if value is None else global_id(reference.target.__name__, value)
    if declared(aggregate.table.c[by]).kind is bool:
        return lambda value: None if value is None else str(bool(value)).lower()
    return lambda value: None if value is None else value.name


def _aggregate_of(event_type: str) -> Aggregate | None:
    return next((each for each in aggregates.values() if each.name == event_type), None)


def published_names(aggregate_type: str, names: Iterable[str]) -> list[str]:
    """The names of changed columns as clients see them. Columns that are not published are left out."""
    found = _aggregate_of(aggregate_type)
    columns: Any = {} if found is None else found.table.c
    return [to_camel_case(name) for name in names if name not in columns or declared(columns[name]).description]


def published_changes(aggregate_type: str, changes: Iterable[FieldChange]) -> list[FieldChange]:
    """Changes as clients see them: names of fields, names of enum values, and global ids.

    A change with a value that its column cannot contain is left out: other clients of the database may store events.
    """
    found = _aggregate_of(aggregate_type)
    published: list[FieldChange] = []
    for change in changes:
        with suppress(ValueError, TypeError, AttributeError):
            published.append(change if found is None else _published_change(found, change))
    return published


def _published_change(aggregate: Aggregate, change: FieldChange) -> FieldChange:
    if change.field not in aggregate.table.c:
        return change
    publish = _publisher(aggregate, change.field)
    return FieldChange(to_camel_case(change.field), publish(change.before), publish(change.after))


def _publisher(aggregate: Aggregate, name: str) -> Callable[[Any], Any]:
    """The function that makes a value for clients from a value in an event."""
    reference = aggregate.references.get(name)
    column_type = aggregate.table.c[name].type
    if reference is not None:
        return lambda value: None if value is None else global_id(reference.target.__name__, UUID(value))
    if isinstance(column_type, Choice):
        return lambda value: None if value is None else column_type.choices(value).name
    return lambda value: value


@cache
def connection_of(aggregate: Aggregate, node: Any) -> Any:
    """The connection type of an aggregate. ``node`` is the GraphQL type of the rows, or a reference to it."""
    name = f"{aggregate.type_name}Connection"
    fields: dict[str, Any] = {"__annotations__": {}}
    if aggregate.grouped:
        fields["__annotations__"]["groups"] = list[GroupView]
        fields["groups"] = _groups_field(aggregate)
    made = new_class(name, (ConnectionView[node],), {}, lambda namespace: namespace.update(fields))
    return strawberry.type(made, name=name, description=f"One page of a list of {aggregate.plural.replace('_', ' ')}.")


def _groups_field(aggregate: Aggregate) -> Any:
    async def resolve(context: Any, root: Connection[Any], *, by: StrEnum) -> list[Group]:
        key = _key_of(aggregate, by.value)
        return [Group(key(value), count) for value, count in await root.groups(by.value)]

    return strawberry.field(
        resolver=resolver(resolve, {"by": Argument(group_fields(aggregate), "The column.")}),
        graphql_type=list[GroupView],
        description="The number of rows on all pages together for each value of a column, the most frequent value "
        "first, at most 500 values. Counted only if it is selected.",
        directives=[cost(AGGREGATE), assumed_size(10)],
    )
