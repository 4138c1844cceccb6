"""Translation of a violated constraint into an InputError with a message for users.

A table declares the message in the ``info`` of a constraint or a unique index:

    UniqueConstraint("user_id", "name", info=violation("name", "You already have a note of this name."))

Bulk commands find rows of their input that contradict each other by the same declarations.
"""

import re
from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from repositories.core.errors import Conflict, DanglingReference, InputError, QuotaExceeded, ValidationError
from repositories.sql.table import metadata

_QUOTA = re.compile(r"quota_(rows|bytes)_(\d+)")
"""What triggers name as the violated constraint if an account stores too much."""


def violation(field: str, message: str, *, twice: str = "This value occurs twice in the list.") -> dict[str, str]:
    """The ``info`` of a constraint: the field that violates it, and the message for the user.

    ``twice`` is the message if two rows of one command have the same values.
    """
    return {"field": field, "message": message, "twice": twice}


class UniqueKey(NamedTuple):
    """A unique constraint or index with a message.

    No two rows have the same values of all ``columns``. Rows in which ``field`` is null or false do not count.
    """

    field: str
    columns: tuple[str, ...]
    twice: str


@cache
def unique_keys(table: sa.Table) -> tuple[UniqueKey, ...]:
    """The unique keys of a table, by field. A blind index stands for its encrypted column."""
    constraints = [each for each in table.constraints if isinstance(each, sa.UniqueConstraint)]
    unique: list[sa.UniqueConstraint | sa.Index] = [*constraints, *(each for each in table.indexes if each.unique)]
    keys = []
    for each in unique:
        if "field" not in each.info:
            continue
        field = each.info["field"]
        others = [str(column.name) for column in each.columns if column.name not in {field, f"{field}_index"}]
        keys.append(UniqueKey(field, (*others, field), each.info["twice"]))
    return tuple(sorted(keys))


@cache
def _declared_violations() -> dict[str, tuple[str, str]]:
    """Field and message by the name of the constraint, and also by ``table.column, table.column``.

    SQLite reports a violated unique constraint by its columns instead of its name.
    """
    violations = {}
    for table in metadata.tables.values():
        constraints: list[sa.UniqueConstraint | sa.CheckConstraint | sa.Index] = [
            constraint
            for constraint in table.constraints
            if isinstance(constraint, sa.UniqueConstraint | sa.CheckConstraint)
        ]
        for constraint in (*constraints, *table.indexes):
            if "message" in constraint.info:
                declared = (constraint.info["field"], constraint.info["message"])
                violations[str(constraint.name)] = declared
                if not isinstance(constraint, sa.CheckConstraint):
                    columns = (f"{table.name}.{column.name}" for column in constraint.columns)
                    violations[", ".join(columns)] = declared
    return violations


def error_of_constraint(constraint: str | None) -> InputError:
    """The error for a violation of ``constraint``, which is a name or SQLite's list of columns.

    It is a QuotaExceeded for a quota, a ValidationError for CHECK constraints, a DanglingReference for foreign keys and
    unknown constraints, and a Conflict for all others and for constraints with a declared message.
    """
    name = constraint or ""
    if quota := _QUOTA.fullmatch(name):
        return QuotaExceeded(quota[1], int(quota[2]))
    if name in _declared_violations():
        field, message = _declared_violations()[name]
        return Conflict(message, path=(field,))
    if name.startswith("ck_"):
        return ValidationError("This value is not allowed: check its length, range and format.", path=_field_of(name))
    if name.startswith(("uq_", "pk_")) or "." in name:
        # For a duplicate id, SQLite may report the unique constraint on (owner, id) instead of the primary key.
        is_key = re.fullmatch(r"pk_\w+|(?:\w+\.\w+, )?\w+\.id", name)
        return Conflict("A row with the same values already exists.", path=("id",) if is_key else ())
    return DanglingReference()


def _field_of(name: str) -> tuple[str, ...]:
    """The path of the column that a CHECK constraint is about, read from the name that ``column()`` gives it."""
    for table in metadata.tables.values():
        field = re.fullmatch(rf"ck_{table.name}_(\w+)_(?:length|line|range|shape|choice|finite|transition)", name)
        if field:
            return (field[1],)
    return ()


def describe_constraints(table: sa.Table) -> list[str]:
    """The CHECK and UNIQUE constraints of a table and its indexes, as SQL for PostgreSQL."""
    dialect: Any = postgresql.dialect()  # type: ignore[no-untyped-call]
    found: list[str] = []
    for constraint in table.constraints:
        if isinstance(constraint, sa.CheckConstraint):
            text = constraint.sqltext.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
            found.append(f"CHECK {text}")
        elif isinstance(constraint, sa.UniqueConstraint):
            found.append(f"UNIQUE {_names(constraint.columns)}")
    return sorted(found) + sorted(f"INDEX {_names(index.columns)}" for index in table.indexes)


def _names(columns: Iterable[Any]) -> str:
    return ", ".join(column.name for column in columns)
