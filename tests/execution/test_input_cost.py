"""The inputs of mutations are charged by their items and bytes, in whatever form they are given."""

from typing import Any

import pytest

from gateway.execution.cost_limiter import CostLimiter
from gateway.execution.limits import Limits
from gateway.execution.processor import OperationProcessor
from gateway.settings import Settings
from repositories.core.viewer import ANONYMOUS
from schema import schema

PROCESSOR = OperationProcessor(
    schema, check_cost=CostLimiter(schema._schema, Limits.from_settings(Settings())).check, max_tokens=20_000
)
FIELD = "createTasks(input: %s) { userErrors { code } }"
LITERAL = "mutation { " + FIELD + " }"
VARIABLE = "mutation($i: CreateTasksInput!) { " + FIELD % "$i" + " }"


def cost(text: str, variables: dict[str, Any]) -> int:
    return PROCESSOR.prepare(PROCESSOR.parse(text, ANONYMOUS), None, ANONYMOUS, variables).cost


def task(size: int, text: str = "x") -> str:
    return f'{{title: "a", description: "{text * size}"}}'


def base() -> int:
    return cost(LITERAL % '{tasks: [{title: "a"}]}', {}) - 10


def test_ninety_tasks_of_ten_kilobytes() -> None:
    tasks = [{"title": "a", "description": "x" * 10_000}] * 90
    assert cost(VARIABLE, {"i": {"tasks": tasks}}) == base() + 90 * 10 + 9000


@pytest.mark.parametrize(("size", "text", "extra"), [(500, "x", 0), (1999, "x", 20), (500, "ä", 10), (500, "😀", 20)])
def test_same_value_has_the_same_cost(size: int, text: str, extra: int) -> None:
    value = {"title": "a", "description": text * size}
    body = "mutation(%s) { " + FIELD + " }"
    forms = [
        cost(LITERAL % f"{{tasks: [{task(size, text)}]}}", {}),
        cost(LITERAL % f"{{tasks: {task(size, text)}}}", {}),
        cost(body % ("$i: CreateTasksInput!", "$i"), {"i": {"tasks": [value]}}),
        cost(body % ("$i: CreateTasksInput!", "$i"), {"i": {"tasks": value}}),
        cost(body % ("$t: [CreateTaskInput!]!", "{tasks: $t}"), {"t": [value]}),
        cost(body % (f"$i: CreateTasksInput! = {{tasks: [{task(size, text)}]}}", "$i"), {}),
    ]
    assert forms == [base() + 10 + extra] * len(forms)


def test_variable_counts_each_time_it_is_used() -> None:
    twice = "mutation($i: CreateTasksInput!) { a: " + FIELD % "$i" + " b: " + FIELD % "$i" + " }"
    values = {"i": {"tasks": [{"title": "x" * 1000}]}}
    assert cost(twice, values) == 2 * cost(VARIABLE, values)
