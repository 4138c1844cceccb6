"""Reference implementations of filters and orders in plain Python, with which property tests compare the SQL."""

import datetime as dt
import functools
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from repositories.core.ids import new_id
from repositories.sql.filters import And, Compare, Direction, Filter, Not, Nulls, Op, Or, Search, SortKey
from repositories.tables.life_lock import Task, TaskStatus
from tests.repositories.support import ALPHABET, fold, texts, titles

NOON = dt.datetime(2024, 3, 31, 12, tzinfo=dt.UTC)
moments = st.integers(-3, 3).map(lambda days: NOON + dt.timedelta(days=days, microseconds=days % 2))

FOLDED = ("title", "description")
COLUMNS: dict[str, st.SearchStrategy[Any]] = {
    "title": titles,
    "description": texts,
    "status": st.sampled_from(TaskStatus),
    "priority_level": st.integers(1, 5),
    "due_date": moments,
    "completed_at": moments,
}
NULLABLE = ("description", "due_date", "completed_at")


@st.composite
def task_values(draw: st.DrawFn) -> dict[str, Any]:
    """Values of a task, with many NULLs, many equal values, and letters whose case is hard to fold."""
    status = draw(st.sampled_from(TaskStatus))
    return {
        "id": new_id(),
        "title": draw(titles),
        "description": draw(st.none() | texts),
        "status": status,
        "priority_level": draw(st.integers(1, 5)),
        "due_date": draw(st.none() | moments),
        "completed_at": draw(moments) if status is TaskStatus.COMPLETED else None,
    }


orders = st.lists(
    st.builds(SortKey, st.sampled_from([*COLUMNS, "id"]), st.sampled_from(Direction), st.sampled_from(Nulls)),
    max_size=3,
    unique_by=lambda order: order.column,
)


def sort_rows(rows: Iterable[Task], keys: Sequence[SortKey]) -> list[Task]:
    """The rows sorted by ``keys``, with the id as the last key."""

    def compare(left: Task, right: Task) -> int:
        for key in (*keys, SortKey("id")):
            a, b = (_sort_value(row, key.column) for row in (left, right))
            if a == b:
                continue
            if a is None or b is None:
                return -1 if (a is None) == (key.nulls is Nulls.FIRST) else 1
            return -1 if (a < b) == (key.direction is Direction.ASC) else 1
        return 0

    return sorted(rows, key=functools.cmp_to_key(compare))


def _sort_value(row: Task, column: str) -> Any:
    value = getattr(row, column)
    if column in FOLDED and value is not None:
        return fold(value)
    return value.bytes if isinstance(value, UUID) else value


_LIKE = st.text(ALPHABET + "%_", max_size=4).filter(lambda text: (len(text) - len(text.rstrip("\\"))) % 2 == 0)


@st.composite
def _comparisons(draw: st.DrawFn) -> Compare:
    column = draw(st.sampled_from(list(COLUMNS)))
    values = COLUMNS[column]
    patterns = (Op.LIKE, Op.CONTAINS, Op.PREFIX)
    op = draw(st.sampled_from([op for op in Op if column in FOLDED or op not in patterns]))
    kind: dict[Op, st.SearchStrategy[Any]] = {
        Op.IS_NULL: st.booleans(),
        Op.EQ: st.none() | values,
        Op.NE: st.none() | values,
        Op.IN: st.lists(st.none() | values, max_size=4),
        Op.NOT_IN: st.lists(st.none() | values, max_size=4),
        Op.LIKE: _LIKE,
        Op.CONTAINS: texts,
        Op.PREFIX: texts,
    }
    return Compare(column, op, draw(kind.get(op, values)))


comparisons = _comparisons()
searches = st.builds(Search, st.sampled_from([("title",), ("title", "description")]), st.text(ALPHABET, max_size=8))
filters: st.SearchStrategy[Filter] = st.recursive(
    comparisons | searches,
    lambda parts: st.one_of(
        st.lists(parts, max_size=3).map(lambda drawn: And(tuple(drawn))),
        st.lists(parts, max_size=3).map(lambda drawn: Or(tuple(drawn))),
        parts.map(Not),
    ),
    max_leaves=6,
)


def matches(row: Task, where: Filter) -> bool:
    """Whether a row passes the filter."""
    match where:
        case Compare(column, op, value):
            return compare(getattr(row, column), op, value)
        case And(parts):
            return all(matches(row, part) for part in parts)
        case Or(parts):
            return any(matches(row, part) for part in parts)
        case Not(part):
            return not matches(row, part)
        case Search(columns, text):
            values = [fold(getattr(row, column) or "") for column in columns]
            return all(any(fold(word) in value for value in values) for word in text.split())
        case _:
            raise TypeError(where)  # see tests/repositories/test_related_filters.py


def compare(value: Any, op: Op, operand: Any) -> bool:
    """The result of a comparison with one value of a row."""
    if op is Op.IS_NULL:
        return bool((value is None) == operand)
    if value is None and op not in {Op.EQ, Op.NE, Op.IN, Op.NOT_IN}:
        return False
    results: dict[Op, Callable[[], Any]] = {
        Op.EQ: lambda: value == operand,
        Op.NE: lambda: value != operand,
        Op.IN: lambda: value in operand,
        Op.NOT_IN: lambda: value not in operand,
        Op.GT: lambda: value > operand,
        Op.GTE: lambda: value >= operand,
        Op.LT: lambda: value < operand,
        Op.LTE: lambda: value <= operand,
        Op.CONTAINS: lambda: fold(operand) in fold(value),
        Op.PREFIX: lambda: fold(value).startswith(fold(operand)),
        Op.LIKE: lambda: re.fullmatch(_regex_of(fold(operand)), fold(value), re.DOTALL) is not None,
    }
    return bool(results[op]())


def _regex_of(like: str) -> str:
    """A LIKE pattern as a regular expression."""
    parts = re.findall(r"\\.|.", like, re.DOTALL)
    wild = {"%": ".*", "_": "."}
    return "".join(wild.get(part) or re.escape(part[-1]) for part in parts)
