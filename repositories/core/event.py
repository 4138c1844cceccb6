"""The base class of events. An event records what happened, is named in the past tense, and is stored with the change.

    @dataclass(frozen=True, slots=True)
    class NoteWritten(Event, aggregate="note"):
        written_at: datetime

Events are the single source for audit, analytics, cache invalidation, subscriptions and sync. The reactions
of domains to an event run in the same unit of work (resolvers/reactions.py).
"""

import dataclasses
from collections.abc import Iterator
from functools import cache
from typing import Any, ClassVar
from uuid import UUID

from repositories.core.ids import new_id


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to one aggregate.

    ``owner_id`` is the user who owns the aggregate; the unit of work knows the actor, who caused the event. ``id`` is
    assigned at once, so that rows written because of the event can refer to it. Events are compared without their ids.
    """

    aggregate_id: UUID
    owner_id: UUID
    id: UUID = dataclasses.field(default_factory=new_id, kw_only=True, compare=False)

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
        """The value of ``event_data``: all fields except ``aggregate_id`` and ``id``, which have their own columns."""
        event_type: Any = type(self)
        return {name: getattr(self, name) for name in _stored_fields(event_type)}


@cache
def _stored_fields(event_type: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(event_type) if field.name not in {"aggregate_id", "id"})


def all_event_types(base: type[Event] = Event) -> Iterator[type[Event]]:
    """Every subclass of ``base``, at any depth."""
    for event_type in base.__subclasses__():
        yield event_type
        yield from all_event_types(event_type)
