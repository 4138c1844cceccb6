"""Values of the arguments of :func:`repositories.sql.aggregate.aggregate`."""

from dataclasses import dataclass
from enum import Flag, auto
from typing import Any

import sqlalchemy as sa


class Commands(Flag):
    """The commands that are derived for an aggregate.

    DELETE marks rows of tables with ``deleted_at`` as deleted and deletes rows of other tables. RESTORE and PURGE are
    for rows that are marked as deleted.
    """

    NONE = 0
    CREATE = auto()
    UPDATE = auto()
    DELETE = auto()
    RESTORE = auto()
    PURGE = auto()
    ALL = CREATE | UPDATE | DELETE | RESTORE | PURGE


class Actor:
    """Stands for the viewer who acts, as the owner of aggregates without an owner."""


ACTOR = Actor()
"""The owner of the events of an aggregate without an owner is the viewer who acts."""


@dataclass(frozen=True, slots=True)
class Through:
    """Stands for the owner of the row to which a column refers."""

    column: sa.Column[Any]


def through(column: sa.Column[Any]) -> Through:
    """The owner of the row to which ``column`` refers, as the owner of aggregates that belong to another one."""
    return Through(column)
