"""A person's tasks, and the days they are counted by."""

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Annotated, Any
from uuid import UUID

import sqlalchemy as sa

from repositories.core.clock import LocalDay
from repositories.core.ids import new_id
from repositories.sql import types
from repositories.sql.statements import Engine, records_parameter
from repositories.tables.life_lock import Task

_tasks = Task.__table__

Day = Annotated[dt.date, "The day."]
Completed = Annotated[int, "The number of tasks completed on this day."]
Created = Annotated[int, "The number of tasks created on this day."]

USER = sa.bindparam("user", type_=types.Id())
NOW = sa.bindparam("now", type_=types.Timestamp())


def tasks_of(owner: sa.ColumnElement[Any]) -> tuple[sa.ColumnElement[bool], ...]:
    """The tasks that a person has."""
    return (_tasks.c.user_id == owner, _tasks.c.deleted_at.is_(None))


OWN = tasks_of(USER)

DAY_COLUMNS: list[sa.Column[Any]] = [
    sa.Column("id", types.Id()),
    sa.Column("date", types.Day()),
    sa.Column("starts", types.Timestamp()),
    sa.Column("ends", types.Timestamp()),
]
"""A day as a row, of which a statement gets any number in one parameter."""

DAY_OF_COLUMNS: list[sa.Column[Any]] = [sa.Column("user_id", types.Id()), *DAY_COLUMNS]
"""The same with whose day it is."""


def days_parameter(engine: Engine, days: Sequence[LocalDay]) -> list[dict[str, Any]]:
    """The value of that parameter."""
    return records_parameter(engine, DAY_COLUMNS, map(_row, days))


def days_of_parameter(engine: Engine, days: Iterable[tuple[UUID, LocalDay]]) -> list[dict[str, Any]]:
    """The value of the parameter that says whose days they are."""
    return records_parameter(engine, DAY_OF_COLUMNS, ({"user_id": user} | _row(day) for user, day in days))


def _row(day: LocalDay) -> dict[str, Any]:
    return {"id": new_id(), "date": day.date, "starts": day.start, "ends": day.end}


def within(
    moment: sa.ColumnElement[Any], day: sa.FromClause, own: Sequence[sa.ColumnElement[bool]] = OWN
) -> sa.ScalarSelect[int]:
    """How many of a person's tasks have a moment within the day."""
    return (
        sa.select(sa.func.count())
        .select_from(_tasks)
        .where(*own, moment >= day.c.starts, moment < day.c.ends)
        .correlate(day)
        .scalar_subquery()
    )
