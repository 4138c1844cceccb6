"""Queries of tasks."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from repositories.aggregates.event_store import EventStore
from repositories.core.clock import LocalDay, date_of, days, now
from repositories.core.viewer import SERVICE
from repositories.identity import ProfileUpdated, Users
from repositories.job_runs import JobRuns
from repositories.life_lock.analytics import Analytics, DayScore
from repositories.life_lock.events import CategoryUpdated, TaskUpdated
from repositories.life_lock.statistics import REFRESH_JOB, DashboardStats
from repositories.life_lock.tasks import CategoryTotals, DayProgress, Names, Tasks, TaskTally
from repositories.sql.page import PageRequest
from repositories.sql.table import Table
from repositories.tables.administration import JobOutcome
from repositories.tables.events import DomainEvent
from repositories.tables.life_lock import Task, TaskAnalytics, TaskNames, UserDashboardStats
from resolvers.caching.cached import cached
from resolvers.loading.edges import Connection, Edge, get, load_connection, one
from resolvers.request.context import Context
from resolvers.request.periods import check_days


class _NameEdge(Edge[Any]):
    """From a task to one of the names of its people. Both names of all tasks of a level are loaded by one statement."""

    def __init__(self, name: Any) -> None:
        super().__init__(Names.by_id, Task.id, lambda: None)
        self._name: str = name.name

    async def load(self, context: Context, row: Table, **arguments: Any) -> str | None:
        return getattr(await super().load(context, row, **arguments), self._name, None)

    async def load_many(self, context: Context, rows: Sequence[Table], **arguments: Any) -> list[Any]:
        found = await super().load_many(context, rows, **arguments)
        return [each if isinstance(each, Exception) else getattr(each, self._name, None) for each in found]


owner_name = _NameEdge(TaskNames.owner_name)
assignee_name = _NameEdge(TaskNames.assignee_name)

owner_of_statistics = one(Users.by_id, key=UserDashboardStats.user_id)

PRIORITY_NAMES = ("lowest", "low", "medium", "high", "urgent")


def checked_size(first: int) -> int:
    """The number of rows of a list without pages. ValidationError if it is out of range."""
    return PageRequest(first=first).size


async def due_tasks(context: Context, until: dt.datetime, first: int) -> list[Task]:
    """The viewer's open tasks that are due at this time or before, the earliest first."""
    limit = checked_size(first)
    return await Tasks(context.snapshot).due(until, user=context.viewer_id, limit=limit)


async def analytics(context: Context, since: dt.date, until: dt.date) -> list[TaskAnalytics]:
    """The stored days of the viewer."""
    check_days(since, until)
    return await Analytics(context.snapshot).between(context.viewer_id, since, until)


async def events_of_task(context: Context, id: UUID, first: int) -> list[DomainEvent]:  # noqa: A002
    """The events of a task, the oldest first. NotFound if the viewer may not see the task."""
    limit = checked_size(first)
    await get(context, Tasks, id)
    return await EventStore(context.snapshot).of_aggregate(id, limit=limit)


async def statistics(context: Context, request: PageRequest) -> Connection[UserDashboardStats]:
    """The totals of every user, the most recently active first."""
    return await load_connection(context, DashboardStats, request)


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The time at which the statistics were computed."""

    refreshed_at: dt.datetime


async def refresh_statistics(context: Context) -> Refreshed:
    """Computes the totals of all users again, as the service, because no viewer may read all tasks.

    Written down as a run of the job, which it waits for in the database if that is refreshing.
    """
    await context.discard_reads()
    async with context.database.transaction(SERVICE) as write:
        await JobRuns(write).add(
            job=REFRESH_JOB,
            started_at=context.now,
            processed=await DashboardStats(write).refresh(),
            finished_at=now(),
            outcome=JobOutcome.SUCCEEDED,
        )
    return Refreshed(context.now)


def _next_due(tally: TaskTally) -> dt.datetime | None:
    return tally.next_due


def _first_due(tasks: list[Task]) -> dt.datetime | None:
    return tasks[0].due_date if tasks else None


@dataclass(frozen=True, slots=True)
class Dashboard:
    """The dashboard of one user on one day. Every value is computed when it is selected."""

    context: Context
    user: UUID
    today: LocalDay
    week: tuple[LocalDay, ...]

    @cached(own=(TaskUpdated,), valid_until=_next_due)
    async def tally(self) -> TaskTally:
        """The four counters, by one statement."""
        return await Tasks(self.context.snapshot).tally(self.user, self.context.now, self.today)

    async def total_tasks(self) -> int:
        """The number of tasks."""
        return (await self.tally()).total

    async def completed_tasks(self) -> int:
        """The number of completed tasks."""
        return (await self.tally()).completed

    async def overdue_tasks(self) -> int:
        """The number of open tasks whose due date has passed."""
        return (await self.tally()).overdue

    async def todays_tasks(self) -> int:
        """The number of tasks that are due today."""
        return (await self.tally()).today

    @cached(own=(TaskUpdated, ProfileUpdated))
    async def productivity_score(self) -> Decimal:
        """The mean score of the last seven days."""
        return await Analytics(self.context.snapshot).mean_score(self.user, self.today.date, len(self.week))

    @cached(own=(TaskUpdated,))
    async def weekly_progress(self) -> list[DayProgress]:
        """The numbers of the last seven days, without gaps."""
        return await Tasks(self.context.snapshot).progress(self.user, self.week)

    @cached(own=(TaskUpdated, CategoryUpdated))
    async def category_breakdown(self) -> list[CategoryTotals]:
        """The numbers of tasks by category."""
        return await Tasks(self.context.snapshot).breakdown(self.user)

    @cached(own=(TaskUpdated, CategoryUpdated), valid_until=_first_due)
    async def upcoming_deadlines(self, first: int) -> list[Task]:
        """The open tasks that are due next."""
        limit = checked_size(first)
        return await Tasks(self.context.snapshot).upcoming(self.context.now, user=self.user, limit=limit)


async def dashboard(context: Context, time_zone: str | None = None) -> Dashboard:
    """The viewer's dashboard on the current day in the time zone."""
    user = context.viewer_id
    today, zone = await context.today(time_zone)
    return Dashboard(context, user, today, days(today.date, 7, zone))


class TrendPeriod(StrEnum):
    """The length of a trend."""

    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


_PERIOD_DAYS = {TrendPeriod.WEEK: 7, TrendPeriod.MONTH: 30, TrendPeriod.YEAR: 365}


async def trends(context: Context, period: TrendPeriod) -> list[DayScore]:
    """The viewer's days up to today, without gaps, with the moving average of seven days, as they are stored."""
    user = context.viewer_id
    zone = await context.time_zone()
    first_weekday = await context.first_weekday()
    today = date_of(context.now, zone)
    return await Analytics(context.snapshot).series(user, today, _PERIOD_DAYS[period], first_weekday)
