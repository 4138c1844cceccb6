"""The points that demo users earned with completed tasks, their achievements, and the rewards they redeemed."""

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
from repositories.demo.tasks import Rows
from repositories.demo.users import EPOCH, demo_id
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
_REDEMPTIONS = ((_COFFEE, 150, RedemptionStatus.FULFILLED), (_LUNCH, 900, RedemptionStatus.REDEEMED))
"""Only of rewards with unlimited stock, so that any number of users can redeem them."""


def generate_rewards() -> Iterator[dict[str, Any]]:
    for reward in REWARDS:
        yield reward | {"created_at": EPOCH, "updated_at": EPOCH}


@dataclass(slots=True)
class Earnings:
    """The rows of one or more users."""

    events: Rows = field(default_factory=list)
    entries: Rows = field(default_factory=list)
    unlocked: Rows = field(default_factory=list)
    redemptions: Rows = field(default_factory=list)

    def add(self, event: Event, reason: PointReason, points: int, at: dt.datetime) -> None:
        """Adds an event and the entry for the points that it earned or cost (negative)."""
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


def add_earnings(
    earnings: Earnings, user: Mapping[str, Any], tasks: Rows, achievements: Sequence[Achievement], day: dt.date
) -> None:
    """Adds everything that a user earned and redeemed by the start of ``day``, with the times of the tasks."""
    source = Random(f"points of {user['email']}")  # noqa: S311 (the data must be reproducible)
    user_id, zone = user["id"], ZoneInfo(user["time_zone"])
    locked = {achievement.id: achievement for achievement in achievements}
    completed = sorted(
        (task for task in tasks if task["completed_at"]), key=lambda task: (task["completed_at"], task["id"])
    )
    balance, streak, last = 0, 0, dt.date.min
    for count, task in enumerate(completed, start=1):
        at, due = task["completed_at"], task["due_date"]
        points = points_for_task(at, due)
        event = TaskCompleted(task["id"], user_id, at, due, id=demo_id(source, at))
        earnings.add(event, PointReason.TASK_COMPLETED, points, at)
        balance += points
        date = date_of(at, zone)
        if date != last:
            streak, last = (streak + 1 if date - last == dt.timedelta(days=1) else 1), date
        for achievement in [each for each in locked.values() if _is_reached(each, count, streak)]:
            del locked[achievement.id]
            key, event_id = demo_id(source, at), demo_id(source, at)
            _unlock(earnings, AchievementUnlocked(key, user_id, achievement.id, achievement.points, id=event_id), at)
            balance += achievement.points
    _redeem(earnings, source, user_id, balance, dt.datetime.combine(day, dt.time(), dt.UTC))


def _is_reached(achievement: Achievement, count: int, streak: int) -> bool:
    criteria = achievement.criteria
    return count >= criteria["count"] if "count" in criteria else streak >= int(criteria["streak_days"])


def _unlock(earnings: Earnings, event: AchievementUnlocked, at: dt.datetime) -> None:
    earnings.add(event, PointReason.ACHIEVEMENT_UNLOCKED, event.points, at)
    earnings.unlocked.append(
        {
            "id": event.aggregate_id,
            "user_id": event.owner_id,
            "achievement_id": event.achievement_id,
            "unlocked_at": at,
            "created_at": at,
            "updated_at": at,
        }
    )


def _redeem(earnings: Earnings, source: Random, user_id: UUID, balance: int, at: dt.datetime) -> None:
    for reward, cost, status in _REDEMPTIONS:
        if balance < cost:
            return
        balance -= cost
        event = RewardRedeemed(demo_id(source, at), user_id, reward, cost, id=demo_id(source, at))
        earnings.add(event, PointReason.REWARD_REDEEMED, -cost, at)
        earnings.redemptions.append(
            {
                "id": event.aggregate_id,
                "user_id": user_id,
                "reward_id": reward,
                "cost": cost,
                "redeemed_at": at,
                "status": status,
                "created_at": at,
                "updated_at": at,
            }
        )
