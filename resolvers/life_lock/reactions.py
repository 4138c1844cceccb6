"""What happens because of a task's event: the person's days are counted anew, in the same unit of work."""

import datetime as dt
from collections.abc import Iterable
from uuid import UUID

from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.core.clock import date_of, day
from repositories.core.event import Event
from repositories.identity import time_zones_of
from repositories.life_lock.analytics import Analytics
from repositories.life_lock.events import (
    TaskCompleted,
    TaskCreated,
    TaskDeleted,
    TaskReopened,
    TaskRestored,
    TaskUpdated,
)


async def count_days(work: UnitOfWork, events: list[Event]) -> None:
    """Recounts today and every day that the events touch, each once, in the owner's time zone."""
    touched: dict[UUID, set[dt.date]] = {}
    zones = await time_zones_of(work, (event.owner_id for event in events))
    for event in events:
        zone = zones[event.owner_id]
        dates = touched.setdefault(event.owner_id, set())
        dates.update(date_of(moment, zone) for moment in (work.now, *_moments(event)))
    for owner, dates in touched.items():
        days = [day(date, zones[owner]) for date in sorted(dates)]
        await work.repository(Analytics).recompute(owner, days)


def _moments(event: Event) -> Iterable[dt.datetime]:
    match event:
        case TaskCreated(created_at=created):
            yield created
        case TaskCompleted(completed_at=completed):
            yield completed
        case TaskReopened(completed_at=completed) if completed is not None:
            yield completed
        case (
            TaskDeleted(created_at=created, completed_at=completed)
            | TaskRestored(created_at=created, completed_at=completed)
        ):
            yield created
            if completed is not None:
                yield completed
        case _:
            return


TASK_EVENTS: tuple[type[Event], ...] = (
    TaskCreated,
    TaskUpdated,
    TaskCompleted,
    TaskReopened,
    TaskDeleted,
    TaskRestored,
)
