"""A person's tasks, and the days they are counted by."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from repositories.kit import types
from repositories.kit.calendar import LocalDay
from repositories.kit.repository import new_id
from repositories.kit.statements import Engine, records_parameter
from repositories.tables.life_lock import Task

_tasks = Task.__table__

USER = sa.bindparam("user", type_=types.Id())
NOW = sa.bindparam("now", type_=types.Timestamp())
OWN = (_tasks.c.user_id == USER, _tasks.c.deleted_at.is_(None))
"""The tasks that a person has."""

DAY_COLUMNS: list[sa.Column[Any]] = [
    sa.Column("id", types.Id()),
    sa.Column("date", types.Day()),
    sa.Column("starts", types.Timestamp()),
    sa.Column("ends", types.Timestamp()),
]
"""A day as a row, of which a statement gets any number in one parameter."""


def days_parameter(engine: Engine, days: Sequence[LocalDay]) -> list[dict[str, Any]]:
    """The value of that parameter."""
    rows = ({"id": new_id(), "date": day.date, "starts": day.start, "ends": day.end} for day in days)
    return records_parameter(engine, DAY_COLUMNS, rows)


def within(moment: sa.ColumnElement[Any], day: sa.FromClause) -> sa.ScalarSelect[int]:
    """How many of a person's tasks have a moment within the day."""
    return (
        sa.select(sa.func.count())
        .select_from(_tasks)
        .where(*OWN, moment >= day.c.starts, moment < day.c.ends)
        .correlate(day)
        .scalar_subquery()
    )
