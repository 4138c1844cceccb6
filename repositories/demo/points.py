"""What people of the demo data have earned with their completed tasks, and what they bought for it."""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from repositories.aggregates.event_store import row_of_event
from repositories.core.clock import date_of
from repositories.core.event import Event
from repositories.demo.people import EPOCH, demo_id
from repositories.demo.tasks import Rows
from repositories.gamification.events import AchievementUnlocked, RewardRedeemed
from repositories.gamification.points import points_for_task
from repositories.life_lock.events import TaskCompleted
from repositories.tables.gamification import Achievement, PointReason, RedemptionStatus

_COFFEE, _LUNCH = (UUID(f"019b76da-a800-7000-8000-00000000010{number}") for number in (1, 2))

REWARDS: Rows = [
    {"id": _COFFEE, "name": "A coffee on the house", "cost": 150},
    {"id": _LUNCH, "name": "Lunch for two", "description": "In the place around the corner.", "cost": 900},
    {
        "id": UUID("019b76da-a800-7000-8000-000000000103"),
        "name": "A cinema ticket",
        "description": "While there are some left.",
        "cost": 600,
        "stock": 40,
    },
    {
        "id": UUID("019b76da-a800-7000-8000-000000000104"),
        "name": "Last year's mug",
        "cost": 300,
        "stock": 0,
        "is_active": False,
    },
]
_BOUGHT = ((_COFFEE, 150, RedemptionStatus.FULFILLED), (_LUNCH, 900, RedemptionStatus.REDEEMED))
"""Of rewards without limit only, so that there is enough for any number of people."""


def rewards() -> Iterator[dict[str, Any]]:
    """What points buy."""
    for reward in REWARDS:
        yield reward | {"created_at": EPOCH, "updated_at": EPOCH}


@dataclass(slots=True)
class Earnings:
    """The rows of one person or of several."""

    events: Rows = field(default_factory=list)
    entries: Rows = field(default_factory=list)
    unlocked: Rows = field(default_factory=list)
    redemptions: Rows = field(default_factory=list)

    def add(self, event: Event, reason: PointReason, points: int, at: dt.datetime) -> None:
        """An event and what it brought or cost."""
        self.events.append(row_of_event(event, actor=event.owner_id, at=at))
        self.entries.append(
            {
                "id": event.id,
                "user_id": event.owner_id,
                "points": points,
                "reason": reason,
                "source_event_id": event.id,
                "created_at": at,
                "updated_at": at,
            }
        )


def earn(
    into: Earnings, person: Mapping[str, Any], tasks: Rows, achievements: Sequence[Achievement], day: dt.date
) -> None:
    """Adds what a person's tasks have brought by the start of ``day``, as if it had been booked at the time."""
    source, user, zone = Random(f"points of {person['email']}"), person["id"], ZoneInfo(person["time_zone"])  # noqa: S311 (repeatable)
    locked = {one.id: one for one in achievements}
    done = sorted((task for task in tasks if task["completed_at"]), key=lambda task: (task["completed_at"], task["id"]))
    balance, streak, last = 0, 0, dt.date.min
    for count, task in enumerate(done, start=1):
        at, due = task["completed_at"], task["due_date"]
        points = points_for_task(at, due)
        into.add(
            TaskCompleted(task["id"], user, at, due, id=demo_id(source, at)), PointReason.TASK_COMPLETED, points, at
        )
        balance += points
        date = date_of(at, zone)
        if date != last:
            streak, last = (streak + 1 if date - last == dt.timedelta(days=1) else 1), date
        for one in [one for one in locked.values() if _is_reached(one, count, streak)]:
            del locked[one.id]
            keys = demo_id(source, at), demo_id(source, at)
            _unlock(into, AchievementUnlocked(keys[0], user, one.id, one.points, id=keys[1]), at)
            balance += one.points
    _spend(into, source, user, balance, dt.datetime.combine(day, dt.time(), dt.UTC))


def _is_reached(achievement: Achievement, count: int, streak: int) -> bool:
    wanted = achievement.criteria
    return count >= wanted["count"] if "count" in wanted else streak >= int(wanted["streak_days"])


def _unlock(into: Earnings, event: AchievementUnlocked, at: dt.datetime) -> None:
    into.add(event, PointReason.ACHIEVEMENT_UNLOCKED, event.points, at)
    into.unlocked.append(
        {
            "id": event.aggregate_id,
            "user_id": event.owner_id,
            "achievement_id": event.achievement_id,
            "unlocked_at": at,
            "created_at": at,
            "updated_at": at,
        }
    )


def _spend(into: Earnings, source: Random, user: UUID, balance: int, at: dt.datetime) -> None:
    for reward, cost, status in _BOUGHT:
        if balance < cost:
            return
        balance -= cost
        event = RewardRedeemed(demo_id(source, at), user, reward, cost, id=demo_id(source, at))
        into.add(event, PointReason.REWARD_REDEEMED, -cost, at)
        into.redemptions.append(
            {
                "id": event.aggregate_id,
                "user_id": user,
                "reward_id": reward,
                "cost": cost,
                "redeemed_at": at,
                "status": status,
                "created_at": at,
                "updated_at": at,
            }
        )
