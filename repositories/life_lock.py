"""Tasks, categories and a person's days."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from repositories.identity import Users
from repositories.kit import types
from repositories.kit.calendar import LocalDay
from repositories.kit.events import Event
from repositories.kit.filters import Direction, Every, Op, Order, Where
from repositories.kit.repository import Repository, new_id, now
from repositories.kit.statements import Engine, MadeBy, Statement, records, records_parameter, scalar
from repositories.tables.life_lock import CLOSED, Category, Task, TaskAnalytics, TaskStatus, UserDashboardStats

_tasks = Task.__table__
_categories = Category.__table__
_analytics = TaskAnalytics.__table__

# events


@dataclass(frozen=True, slots=True)
class TaskCreated(Event, aggregate="task"):
    """A task was made."""

    created_at: dt.datetime
    category_id: UUID | None
    priority_level: int
    due_date: dt.datetime | None


@dataclass(frozen=True, slots=True)
class TaskUpdated(Event, aggregate="task"):
    """Some fields of a task were changed; ``fields`` names them."""

    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TaskCompleted(Event, aggregate="task"):
    """A task was done."""

    completed_at: dt.datetime
    due_date: dt.datetime | None


@dataclass(frozen=True, slots=True)
class TaskReopened(Event, aggregate="task"):
    """A task that was completed or cancelled is open again; ``completed_at`` is when it had been completed."""

    completed_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class TaskDeleted(Event, aggregate="task"):
    """A task was put away; it can be restored."""

    created_at: dt.datetime
    completed_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class TaskRestored(Event, aggregate="task"):
    """A deleted task is back."""

    created_at: dt.datetime
    completed_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class CategoryCreated(Event, aggregate="category"):
    """A category was made."""


@dataclass(frozen=True, slots=True)
class CategoryUpdated(Event, aggregate="category"):
    """Some fields of a category were changed; ``fields`` names them."""

    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CategoryDeleted(Event, aggregate="category"):
    """A category is gone; ``task_ids`` are the tasks that are without one now."""

    task_ids: tuple[UUID, ...]


# tasks

OPEN = Where("status", Op.NOT_IN, CLOSED)
BY_DUE_DATE = (Order("due_date"),)


class TaskTally(NamedTuple):
    """How many tasks a person has; ``today`` counts all that are due today, ``overdue`` open ones only."""

    total: int
    completed: int
    overdue: int
    today: int


class DayProgress(NamedTuple):
    """What happened on one day."""

    date: dt.date
    completed: int
    created: int


class CategoryTotals(NamedTuple):
    """The tasks of one category; None stands for tasks without one."""

    category: Category | None
    total: int
    completed: int


def _category_totals(values: Sequence[Any]) -> CategoryTotals:
    *category, total, completed = values
    return CategoryTotals(Category._make(category) if category[0] is not None else None, total, completed)


_user = sa.bindparam("user", type_=types.Id())
_now = sa.bindparam("now", type_=types.Timestamp())
_alive = (_tasks.c.user_id == _user, _tasks.c.deleted_at.is_(None))
_is_open = _tasks.c.status.not_in([sa.literal_column(f"'{status.value}'") for status in CLOSED])
_is_completed = _tasks.c.status == TaskStatus.COMPLETED


def _counted(*conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.count().filter(*conditions)


_tally: Statement[TaskTally] = Statement(
    sa.select(
        sa.func.count(),
        _counted(_is_completed),
        _counted(_is_open, _tasks.c.due_date < _now),
        _counted(
            _tasks.c.due_date >= sa.bindparam("day_start", type_=types.Timestamp()),
            _tasks.c.due_date < sa.bindparam("day_end", type_=types.Timestamp()),
        ),
    )
    .select_from(_tasks)
    .where(*_alive),
    MadeBy(TaskTally._make),
)

_DAY_COLUMNS: list[sa.Column[Any]] = [
    sa.Column("id", types.Id()),
    sa.Column("date", types.Day()),
    sa.Column("starts", types.Timestamp()),
    sa.Column("ends", types.Timestamp()),
]


def _days_parameter(engine: Engine, days: Sequence[LocalDay]) -> list[dict[str, Any]]:
    rows = ({"id": new_id(), "date": day.date, "starts": day.start, "ends": day.end} for day in days)
    return records_parameter(engine, _DAY_COLUMNS, rows)


def _within(moment: sa.ColumnElement[Any], day: sa.FromClause) -> sa.ScalarSelect[int]:
    return (
        sa.select(sa.func.count())
        .select_from(_tasks)
        .where(*_alive, moment >= day.c.starts, moment < day.c.ends)
        .correlate(day)
        .scalar_subquery()
    )


def _progress_of(engine: Engine) -> sa.Executable:
    day = records(engine, "days", _DAY_COLUMNS)
    completed, created = _within(_tasks.c.completed_at, day), _within(_tasks.c.created_at, day)
    return sa.select(day.c.date, completed, created).order_by(day.c.date)


_progress: Statement[DayProgress] = Statement(_progress_of, MadeBy(DayProgress._make))


def _breakdown_of() -> sa.Executable:
    counted = (
        sa.select(_tasks.c.category_id, sa.func.count().label("total"), _counted(_is_completed).label("completed"))
        .where(*_alive)
        .group_by(_tasks.c.category_id)
        .subquery("counted")
    )
    own = sa.select(*_categories.c).where(_categories.c.user_id == _user).subquery("own")
    return (
        sa.select(*own.c, sa.func.coalesce(counted.c.total, 0), sa.func.coalesce(counted.c.completed, 0))
        .select_from(own.outerjoin(counted, own.c.id == counted.c.category_id, full=True))
        .order_by(own.c.name.is_(None), own.c.name, own.c.id)
    )


_breakdown: Statement[CategoryTotals] = Statement(_breakdown_of(), MadeBy(_category_totals))

_uncategorise: Statement[UUID] = Statement(
    sa.update(_tasks)
    .where(_tasks.c.category_id == sa.bindparam("category", type_=types.Id()))
    .values(category_id=None, version=_tasks.c.version + 1, updated_at=_now)
    .returning(_tasks.c.id),
    scalar(UUID),
)


class Tasks(Repository[Task], table=Task):
    """Things to be done."""

    default_order = (Order("priority_level", Direction.DESC), Order("due_date"))
    searched = ("title", "description")

    async def due(self, until: dt.datetime, *, user: UUID, limit: int) -> list[Task]:
        """A person's open tasks that are due until then, the most pressing first, overdue ones included."""
        return await self.find(
            Every((Where("user_id", Op.EQ, user), OPEN, Where("due_date", Op.LTE, until))), BY_DUE_DATE, limit=limit
        )

    async def upcoming(self, after: dt.datetime, *, user: UUID, limit: int) -> list[Task]:
        """A person's open tasks that are due from then on, the next first."""
        return await self.find(
            Every((Where("user_id", Op.EQ, user), OPEN, Where("due_date", Op.GTE, after))), BY_DUE_DATE, limit=limit
        )

    async def tally(self, user: UUID, at: dt.datetime, today: LocalDay) -> TaskTally:
        """A person's four counters, in one pass over the tasks."""
        return await self.connection.one(_tally, user=user, now=at, day_start=today.start, day_end=today.end)

    async def progress(self, user: UUID, days: Sequence[LocalDay]) -> list[DayProgress]:
        """What a person created and completed on each of the days, oldest first."""
        parameter = _days_parameter(self.connection.engine, days)
        return await self.connection.rows(_progress, user=user, days=parameter)

    async def breakdown(self, user: UUID) -> list[CategoryTotals]:
        """A person's tasks by category, by name, empty categories included; tasks without a category come last."""
        return await self.connection.rows(_breakdown, user=user)

    async def uncategorise(self, category: UUID) -> list[UUID]:
        """Takes the category off all its tasks, deleted ones included, and says which they were."""
        return await self.connection.rows(_uncategorise, category=category, now=now())


class Categories(Repository[Category], table=Category):
    """Headings."""

    default_order = (Order("name"),)
    searched = ("name",)


# analytics

_FULL_SCORE = 10_000


def _recompute_of(engine: Engine) -> sa.Executable:
    """Score of a day = 100 × completed / max(created + overdue carried in, 1), at most 100, rounded half up to cents.

    Carried in is what was open and overdue at the day's start. Computed in whole hundredths, exact on both engines.
    """
    day = records(engine, "days", _DAY_COLUMNS)
    carried_in = (
        sa.select(sa.func.count())
        .select_from(_tasks)
        .where(
            *_alive,
            _tasks.c.due_date < day.c.starts,
            _tasks.c.created_at < day.c.starts,
            _tasks.c.status != TaskStatus.CANCELLED,
            sa.or_(_tasks.c.completed_at.is_(None), _tasks.c.completed_at >= day.c.starts),
        )
        .correlate(day)
        .scalar_subquery()
    )
    counted = sa.select(
        day.c.id,
        day.c.date,
        _within(_tasks.c.completed_at, day).label("completed"),
        _within(_tasks.c.created_at, day).label("created"),
        carried_in.label("carried_in"),
    ).subquery("counted")
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
        sa.cast(_user, types.Id()) if engine.is_postgresql else _user,
        counted.c.date,
        counted.c.completed,
        counted.c.created,
        score,
        sa.cast(_now, types.Timestamp()) if engine.is_postgresql else _now,
        sa.cast(_now, types.Timestamp()) if engine.is_postgresql else _now,
    ).where(sa.true())
    statement = insert.from_select(names, values)
    kept = {name: statement.excluded[name] for name in names if name not in {"id", "created_at"}}
    return statement.on_conflict_do_update(index_elements=["user_id", "date"], set_=kept).returning(_analytics.c.date)


_recompute: Statement[dt.date] = Statement(_recompute_of, scalar(dt.date))

_between: Statement[TaskAnalytics] = Statement(
    sa.select(*_analytics.c)
    .where(
        _analytics.c.user_id == _user,
        _analytics.c.date >= sa.bindparam("since", type_=types.Day()),
        _analytics.c.date <= sa.bindparam("until", type_=types.Day()),
    )
    .order_by(_analytics.c.date),
    TaskAnalytics,
)

_score_sum: Statement[Decimal | None] = Statement(
    sa.select(sa.func.sum(_analytics.c.productivity_score, type_=types.Fixed(9, 2))).where(
        _analytics.c.user_id == _user,
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
    """One day of a series; ``moving_average`` is the mean score of the seven days that end with it."""

    date: dt.date
    completed: int
    created: int
    score: Decimal
    moving_average: Decimal


class Analytics(Repository[TaskAnalytics], table=TaskAnalytics, what="day"):
    """A person's days. A day without a row is one of zeros: without a completed task the score is 0 in any case."""

    default_order = (Order("date"),)

    async def recompute(self, user: UUID, days: Sequence[LocalDay]) -> None:
        """Counts the days anew from the tasks that are not deleted: two statements.

        The person is held first: of two recounts at once the second counts what the first has committed.
        """
        await Users(self.connection).hold([user])
        parameter = _days_parameter(self.connection.engine, days)
        await self.connection.later(_recompute, user=user, days=parameter, now=now())

    async def between(self, user: UUID, since: dt.date, until: dt.date) -> list[TaskAnalytics]:
        """The stored days of a person, oldest first."""
        return await self.connection.rows(_between, user=user, since=since, until=until)

    async def mean_score(self, user: UUID, last: dt.date, days: int) -> Decimal:
        """The mean score of the ``days`` days that end with ``last``."""
        since = last - dt.timedelta(days=days - 1)
        scores = await self.connection.one(_score_sum, user=user, since=since, until=last)
        return mean(scores or Decimal(0), days)

    async def series(self, user: UUID, last: dt.date, days: int) -> list[DayScore]:
        """The days that end with ``last``, without gaps, oldest first."""
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
            made.append(DayScore(dates[index], completed, created, scores[index], average))
        return made


_refresh: Statement[Any] = Statement(
    sa.text("REFRESH MATERIALIZED VIEW CONCURRENTLY life_lock.user_dashboard_stats"), scalar(int)
)


class DashboardStats(Repository[UserDashboardStats], table=UserDashboardStats, what="user"):
    """Totals over all users, for admins."""

    default_order = (Order("last_activity", Direction.DESC),)

    async def refresh(self) -> None:
        """Brings the materialized view up to date; for the service. SQLite's view always is."""
        if self.connection.engine.is_postgresql:
            await self.connection.rows(_refresh)
