"""The CHECK constraints of a column, from its length, range, format and type."""

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from repositories.core.clock import EARLIEST, LATEST
from repositories.sql import types
from repositories.sql.declarations import LINE_BREAKS


def is_web_address_sql(name: str) -> str:
    """A condition in SQL: the column begins like an absolute http or https URL."""
    return f"(substr(lower({name}), 1, 7) = 'http://' OR substr(lower({name}), 1, 8) = 'https://')"


def single_line_check(name: str) -> sa.CheckConstraint:
    """Only on PostgreSQL. SQLite has no regular expressions, and only the gateway writes there."""
    condition = f"{name} !~ '{LINE_BREAKS}'"
    return sa.CheckConstraint(condition, name=f"{name}_line").ddl_if(dialect="postgresql")


def value_checks(
    name: str,
    column_type: TypeEngine[Any],
    length: tuple[int, int] | None,
    limits: tuple[int | None, int | None] | None,
    check: str | None,
) -> Iterable[sa.CheckConstraint]:
    if length:
        yield sa.CheckConstraint(f"length({name}) BETWEEN {length[0]} AND {length[1]}", name=f"{name}_length")
    if limits:
        minimum, maximum = limits
        value: sa.ColumnElement[Any] = sa.literal_column(name, column_type)
        lower = sa.true() if minimum is None else value >= minimum
        upper = sa.true() if maximum is None else value <= maximum
        yield sa.CheckConstraint(sa.and_(lower, upper), name=f"{name}_range")
    if check:
        yield sa.CheckConstraint(check, name=f"{name}_shape")
    if isinstance(column_type, types.Timestamp | types.Day):
        low, high = (f"{limit:{column_type.literal_format}}" for limit in (EARLIEST, LATEST))
        yield sa.CheckConstraint(f"{name} >= '{low}' AND {name} < '{high}'", name=f"{name}_range")
    if isinstance(column_type, types.Fixed):
        yield sa.CheckConstraint(f"{name} <> 'NaN'", name=f"{name}_finite").ddl_if(dialect="postgresql")
    if isinstance(column_type, types.Choice):
        values = ", ".join(f"'{choice.value}'" for choice in column_type.choices)
        yield sa.CheckConstraint(f"{name} IN ({values})", name=f"{name}_choice")
