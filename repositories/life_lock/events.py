"""Events of tasks and categories."""

import datetime as dt
from dataclasses import dataclass
from uuid import UUID

from repositories.core.event import Created, Deleted, Event, Restored, Updated


@dataclass(frozen=True, slots=True)
class TaskCreated(Created, aggregate="task"):
    """A task was created."""

    created_at: dt.datetime
    category_id: UUID | None
    priority_level: int
    due_date: dt.datetime | None


@dataclass(frozen=True, slots=True)
class TaskUpdated(Updated, aggregate="task"):
    """A task was changed."""


@dataclass(frozen=True, slots=True)
class TaskCompleted(Event, aggregate="task"):
    """A task was completed."""

    completed_at: dt.datetime
    due_date: dt.datetime | None


@dataclass(frozen=True, slots=True)
class TaskReopened(Event, aggregate="task"):
    """A closed task was reopened. ``completed_at`` is the time of its completion, None if it was cancelled."""

    completed_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class TaskDeleted(Deleted, aggregate="task"):
    """A task was deleted. It can be restored."""

    created_at: dt.datetime
    completed_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class TaskRestored(Restored, aggregate="task"):
    """A deleted task was restored."""

    created_at: dt.datetime
    completed_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class CategoryCreated(Created, aggregate="category"):
    """A category was created."""


@dataclass(frozen=True, slots=True)
class CategoryUpdated(Updated, aggregate="category"):
    """A category was changed."""


@dataclass(frozen=True, slots=True)
class CategoryDeleted(Deleted, aggregate="category"):
    """A category was deleted. Each of its tasks has an event of its own."""

    format_version = 2
