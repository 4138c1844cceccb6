"""The entries of points: awards and deductions."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple, TypeVar
from uuid import UUID

import sqlalchemy as sa

from repositories.aggregates.batch import batch
from repositories.aggregates.repository import Repository
from repositories.sql import types
from repositories.sql.filters import is_not_deleted
from repositories.sql.statements import RowFactory, Statement, in_list
from repositories.sql.table import Table
from repositories.tables.events import DomainEvent
from repositories.tables.gamification import (
    EARNED,
    Achievement,
    PointEntry,
    PointReason,
    Reward,
    RewardRedemption,
    UserAchievement,
)
from repositories.tables.life_lock import Task

_entries = PointEntry.__table__
_events = DomainEvent.__table__


def points_for_task(completed_at: dt.datetime, due_date: dt.datetime | None) -> int:
    """The points for completing a task: 10, or 15 on or before its due date."""
    return 15 if due_date is not None and completed_at <= due_date else 10


class TaskPoints(NamedTuple):
    """The points of a task: the sum of its entries, and how many of its points its deletion has taken back."""

    booked: int
    taken_by_deletion: int


class PointTotals(NamedTuple):
    """The points of a user, and those earned since a moment."""

    point_balance: Annotated[int, "The points that the viewer can redeem."]
    points_this_week: Annotated[
        int, "The points that the viewer has earned since the first day of the week, the viewer's `weekStartsOn`."
    ]


_user = sa.bindparam("user", type_=types.Id())
_since = sa.bindparam("since", type_=types.Timestamp())
_points: sa.ColumnElement[int] = sa.func.coalesce(sa.func.sum(_entries.c.points), 0)
_is_earned = _entries.c.reason.in_([sa.literal_column(f"'{reason.value}'") for reason in EARNED])

_balances: Statement[tuple[UUID, int]] = Statement(
    sa.select(_entries.c.user_id, sa.func.sum(_entries.c.points))
    .where(in_list(_entries.c.user_id, "users"))
    .group_by(_entries.c.user_id),
    RowFactory(tuple),
)

_is_of_deletion = _entries.c.reason.in_(
    [sa.literal_column(f"'{reason.value}'") for reason in (PointReason.TASK_DELETED, PointReason.TASK_RESTORED)]
)

_of_tasks: Statement[tuple[UUID, TaskPoints]] = Statement(
    sa.select(
        _events.c.aggregate_id,
        sa.func.sum(_entries.c.points),
        sa.func.coalesce(-sa.func.sum(_entries.c.points).filter(_is_of_deletion), 0),
    )
    .select_from(_events.join(_entries, _entries.c.source_event_id == _events.c.id))
    .where(in_list(_events.c.aggregate_id, "tasks"))
    .group_by(_events.c.aggregate_id),
    RowFactory(lambda values: (values[0], TaskPoints(*values[1:]))),
)

_totals: Statement[PointTotals] = Statement(
    sa.select(
        _points,
        sa.func.coalesce(sa.func.sum(_entries.c.points).filter(_is_earned, _entries.c.created_at >= _since), 0),
    ).where(_entries.c.user_id == _user),
    RowFactory(PointTotals._make),
)


R = TypeVar("R", bound=Table)


def _of_events(row: type[R], rows: sa.FromClause, subject: sa.ColumnElement[UUID]) -> Statement[tuple[UUID, R]]:
    """The rows of a table that events are about. ``subject`` is the column with the id that the events are about."""

    def make(values: Sequence[Any]) -> tuple[UUID, R]:
        return values[0], row._make(values[1:])

    return Statement(
        sa.select(_events.c.id, *row.__table__.c)
        .select_from(rows.join(_events, _events.c.aggregate_id == subject))
        .where(in_list(_events.c.id, "events"), is_not_deleted(row.__table__)),
        RowFactory(make),
    )


_tasks, _achievements, _rewards = Task.__table__, Achievement.__table__, Reward.__table__
_unlocked, _redeemed = UserAchievement.__table__, RewardRedemption.__table__
_task_of_event = _of_events(Task, _tasks, _tasks.c.id)
_achievement_of_event = _of_events(
    Achievement, _achievements.join(_unlocked, _unlocked.c.achievement_id == _achievements.c.id), _unlocked.c.id
)
_reward_of_event = _of_events(Reward, _rewards.join(_redeemed, _redeemed.c.reward_id == _rewards.c.id), _redeemed.c.id)


class Points(Repository[PointEntry], table=PointEntry):
    """Point entries, which are never changed."""

    @batch
    async def task_of_event(self, events: Sequence[UUID]) -> Mapping[UUID, Task]:
        """The task that each event is about."""
        return dict(await self.connection.rows(_task_of_event, events=list(events)))

    @batch
    async def achievement_of_event(self, events: Sequence[UUID]) -> Mapping[UUID, Achievement]:
        """The achievement that was reached with each event."""
        return dict(await self.connection.rows(_achievement_of_event, events=list(events)))

    @batch
    async def reward_of_event(self, events: Sequence[UUID]) -> Mapping[UUID, Reward]:
        """The reward that was redeemed, or whose redemption was refunded, with each event."""
        return dict(await self.connection.rows(_reward_of_event, events=list(events)))

    async def balances(self, users: Sequence[UUID]) -> Mapping[UUID, int]:
        """The balances of users."""
        found = await self.connection.rows(_balances, users=list(users))
        return dict.fromkeys(users, 0) | dict(found)

    async def balance(self, user: UUID) -> int:
        return (await self.balances([user]))[user]

    async def of_tasks(self, tasks: Sequence[UUID]) -> dict[UUID, TaskPoints]:
        """The points of each task."""
        found = await self.connection.rows(_of_tasks, tasks=list(tasks))
        return dict.fromkeys(tasks, TaskPoints(0, 0)) | dict(found)

    async def totals(self, user: UUID, since: dt.datetime) -> PointTotals:
        """The balance, and the points earned since then, by one statement."""
        return await self.connection.one(_totals, user=user, since=since)
