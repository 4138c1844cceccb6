"""What events are worth: points are booked and achievements unlocked in the unit of work that the events are part of.

A task is worth 10 points while it is completed, 15 if it was on or before its due date, and nothing once it is open
again. An entry brings what was paid for the task to what it is worth. No balance goes below zero: of points that were
spent already a reopened task gives back what there is, and is paid that much less when it is completed again.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.core.clock import date_of, days
from repositories.core.event import Event
from repositories.core.ids import new_id
from repositories.gamification.achievements import Achievements, UserAchievements
from repositories.gamification.events import AchievementUnlocked, RedemptionRefunded, RewardRedeemed
from repositories.gamification.points import Points, points_for_task
from repositories.identity import Users, time_zones_of
from repositories.life_lock.events import TaskCompleted, TaskReopened
from repositories.tables.gamification import MAX_STREAK, PointReason

TASK_EVENTS: tuple[type[Event], ...] = (TaskCompleted, TaskReopened)
BOOKED_EVENTS: tuple[type[Event], ...] = (AchievementUnlocked, RewardRedeemed, RedemptionRefunded)


async def reward_tasks(work: UnitOfWork, events: list[Any]) -> None:
    """Pays for completed tasks, takes back for reopened ones, and unlocks what was reached.

    People's balances are held from the start, so that of two tasks completed at once the second one sees the first.
    """
    points = work.repository(Points)
    await work.repository(Users).hold(event.owner_id for event in events)
    paid = await points.paid_for(sorted({event.aggregate_id for event in events}))
    reopened = [event for event in events if isinstance(event, TaskReopened)]
    balances = dict(await points.balances(sorted({event.owner_id for event in reopened}))) if reopened else {}
    booked = []
    for event in events:
        if isinstance(event, TaskCompleted):
            missing = max(points_for_task(event.completed_at, event.due_date) - paid[event.aggregate_id], 0)
            entry = _entry(work, event, missing, PointReason.TASK_COMPLETED)
        else:
            given_back = min(paid[event.aggregate_id], balances[event.owner_id])
            entry = _entry(work, event, -given_back, PointReason.TASK_REOPENED)
        paid[event.aggregate_id] += entry["points"]
        if event.owner_id in balances:
            balances[event.owner_id] += entry["points"]
        booked.append(entry)
    await _book(work, booked)
    completed = {event.owner_id for event in events if isinstance(event, TaskCompleted)}
    if completed:
        await _unlock(work, sorted(completed))


async def book(work: UnitOfWork, events: list[Any]) -> None:
    """Books what the domain's own events bring or cost."""
    entries = []
    for event in events:
        match event:
            case AchievementUnlocked(points=points):
                entries.append(_entry(work, event, points, PointReason.ACHIEVEMENT_UNLOCKED))
            case RewardRedeemed(cost=cost):
                entries.append(_entry(work, event, -cost, PointReason.REWARD_REDEEMED))
            case _:
                entries.append(_entry(work, event, event.cost, PointReason.REDEMPTION_REFUNDED))
    await _book(work, entries)


def _entry(work: UnitOfWork, event: Event, points: int, reason: PointReason) -> dict[str, Any]:
    return {
        "user_id": event.owner_id,
        "points": points,
        "reason": reason,
        "source_event_id": event.id,
        "created_at": work.now,
    }


async def _book(work: UnitOfWork, entries: Sequence[dict[str, Any]]) -> None:
    """Adds the entries that say something; one whose event was booked before is left out."""
    effective = [entry for entry in entries if entry["points"] != 0]
    if effective:
        await work.repository(Points).add_missing(effective)


async def _unlock(work: UnitOfWork, people: Sequence[UUID]) -> None:
    zones = await time_zones_of(work, people)
    reach = {person: days(date_of(work.now, zone), MAX_STREAK, zone) for person, zone in zones.items()}
    reached = {
        new_id(): progress
        for progress in await work.repository(Achievements).progress(reach)
        if progress.unlocked_at is None and progress.progress == progress.wanted
    }
    if not reached:
        return
    rows = [
        {"id": key, "user_id": progress.user_id, "achievement_id": progress.achievement.id, "unlocked_at": work.now}
        for key, progress in reached.items()
    ]
    await work.repository(UserAchievements).add_many(rows)
    for key, progress in reached.items():
        work.record(AchievementUnlocked(key, progress.user_id, progress.achievement.id, progress.achievement.points))
