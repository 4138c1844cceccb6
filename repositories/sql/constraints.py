"""From a violated constraint to a refusal that a person understands.

Tables say in ``info`` of a constraint or unique index what its violation means to a person:

    UniqueConstraint("user_id", "name", info=explained("name", "You already have a category of that name."))
"""

import re
from functools import cache

import sqlalchemy as sa

from repositories.core.errors import Conflict, DanglingReference, InputError, ValidationError
from repositories.sql.table import metadata


def violation(field: str, message: str) -> dict[str, str]:
    """The ``info`` of a constraint: the field it is about and what to tell the person."""
    return {"field": field, "message": message}


@cache
def _explanations() -> dict[str, tuple[str, str]]:
    """By constraint name and, for SQLite, which names columns instead, by ``table.column, table.column``."""
    found = {}
    for table in metadata.tables.values():
        constraints: list[sa.UniqueConstraint | sa.CheckConstraint | sa.Index] = [
            made for made in table.constraints if isinstance(made, sa.UniqueConstraint | sa.CheckConstraint)
        ]
        for constraint in (*constraints, *table.indexes):
            if "message" in constraint.info:
                explanation = (constraint.info["field"], constraint.info["message"])
                found[str(constraint.name)] = explanation
                if not isinstance(constraint, sa.CheckConstraint):
                    found[", ".join(f"{table.name}.{made.name}" for made in constraint.columns)] = explanation
    return found


def error_of_constraint(constraint: str | None) -> InputError:
    """What to answer when ``constraint`` is violated: Conflict for uniqueness and references, else ValidationError."""
    name = constraint or ""
    if name in _explanations():
        field, message = _explanations()[name]
        return Conflict(message, path=(field,))
    if name.startswith("ck_"):
        return ValidationError("A value is outside what is allowed.", path=_checked_field(name))
    if name.startswith(("uq_", "pk_")) or "." in name:
        is_key = re.fullmatch(r"pk_\w+|(?:\w+\.\w+, )?\w+\.id", name)  # (owner, id) on SQLite, which looks there first
        return Conflict("There is already one like this.", path=("id",) if is_key else ())
    return DanglingReference()


def _checked_field(name: str) -> tuple[str, ...]:
    for table in metadata.tables.values():
        field = re.fullmatch(rf"ck_{table.name}_(\w+)_(?:length|range|shape|choice)", name)
        if field:
            return (field[1],)
    return ()
