"""What happens because of a task's event: the person's days are counted anew, in the same unit of work."""

import datetime as dt
from collections.abc import Iterable
from zoneinfo import ZoneInfo

from repositories.identity import Users
from repositories.kit.calendar import date_of, day, time_zone
from repositories.kit.events import Event
from repositories.kit.unit_of_work import UnitOfWork
from repositories.life_lock import (
    Analytics,
    TaskCompleted,
    TaskCreated,
    TaskDeleted,
    TaskReopened,
    TaskRestored,
    TaskUpdated,
)


async def count_days(work: UnitOfWork, events: list[Event]) -> None:
    """Recounts today and every day that the events touch, each once, in the owner's time zone."""
    touched: dict[object, set[dt.date]] = {}
    zones: dict[object, ZoneInfo] = {}
    for event in events:
        if event.owner_id not in zones:
            zones[event.owner_id] = await _zone_of(work, event)
        zone = zones[event.owner_id]
        dates = touched.setdefault(event.owner_id, set())
        dates.update(date_of(moment, zone) for moment in (work.now, *_moments(event)))
    for owner, dates in touched.items():
        days = [day(date, zones[owner]) for date in sorted(dates)]
        await work.repository(Analytics).recompute(owner, days)  # type: ignore[arg-type]


async def _zone_of(work: UnitOfWork, event: Event) -> ZoneInfo:
    viewer = work.viewer
    if event.owner_id == viewer.id and viewer.time_zone is not None:
        return time_zone(viewer.time_zone)
    return time_zone((await work.repository(Users).get(event.owner_id)).time_zone)


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
