"""The base class of events. An event records what happened, is named in the past tense, and is stored with the change.

    @dataclass(frozen=True, slots=True)
    class NoteWritten(Event, aggregate="note"):
        written_at: datetime

Events are the single source for audit, analytics, cache invalidation, subscriptions and sync. The reactions
of domains to an event run in the same unit of work (resolvers/reactions.py).
"""

import dataclasses
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, ClassVar
from uuid import UUID

from repositories.core.ids import new_id


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to one aggregate.

    ``owner_id`` is the user who owns the aggregate; the unit of work knows the actor, who caused the event. ``id`` is
    assigned at once, so that rows written because of the event can refer to it. ``change`` says which values of the row
    have changed. Events are compared without both.
    """

    aggregate_id: UUID
    owner_id: UUID
    id: UUID = dataclasses.field(default_factory=new_id, kw_only=True, compare=False)
    change: "Change | None" = dataclasses.field(default=None, kw_only=True, compare=False)

    aggregate: ClassVar[str] = ""
    format_version: ClassVar[int] = 1

    def __init_subclass__(cls, *, aggregate: str = "", **kwargs: Any) -> None:
        super(Event, cls).__init_subclass__(**kwargs)
        if aggregate:
            cls.aggregate = aggregate

    @property
    def type(self) -> str:
        """The name of the event's class, e.g. TaskCompleted."""
        return type(self).__name__

    def data(self) -> dict[str, Any]:
        """The value of ``event_data``: all fields except ``aggregate_id`` and ``id``, which have their own columns.

        Of a change it has ``fields``, the names, and ``changes``, the values before and after of some of them.
        """
        event_type: Any = type(self)
        data: dict[str, Any] = {"owner_id": self.owner_id}
        data |= {name: getattr(self, name) for name in own_fields(event_type)}
        if self.change is not None:
            data["fields"] = self.change.fields
            if self.change.values:
                data["changes"] = self.change.values
        return data


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """The names of the columns of a row that have changed, and of some of them the values before and after.

    The table declares the columns whose values may be stored (``history`` of ``column`` in repositories/sql/table.py).
    """

    fields: tuple[str, ...]
    values: Mapping[str, tuple[Any, Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class Created(Event):
    """Base of the events of new rows."""


@dataclasses.dataclass(frozen=True, slots=True)
class Updated(Event):
    """Base of the events of changed rows. ``fields`` are the names of the columns that have changed."""

    fields: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Deleted(Event):
    """Base of the events of deleted rows, which can be restored if their table has ``deleted_at``."""


@dataclasses.dataclass(frozen=True, slots=True)
class Restored(Event):
    """Base of the events of deleted rows that were restored."""


@dataclasses.dataclass(frozen=True, slots=True)
class Purged(Event):
    """Base of the events of deleted rows that were deleted permanently."""


@cache
def own_fields(event_type: Any) -> tuple[str, ...]:
    """The fields of a type of event, without those of every event."""
    base = {field.name for field in dataclasses.fields(Event)}
    return tuple(field.name for field in dataclasses.fields(event_type) if field.name not in base)


def all_event_types(base: type[Event] = Event) -> Iterator[type[Event]]:
    """Every subclass of ``base``, at any depth."""
    for event_type in base.__subclasses__():
        yield event_type
        yield from all_event_types(event_type)
