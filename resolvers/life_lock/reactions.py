"""Recounts the days of a user in the unit of work of an event that changes them."""

import datetime as dt
from collections.abc import Iterable
from uuid import UUID

from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.core.clock import date_of, day, days, stored_time_zone
from repositories.core.event import Event
from repositories.identity import ProfileUpdated, Users, time_zones_of
from repositories.life_lock.analytics import Analytics
from repositories.life_lock.events import (
    TaskCompleted,
    TaskCreated,
    TaskDeleted,
    TaskReopened,
    TaskRestored,
    TaskUpdated,
)

RECOUNTED_DAYS = 90
"""How many days are recounted at once after a change of the time zone. The job roll-days recounts the days before."""

ZONE_SHIFT = 2
"""How many dates two time zones can differ by: one moment is June 14 in Pago Pago and June 16 on Kiritimati."""


async def count_days(work: UnitOfWork, events: list[Event]) -> None:
    """Recounts today and every day that the events touch, each once, in the owner's time zone."""
    touched: dict[UUID, set[dt.date]] = {}
    zones = await time_zones_of(work, (event.owner_id for event in events))
    for event in events:
        zone = zones[event.owner_id]
        dates = touched.setdefault(event.owner_id, set())
        dates.update(date_of(moment, zone) for moment in (work.now, *_moments(event)))
    for owner, dates in touched.items():
        affected = [day(date, zones[owner]) for date in sorted(dates)]
        await work.repository(Analytics).recompute(owner, affected)


async def recount_days(work: UnitOfWork, events: list[ProfileUpdated]) -> None:
    """Recounts the last 90 days of users who changed their time zone, in the new one, with one statement.

    The token of the request still has the old time zone, so the new one is read from the account.
    """
    moved = sorted({event.owner_id for event in events if "time_zone" in event.fields})
    users = await work.repository(Users).by_id(moved) if moved else {}
    recounted = []
    for user in users.values():
        zone = stored_time_zone(user.time_zone)
        last = date_of(work.now, zone) + dt.timedelta(days=ZONE_SHIFT)
        recounted += [(user.id, each) for each in days(last, RECOUNTED_DAYS + 2 * ZONE_SHIFT, zone)]
    if recounted:
        await work.repository(Analytics).recount(recounted)


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
