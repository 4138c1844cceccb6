"""The queries of aggregates: one row, lists, groups, and the history of a row."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from repositories.aggregates.derived import repository_of
from repositories.aggregates.event_store import EventStore
from repositories.core.errors import ValidationError
from repositories.described_enum import DescribedEnum
from repositories.sql.aggregate import Aggregate, aggregates
from repositories.sql.filters import (
    NO_FILTER,
    And,
    Compare,
    DeletedRows,
    Deletion,
    Direction,
    Filter,
    Op,
    Or,
    Related,
    SortKey,
)
from repositories.sql.page import PageRequest
from repositories.sql.table import Table
from repositories.tables.events import DomainEvent
from resolvers.loading.edges import Connection, PagesEdge, get, load_connection
from resolvers.request.context import Context

R = TypeVar("R", bound=Table)


class ListScope(DescribedEnum):
    """Whose objects a list has."""

    MINE = "mine", "Those that belong to the viewer."
    ASSIGNED = (
        "assigned",
        ("Those that are assigned to the viewer. A VALIDATION_ERROR in lists of objects that have no assignee."),
    )
    ALL = (
        "all",
        (
            "All that the viewer may see. For users these are their own, in the list of tasks also those that are "
            "assigned to them; for administrators those of all users."
        ),
    )


class Trash(DescribedEnum):
    """Whether a list has deleted objects."""

    EXCLUDE = "exclude", "It has the objects that are not deleted."
    INCLUDE = "include", "It has all objects, deleted ones too."
    ONLY = "only", "It has deleted objects only."


async def load_list(  # noqa: PLR0913 (the arguments of the field)
    context: Context,
    aggregate: Aggregate,
    request: PageRequest,
    where: Filter = NO_FILTER,
    order: tuple[SortKey, ...] = (),
    *,
    scope: ListScope | None = None,
    deleted: Trash = Trash.EXCLUDE,
) -> Connection[Any]:
    """A page of the rows that the viewer may see and that are in the scope."""
    if deleted is not Trash.EXCLUDE:
        where = And((DeletedRows(Deletion(deleted.value)), where))
    within = _in_scope(context, aggregate, scope)
    return await load_connection(context, repository_of(aggregate.row), request, where, order, within=within)


def _in_scope(context: Context, aggregate: Aggregate, scope: ListScope | None) -> Filter:
    """The condition of a scope. ValidationError for ASSIGNED if the rows have no assignee.

    By default, users get their own rows: no index can find those of ALL in the order of the list.
    """
    sees_all = aggregate.assignee is None or aggregate.reads_all(context.viewer.roles)
    scope = scope or (ListScope.ALL if sees_all else ListScope.MINE)
    if scope is ListScope.ALL and sees_all:
        return NO_FILTER
    if scope is ListScope.MINE:
        return _owned_by(aggregate, context.viewer_id)
    if aggregate.assignee is None:
        message = f"{aggregate.a_noun.capitalize()} has no assignee, so `scope` cannot be ASSIGNED."
        raise ValidationError(message, path=("scope",))
    assigned = Compare(aggregate.assignee, Op.EQ, context.viewer_id)
    return assigned if scope is ListScope.ASSIGNED else Or((_owned_by(aggregate, context.viewer_id), assigned))


def _owned_by(aggregate: Aggregate, owner: UUID) -> Filter:
    """True for the rows of an owner; for every row if the rows have no owner."""
    if aggregate.owner is not None:
        return Compare(aggregate.owner, Op.EQ, owner)
    if aggregate.owner_reference is None:
        return NO_FILTER
    target = aggregate.references[aggregate.owner_reference].target
    return Related(aggregate.owner_reference, target, _owned_by(aggregates[target], owner))


async def load_row(context: Context, aggregate: Aggregate, key: UUID) -> Any:
    """The row with this primary key. NotFound if it does not exist, is deleted, or the viewer may not see it."""
    return await get(context, repository_of(aggregate.row), key)


# history


class FieldChange(NamedTuple):
    """A column whose value has changed, with the values before and after in their stored form."""

    field: str
    before: Any | None
    after: Any | None


NEWEST_FIRST = (SortKey("timestamp", Direction.DESC), SortKey("sequence", Direction.DESC))


class History:
    """From a row to the events of the row, newest first."""

    def __init__(self, aggregate: Aggregate) -> None:
        self._edge = PagesEdge(EventStore, DomainEvent.aggregate_id, aggregate.row.id)
        self._where = Compare("aggregate_type", Op.EQ, aggregate.name)

    async def load(self, context: Context, row: Table, request: PageRequest) -> Connection[DomainEvent]:
        return await self._edge.load(context, row, request, self._where, NEWEST_FIRST)

    async def load_many(self, context: Context, rows: Sequence[Table], request: PageRequest) -> Sequence[Any]:
        """The histories of all rows of a level, with one statement."""
        return await self._edge.load_many(context, rows, request, self._where, NEWEST_FIRST)


def changed_names(event: DomainEvent) -> list[str]:
    """The names of the columns that have changed, empty if the event does not tell.

    Other clients of the database may store events, so the data may have any content.
    """
    match event.event_data:
        case {"fields": [*names]}:
            return [name for name in names if isinstance(name, str)]
    return []


def changed_values(event: DomainEvent) -> list[FieldChange]:
    """The values before and after, of the columns for which the event contains them."""
    match event.event_data:
        case {"changes": {**changes}}:
            return [found for name, pair in sorted(changes.items()) if (found := _field_change(name, pair)) is not None]
    return []


def _field_change(name: Any, pair: Any) -> FieldChange | None:
    match pair:
        case [before, after]:
            return FieldChange(name, before, after)
    return None
