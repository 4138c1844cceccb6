"""Filters and orders as data: a shape, for which a statement is built once, and values, which are bound per request.

    Every((Where("status", Op.IN, [Status.PENDING]), Where("due_date", Op.LT, now)))

Two filters of the same shape share one SQL text, whatever their values.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from repositories.core.errors import ValidationError
from repositories.sql import types
from repositories.sql.statements import fold, folded, in_list

MAX_CONDITIONS = 100
"""Of one filter; more is refused rather than sent to the database."""

MAX_LIST = 1000
"""Values of one IN or NOT_IN."""

MAX_PATTERN = 1000
"""Characters of one text that is searched for."""


class Op(StrEnum):
    """How a column is compared. Text is found in any case by CONTAINS, PREFIX and LIKE, exactly by EQ and IN."""

    EQ = "eq"
    NE = "ne"
    IN = "in"
    NOT_IN = "not_in"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    IS_NULL = "is_null"
    LIKE = "like"
    CONTAINS = "contains"
    PREFIX = "prefix"


@dataclass(frozen=True, slots=True)
class Compare:
    """One column compared with one value (a list for IN and NOT_IN, a bool for IS_NULL)."""

    column: str
    op: Op
    value: Any


@dataclass(frozen=True, slots=True)
class And:
    """All parts hold; with no parts everything passes."""

    parts: tuple["Filter", ...] = ()


@dataclass(frozen=True, slots=True)
class Or:
    """At least one part holds; with no parts nothing passes."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold, which includes that it cannot be told because of a NULL."""

    part: "Filter"


@dataclass(frozen=True, slots=True)
class Search:
    """Every word of ``text`` occurs in one of ``columns``, without regard to case."""

    columns: tuple[str, ...]
    text: str

    def words(self) -> list[str]:
        """The words as LIKE patterns, at most ten."""
        return [f"%{_escaped(word)}%" for word in self.text.split()[:10]]


Filter = Compare | And | Or | Not | Search
NO_FILTER = And()


class Direction(StrEnum):
    """Smallest or largest first."""

    ASC = "asc"
    DESC = "desc"


class Nulls(StrEnum):
    """Where rows without a value stand."""

    FIRST = "first"
    LAST = "last"


@dataclass(frozen=True, slots=True)
class Order:
    """One key of an order."""

    column: str
    direction: Direction = Direction.ASC
    nulls: Nulls = Nulls.LAST


def _escaped(text: str) -> str:
    return str(fold(text)).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _pattern(text: str) -> str:
    """A LIKE pattern of the person's own."""
    if (len(text) - len(text.rstrip("\\"))) % 2:
        message = "A pattern must not end with a single backslash; write two for one."
        raise ValidationError(message, path=("filter",))
    return str(fold(text))


def shape_of(given: Filter) -> Any:
    """What decides the SQL text, hashable: structure, columns and operators, without values."""
    match given:
        case Compare(column, Op.IS_NULL, value):
            return (column, Op.IS_NULL, bool(value))
        case Compare(column, op, _):
            return (column, op)
        case And(parts):
            return ("and", *map(shape_of, parts))
        case Or(parts):
            return ("or", *map(shape_of, parts))
        case Not(part):
            return ("not", shape_of(part))
        case Search():
            return ("search", given.columns, len(given.words()))


def parameters_of(given: Filter) -> dict[str, Any]:
    """The values under the names that :func:`build_condition` gives them: f0, f1, ... in reading order."""
    if given is NO_FILTER:
        return {}
    size = _size(given)
    if size > MAX_CONDITIONS:
        message = f"A filter may have at most {MAX_CONDITIONS} conditions; this one has {size}."
        raise ValidationError(message, path=("filter",))
    values = [_bounded(value) for value in _values(given)]
    return {f"f{index}": value for index, value in enumerate(values)}


def check_value(table: sa.Table, given: Compare | Search) -> None:
    """Refuses a value that cannot be looked for, as running the filter would; for who knows its place in the input."""
    parameters_of(given)
    if isinstance(given, Search):
        types.to_json(given.text)
        return
    types.to_json(given.value)
    kind = table.c[given.column].type
    if isinstance(kind, types.Fixed) and given.op is not Op.IS_NULL:
        kind.checked(given.value)


def _bounded(value: Any) -> Any:
    if isinstance(value, list | tuple) and len(value) > MAX_LIST:
        message = f"A list in a filter may have at most {MAX_LIST} values; this one has {len(value)}."
        raise ValidationError(message, path=("filter",))
    if isinstance(value, str) and len(value) > 2 * MAX_PATTERN:
        message = f"A text to search for may have at most {MAX_PATTERN} characters."
        raise ValidationError(message, path=("filter",))
    return value


def _size(given: Filter) -> int:
    """How many conditions there are; a part that says nothing counts too."""
    match given:
        case Compare():
            return 1
        case And(parts) | Or(parts):
            return sum(map(_size, parts)) if parts else 1
        case Not(part):
            return _size(part)
        case Search():
            return max(1, len(given.words()))


_PATTERNS: Mapping[Op, Callable[[str], str]] = {
    Op.CONTAINS: lambda text: f"%{_escaped(text)}%",
    Op.PREFIX: lambda text: f"{_escaped(text)}%",
    Op.LIKE: _pattern,
}


def _values(given: Filter) -> Iterator[Any]:
    match given:
        case Compare(_, op, value):
            if op is not Op.IS_NULL:
                pattern = _PATTERNS.get(op)
                yield pattern(value) if pattern else value
        case And(parts) | Or(parts):
            for part in parts:
                yield from _values(part)
        case Not(part):
            yield from _values(part)
        case Search():
            yield from given.words()


def build_condition(table: sa.Table, given: Filter) -> sa.ColumnElement[bool]:
    """The SQL of a filter's shape; its values are parameters (see :func:`parameters_of`)."""
    return _build(table, given, (f"f{index}" for index in range(MAX_CONDITIONS + 1)))


def _build(table: sa.Table, given: Filter, names: Iterator[str]) -> sa.ColumnElement[bool]:
    match given:
        case Compare(column, op, value):
            return _compare(table.c[column], op, value, names)
        case And(parts):
            return sa.and_(sa.true(), *(_build(table, part, names) for part in parts))
        case Or(parts):
            return sa.or_(sa.false(), *(_build(table, part, names) for part in parts))
        case Not(part):
            return sa.not_(sa.func.coalesce(_build(table, part, names), sa.false()))
        case Search(columns, _):
            searched = [folded(table.c[column]) for column in columns]
            words = [sa.bindparam(next(names), type_=sa.Text()) for _ in given.words()]
            return sa.and_(sa.true(), *(sa.or_(*(text.like(word, escape="\\") for text in searched)) for word in words))


def _compare(column: sa.Column[Any], op: Op, value: Any, names: Iterator[str]) -> sa.ColumnElement[bool]:
    if op is Op.IS_NULL:
        return column.is_(None) if value else column.is_not(None)
    name = next(names)
    if op in {Op.IN, Op.NOT_IN}:
        found = in_list(column, name)
        return found if op is Op.IN else sa.not_(found)
    if op in {Op.LIKE, Op.CONTAINS, Op.PREFIX}:
        return folded(column).like(sa.bindparam(name, type_=sa.Text()), escape="\\")
    parameter = sa.bindparam(name, type_=column.type)
    return {
        Op.EQ: column == parameter,
        Op.NE: column != parameter,
        Op.GT: column > parameter,
        Op.GTE: column >= parameter,
        Op.LT: column < parameter,
        Op.LTE: column <= parameter,
    }[op]


def sort_key(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """What a column is sorted by: free text without regard to case, everything else as it is."""
    return folded(column) if type(column.type) is sa.Text else column


def order_by(table: sa.Table, keys: Sequence[Order], *, backwards: bool = False) -> list[sa.ColumnElement[Any]]:
    """The ORDER BY of ``keys``, or its exact reverse."""
    made: list[sa.ColumnElement[Any]] = []
    for key in keys:
        descending = (key.direction is Direction.DESC) != backwards
        nulls_first = (key.nulls is Nulls.FIRST) != backwards
        value = sort_key(table.c[key.column])
        term = value.desc() if descending else value.asc()
        if table.c[key.column].nullable:
            term = term.nulls_first() if nulls_first else term.nulls_last()
        made.append(term)
    return made
