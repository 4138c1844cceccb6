"""Filters and orders as data, and the SQL that is built from them.

    And((Compare("user_id", Op.IN, [user_id]), Compare("updated_at", Op.LT, now)))

The shape of a filter is its structure, columns and operators without the values. Statements are built once per shape,
and a request only binds the values. Two filters of the same shape therefore share one SQL text.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from repositories.core.email_address import normalize_search_word
from repositories.core.errors import ValidationError
from repositories.core.text import normalize_text
from repositories.sql import types
from repositories.sql.statements import fold, folded, in_list
from repositories.sql.table import Table

MAX_CONDITIONS = 100
"""Conditions of one filter. A filter with more is a ValidationError and is not sent to the database."""

_MAX_SCOPE = 5
"""Conditions of the scope of a list, which come before those of its filter."""

MAX_LIST = 1000
"""Values of one IN or NOT_IN."""

MAX_PATTERN = 1000
"""Characters of one search text."""

MAX_WORDS = 20
"""Words of one search."""


class Op(StrEnum):
    """A comparison of a column with a value. LIKE, CONTAINS and PREFIX ignore case, all others do not.

    NULL is a value for EQ, NE, IN and NOT_IN: EQ None finds the rows without a value, and so does a None in the list of
    IN. NE and NOT_IN find exactly the rows that EQ and IN do not find. A row without a value passes no other
    comparison.
    """

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
    """A comparison of one column with one value. The value is a list for IN and NOT_IN, and a bool for IS_NULL."""

    column: str
    op: Op
    value: Any


@dataclass(frozen=True, slots=True)
class And:
    """True if all parts are true; without parts, true for every row."""

    parts: tuple["Filter", ...] = ()


@dataclass(frozen=True, slots=True)
class Scoped(And):
    """The scope of a list, which clients do not write, and the filter. Only the conditions of the filter count."""


@dataclass(frozen=True, slots=True)
class Or:
    """True if at least one part is true; without parts, false for every row."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """True for exactly the rows for which the part is not true."""

    part: "Filter"


@dataclass(frozen=True, slots=True)
class Search:
    """True if every word of ``text`` occurs in at least one of ``columns``, ignoring case."""

    columns: tuple[str, ...]
    text: str

    @classmethod
    def of_table(cls, table: sa.Table, columns: tuple[str, ...], text: str) -> "Search":
        """A search in columns of a table. E-mail addresses in the text are found in every spelling."""
        text = normalize_text(text)
        if any(isinstance(table.c[column].type, types.Email) for column in columns):
            text = " ".join(map(normalize_search_word, text.split()))
        return cls(columns, text)

    def words(self) -> list[str]:
        """LIKE patterns of the words. Raises ValidationError if there are too many."""
        words = self.text.split()
        if len(words) > MAX_WORDS:
            message = f"A search may have at most {MAX_WORDS} words; this one has {len(words)}."
            raise ValidationError(message, path=("filter",))
        return [f"%{_escape(word)}%" for word in words]


@dataclass(frozen=True, slots=True)
class Related:
    """True if ``column`` refers to a row of the table ``target`` that passes the filter and is not deleted.

    The rows of ``target`` are looked up by their ids, so that the statement can use their primary key. Only rows that
    the viewer may see count.
    """

    column: str
    target: type[Table]
    where: "Filter"


@dataclass(frozen=True, slots=True)
class Referring:
    """True if a row of the table ``source`` refers to this row in ``column``, passes the filter and is not deleted.

    The statement looks up the ids of this table in the rows of ``source`` that the viewer may see.
    """

    source: type[Table]
    column: str
    where: "Filter"


class Deletion(StrEnum):
    """Which rows a list has, of a table that marks rows as deleted. A filter without it has the rows not deleted."""

    ONLY = "only"
    INCLUDE = "include"


@dataclass(frozen=True, slots=True)
class DeletedRows:
    """Makes a list contain deleted rows too, or only those. Valid as a filter or as a part of the outermost And."""

    rows: Deletion


Filter = Compare | And | Or | Not | Search | Related | Referring | DeletedRows
NO_FILTER = And()


def compare_each(comparison: Compare, exists: Callable[[Filter], Filter]) -> Filter:
    """A comparison by EQ, NE, IN, NOT_IN or IS_NULL with the values that a row has in other rows, any number of them.

    ``exists`` makes the filter for the rows with such another row that passes a filter. A row without one has no value.
    """
    op, value = comparison.op, comparison.value
    if op is Op.NE or op is Op.NOT_IN:
        positive = Compare(comparison.column, Op.EQ if op is Op.NE else Op.IN, value)
        return Not(compare_each(positive, exists))
    if op is Op.IS_NULL:
        return Not(exists(NO_FILTER)) if value else exists(NO_FILTER)
    if op is Op.EQ:
        return Not(exists(NO_FILTER)) if value is None else exists(comparison)
    known = exists(Compare(comparison.column, Op.IN, tuple(item for item in value if item is not None)))
    return Or((known, Not(exists(NO_FILTER)))) if None in value else known


def is_not_deleted(table: Any) -> sa.ColumnElement[bool]:
    """The condition that a row is not softly deleted; true for tables without ``deleted_at``."""
    condition: sa.ColumnElement[bool] = table.c.deleted_at.is_(None) if "deleted_at" in table.c else sa.true()
    return condition


def deletion_condition(table: sa.Table, where: Filter) -> sa.ColumnElement[bool]:
    """The condition on ``deleted_at`` of a list with this filter."""
    parts = where.parts if isinstance(where, And) else (where,)
    for part in parts:
        if isinstance(part, DeletedRows):
            return table.c.deleted_at.is_not(None) if part.rows is Deletion.ONLY else sa.true()
        if isinstance(part, And) and any(isinstance(inner, DeletedRows) for inner in part.parts):
            return deletion_condition(table, part)
    return is_not_deleted(table)


class Direction(StrEnum):
    ASC = "asc"
    DESC = "desc"


class Nulls(StrEnum):
    """Position of the rows whose value is NULL."""

    FIRST = "first"
    LAST = "last"


@dataclass(frozen=True, slots=True)
class SortKey:
    """One sort key of a list."""

    column: str
    direction: Direction = Direction.ASC
    nulls: Nulls = Nulls.LAST


def _escape(text: str) -> str:
    """The case-folded text, with the wildcards of LIKE escaped."""
    return str(fold(text)).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _check_pattern(text: str) -> str:
    """The user's LIKE pattern, case-folded. PostgreSQL cannot use a pattern that ends in an escape character."""
    if (len(text) - len(text.rstrip("\\"))) % 2:
        message = "A pattern must not end with a single backslash; write two backslashes to match one."
        raise ValidationError(message, path=("filter",))
    return str(fold(text))


def shape_of(where: Filter) -> Any:
    """The shape of a filter as a hashable value. It determines the SQL text."""
    if isinstance(where, Compare):
        if where.op is Op.IS_NULL:
            return (where.column, Op.IS_NULL, bool(where.value))
        return (where.column, where.op, "null") if _names_null(where) else (where.column, where.op)
    if isinstance(where, And):
        return ("and", *map(shape_of, where.parts))
    if isinstance(where, Or):
        return ("or", *map(shape_of, where.parts))
    if isinstance(where, Not):
        return ("not", shape_of(where.part))
    if isinstance(where, Related):
        return ("related", where.column, where.target, shape_of(where.where))
    if isinstance(where, Referring):
        return ("referring", where.column, where.source, shape_of(where.where))
    if isinstance(where, DeletedRows):
        return ("deleted", where.rows)
    return ("search", where.columns, len(where.words()))


def _names_null(comparison: Compare) -> bool:
    """Whether NULL is the value, or one of the values, of EQ, NE, IN or NOT_IN."""
    op = comparison.op
    if op is Op.EQ or op is Op.NE:
        return comparison.value is None
    return (op is Op.IN or op is Op.NOT_IN) and None in comparison.value


def parameters_of(where: Filter) -> dict[str, Any]:
    """The values of a filter by the parameter names of :func:`build_condition`: f0, f1, ... in reading order.

    Raises ValidationError if the filter has too many conditions, a search too many words, or one of the values is too
    long.
    """
    if where is NO_FILTER:
        return {}
    size = _count_conditions(where)
    if size > MAX_CONDITIONS:
        message = f"A filter may have at most {MAX_CONDITIONS} conditions; this one has {size}."
        raise ValidationError(message, path=("filter",))
    values = [_check_size(value) for value in _values(where)]
    return {f"f{index}": value for index, value in enumerate(values)}


def check_value(table: sa.Table, comparison: Compare | Search) -> None:
    """Raises the ValidationError that running the filter would raise because of this value.

    The caller knows the position of the comparison in the input, and adds it to the path of the error.
    """
    parameters_of(comparison)
    if isinstance(comparison, Search):
        types.to_json(comparison.text)
        return
    types.to_json(comparison.value)
    column_type = table.c[comparison.column].type
    if isinstance(column_type, types.Fixed) and comparison.op is not Op.IS_NULL and comparison.value is not None:
        column_type.check(comparison.value)


def _check_size(value: Any) -> Any:
    if isinstance(value, list | tuple) and len(value) > MAX_LIST:
        message = f"A list in a filter may have at most {MAX_LIST} values; this one has {len(value)}."
        raise ValidationError(message, path=("filter",))
    if isinstance(value, str) and len(value) > 2 * MAX_PATTERN:
        message = f"A text to search for may have at most {MAX_PATTERN} characters."
        raise ValidationError(message, path=("filter",))
    return value


def _count_conditions(where: Filter) -> int:
    """The number of conditions. An empty And, Or or Search counts as one."""
    match where:
        case Compare():
            return 1
        case Scoped((_, inner)):
            return _count_conditions(inner)
        case And(parts) | Or(parts):
            return sum(map(_count_conditions, parts)) if parts else 1
        case Not(part):
            return _count_conditions(part)
        case Related(_, _, inner) | Referring(_, _, inner):
            return 1 + _count_conditions(inner)
        case DeletedRows():
            return 1
        case Search():
            return max(1, len(where.words()))


_PATTERNS: Mapping[Op, Callable[[str], str]] = {
    Op.CONTAINS: lambda text: f"%{_escape(text)}%",
    Op.PREFIX: lambda text: f"{_escape(text)}%",
    Op.LIKE: _check_pattern,
}


def _values(where: Filter) -> Iterator[Any]:
    match where:
        case Compare(_, op, value):
            if op in {Op.IN, Op.NOT_IN}:
                yield [item for item in value if item is not None]
            elif op is not Op.IS_NULL and not _names_null(where):
                pattern = _PATTERNS.get(op)
                yield pattern(value) if pattern else value
        case And(parts) | Or(parts):
            for part in parts:
                yield from _values(part)
        case Not(part):
            yield from _values(part)
        case Related(_, _, inner) | Referring(_, _, inner):
            yield from _values(inner)
        case Search():
            yield from where.words()


def build_condition(table: Any, where: Filter) -> sa.ColumnElement[bool]:
    """The SQL of a filter's shape; the values are parameters (see :func:`parameters_of`)."""
    return _build(table, where, (f"f{index}" for index in range(MAX_CONDITIONS + _MAX_SCOPE + 1)))


def _build(table: Any, where: Filter, names: Iterator[str]) -> sa.ColumnElement[bool]:
    match where:
        case Compare(column):
            return _compare(table.c[column], where, names)
        case And(parts):
            return sa.and_(sa.true(), *(_build(table, part, names) for part in parts))
        case Or(parts):
            return sa.or_(sa.false(), *(_build(table, part, names) for part in parts))
        case Not(part):
            return sa.not_(sa.func.coalesce(_build(table, part, names), sa.false()))
        case Related(column, target, inner):
            found = target.__table__.alias()
            matching = sa.select(found.c.id).where(is_not_deleted(found), _build(found, inner, names))
            found_ids: sa.ColumnElement[bool] = table.c[column].in_(matching)
            return found_ids
        case Referring(source, column, inner):
            rows = source.__table__.alias()
            referring = sa.select(rows.c[column]).where(is_not_deleted(rows), _build(rows, inner, names))
            referred: sa.ColumnElement[bool] = table.c.id.in_(referring)
            return referred
        case DeletedRows():
            return sa.true()
        case Search(columns, _):
            searched = [folded(table.c[column]) for column in columns]
            words = [sa.bindparam(next(names), type_=sa.Text()) for _ in where.words()]
            return sa.and_(sa.true(), *(sa.or_(*(text.like(word, escape="\\") for text in searched)) for word in words))


def _compare(column: sa.Column[Any], comparison: Compare, names: Iterator[str]) -> sa.ColumnElement[bool]:
    op, names_null = comparison.op, _names_null(comparison)
    if op is Op.IS_NULL or (names_null and op in {Op.EQ, Op.NE}):
        wants_null = comparison.value if op is Op.IS_NULL else op is Op.EQ
        return column.is_(None) if wants_null else column.is_not(None)
    name = next(names)
    if op in {Op.LIKE, Op.CONTAINS, Op.PREFIX}:
        return folded(column).like(sa.bindparam(name, type_=sa.Text()), escape="\\")
    if op in {Op.IN, Op.NOT_IN}:
        found = in_list(column, name)
        if op is Op.IN:
            return sa.or_(column.is_(None), found) if names_null else found
        return sa.and_(column.is_not(None), sa.not_(found)) if names_null else _or_null(column, sa.not_(found))
    parameter = sa.bindparam(name, type_=column.type)
    return {
        Op.EQ: column == parameter,
        Op.NE: _or_null(column, column != parameter),
        Op.GT: column > parameter,
        Op.GTE: column >= parameter,
        Op.LT: column < parameter,
        Op.LTE: column <= parameter,
    }[op]


def _or_null(column: sa.Column[Any], condition: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    return sa.or_(column.is_(None), condition) if column.nullable else condition


def sort_key(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """The expression that sorts by a column. Free text is sorted ignoring case."""
    return folded(column) if type(column.type) in {sa.Text, types.Email} else column


def order_by(table: sa.Table, keys: Sequence[SortKey], *, backwards: bool = False) -> list[sa.ColumnElement[Any]]:
    """The terms of ORDER BY for ``keys``, or for their exact reverse."""
    terms: list[sa.ColumnElement[Any]] = []
    for key in keys:
        descending = (key.direction is Direction.DESC) != backwards
        nulls_first = (key.nulls is Nulls.FIRST) != backwards
        value = sort_key(table.c[key.column])
        term = value.desc() if descending else value.asc()
        if table.c[key.column].nullable:
            term = term.nulls_first() if nulls_first else term.nulls_last()
        terms.append(term)
    return terms
