"""The repositories and the types of events that are derived from the declarations of aggregates.

A class of a domain replaces the derived one: a subclass of Repository for the table, or a subclass of Created, Updated,
Deleted, Restored or Purged with the name of the aggregate.
"""

from types import new_class
from typing import Any, TypeVar, cast

from repositories.aggregates.repository import Repository
from repositories.core.errors import UnreadableValue
from repositories.core.event import (
    Change,
    Created,
    Deleted,
    Event,
    Purged,
    Restored,
    Updated,
    all_event_types,
    own_fields,
)
from repositories.sql.aggregate import Aggregate, Commands, aggregates
from repositories.sql.table import Table, declared

R = TypeVar("R", bound=Table)
E = TypeVar("E", bound=Event)

_KINDS: dict[Commands, type[Event]] = {
    Commands.CREATE: Created,
    Commands.UPDATE: Updated,
    Commands.DELETE: Deleted,
    Commands.RESTORE: Restored,
    Commands.PURGE: Purged,
}
_MEANINGS = {
    Created: "was created",
    Updated: "was changed",
    Deleted: "was deleted",
    Restored: "was restored",
    Purged: "was deleted permanently",
}


def repository_of(row: type[R]) -> type[Repository[R]]:
    """The repository of a table: the domain's class if there is one, else a derived class."""
    found = Repository.of_tables.get(row)
    if found is None:
        found = new_class(aggregates[row].plural, (Repository,), {"table": row})
        found.__doc__ = f"Reads and writes {aggregates[row].plural.replace('_', ' ')}."
    return cast("type[Repository[R]]", found)


_event_types: dict[tuple[type[Table], Any], Any] = {}


def event_type(row: type[Table], kind: type[E]) -> type[E]:
    """The event of an aggregate for one kind of change, such as Created: the domain's class or a derived one."""
    known = _event_types.get((row, kind))
    if known is None:
        known = _event_types[row, kind] = _find_event_type(aggregates[row], kind)
    return cast("type[E]", known)


def _find_event_type(found: Aggregate, kind: type[E]) -> type[E]:
    for each in reversed(kind.__subclasses__()):  # a dataclass with slots replaces a first class, which comes before it
        if each.aggregate == found.name:
            return each
    made = new_class(
        found.type_name + kind.__name__,
        (kind,),
        {"aggregate": found.name},
        lambda namespace: namespace.update(__slots__=(), __doc__=f"A {found.noun} {_MEANINGS[kind]}."),
    )
    return cast("type[E]", made)


def derive_event_types() -> None:
    """Makes the types of events of all aggregates, so that their names are known."""
    for row, found in aggregates.items():
        for command, kind in _KINDS.items():
            if command in found.commands:
                event_type(row, kind)


def has_events(found: Aggregate) -> bool:
    """Whether the aggregate has events. Without events, its rows have no history and no subscription."""
    return bool(found.commands) or any(kind.aggregate == found.name for kind in all_event_types())


def event_for(kind: type[E], row: Table, owner: Any, change: Change | None = None) -> E:
    """An event about a row. Its fields get the values of the row's columns of the same names."""
    stored: Any = kind
    values = {name: getattr(row, name) for name in own_fields(stored) if name != "fields"}
    if "fields" in own_fields(stored):
        values["fields"] = change.fields if change is not None else ()
    return cast("E", stored(row.id, owner, **values, change=change))


def change_of(before: Table, after: Table) -> Change:
    """What differs between two versions of a row, apart from the version, the time of the change, and secrets."""
    table = type(after).__table__
    declaration = aggregates.get(type(after))
    history = declaration.history if declaration is not None else frozenset()
    names = sorted(
        str(column.name)  # SQLAlchemy's names are of a subclass of str, which orjson rejects
        for column in table.columns
        if getattr(before, column.name) != getattr(after, column.name) and _is_reported(column)
    )
    values = {name: (_recorded(before, name), _recorded(after, name)) for name in names if name in history}
    return Change(tuple(names), values)


def _recorded(row: Table, name: str) -> Any:
    """A value for an event: None if it cannot be read."""
    value = getattr(row, name)
    return None if isinstance(value, UnreadableValue) else value


def _is_reported(column: Any) -> bool:
    """Whether events name the column. A secret column without a description is internal, such as a hash."""
    facts = declared(column)
    return column.name not in _OF_EVERY_CHANGE and not (facts.secret and not facts.description)


_OF_EVERY_CHANGE = {"version", "updated_at"}
