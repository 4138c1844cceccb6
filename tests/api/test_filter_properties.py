"""Filters of clients find the same rows as plain Python, with nulls in every position and any nesting."""

import datetime as dt
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.life_lock.tasks import Tasks
from repositories.tables.identity import User
from repositories.tables.life_lock import Task, TaskStatus
from tests.api.client import Gateway, gid
from tests.factories import make_category, make_user
from tests.repositories.support import fold

NOON = dt.datetime(2026, 6, 15, 12, tzinfo=dt.UTC)
SEARCHED = ("title", "description")
KEYS = [0, 1, 2]
"""Indexes of three categories. The third has no tasks."""

_texts = st.text("aAéÉ %_\\", max_size=3)
_patterns = st.text("aAé%_", max_size=3)
_moments = st.integers(-2, 2).map(lambda hours: NOON + dt.timedelta(hours=hours))
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "title": _texts,
    "description": _texts,
    "status": st.sampled_from(TaskStatus),
    "priorityLevel": st.integers(1, 5),
    "dueDate": _moments,
    "categoryId": st.sampled_from(KEYS),
}
_OPS = {
    "title": ("eq", "ne", "in", "notIn", "contains", "startsWith", "like", "isNull"),
    "description": ("eq", "ne", "in", "notIn", "contains", "startsWith", "like", "isNull"),
    "status": ("eq", "ne", "in", "notIn"),
    "priorityLevel": ("eq", "ne", "in", "notIn", "gt", "gte", "lt", "lte"),
    "dueDate": ("eq", "ne", "gt", "gte", "lt", "lte", "isNull"),
    "categoryId": ("eq", "ne", "in", "notIn", "isNull"),
}
_rows = st.fixed_dictionaries(
    {
        "title": st.text("aAéÉ %_\\", min_size=1, max_size=3),
        "description": st.none() | _texts,
        "status": st.sampled_from([TaskStatus.PENDING, TaskStatus.CANCELLED]),
        "priorityLevel": st.integers(1, 5),
        "dueDate": st.none() | _moments,
        "categoryId": st.none() | st.sampled_from(KEYS[:2]),
    }
)


def _operands(column: str, op: str) -> st.SearchStrategy[Any]:
    values = _VALUES[column]
    if op in {"in", "notIn"}:
        return st.lists(st.none() | values, max_size=3)
    if op in {"eq", "ne"}:
        return st.none() | values
    return {"isNull": st.booleans(), "like": _patterns}.get(op, values)


def _some_of(strategies: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """At most two of the conditions. The others are left out."""
    names = st.lists(st.sampled_from(sorted(strategies)), max_size=2, unique=True)
    return names.flatmap(lambda drawn: st.fixed_dictionaries({name: strategies[name] for name in drawn}))


_comparisons = _some_of(
    {column: _some_of({op: _operands(column, op) for op in ops}) for column, ops in _OPS.items()}
    | {"search": st.text("aA É", max_size=4)}
)
_filters = st.recursive(
    _comparisons,
    lambda parts: st.fixed_dictionaries(
        {}, optional={"and": st.lists(parts, max_size=2), "or": st.lists(parts, max_size=2), "not": parts}
    ),
    max_leaves=5,
)


def _matches(row: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """The filter in two-valued logic."""
    for name, value in wanted.items():
        match name:
            case "and":
                holds = all(_matches(row, part) for part in value)
            case "or":
                holds = any(_matches(row, part) for part in value)
            case "not":
                holds = not _matches(row, value)
            case "search":
                texts = [fold(row[column] or "") for column in SEARCHED]
                holds = all(any(fold(word) in text for text in texts) for word in value.split())
            case _:
                holds = all(_compare(row[name], op, operand) for op, operand in value.items())
        if not holds:
            return False
    return True


def _compare(value: Any, op: str, operand: Any) -> bool:
    ops: dict[str, Callable[[], Any]] = {
        "eq": lambda: value == operand,
        "ne": lambda: value != operand,
        "in": lambda: value in operand,
        "notIn": lambda: value not in operand,
        "isNull": lambda: (value is None) == operand,
        "gt": lambda: value is not None and value > operand,
        "gte": lambda: value is not None and value >= operand,
        "lt": lambda: value is not None and value < operand,
        "lte": lambda: value is not None and value <= operand,
        "contains": lambda: value is not None and fold(operand) in fold(value),
        "startsWith": lambda: value is not None and fold(value).startswith(fold(operand)),
        "like": lambda: value is not None and _is_like(fold(value), fold(operand)),
    }
    return bool(ops[op]())


def _is_like(text: str, pattern: str) -> bool:
    """LIKE without escapes: % stands for any text, _ for one character."""
    if not pattern:
        return not text
    if pattern[0] == "%":
        return any(_is_like(text[start:], pattern[1:]) for start in range(len(text) + 1))
    return bool(text) and pattern[0] in {"_", text[0]} and _is_like(text[1:], pattern[1:])


def _as_json(value: Any, name: str, categories: list[str]) -> Any:
    """A drawn filter as the value of a variable."""
    match value:
        case dict():
            return {key: _as_json(part, name if key in _ANY_OP else key, categories) for key, part in value.items()}
        case list():
            return [_as_json(part, name, categories) for part in value]
        case bool() | None:
            return value
        case int() if name == "categoryId":
            return categories[value]
        case TaskStatus():
            return value.name
        case dt.datetime():
            return value.isoformat()
    return value


_ANY_OP = frozenset(op for ops in _OPS.values() for op in ops)
FOUND = "query($filter: TaskFilter) { tasks(first: 500, filter: $filter) { totalCount nodes { databaseId } } }"


async def _add(gateway: Gateway, user: User, rows: list[dict[str, Any]], categories: list[Any]) -> list[Task]:
    columns = {"priorityLevel": "priority_level", "dueDate": "due_date", "categoryId": "category_id"}
    values: list[dict[str, Any]] = []
    for row in rows:
        stored = {columns.get(name, name): value for name, value in row.items()}
        category = row["categoryId"]
        stored["category_id"] = None if category is None else categories[category].id
        values.append(stored | {"id": new_id(), "user_id": user.id})
    async with gateway.database.transaction(SERVICE) as write:
        return await Tasks(write).add_many(values)


@given(rows=st.lists(_rows, min_size=4, max_size=12), wanted=st.lists(_filters, min_size=4, max_size=10))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
async def test_filters_of_clients_equal_plain_python(
    gateway: Gateway, rows: list[dict[str, Any]], wanted: list[dict[str, Any]]
) -> None:
    """Each drawn filter and its negation, sent as a variable."""
    user = await make_user(gateway.database)
    categories = [await make_category(gateway.database, user) for _ in KEYS]
    tasks = await _add(gateway, user, rows, categories)
    client, ids = gateway.client(user), [gid("Category", category) for category in categories]
    for one in wanted:
        for drawn in (one, {"not": one}):
            found = (await client.data(FOUND, filter=_as_json(drawn, "", ids)))["tasks"]
            matching = {str(task.id) for task, row in zip(tasks, rows, strict=True) if _matches(row, drawn)}
            assert {node["databaseId"] for node in found["nodes"]} == matching, drawn
            assert found["totalCount"] == len(matching)


@given(row=_rows, column=st.sampled_from(sorted(_OPS)), data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
async def test_ne_and_not_in_find_exactly_what_eq_and_in_do_not_find(
    gateway: Gateway, row: dict[str, Any], column: str, data: st.DataObject
) -> None:
    user = await make_user(gateway.database)
    categories = [await make_category(gateway.database, user) for _ in KEYS]
    await _add(gateway, user, [row], categories)
    client, ids = gateway.client(user), [gid("Category", category) for category in categories]
    for op, complement in (("eq", "ne"), ("in", "notIn")):
        if op in _OPS[column]:
            operand = _as_json(data.draw(_operands(column, op)), column, ids)
            totals = [
                (await client.data(FOUND, filter=one))["tasks"]["totalCount"]
                for one in ({column: {op: operand}}, {column: {complement: operand}}, {"not": {column: {op: operand}}})
            ]
            assert totals in ([1, 0, 0], [0, 1, 1]), (row, op, operand)
