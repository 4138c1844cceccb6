"""The repository of tasks."""

import datetime as dt
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa

from repositories.aggregates.repository import Repository
from repositories.core.clock import LocalDay, now
from repositories.life_lock.days import DAY_COLUMNS, NOW, OWN, USER, Completed, Created, Day, days_parameter, within
from repositories.sql import types
from repositories.sql.filters import And, Compare, Op, SortKey
from repositories.sql.statements import Engine, RowFactory, Statement, folded, in_list, records
from repositories.tables.life_lock import CLOSED, Category, Task, TaskAnalytics, TaskNames, TaskStatus

_tasks = Task.__table__
_categories = Category.__table__
_analytics = TaskAnalytics.__table__

OPEN = Compare("status", Op.NOT_IN, CLOSED)
BY_DUE_DATE = (SortKey("due_date"),)


class TaskTally(NamedTuple):
    """The numbers of a user's tasks, and when the next open task is due and one more is overdue, if ever."""

    total_tasks: Annotated[int, "The number of tasks."]
    completed_tasks: Annotated[int, "The number of completed tasks."]
    overdue_tasks: Annotated[int, "The number of open tasks whose due date has passed."]
    todays_tasks: Annotated[int, "The number of tasks that are due today, with any status."]
    next_due: dt.datetime | None


class DayProgress(NamedTuple):
    """The numbers of tasks created and completed on one day."""

    date: Day
    completed: Completed
    created: Created


class CategoryTotals(NamedTuple):
    """The numbers of tasks in one category."""

    category: Annotated[Category | None, "The category. Null for the tasks without a category."]
    total: Annotated[int, "The number of tasks in the category."]
    completed: Annotated[int, "The number of them that are completed."]


def _category_totals(values: Sequence[Any]) -> CategoryTotals:
    *category, total, completed = values
    return CategoryTotals(Category._make(category) if category[0] is not None else None, total, completed)


_is_open = _tasks.c.status.not_in([sa.literal_column(f"'{status.value}'") for status in CLOSED])
_is_completed = _tasks.c.status == TaskStatus.COMPLETED


def _counted(*conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.count().filter(*conditions)


_tally: Statement[TaskTally] = Statement(
    sa.select(
        sa.func.count(),
        _counted(_is_completed),
        _counted(_is_open, _tasks.c.due_date < NOW),
        _counted(
            _tasks.c.due_date >= sa.bindparam("day_start", type_=types.Timestamp()),
            _tasks.c.due_date < sa.bindparam("day_end", type_=types.Timestamp()),
        ),
        sa.func.min(_tasks.c.due_date).filter(_is_open, _tasks.c.due_date >= NOW),
    )
    .select_from(_tasks)
    .where(*OWN),
    RowFactory(TaskTally._make),
)


def _progress_of(engine: Engine) -> sa.Executable:
    day = records(engine, "days", DAY_COLUMNS)
    completed, created = within(_tasks.c.completed_at, day), within(_tasks.c.created_at, day)
    return sa.select(day.c.date, completed, created).order_by(day.c.date)


_progress: Statement[DayProgress] = Statement(_progress_of, RowFactory(DayProgress._make))


def _breakdown_of() -> sa.Executable:
    counted = (
        sa.select(_tasks.c.category_id, sa.func.count().label("total"), _counted(_is_completed).label("completed"))
        .where(*OWN)
        .group_by(_tasks.c.category_id)
        .subquery("counted")
    )
    own = sa.select(*_categories.c).where(_categories.c.user_id == USER).subquery("own")
    return (
        sa.select(*own.c, sa.func.coalesce(counted.c.total, 0), sa.func.coalesce(counted.c.completed, 0))
        .select_from(own.outerjoin(counted, own.c.id == counted.c.category_id, full=True))
        .order_by(own.c.name.is_(None), folded(own.c.name), own.c.id)
    )


_breakdown: Statement[CategoryTotals] = Statement(_breakdown_of(), RowFactory(_category_totals))

_in_categories = in_list(_tasks.c.category_id, "categories")
_categorised: Statement[tuple[UUID, UUID]] = Statement(
    sa.select(_tasks.c.id, _tasks.c.category_id).where(_in_categories), RowFactory(tuple)
)
_uncategorise: Statement[Task] = Statement(
    sa.update(_tasks)
    .where(_in_categories)
    .values(category_id=None, version=_tasks.c.version + 1, updated_at=NOW)
    .returning(*_tasks.c),
    Task,
)


class Names(Repository[TaskNames], table=TaskNames, noun="task"):
    """The names of the people of tasks. It is read-only."""


class Tasks(Repository[Task], table=Task):
    """Tasks."""

    async def due(self, until: dt.datetime, *, user: UUID, limit: int) -> list[Task]:
        """A user's open tasks that are due at this time or before, overdue tasks included, the earliest first."""
        return await self.find(
            And((Compare("user_id", Op.EQ, user), OPEN, Compare("due_date", Op.LTE, until))), BY_DUE_DATE, limit=limit
        )

    async def upcoming(self, after: dt.datetime, *, user: UUID, limit: int) -> list[Task]:
        """A user's open tasks that are due at this time or later, the earliest first."""
        return await self.find(
            And((Compare("user_id", Op.EQ, user), OPEN, Compare("due_date", Op.GTE, after))), BY_DUE_DATE, limit=limit
        )

    async def tally(self, user: UUID, at: dt.datetime, today: LocalDay) -> TaskTally:
        """The counters of a user's tasks and the next due date, by one statement."""
        return await self.connection.one(_tally, user=user, now=at, day_start=today.start, day_end=today.end)

    async def progress(self, user: UUID, days: Sequence[LocalDay]) -> list[DayProgress]:
        """The numbers of tasks that a user created and completed on each of the days, the oldest first."""
        parameter = days_parameter(self.connection.engine, days)
        return await self.connection.rows(_progress, user=user, days=parameter)

    async def breakdown(self, user: UUID) -> list[CategoryTotals]:
        """The numbers of a user's tasks by category, by name, with empty categories. Tasks without one come last."""
        return await self.connection.rows(_breakdown, user=user)

    async def uncategorise(self, categories: Sequence[UUID]) -> list[tuple[UUID, Task]]:
        """Removes locked categories from all their tasks, including deleted ones.

        Returns the changed tasks, each with its former category. Only if there are several does a statement read them.
        """
        keys = list(categories)
        former = dict(await self.connection.rows(_categorised, categories=keys)) if len(keys) > 1 else {}
        changed = await self.connection.rows(_uncategorise, categories=keys, now=now())
        return [(former.get(task.id, keys[0]), task) for task in changed]
