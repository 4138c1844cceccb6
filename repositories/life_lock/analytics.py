"""A person's days, and how productive they were."""

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from repositories.aggregates.repository import Repository
from repositories.core.clock import LocalDay, now, week_start
from repositories.identity import Users
from repositories.life_lock.days import (
    DAY_COLUMNS,
    DAY_OF_COLUMNS,
    NOW,
    OWN,
    USER,
    Completed,
    Created,
    Day,
    days_of_parameter,
    days_parameter,
    tasks_of,
    within,
)
from repositories.sql import types
from repositories.sql.filters import SortKey
from repositories.sql.statements import Engine, RowFactory, Statement, in_list, records, scalar
from repositories.tables.identity import User
from repositories.tables.life_lock import Category, Task, TaskAnalytics, TaskStatus

_tasks = Task.__table__
_categories = Category.__table__
_analytics = TaskAnalytics.__table__
_users = User.__table__

_FULL_SCORE = 10_000


def _recompute_of(engine: Engine) -> sa.Executable:
    """Days of the one who is ``USER``; what was carried in is counted only where a score depends on it."""
    day = records(engine, "days", DAY_COLUMNS)
    owner = sa.cast(USER, types.Id()) if engine.is_postgresql else USER
    return _upsert(engine, _counted(day, owner, OWN, carried_into_quiet_days=False))


def _roll_of(engine: Engine) -> sa.Executable:
    """Days of many. One on which there is nothing to count gets no row, and keeps the one it has, with zeros."""
    return _upsert_days_of_many(engine, carried_into_quiet_days=True)


def _recount_of(engine: Engine) -> sa.Executable:
    """Days of several users, without the overdue tasks of days whose score does not depend on them."""
    return _upsert_days_of_many(engine, carried_into_quiet_days=False)


def _upsert_days_of_many(engine: Engine, *, carried_into_quiet_days: bool) -> sa.Executable:
    day = records(engine, "days", DAY_OF_COLUMNS)
    own = tasks_of(day.c.user_id)
    counted = _counted(day, day.c.user_id, own, carried_into_quiet_days=carried_into_quiet_days)
    known = sa.exists().where(_analytics.c.user_id == counted.c.user_id, _analytics.c.date == counted.c.date)
    is_quiet = counted.c.completed + counted.c.created + counted.c.carried_in == 0
    return _upsert(engine, counted, sa.or_(sa.not_(is_quiet), known))


def _counted(
    days: sa.FromClause,
    owner: sa.ColumnElement[Any],
    own: Sequence[sa.ColumnElement[bool]],
    *,
    carried_into_quiet_days: bool,
) -> sa.CTE:
    """What a score is made of; carried in is what was open and overdue at the day's start.

    That is the longest count by far. Where nothing was completed the score is 0 whatever it is. Materialized: the score
    names the counts several times, and a planner that inlines them counts each time.
    """
    done = sa.select(
        days.c.id,
        owner.label("user_id"),
        days.c.date,
        days.c.starts,
        within(_tasks.c.completed_at, days, own).label("completed"),
        within(_tasks.c.created_at, days, own).label("created"),
    )
    day = done.cte("done").prefix_with("MATERIALIZED")
    overdue = (
        sa.select(sa.func.count())
        .select_from(_tasks)
        .where(
            *(OWN if own is OWN else tasks_of(day.c.user_id)),
            _tasks.c.due_date < day.c.starts,
            _tasks.c.created_at < day.c.starts,
            _tasks.c.status != TaskStatus.CANCELLED,
            sa.or_(_tasks.c.completed_at.is_(None), _tasks.c.completed_at >= day.c.starts),
        )
        .correlate(day)
        .scalar_subquery()
    )
    carried_in = overdue if carried_into_quiet_days else sa.case((day.c.completed == 0, 0), else_=overdue)
    counts = sa.select(
        day.c.id, day.c.user_id, day.c.date, day.c.completed, day.c.created, carried_in.label("carried_in")
    )
    return counts.cte("counted").prefix_with("MATERIALIZED")


def _upsert(engine: Engine, counted: sa.CTE, wanted: sa.ColumnElement[bool] | None = None) -> sa.Executable:
    """Score of a day = 100 × completed / max(created + overdue carried in, 1), at most 100, rounded half up to cents.

    Computed in whole hundredths, exact on both engines.
    """
    load = counted.c.created + counted.c.carried_in
    load = sa.case((load < 1, 1), else_=load)
    hundredths = (20000 * counted.c.completed + load) // (2 * load)
    hundredths = sa.case((hundredths > _FULL_SCORE, _FULL_SCORE), else_=hundredths)
    score = hundredths * sa.literal_column("0.01") if engine.is_postgresql else hundredths
    insert = postgresql_insert(_analytics) if engine.is_postgresql else sqlite_insert(_analytics)
    names = [
        "id",
        "user_id",
        "date",
        "tasks_completed",
        "tasks_created",
        "productivity_score",
        "created_at",
        "updated_at",
    ]
    values = sa.select(
        counted.c.id,
        counted.c.user_id,
        counted.c.date,
        counted.c.completed,
        counted.c.created,
        score,
        sa.cast(NOW, types.Timestamp()) if engine.is_postgresql else NOW,
        sa.cast(NOW, types.Timestamp()) if engine.is_postgresql else NOW,
    ).where(sa.true() if wanted is None else wanted)
    statement = insert.from_select(names, values)
    kept = {name: statement.excluded[name] for name in names if name not in {"id", "created_at"}}
    return statement.on_conflict_do_update(index_elements=["user_id", "date"], set_=kept).returning(_analytics.c.date)


_recompute: Statement[dt.date] = Statement(_recompute_of, scalar(dt.date))
_roll: Statement[dt.date] = Statement(_roll_of, scalar(dt.date))
_recount: Statement[dt.date] = Statement(_recount_of, scalar(dt.date))

_dates: Statement[dt.date] = Statement(
    sa.select(_analytics.c.date).where(_analytics.c.user_id == USER).order_by(_analytics.c.date), scalar(dt.date)
)

_with_tasks: Statement[tuple[UUID, str]] = Statement(
    sa.select(_users.c.id, _users.c.time_zone)
    .where(
        in_list(_users.c.time_zone, "zones"),
        _users.c.deleted_at.is_(None),
        _users.c.id > sa.bindparam("after", type_=types.Id()),
        sa.exists().where(*tasks_of(_users.c.id)),
    )
    .order_by(_users.c.id)
    .limit(sa.bindparam("limit", type_=sa.Integer())),
    RowFactory(tuple),
)

_purge: Statement[UUID] = Statement(
    sa.delete(_analytics)
    .where(
        _analytics.c.id.in_(
            sa.select(_analytics.c.id)
            .where(_analytics.c.date < sa.bindparam("before", type_=types.Day()))
            .limit(sa.bindparam("limit", type_=sa.Integer()))
        )
    )
    .returning(_analytics.c.id),
    scalar(UUID),
)

_between: Statement[TaskAnalytics] = Statement(
    sa.select(*_analytics.c)
    .where(
        _analytics.c.user_id == USER,
        _analytics.c.date >= sa.bindparam("since", type_=types.Day()),
        _analytics.c.date <= sa.bindparam("until", type_=types.Day()),
    )
    .order_by(_analytics.c.date),
    TaskAnalytics,
)

_score_sum: Statement[Decimal | None] = Statement(
    sa.select(sa.func.sum(_analytics.c.productivity_score, type_=types.Fixed(9, 2))).where(
        _analytics.c.user_id == USER,
        _analytics.c.date >= sa.bindparam("since", type_=types.Day()),
        _analytics.c.date <= sa.bindparam("until", type_=types.Day()),
    ),
    scalar(Decimal),
)

HUNDREDTH = Decimal("0.01")


def mean(scores: Decimal, count: int) -> Decimal:
    """The mean of ``count`` scores, rounded half up to hundredths."""
    return (scores / count).quantize(HUNDREDTH, ROUND_HALF_UP)


class DayScore(NamedTuple):
    """One day of a trend."""

    date: Day
    completed: Completed
    created: Created
    score: Annotated[Decimal, "The productivity score of the day, 0 to 100."]
    moving_average: Annotated[Decimal, "The mean score of this day and the six days before."]
    week_start: Annotated[
        dt.date, "The first day of the week that this day is in. Weeks start on the viewer's `weekStartsOn`."
    ]


class Analytics(Repository[TaskAnalytics], table=TaskAnalytics, noun="day"):
    """A person's days. A day without a row is one of zeros: without a completed task the score is 0 in any case."""

    default_order = (SortKey("date"),)

    async def recompute(self, user: UUID, days: Sequence[LocalDay]) -> None:
        """Counts the days anew from the tasks that are not deleted: two statements.

        The person is held first: of two recounts at once the second counts what the first has committed.
        """
        await Users(self.connection).hold([user])
        parameter = days_parameter(self.connection.engine, days)
        await self.connection.execute_later(_recompute, user=user, days=parameter, now=now())

    async def roll(self, days: Sequence[tuple[UUID, LocalDay]]) -> int:
        """Counts days of many people anew; says how many of them have a row. Two statements, as :meth:`recompute`.

        A day without one stays without if nothing happened on it and nothing overdue was carried into it.
        """
        await Users(self.connection).hold(user for user, _ in days)
        parameter = days_of_parameter(self.connection.engine, days)
        return len(await self.connection.rows(_roll, days=parameter, now=now()))

    async def recount(self, days: Sequence[tuple[UUID, LocalDay]]) -> int:
        """Counts days of users anew and returns how many of them have a row. Executes two statements.

        Days on which nothing happened get no row, also if overdue tasks were carried into them.
        """
        await Users(self.connection).hold(user for user, _ in days)
        parameter = days_of_parameter(self.connection.engine, days)
        return len(await self.connection.rows(_recount, days=parameter, now=now()))

    async def dates(self, user: UUID) -> list[dt.date]:
        """The dates of a user's stored days."""
        return await self.connection.rows(_dates, user=user)

    async def people(self, zones: Sequence[str], after: UUID, limit: int) -> list[tuple[UUID, str]]:
        """Who lives in these time zones, with the zone, and has tasks; by id, those ``after`` one."""
        return await self.connection.rows(_with_tasks, zones=list(zones), after=after, limit=limit)

    async def purge_before(self, before: dt.date, limit: int) -> int:
        """Deletes at most ``limit`` days from before then; says how many."""
        return len(await self.connection.rows(_purge, before=before, limit=limit))

    async def between(self, user: UUID, since: dt.date, until: dt.date) -> list[TaskAnalytics]:
        """The stored days of a person, oldest first."""
        return await self.connection.rows(_between, user=user, since=since, until=until)

    async def mean_score(self, user: UUID, last: dt.date, days: int) -> Decimal:
        """The mean score of the ``days`` days that end with ``last``."""
        since = last - dt.timedelta(days=days - 1)
        scores = await self.connection.one(_score_sum, user=user, since=since, until=last)
        return mean(scores or Decimal(0), days)

    async def series(self, user: UUID, last: dt.date, days: int, first_weekday: int) -> list[DayScore]:
        """The days that end with ``last``, without gaps, oldest first. Weeks start on ``first_weekday`` (0: Monday)."""
        window = 7
        first = last - dt.timedelta(days=days + window - 2)
        stored: Mapping[dt.date, TaskAnalytics] = {row.date: row for row in await self.between(user, first, last)}
        dates = [first + dt.timedelta(days=index) for index in range(days + window - 1)]
        scores = [stored[date].productivity_score if date in stored else Decimal("0.00") for date in dates]
        made = []
        for index in range(window - 1, len(dates)):
            row = stored.get(dates[index])
            average = mean(sum(scores[index - window + 1 : index + 1], Decimal(0)), window)
            completed, created = (row.tasks_completed, row.tasks_created) if row else (0, 0)
            starts = week_start(dates[index], first_weekday)
            made.append(DayScore(dates[index], completed, created, scores[index], average, starts))
        return made
