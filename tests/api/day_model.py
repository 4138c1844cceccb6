"""A plain Python model of a user's tasks and days, with which tests compare the gateway's numbers."""

import datetime as dt
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

HUNDREDTH = Decimal("0.01")


@dataclass
class Item:
    """One task."""

    key: str
    created: dt.datetime
    due: dt.datetime | None = None
    status: str = "PENDING"
    completed: dt.datetime | None = None
    is_deleted: bool = False
    version: int = 1

    def set_status(self, status: str, now: dt.datetime) -> None:
        """Updates the completion time together with the status."""
        if status != self.status:
            self.status = status
            self.completed = now if status == "COMPLETED" else None


@dataclass
class Days:
    """The tasks of a user, and the results of the last counts of the days."""

    zone: ZoneInfo
    items: list[Item] = field(default_factory=list)
    counted: dict[dt.date, tuple[int, int, Decimal]] = field(default_factory=dict)

    @property
    def alive(self) -> list[Item]:
        return [item for item in self.items if not item.is_deleted]

    def date(self, moment: dt.datetime) -> dt.date:
        """The date in the user's time zone."""
        return moment.astimezone(self.zone).date()

    def created_on(self, date: dt.date) -> int:
        return sum(self.date(item.created) == date for item in self.alive)

    def completed_on(self, date: dt.date) -> int:
        return sum(item.completed is not None and self.date(item.completed) == date for item in self.alive)

    def count_carried_over(self, date: dt.date) -> int:
        start = dt.datetime.combine(date, dt.time(), self.zone)
        return sum(
            item.due is not None
            and item.due < start
            and item.created < start
            and item.status != "CANCELLED"
            and (item.completed is None or item.completed >= start)
            for item in self.alive
        )

    def count(self, *moments: dt.datetime | None) -> None:
        """Recounts the days of these moments."""
        for date in {self.date(moment) for moment in moments if moment is not None}:
            completed, created = self.completed_on(date), self.created_on(date)
            score = Decimal(100 * completed) / max(created + self.count_carried_over(date), 1)
            self.counted[date] = (completed, created, min(score, Decimal(100)).quantize(HUNDREDTH, ROUND_HALF_UP))

    def score(self, date: dt.date) -> Decimal:
        """The score of a day at its last count."""
        return self.counted.get(date, (0, 0, Decimal("0.00")))[2]

    def mean(self, last: dt.date) -> Decimal:
        """The mean score of the seven days up to ``last``."""
        week = [self.score(last - dt.timedelta(days=back)) for back in range(7)]
        return (sum(week, Decimal(0)) / 7).quantize(HUNDREDTH, ROUND_HALF_UP)

    def analytics(self) -> list[dict[str, Any]]:
        """The expected result of ``taskAnalytics``."""
        return [
            {"date": str(date), "tasksCompleted": completed, "tasksCreated": created, "productivityScore": str(score)}
            for date, (completed, created, score) in sorted(self.counted.items())
        ]

    def trend(self, last: dt.date, length: int) -> list[dict[str, Any]]:
        """The expected result of ``productivityTrends``."""
        dates = [last - dt.timedelta(days=back) for back in range(length - 1, -1, -1)]
        return [
            {
                "date": str(date),
                "completed": self.counted.get(date, (0, 0))[0],
                "created": self.counted.get(date, (0, 0))[1],
                "score": str(self.score(date)),
                "movingAverage": str(self.mean(date)),
            }
            for date in dates
        ]

    def dashboard(self, now: dt.datetime) -> dict[str, Any]:
        """The expected result of ``lifeLockDashboard``."""
        today = self.date(now)
        is_open = {"PENDING", "IN_PROGRESS"}
        due = sorted(
            (item for item in self.alive if item.status in is_open and item.due is not None and item.due >= now),
            key=lambda item: (item.due, item.key),
        )
        week = [today - dt.timedelta(days=back) for back in range(6, -1, -1)]
        return {
            "totalTasks": len(self.alive),
            "completedTasks": sum(item.status == "COMPLETED" for item in self.alive),
            "overdueTasks": sum(
                item.status in is_open and item.due is not None and item.due < now for item in self.alive
            ),
            "todaysTasks": sum(item.due is not None and self.date(item.due) == today for item in self.alive),
            "productivityScore": str(self.mean(today)),
            "weeklyProgress": [
                {"date": str(date), "completed": self.completed_on(date), "created": self.created_on(date)}
                for date in week
            ],
            "upcomingDeadlines": [{"databaseId": item.key} for item in due],
        }
