"""Statistics of the events: completed tasks, active users, use of features, events per interval.

The parameter ``bounds`` contains n + 1 moments for n intervals. An interval includes its first bound and excludes the
next. Statements receive these moments (repositories/core/clock.py), never a time zone.
"""

import datetime as dt
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa

from repositories.engines.database import ReadConnection
from repositories.life_lock.events import TaskCompleted, TaskReopened
from repositories.sql import types
from repositories.sql.statements import Engine, RowFactory, Statement, folded, records, records_parameter, scalar
from repositories.tables.events import DomainEvent, is_about_own_row

_events = DomainEvent.__table__
_count = sa.func.count()

_INTERVAL_COLUMNS: list[sa.Column[Any]] = [
    sa.Column("place", sa.Integer()),
    sa.Column("starts", types.Timestamp()),
    sa.Column("ends", types.Timestamp()),
]


def _intervals(engine: Engine) -> sa.FromClause:
    return records(engine, "intervals", _INTERVAL_COLUMNS)


def _within(interval: sa.FromClause) -> sa.ColumnElement[bool]:
    return sa.and_(_events.c.timestamp >= interval.c.starts, _events.c.timestamp < interval.c.ends)


def _count_within(interval: sa.FromClause, *conditions: sa.ColumnElement[bool]) -> sa.ScalarSelect[int]:
    """The number of events in an interval that meet the conditions.

    A subquery counts each interval on its own and uses an index. With a join, the planner may underestimate the rows
    and compare every interval with every event that meets the conditions.
    """
    count = sa.select(_count).select_from(_events).where(_within(interval), *conditions)
    return count.correlate(interval).scalar_subquery()


class Completions(NamedTuple):
    """Numbers of tasks that a user completed, completed on or before their due dates, and reopened."""

    completed: int
    on_time: int
    reopened: int


def _moment_in_data(engine: Engine, name: str) -> sa.ColumnElement[Any]:
    """A moment in ``event_data``. It is stored as ISO 8601 in UTC, so that on SQLite the texts sort by time."""
    text = _events.c.event_data.op("->>", return_type=sa.Text(), precedence=15)(sa.literal_column(f"'{name}'"))
    return sa.cast(text, types.Timestamp()) if engine.is_postgresql else text


def _build_completions(engine: Engine) -> sa.Executable:
    """A TaskReopened event without ``completed_at`` reopened a cancelled task, so it is not counted."""
    interval, completed_at = _intervals(engine), _moment_in_data(engine, "completed_at")
    user = sa.bindparam("user", type_=types.Id())
    own = sa.and_(_events.c.user_id == user, is_about_own_row(user))
    is_completed = _events.c.event_type == TaskCompleted.__name__
    is_reopened = _events.c.event_type == TaskReopened.__name__
    counts = (
        _count_within(interval, own, is_completed),
        _count_within(interval, own, is_completed, _moment_in_data(engine, "due_date") >= completed_at),
        _count_within(interval, own, is_reopened, completed_at.is_not(None)),
    )
    return sa.select(*counts).select_from(interval).order_by(interval.c.place)


_completions: Statement[Completions] = Statement(_build_completions, RowFactory(Completions._make))


class ActiveUsers(NamedTuple):
    """Numbers of users who were active on a day, in the 7 days up to it, and in the 30 days up to it."""

    daily: int
    weekly: int
    monthly: int


_WINDOWS = (1, 7, 30)
"""Lengths in days, in the order of the fields of :class:`ActiveUsers`."""

DAYS_BEFORE = _WINDOWS[-1] - 1
"""Days before the first day of a series whose events are counted for that day."""


def _number(value: int) -> sa.ColumnElement[int]:
    return sa.literal_column(str(value), sa.Integer())


def _build_active_users(engine: Engine) -> sa.Executable:
    """The change of the numbers of active users from the day before, per window.

    An active user is added on the day of the activity and subtracted when the window has passed, or on the next active
    day, when the user is added again. No user is counted twice, and no day has to be compared with all other days.
    """
    interval = _intervals(engine)
    active = (
        sa.select(interval.c.place, _events.c.user_id)
        .select_from(_events.join(interval, _within(interval)))
        .where(_events.c.user_id.is_not(None))
        .distinct()
        .subquery("active")
    )
    place = active.c.place
    following = sa.func.lead(place, 1, place + _WINDOWS[-1]).over(partition_by=active.c.user_id, order_by=place)
    stays = sa.select(place, following.label("following")).cte("stays")
    removals = []
    for length in _WINDOWS:
        passed = stays.c.place + length
        end = sa.case((stays.c.following < passed, stays.c.following), else_=passed)
        removals.append(sa.select(end, *(_number(-int(window == length)) for window in _WINDOWS)))
    additions = sa.select(stays.c.place, *(_number(1).label(f"of_{window}") for window in _WINDOWS))
    change = sa.union_all(additions, *removals).subquery("change")
    at, *changes = change.c
    return sa.select(at, *(sa.func.sum(each) for each in changes)).group_by(at)


_active_users: Statement[tuple[int, ActiveUsers]] = Statement(
    _build_active_users, RowFactory(lambda values: (values[0], ActiveUsers._make(values[1:])))
)


def _add(before: ActiveUsers, change: ActiveUsers) -> ActiveUsers:
    return ActiveUsers(*map(sum, zip(before, change, strict=True)))


class FeatureUse(NamedTuple):
    """How often events of one type were recorded."""

    event_type: Annotated[str, "What happened, such as TaskCompleted."]
    aggregate_type: Annotated[str, "The type of the object, such as task."]
    events: Annotated[int, "The number of events."]
    users: Annotated[int, "The number of users who caused them."]
    last_used: Annotated[dt.datetime, "The time of the last event."]


def _build_feature_use() -> sa.Executable:
    """Groups by user first, because ``count(DISTINCT user_id)`` would sort all events."""
    kind = (_events.c.event_type, _events.c.aggregate_type)
    by_user = (
        sa.select(*kind, _events.c.user_id, _count.label("events"), sa.func.max(_events.c.timestamp).label("last_used"))
        .where(
            _events.c.timestamp >= sa.bindparam("since", type_=types.Timestamp()),
            _events.c.timestamp < sa.bindparam("until", type_=types.Timestamp()),
        )
        .group_by(*kind, _events.c.user_id)
        .subquery("by_user")
    )
    event_type, aggregate_type, user, events, last_used = by_user.c
    total = sa.cast(sa.func.sum(events), sa.BigInteger())
    return (
        sa.select(event_type, aggregate_type, total, sa.func.count(user), sa.func.max(last_used))
        .group_by(event_type, aggregate_type)
        .order_by(total.desc(), folded(event_type), folded(aggregate_type))
        .limit(sa.bindparam("limit", type_=sa.Integer()))
    )


_feature_use: Statement[FeatureUse] = Statement(_build_feature_use(), RowFactory(FeatureUse._make))


def _build_rates(*conditions: sa.ColumnElement[bool]) -> Statement[int]:
    def build(engine: Engine) -> sa.Executable:
        interval = _intervals(engine)
        count = _count_within(interval, *conditions)
        return sa.select(count).select_from(interval).order_by(interval.c.place)

    return Statement(build, scalar(int))


_rates = _build_rates()
_rates_of_aggregates = _build_rates(_events.c.aggregate_type == sa.bindparam("aggregate_type", type_=sa.Text()))


class EventAnalytics:
    """Statistics of the events that the viewer may see. Every method executes one statement."""

    def __init__(self, connection: ReadConnection) -> None:
        self.connection = connection

    async def completions(self, user: UUID, bounds: Sequence[dt.datetime]) -> list[Completions]:
        """Completions of a user per interval. They count the events, so later changes of the tasks do not matter."""
        return await self.connection.rows(_completions, user=user, intervals=self._parameter(bounds))

    async def active_users(self, bounds: Sequence[dt.datetime]) -> list[ActiveUsers]:
        """Active users per day. The first 29 days of ``bounds`` are not returned; they only count for later days.

        A user is active if an event names the user as its actor, including users whose account is deleted now.
        """
        parameter = self._parameter(bounds)
        changes = dict(await self.connection.rows(_active_users, intervals=parameter))
        none = ActiveUsers(0, 0, 0)
        return list(accumulate((changes.get(place, none) for place in range(len(parameter))), _add))[DAYS_BEFORE:]

    async def feature_use(self, since: dt.datetime, until: dt.datetime, *, limit: int) -> list[FeatureUse]:
        """Use per type of event from ``since`` (inclusive) to ``until`` (exclusive), the most frequent first."""
        return await self.connection.rows(_feature_use, since=since, until=until, limit=limit)

    async def rates(self, bounds: Sequence[dt.datetime], aggregate_type: str | None = None) -> list[int]:
        """The number of events per interval, of one type of aggregate or of all types."""
        statement = _rates if aggregate_type is None else _rates_of_aggregates
        return await self.connection.rows(statement, intervals=self._parameter(bounds), aggregate_type=aggregate_type)

    def _parameter(self, bounds: Sequence[dt.datetime]) -> list[dict[str, Any]]:
        rows = (
            {"place": place, "starts": starts, "ends": ends} for place, (starts, ends) in enumerate(pairwise(bounds))
        )
        return records_parameter(self.connection.engine, _INTERVAL_COLUMNS, rows)
