"""Events: what happened, in the past tense, stored with the change that made it happen.

    @dataclass(frozen=True, slots=True)
    class TaskCompleted(Event, aggregate="task"):
        completed_at: datetime

They are the single source for audit, analytics, cache invalidation, subscriptions and sync. Reactions of other domains
are run in the same unit of work (resolvers/reactions.py).
"""

import dataclasses
from typing import Any, ClassVar
from uuid import UUID


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to one aggregate.

    ``owner_id`` is whose aggregate it is; who did it, the actor, is known to the unit of work.
    """

    aggregate_id: UUID
    owner_id: UUID

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
        """What is stored as ``event_data``: every field but the aggregate's id, which has a column of its own."""
        values = dataclasses.asdict(self)
        del values["aggregate_id"]
        return values
