"""What the events tell: completed tasks, active users, use of features, rates.

Series are asked for by their bounds, n + 1 moments for n intervals: each reaches from its bound to the next, which is
no longer part of it. Databases are given the moments (repositories/core/clock.py), never a time zone.
"""

import datetime as dt
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa

from repositories.engines.database import ReadConnection
from repositories.life_lock.events import TaskCompleted, TaskReopened
from repositories.sql import types
from repositories.sql.statements import Engine, RowFactory, Statement, folded, records, records_parameter, scalar
from repositories.tables.events import DomainEvent

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
    """How many events meet the conditions and happened in an interval.

    Counted for each interval by itself, along an index. As a join, which planners may think of as a few rows, all
    intervals are compared with all events that meet the conditions once these are selective enough.
    """
    counted = sa.select(_count).select_from(_events).where(_within(interval), *conditions)
    return counted.correlate(interval).scalar_subquery()


class Completions(NamedTuple):
    """What a person completed, how much of it on or before its due date, and how much was taken back."""

    completed: int
    on_time: int
    reopened: int


def _told(engine: Engine, name: str) -> sa.ColumnElement[Any]:
    """A moment among an event's data. Events have them as ISO 8601 in UTC, which as text is in the order of time."""
    text = _events.c.event_data.op("->>", return_type=sa.Text(), precedence=15)(sa.literal_column(f"'{name}'"))
    return sa.cast(text, types.Timestamp()) if engine.is_postgresql else text


def _completions_of(engine: Engine) -> sa.Executable:
    """``completed_at`` of TaskReopened is empty for tasks that had been cancelled."""
    interval, completed_at = _intervals(engine), _told(engine, "completed_at")
    own = _events.c.user_id == sa.bindparam("user", type_=types.Id())
    is_completed = _events.c.event_type == TaskCompleted.__name__
    is_reopened = _events.c.event_type == TaskReopened.__name__
    counts = (
        _count_within(interval, own, is_completed),
        _count_within(interval, own, is_completed, _told(engine, "due_date") >= completed_at),
        _count_within(interval, own, is_reopened, completed_at.is_not(None)),
    )
    return sa.select(*counts).select_from(interval).order_by(interval.c.place)


_completions: Statement[Completions] = Statement(_completions_of, RowFactory(Completions._make))


class ActiveUsers(NamedTuple):
    """How many users did something on a day, in the 7 days that end with it, and in the 30."""

    daily: int
    weekly: int
    monthly: int


_WINDOWS = (1, 7, 30)
"""In days, as :class:`ActiveUsers` has them."""

DAYS_BEFORE = _WINDOWS[-1] - 1
"""How many days before the first of a series count for it."""


def _number(value: int) -> sa.ColumnElement[int]:
    return sa.literal_column(str(value), sa.Integer())


def _active_users_of(engine: Engine) -> sa.Executable:
    """How many more users than the day before are counted, by window.

    A user who did something is counted from that day on, until the window has passed or the user does something again,
    from when on that counts: nobody is counted twice, and no day is compared with all the others.
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
    ended = []
    for length in _WINDOWS:
        passed = stays.c.place + length
        last = sa.case((stays.c.following < passed, stays.c.following), else_=passed)
        ended.append(sa.select(last, *(_number(-int(window == length)) for window in _WINDOWS)))
    begun = sa.select(stays.c.place, *(_number(1).label(f"of_{window}") for window in _WINDOWS))
    change = sa.union_all(begun, *ended).subquery("change")
    at, *changes = change.c
    return sa.select(at, *(sa.func.sum(each) for each in changes)).group_by(at)


_active_users: Statement[tuple[int, ActiveUsers]] = Statement(
    _active_users_of, RowFactory(lambda values: (values[0], ActiveUsers._make(values[1:])))
)


def _more(before: ActiveUsers, change: ActiveUsers) -> ActiveUsers:
    return ActiveUsers(*map(sum, zip(before, change, strict=True)))


class FeatureUse(NamedTuple):
    """How often something happened, how many users did it, and when it happened last."""

    event_type: str
    aggregate_type: str
    events: int
    users: int
    last_used: dt.datetime


def _feature_use_of() -> sa.Executable:
    """Grouped by user first: counting distinct users of all events would sort them all."""
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


_feature_use: Statement[FeatureUse] = Statement(_feature_use_of(), RowFactory(FeatureUse._make))


def _rates_of(*conditions: sa.ColumnElement[bool]) -> Statement[int]:
    def build(engine: Engine) -> sa.Executable:
        interval = _intervals(engine)
        counted = _count_within(interval, *conditions)
        return sa.select(counted).select_from(interval).order_by(interval.c.place)

    return Statement(build, scalar(int))


_rates = _rates_of()
_rates_of_aggregates = _rates_of(_events.c.aggregate_type == sa.bindparam("aggregate_type", type_=sa.Text()))


class EventAnalytics:
    """Numbers over the events that the viewer may see, one statement each."""

    def __init__(self, connection: ReadConnection) -> None:
        self.connection = connection

    async def completions(self, user: UUID, bounds: Sequence[dt.datetime]) -> list[Completions]:
        """What a person completed in each interval, by the events: whatever became of the tasks afterwards."""
        return await self.connection.rows(_completions, user=user, intervals=self._parameter(bounds))

    async def active_users(self, bounds: Sequence[dt.datetime]) -> list[ActiveUsers]:
        """Who was active on each day but the first 29, which only count for the others.

        Active is whose events there are: the actor, for work of the service the owner; deleted accounts too.
        """
        parameter = self._parameter(bounds)
        changes = dict(await self.connection.rows(_active_users, intervals=parameter))
        none = ActiveUsers(0, 0, 0)
        return list(accumulate((changes.get(place, none) for place in range(len(parameter))), _more))[DAYS_BEFORE:]

    async def feature_use(self, since: dt.datetime, until: dt.datetime, *, limit: int) -> list[FeatureUse]:
        """What happened from ``since`` on and before ``until``, by type of event, the most frequent first."""
        return await self.connection.rows(_feature_use, since=since, until=until, limit=limit)

    async def rates(self, bounds: Sequence[dt.datetime], aggregate_type: str | None = None) -> list[int]:
        """How many events there are in each interval, of one type of aggregate or all."""
        statement = _rates if aggregate_type is None else _rates_of_aggregates
        return await self.connection.rows(statement, intervals=self._parameter(bounds), aggregate_type=aggregate_type)

    def _parameter(self, bounds: Sequence[dt.datetime]) -> list[dict[str, Any]]:
        rows = (
            {"place": place, "starts": starts, "ends": ends} for place, (starts, ends) in enumerate(pairwise(bounds))
        )
        return records_parameter(self.connection.engine, _INTERVAL_COLUMNS, rows)
