"""The categories and tasks of a demo user. The due dates are within the last and next weeks."""

import datetime as dt
from collections.abc import Mapping
from random import Random
from typing import Any
from uuid import UUID

from repositories.demo.users import EPOCH, demo_id
from repositories.tables.life_lock import TaskStatus

Rows = list[dict[str, Any]]

PAST_DAYS = 42
FUTURE_DAYS = 28
_COMPLETED_OF_DUE = 0.8
"""The share of due tasks that are completed."""
_COMPLETED_OR_CANCELLED_OF_DUE = 0.88
"""The share of due tasks that are completed or cancelled."""
_COMPLETED_EARLY = 0.08
"""The share of tasks not yet due that are completed already."""
_IN_PROGRESS_OF_OPEN = 0.3
"""The share of open tasks that are in progress."""

CATEGORIES: Mapping[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "Work": (
        "#3B82F6",
        ("Prepare", "Review", "Send out", "Update"),
        ("the quarterly report", "the release notes", "the project plan", "the offer for the new client", "the budget"),
    ),
    "Health": (
        "#10B981",
        ("Plan", "Book", "Confirm"),
        ("a run in the park", "the dentist", "a yoga class", "the yearly check-up", "a swim before work"),
    ),
    "Home": (
        "#F59E0B",
        ("Clean", "Sort out", "Repair", "Measure"),
        ("the kitchen drawers", "the balcony", "the bike shed", "the bathroom shelf", "the hallway lamp"),
    ),
    "Family": (
        "#EC4899",
        ("Call", "Visit", "Find a present for", "Write to"),
        ("Mum and Dad", "Aunt Mary", "the cousins", "Grandma", "the neighbours"),
    ),
    "Learning": (
        "#8B5CF6",
        ("Read", "Take notes on", "Practise", "Finish"),
        (
            "a chapter on statistics",
            "the Spanish lesson",
            "the piano piece",
            "the course on design",
            "the SQL tutorial",
        ),
    ),
    "Finance": (
        "#14B8A6",
        ("Pay", "Check", "File", "Compare"),
        ("the electricity bill", "the rent", "the insurance papers", "the tax documents", "the bank statement"),
    ),
    "Travel": (
        "#0EA5E9",
        ("Book", "Look up", "Print", "Reserve"),
        ("the train to Lisbon", "the hotel in Oslo", "the ferry tickets", "a table for Saturday", "the museum tour"),
    ),
    "Errands": (
        "#EF4444",
        ("Buy", "Pick up", "Return", "Order"),
        ("the parcel", "new running shoes", "light bulbs", "the library books", "a birthday card"),
    ),
}
_NOTES = (
    None,
    None,
    None,
    "See the notes from last time.",
    "Ask first whether it can wait.",
    "Half an hour is enough.",
)


def generate_tasks(email: str, user: UUID, count: int, day: dt.date) -> tuple[Rows, Rows]:
    """Returns a user's categories and ``count`` tasks at the start of ``day`` (UTC)."""
    source = Random(email)  # noqa: S311 (the data must be reproducible)
    categories = [
        {
            "id": demo_id(source, EPOCH),
            "user_id": user,
            "name": name,
            "color": color,
            "created_at": EPOCH,
            "updated_at": EPOCH,
        }
        for name, (color, _, _) in CATEGORIES.items()
    ]
    now = dt.datetime.combine(day, dt.time(), dt.UTC)
    return categories, [_task(source, categories, user, now) for _ in range(count)]


def _task(source: Random, categories: Rows, user: UUID, now: dt.datetime) -> dict[str, Any]:
    category = source.choice(categories)
    _, verbs, objects = CATEGORIES[category["name"]]
    due = now + dt.timedelta(days=source.randint(-PAST_DAYS, FUTURE_DAYS), hours=source.randint(8, 19))
    created = min(due, now) - dt.timedelta(days=source.randint(1, 14), minutes=source.randint(0, 600))
    status, completed_at = _progress(source, created, due, now)
    return {
        "id": demo_id(source, created),
        "user_id": user,
        "category_id": category["id"],
        "title": f"{source.choice(verbs)} {source.choice(objects)}",
        "description": source.choice(_NOTES),
        "status": status,
        "priority_level": source.choices((1, 2, 3, 4, 5), (1, 3, 6, 3, 1))[0],
        "due_date": due if source.random() < 0.95 else None,  # noqa: PLR2004 (a few tasks have no due date)
        "completed_at": completed_at,
        "created_at": created,
        "updated_at": completed_at or created + (now - created) * source.random(),
    }


def _progress(
    source: Random, created: dt.datetime, due: dt.datetime, now: dt.datetime
) -> tuple[TaskStatus, dt.datetime | None]:
    """Returns the status and ``completed_at``. Most tasks that were due are completed, and a few are overdue."""
    chance = source.random()
    completed_at = created + (min(due, now) - created) * source.uniform(0.3, 1.0)
    if due < now:
        if chance < _COMPLETED_OF_DUE:
            return TaskStatus.COMPLETED, completed_at
        if chance < _COMPLETED_OR_CANCELLED_OF_DUE:
            return TaskStatus.CANCELLED, None
    elif chance < _COMPLETED_EARLY:
        return TaskStatus.COMPLETED, completed_at
    return (TaskStatus.IN_PROGRESS if source.random() < _IN_PROGRESS_OF_OPEN else TaskStatus.PENDING), None
