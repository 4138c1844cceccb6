"""Totals over all users."""

import datetime as dt
from decimal import Decimal
from typing import Annotated, Any, NamedTuple

import sqlalchemy as sa

from repositories.aggregates.repository import Repository
from repositories.job_runs import JobRuns
from repositories.sql.filters import Direction, SortKey
from repositories.sql.statements import RowFactory, Statement, scalar
from repositories.sql.types import Fixed
from repositories.tables.administration import JobOutcome
from repositories.tables.life_lock import UserDashboardStats

REFRESH_JOB = "refresh-user-dashboard-stats"
"""The job whose runs tell since when the totals are what they are."""

_stats = UserDashboardStats.__table__

_refresh: Statement[Any] = Statement(
    sa.text("REFRESH MATERIALIZED VIEW CONCURRENTLY life_lock.user_dashboard_stats"), scalar(int)
)

_give_time: Statement[str] = Statement(
    sa.select(sa.func.set_config("statement_timeout", sa.literal_column(f"'{15 * 60}s'"), sa.true())), scalar(str)
)


class TaskTotals(NamedTuple):
    """The tasks of all users; ``rates`` is the sum of the completion rates of the ``owners``, who have tasks."""

    total: Annotated[int, "The number of tasks."]
    completed: Annotated[int, "The number of completed tasks."]
    overdue: Annotated[
        int, "The number of tasks whose due date had passed and that were neither completed nor cancelled."
    ]
    owners: int
    rates: Decimal


def _sum(column: sa.ColumnElement[Any]) -> sa.ColumnElement[int]:
    return sa.cast(sa.func.coalesce(sa.func.sum(column), 0), sa.BigInteger())


_totals: Statement[TaskTotals] = Statement(
    sa.select(
        _sum(_stats.c.total_tasks),
        _sum(_stats.c.completed_tasks),
        _sum(_stats.c.overdue_tasks),
        sa.func.count().filter(_stats.c.total_tasks > 0),
        sa.func.coalesce(sa.func.sum(_stats.c.completion_rate), 0, type_=Fixed(15, 2)),
    ).select_from(_stats),
    RowFactory(TaskTotals._make),
)


class DashboardStats(Repository[UserDashboardStats], table=UserDashboardStats, noun="user"):
    """Totals over all users, for administrators."""

    default_order = (SortKey("last_activity", Direction.DESC),)

    async def refresh(self, *, has_time: bool = False) -> int:
        """Brings the materialized view up to date, and says of how many users; for the service.

        SQLite's view always is. On PostgreSQL who refreshes waits for who is refreshing; nobody waits for one who
        ``has_time``, up to 15 minutes of it instead of the limit of a statement.
        """
        if self.connection.engine.is_postgresql:
            if has_time:
                await self.connection.rows(_give_time)
            await self.connection.rows(_refresh)
        return await self.count()

    async def totals(self) -> TaskTotals:
        """Over all users."""
        return await self.connection.one(_totals)

    async def refreshed_at(self, at: dt.datetime) -> dt.datetime | None:
        """Until when what was done is in the totals: ``at``, which is now, on SQLite; None before any refresh."""
        if not self.connection.engine.is_postgresql:
            return at
        run = await JobRuns(self.connection).latest(REFRESH_JOB, [JobOutcome.SUCCEEDED])
        return run.started_at if run else None
