"""What happens with tasks and categories."""

import datetime as dt
from dataclasses import dataclass
from uuid import UUID

from repositories.core.event import Event


@dataclass(frozen=True, slots=True)
class TaskCreated(Event, aggregate="task"):
    """A task was made."""

    created_at: dt.datetime
    category_id: UUID | None
    priority_level: int
    due_date: dt.datetime | None


@dataclass(frozen=True, slots=True)
class TaskUpdated(Event, aggregate="task"):
    """Some fields of a task were changed; ``fields`` names them."""

    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TaskCompleted(Event, aggregate="task"):
    """A task was done."""

    completed_at: dt.datetime
    due_date: dt.datetime | None


@dataclass(frozen=True, slots=True)
class TaskReopened(Event, aggregate="task"):
    """A task that was completed or cancelled is open again; ``completed_at`` is when it had been completed."""

    completed_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class TaskDeleted(Event, aggregate="task"):
    """A task was put away; it can be restored."""

    created_at: dt.datetime
    completed_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class TaskRestored(Event, aggregate="task"):
    """A deleted task is back."""

    created_at: dt.datetime
    completed_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class CategoryCreated(Event, aggregate="category"):
    """A category was made."""


@dataclass(frozen=True, slots=True)
class CategoryUpdated(Event, aggregate="category"):
    """Some fields of a category were changed; ``fields`` names them."""

    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CategoryDeleted(Event, aggregate="category"):
    """A category was deleted. Each task that was in it has an event of its own."""

    format_version = 2
