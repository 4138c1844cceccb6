"""Queries of tasks."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, NamedTuple
from uuid import UUID

from repositories.aggregates.event_store import EventStore
from repositories.core.clock import LocalDay, date_of, days, now
from repositories.core.viewer import SERVICE
from repositories.described_enum import DescribedEnum
from repositories.identity import ProfileUpdated, Users
from repositories.job_runs import JobRuns
from repositories.life_lock.analytics import Analytics, DayScore
from repositories.life_lock.events import CategoryUpdated, TaskUpdated
from repositories.life_lock.statistics import REFRESH_JOB, DashboardStats
from repositories.life_lock.tasks import CategoryTotals, DayProgress, Names, Tasks, TaskTally
from repositories.sql.page import DEFAULT_SIZE, PageRequest
from repositories.sql.table import Table
from repositories.tables.administration import JobOutcome
from repositories.tables.events import DomainEvent
from repositories.tables.life_lock import Task, TaskAnalytics, TaskNames, UserDashboardStats
from resolvers.caching.cached import cached
from resolvers.loading.edges import Connection, Edge, get, load_connection, one
from resolvers.request.annotations import EachField, First, TimeZone
from resolvers.request.context import Context
from resolvers.request.periods import MAX_DAYS, check_days
from resolvers.request.repetition import run_once
from resolvers.validation.global_ids import GlobalKey


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


async def due_tasks(
    context: Context, until: Annotated[dt.datetime, "The latest due date."], first: First = DEFAULT_SIZE
) -> list[Task]:
    """The viewer's open tasks that are due at a time or before it, overdue tasks included, the earliest first."""
    return await Tasks(context.snapshot).due(until, user=context.viewer_id, limit=first)


async def task_analytics(
    context: Context,
    from_: Annotated[dt.date, "The first day."],
    to: Annotated[dt.date, f"The last day, at most {MAX_DAYS} days in all."],
) -> list[TaskAnalytics]:
    """The viewer's days, the oldest first.

    Days on which no task was created, completed or overdue may be missing.
    """
    check_days(from_, to)
    return await Analytics(context.snapshot).between(context.viewer_id, from_, to)


async def task_events(
    context: Context, id_: Annotated[UUID, GlobalKey("Task"), "The id of the task."], first: First = DEFAULT_SIZE
) -> list[DomainEvent]:
    """The events of a task, the oldest first. `history` of the task has the newest first, with pages."""
    await get(context, Tasks, id_)
    return await EventStore(context.snapshot).of_aggregate(id_, limit=first)


async def user_dashboard_stats(context: Context, request: PageRequest) -> Connection[UserDashboardStats]:
    """The numbers of tasks of every user at the last refresh, the most recently active users first.

    For administrators.
    """
    return await load_connection(context, DashboardStats, request)


class RefreshUserDashboardStatsPayload(NamedTuple):
    """The result of `refreshUserDashboardStats`."""

    refreshed_at: Annotated[dt.datetime, "The time at which the tasks were counted."]


async def refresh_user_dashboard_stats(context: Context) -> RefreshUserDashboardStatsPayload:
    """Counts the tasks of `userDashboardStats` again. For administrators."""

    async def refresh() -> dt.datetime:
        async with context.unit_of_work(SERVICE) as work:  # because no viewer may read all tasks
            await work.repository(JobRuns).add(
                job=REFRESH_JOB,
                started_at=context.now,
                processed=await work.repository(DashboardStats).refresh(),
                finished_at=now(),
                outcome=JobOutcome.SUCCEEDED,
            )
            work.outcome = context.now
        return context.now

    return RefreshUserDashboardStatsPayload(await run_once(context, refresh))


def _next_due(tally: TaskTally) -> dt.datetime | None:
    return tally.next_due


def _first_due(tasks: list[Task]) -> dt.datetime | None:
    return tasks[0].due_date if tasks else None


@dataclass(frozen=True, slots=True)
class LifeLockDashboard:
    """Numbers about the viewer's tasks. Each field executes one statement, and a field that is not selected none."""

    context: Context
    user: UUID
    today: LocalDay
    week: tuple[LocalDay, ...]

    @cached(own=(TaskUpdated,), valid_until=_next_due)
    async def tally(self) -> EachField[TaskTally]:
        return await Tasks(self.context.snapshot).tally(self.user, self.context.now, self.today)

    @cached(own=(TaskUpdated, ProfileUpdated))
    async def productivity_score(self) -> Decimal:
        """The mean score of the last seven days in the viewer's own time zone, 0 to 100."""
        return await Analytics(self.context.snapshot).mean_score(self.user, self.today.date, len(self.week))

    @cached(own=(TaskUpdated,))
    async def weekly_progress(self) -> list[DayProgress]:
        """The last seven days, without gaps, the oldest first."""
        return await Tasks(self.context.snapshot).progress(self.user, self.week)

    @cached(own=(TaskUpdated, CategoryUpdated))
    async def category_breakdown(self) -> list[CategoryTotals]:
        """The numbers of tasks by category, by name. Tasks without a category come last."""
        return await Tasks(self.context.snapshot).breakdown(self.user)

    @cached(own=(TaskUpdated, CategoryUpdated), valid_until=_first_due)
    async def upcoming_deadlines(self, first: First = 5) -> list[Task]:
        """The open tasks that are due next, the earliest first."""
        return await Tasks(self.context.snapshot).upcoming(self.context.now, user=self.user, limit=first)


async def life_lock_dashboard(context: Context, time_zone: TimeZone = None) -> LifeLockDashboard:
    """Numbers about the viewer's tasks."""
    user = context.viewer_id
    today, zone = await context.today(time_zone)
    return LifeLockDashboard(context, user, today, days(today.date, 7, zone))


class TrendPeriod(DescribedEnum):
    """The number of days that a trend covers, up to today."""

    WEEK = "week", "7 days."
    MONTH = "month", "30 days."
    YEAR = "year", "365 days."


_PERIOD_DAYS = {TrendPeriod.WEEK: 7, TrendPeriod.MONTH: 30, TrendPeriod.YEAR: 365}


async def productivity_trends(
    context: Context, period: Annotated[TrendPeriod, "The number of days."]
) -> list[DayScore]:
    """The viewer's days up to today in the viewer's own time zone, without gaps, the oldest first."""
    user = context.viewer_id
    zone = await context.time_zone()
    first_weekday = await context.first_weekday()
    today = date_of(context.now, zone)
    return await Analytics(context.snapshot).series(user, today, _PERIOD_DAYS[period], first_weekday)
