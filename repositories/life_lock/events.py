"""What happens with tasks and categories."""

import datetime as dt
from dataclasses import dataclass
from uuid import UUID

from repositories.core.event import Created, Deleted, Event, Restored, Updated


@dataclass(frozen=True, slots=True)
class TaskCreated(Created, aggregate="task"):
    """A task was made."""

    created_at: dt.datetime
    category_id: UUID | None
    priority_level: int
    due_date: dt.datetime | None


@dataclass(frozen=True, slots=True)
class TaskUpdated(Updated, aggregate="task"):
    """A task was changed."""


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
class TaskDeleted(Deleted, aggregate="task"):
    """A task was put away; it can be restored."""

    created_at: dt.datetime
    completed_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class TaskRestored(Restored, aggregate="task"):
    """A deleted task is back."""

    created_at: dt.datetime
    completed_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class CategoryCreated(Created, aggregate="category"):
    """A category was made."""


@dataclass(frozen=True, slots=True)
class CategoryUpdated(Updated, aggregate="category"):
    """A category was changed."""


@dataclass(frozen=True, slots=True)
class CategoryDeleted(Deleted, aggregate="category"):
    """A category was deleted. Each task that was in it has an event of its own."""

    format_version = 2
