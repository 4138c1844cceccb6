"""Queries of administrators."""

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple
from zoneinfo import ZoneInfo

from repositories.administration import Roles, UserOverview, UserTally
from repositories.aggregates.event_store import EventStore
from repositories.core.clock import midnight, week_start
from repositories.identity import ProfileUpdated
from repositories.life_lock.analytics import mean
from repositories.life_lock.statistics import DashboardStats, TaskTotals
from repositories.permissions import RoleName
from repositories.sql.filters import NO_FILTER, Direction, Filter, Order
from repositories.sql.page import PageRequest
from repositories.tables.administration import Role
from repositories.tables.events import DomainEvent
from repositories.tables.identity import User, UserStatus
from resolvers.caching.cached import cached
from resolvers.loading.edges import Connection, Edge, load_connection
from resolvers.request.context import Context

roles_of_user: Edge[list[Role]] = Edge(Roles.of_users, User.id, list)

_NEWEST = (Order("sequence", Direction.DESC),)
_WEEK = dt.timedelta(days=7)


@cached(shared=True)
async def roles(context: Context) -> list[Role]:
    """Every role that can be granted, by name."""
    return await Roles(context.snapshot).find(limit=len(RoleName))


async def audit_log(
    context: Context, request: PageRequest, where: Filter = NO_FILTER, order: tuple[Order, ...] = ()
) -> Connection[DomainEvent]:
    return await load_connection(context, EventStore, request, where, order or _NEWEST)


class StatusTotal(NamedTuple):
    """The number of users with a status."""

    status: UserStatus
    total: int


class RoleTotal(NamedTuple):
    """The number of users with a role."""

    role: RoleName
    total: int


@dataclass(frozen=True, slots=True)
class TasksOverview:
    """The numbers of tasks of all users, as of the last refresh of the statistics."""

    context: Context

    async def _totals(self) -> TaskTotals:
        return await self.context.compute_once(("tasks",), DashboardStats(self.context.snapshot).totals)

    async def total(self) -> int:
        return (await self._totals()).total

    async def completed(self) -> int:
        return (await self._totals()).completed

    async def overdue(self) -> int:
        return (await self._totals()).overdue

    async def mean_completion_rate(self) -> Decimal | None:
        """The mean over the users with tasks, None if no user has any."""
        totals = await self._totals()
        return mean(totals.rates, totals.owners) if totals.owners else None

    async def refreshed_at(self) -> dt.datetime | None:
        """The time of the last refresh, None before the first one."""
        return await DashboardStats(self.context.snapshot).refreshed_at(self.context.now)


@dataclass(frozen=True, slots=True)
class Overview:
    """The numbers of users. Each method executes its statement when it is called."""

    context: Context
    today: dt.date
    zone: ZoneInfo

    async def tally(self) -> UserTally:
        """The numbers that one statement counts for several fields."""
        return await self._tally(week_start(self.today, await self.context.first_weekday()))

    @cached(all_users=(ProfileUpdated,), shared=True)
    async def _tally(self, first_day: dt.date) -> UserTally:
        month = midnight(self.today.replace(day=1), self.zone)
        return await UserOverview(self.context.snapshot).tally(midnight(first_day, self.zone), month)

    async def by_status(self) -> list[StatusTotal]:
        tally = await self.tally()
        return [StatusTotal(status, getattr(tally, status.value)) for status in UserStatus]

    @cached(all_users=(ProfileUpdated,), shared=True)
    async def by_role(self) -> list[RoleTotal]:
        counted = await UserOverview(self.context.snapshot).by_role()
        return [RoleTotal(*each) for each in counted.items()]

    async def new_this_week(self) -> int:
        return (await self.tally()).new_this_week

    async def new_this_month(self) -> int:
        return (await self.tally()).new_this_month

    async def active_last_seven_days(self) -> int:
        return await UserOverview(self.context.snapshot).active(self.context.now - _WEEK)

    async def tasks(self) -> TasksOverview:
        return TasksOverview(self.context)


async def overview(context: Context, time_zone: str | None = None) -> Overview:
    """The numbers of users. Weeks start on the first day of the viewer's preferences, at midnight in the time zone."""
    today, zone = await context.today(time_zone)
    return Overview(context, today.date, zone)
