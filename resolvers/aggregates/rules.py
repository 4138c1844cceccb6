"""What a domain adds to the derived commands of an aggregate: checks, dependent values, events and dependent rows."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from uuid import UUID

from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.core.errors import InputError
from repositories.sql.table import Table

R = TypeVar("R", bound=Table)
Values = Mapping[str, Any]


async def _no_errors(work: UnitOfWork, before: Any, values: Values) -> Sequence[InputError]:
    return ()


def _no_values(work: UnitOfWork, before: Any, values: Values) -> Values:
    return {}


def _no_events(work: UnitOfWork, before: Any, after: Any) -> None: ...


async def _no_dependents(work: UnitOfWork, rows: Any) -> None: ...


async def _no_duplicates(work: UnitOfWork, commands: Sequence[Any]) -> Sequence[InputError]:
    return ()


Dependents = Callable[[UnitOfWork, Sequence[R]], Awaitable[None]]
"""Changes the rows that depend on locked rows. Its docstring is part of the description of the mutations."""
Creation = Callable[[UnitOfWork, Sequence[Any]], Awaitable[list[R]]]
"""Creates a row for each command. If it fails, it need not tell which of them is wrong."""


ReferenceCheck = Callable[[UnitOfWork, Sequence[Any]], Awaitable[Mapping[UUID, str]]]
"""Returns the messages of the error CONFLICT by the ids of the rows to which no other row may refer now.

Its docstring says when this is, for the list of errors in the descriptions of the mutations: "CONFLICT if ..."
"""


@dataclass(frozen=True, slots=True)
class Rules(Generic[R]):
    """What a domain adds to the derived commands of an aggregate.

    - ``check`` returns errors of new values. ``before`` is the row, or None for a new one. An invalid value is missing.
    - ``references`` check the rows to which a column refers, by the name of the column. They execute as many statements
      for several rows as for one.
    - ``complete`` returns the values that follow from new values and that no client writes.
    - ``record`` records events in addition to the derived one. ``before`` is None for a new row.
    - ``errors`` are the codes of the errors of ``check`` with their causes, for the description of the update.
    - ``delete``, ``restore`` and ``purge`` change what depends on rows, before all of these rows are deleted, restored
      or purged. They execute as many statements for several rows as for one.
    - ``values_of_deleted`` are values that rows get when they are marked as deleted.
    - ``create`` creates the rows of a bulk command, for aggregates with a handler of their own that creates one row. It
      executes as many statements for several rows as for one.
    - ``duplicates`` returns errors of new rows that contradict each other, for such aggregates, if the inputs do not
      have all columns of a unique key. The paths begin with the index of the row.
    """

    check: Callable[[UnitOfWork, R | None, Values], Awaitable[Sequence[InputError]]] = _no_errors
    references: Mapping[str, ReferenceCheck] = field(default_factory=dict)
    complete: Callable[[UnitOfWork, R | None, Values], Values] = _no_values
    record: Callable[[UnitOfWork, R | None, R], None] = _no_events
    errors: str = ""
    delete: Dependents[R] = _no_dependents
    restore: Dependents[R] = _no_dependents
    purge: Dependents[R] = _no_dependents
    values_of_deleted: Values = field(default_factory=dict)
    create: Creation[R] | None = None
    duplicates: Callable[[UnitOfWork, Sequence[Any]], Awaitable[Sequence[InputError]]] = _no_duplicates


_rules: dict[type[Table], Rules[Any]] = {}
_NO_RULES: Rules[Any] = Rules()


def add_rules(row: type[R], rules: Rules[R]) -> None:
    """Adds rules to the commands of an aggregate."""
    _rules[row] = rules


def rules_of(row: type[R]) -> Rules[R]:
    """The rules of an aggregate, without effect if its domain adds none."""
    return _rules.get(row, _NO_RULES)
