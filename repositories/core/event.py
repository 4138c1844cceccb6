"""Events: what happened, in the past tense, stored with the change that made it happen.

    @dataclass(frozen=True, slots=True)
    class TaskCompleted(Event, aggregate="task"):
        completed_at: datetime

They are the single source for audit, analytics, cache invalidation, subscriptions and sync. Reactions of other domains
are run in the same unit of work (resolvers/reactions.py).
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

    ``owner_id`` is whose aggregate it is; who did it, the actor, is known to the unit of work. ``id`` is given when it
    happens, so that what is done because of it can name it; two events that say the same are equal.
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
        """The name of what happened, e.g. TaskCompleted."""
        return type(self).__name__

    def data(self) -> dict[str, Any]:
        """What is stored as ``event_data``: every field but the two ids, which have columns of their own."""
        kind: Any = type(self)
        return {name: getattr(self, name) for name in _stored(kind)}


@cache
def _stored(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind) if field.name not in {"aggregate_id", "id"})


def all_event_types(kind: type[Event] = Event) -> Iterator[type[Event]]:
    """All types of events there are."""
    for made in kind.__subclasses__():
        yield made
        yield from all_event_types(made)
