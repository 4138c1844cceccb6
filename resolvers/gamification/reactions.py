"""Points and achievements for events, booked in the unit of work that recorded the events.

A task has points while it is completed and not deleted: 10, or 15 if it was completed by its due date. Each event that
begins or ends this state books one entry: completing and restoring give points, reopening and deleting take them back.

No balance becomes negative. If the user has spent some of a task's points, only the rest is taken back. The points that
were not taken back stay booked for the task: completing it again gives that much less. A restored task gets back what
its deletion has taken.
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
from repositories.gamification.points import Points, TaskPoints, points_for_task
from repositories.identity import Users, time_zones_of
from repositories.life_lock.events import TaskCompleted, TaskDeleted, TaskReopened, TaskRestored
from repositories.tables.gamification import MAX_STREAK, PointReason

TASK_EVENTS: tuple[type[Event], ...] = (TaskCompleted, TaskReopened, TaskDeleted, TaskRestored)
BOOKED_EVENTS: tuple[type[Event], ...] = (AchievementUnlocked, RewardRedeemed, RedemptionRefunded)


async def reward_tasks(work: UnitOfWork, events: list[Any]) -> None:
    """Books the points of completions for the owners, and unlocks achievements of the users who completed tasks.

    Locks the users first, so that of two concurrent units of work the second one sees the entries of the first.
    """
    events = [event for event in events if event.completed_at is not None]
    if not events:
        return
    points = work.repository(Points)
    await work.repository(Users).hold(event.owner_id for event in events)
    tasks = await points.of_tasks(sorted({event.aggregate_id for event in events}))
    losers = {event.owner_id for event in events if isinstance(event, TaskReopened | TaskDeleted)}
    balances = dict(await points.balances(sorted(losers))) if losers else {}
    entries = []
    for event in events:
        task, balance = tasks[event.aggregate_id], balances.get(event.owner_id, 0)
        amount, reason = _task_points(event, task, balance)
        of_deletion = amount if isinstance(event, TaskDeleted | TaskRestored) else 0
        tasks[event.aggregate_id] = TaskPoints(task.booked + amount, task.taken_by_deletion - of_deletion)
        balances[event.owner_id] = balance + amount
        entries.append(_entry(work, event, amount, reason))
    await _book(work, entries)
    completed = {work.viewer.id or event.owner_id for event in events if isinstance(event, TaskCompleted)}
    if completed:
        await _unlock(work, sorted(completed))


def _task_points(event: Any, task: TaskPoints, balance: int) -> tuple[int, PointReason]:
    """The points that an event gives to the owner of a task, negative if it takes them back, and their reason."""
    match event:
        case TaskCompleted(completed_at=completed_at, due_date=due_date):
            return max(points_for_task(completed_at, due_date) - task.booked, 0), PointReason.TASK_COMPLETED
        case TaskRestored():
            return task.taken_by_deletion, PointReason.TASK_RESTORED
        case _:
            reason = PointReason.TASK_DELETED if isinstance(event, TaskDeleted) else PointReason.TASK_REOPENED
            return -max(min(task.booked, balance), 0), reason


async def book(work: UnitOfWork, events: list[Any]) -> None:
    """Books the points of reached achievements, redemptions and refunds."""
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
    """Adds the entries whose points are not 0, except those of events that already have one."""
    effective = [entry for entry in entries if entry["points"] != 0]
    if effective:
        await work.repository(Points).add_missing(effective)


async def _unlock(work: UnitOfWork, users: Sequence[UUID]) -> None:
    zones = await time_zones_of(work, users)
    reach = {user: days(date_of(work.now, zone), MAX_STREAK, zone) for user, zone in zones.items()}
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
