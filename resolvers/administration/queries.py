"""Queries of administrators."""

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, NamedTuple
from zoneinfo import ZoneInfo

from repositories.administration import Roles, UserOverview, UserTally
from repositories.aggregates.event_store import EventStore
from repositories.core.clock import midnight, week_start
from repositories.identity import ProfileUpdated
from repositories.life_lock.analytics import mean
from repositories.life_lock.statistics import DashboardStats, TaskTotals
from repositories.permissions import RoleName
from repositories.sql.filters import NO_FILTER, Direction, Filter, SortKey
from repositories.sql.page import PageRequest
from repositories.tables.administration import Role
from repositories.tables.events import DomainEvent
from repositories.tables.identity import User, UserStatus
from resolvers.caching.cached import cached
from resolvers.loading.edges import Connection, Edge, load_connection
from resolvers.request.annotations import EachField
from resolvers.request.context import Context

_roles_of_user: Edge[list[Role]] = Edge(Roles.of_users, User.id, list)

_NEWEST = (SortKey("sequence", Direction.DESC),)
_WEEK = dt.timedelta(days=7)


async def roles_of_user(context: Context, row: User) -> list[Role]:
    """The roles that the user was granted in addition to `role`, by name. For administrators."""
    return await _roles_of_user.load(context, row)


@cached(shared=True)
async def roles(context: Context) -> list[Role]:
    """All roles that can be granted, by name. For administrators."""
    return await Roles(context.snapshot).find(limit=len(RoleName))


async def audit_log(
    context: Context, request: PageRequest, where: Filter = NO_FILTER, order: tuple[SortKey, ...] = ()
) -> Connection[DomainEvent]:
    """The events of all users, the latest first. For administrators."""
    return await load_connection(context, EventStore, request, where, order or _NEWEST)


class UserStatusTotal(NamedTuple):
    """The number of users with a status."""

    status: Annotated[UserStatus, "The status."]
    total: Annotated[int, "The number of users with this status."]


class UserRoleTotal(NamedTuple):
    """The number of users with a role."""

    role: Annotated[RoleName, "The role."]
    total: Annotated[
        int, "The number of users who have the role by the account or by a grant. Every user has the role USER."
    ]


@dataclass(frozen=True, slots=True)
class TasksOverview:
    """The tasks of all users without deleted ones, as of `refreshedAt`.

    They are counted every hour and by `refreshUserDashboardStats`.
    """

    context: Context

    async def totals(self) -> EachField[TaskTotals]:
        return await self.context.compute_once(("tasks",), DashboardStats(self.context.snapshot).totals)

    async def mean_completion_rate(self) -> Decimal | None:
        """The mean completion rate of the users who have tasks, 0.00 to 100.00. Null if no user has tasks."""
        totals = await self.totals()
        return mean(totals.rates, totals.owners) if totals.owners else None

    async def refreshed_at(self) -> dt.datetime | None:
        """The time of the count. On SQLite it is the time of the request. Null if the tasks were never counted."""
        return await DashboardStats(self.context.snapshot).refreshed_at(self.context.now)


@dataclass(frozen=True, slots=True)
class UsersOverview:
    """Numbers of all users without deleted ones. Each field executes one statement, only if it is selected."""

    context: Context
    today: dt.date
    zone: ZoneInfo

    async def by_status(self) -> list[UserStatusTotal]:
        """The number of users by status, every status included."""
        tally = await self.tally()
        return [UserStatusTotal(status, getattr(tally, status.value)) for status in UserStatus]

    @cached(all_users=(ProfileUpdated,), shared=True)
    async def by_role(self) -> list[UserRoleTotal]:
        """The number of users by role, every role included."""
        counted = await UserOverview(self.context.snapshot).by_role()
        return [UserRoleTotal(*each) for each in counted.items()]

    async def tally(self) -> EachField[UserTally]:
        return await self._tally(week_start(self.today, await self.context.first_weekday()))

    @cached(all_users=(ProfileUpdated,), shared=True)
    async def _tally(self, first_day: dt.date) -> UserTally:
        month = midnight(self.today.replace(day=1), self.zone)
        return await UserOverview(self.context.snapshot).tally(midnight(first_day, self.zone), month)

    async def active_last_seven_days(self) -> int:
        """The number of users who caused an event in the last 7 × 24 hours."""
        return await UserOverview(self.context.snapshot).active(self.context.now - _WEEK)

    async def tasks(self) -> TasksOverview:
        """The tasks of all users."""
        return TasksOverview(self.context)


async def users_overview(
    context: Context,
    time_zone: Annotated[
        str | None,
        "The IANA time zone in which weeks and months begin. By default the viewer's time zone. Weeks start on the "
        "viewer's `weekStartsOn`.",
    ] = None,
) -> UsersOverview:
    """Numbers of all users. For administrators."""
    today, zone = await context.today(time_zone)
    return UsersOverview(context, today.date, zone)
