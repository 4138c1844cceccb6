"""What the conditions of a filter cost: 1, or what the schema declares for those that no index answers."""

from typing import Any

import pytest
from graphql import parse, parse_value, value_from_ast_untyped

from gateway.execution.measurement import measure
from schema import schema

PAGE = "{ tasks(first: 10%s) { nodes { id } } }"


def cost_of(document: str, **variables: Any) -> int:
    """The cost of the only operation."""
    ast = parse(document)
    measurement = measure(schema._schema, ast, ast.definitions[0])  # type: ignore[arg-type]
    values = measurement.formula.evaluate(variables)
    amount = measurement.total.cost
    return amount if isinstance(amount, int) else values[amount.number]


CASES = {
    "{}": 0,
    "{priorityLevel: {eq: 1}}": 1,
    "{priorityLevel: {gte: 1, lte: 3}}": 2,
    "{id: {in: [1, 2, 3]}}": 3,
    '{title: {like: "%a%"}}': 20,
    '{title: {eq: "a"}, search: "b c"}': 21,
    '{or: [{title: {contains: "a"}}, {title: {startsWith: "b"}}]}': 40,
    '{not: {and: [{title: {like: "a"}}, {priorityLevel: {eq: 1}}]}}': 21,
    "{or: {priorityLevel: {eq: 1}}}": 1,
}


@pytest.mark.parametrize(("given", "cost"), CASES.items())
def test_conditions_cost_the_same_as_a_literal_a_variable_or_a_default(given: str, cost: int) -> None:
    base = cost_of(PAGE % "")
    assert cost_of(PAGE % f", filter: {given}") - base == cost
    declared = "query($f: TaskFilter%s) { tasks(first: 10, filter: $f) { nodes { id } } }"
    assert cost_of(declared % "", f=value_from_ast_untyped(parse_value(given))) - base == cost
    assert cost_of(declared % f" = {given}") - base == cost
    assert cost_of(declared % "", f=None) == cost_of(declared % "") == base


def test_a_variable_inside_of_a_filter_counts() -> None:
    document = "query($t: TextFilter) { tasks(first: 10, filter: {title: $t}) { nodes { id } } }"
    base = cost_of(PAGE % "")
    assert cost_of(document, t={"like": "%a%", "eq": "b"}) == base + 21
    assert cost_of(document) == base


def test_conditions_count_in_each_alias_and_for_each_parent_of_a_nested_list() -> None:
    """As calls do: the database evaluates them for the rows of each parent."""
    page = "tasks(first: 10%s) { totalCount }"
    searched = ', filter: {search: "a"}'
    assert (
        cost_of(f"{{ a: {page % searched} b: {page % searched} }}") - cost_of(f"{{ a: {page % ''} b: {page % ''} }}")
        == 40
    )
    nested = "{ categories(first: 5) { nodes { tasks(first: 10%s) { nodes { id } } } } }"
    assert cost_of(nested % searched) - cost_of(nested % "") == 5 * 20


WRONG = [(1, 0), ("x", 0), ([1], 0), ({"or": 5}, 0), ({"unknown": {"eq": 1}}, 0), ({"title": 3}, 0), ([[{}]], 0)]


@pytest.mark.parametrize(("value", "cost"), WRONG)
def test_a_filter_of_a_wrong_type_costs_nothing(value: Any, cost: int) -> None:
    """It is rejected when the variables are converted."""
    document = "query($f: TaskFilter) { tasks(first: 10, filter: $f) { nodes { id } } }"
    assert cost_of(document, f=value) - cost_of(PAGE % "") == cost


def test_a_deeply_nested_filter_is_measured() -> None:
    """The parser accepts some hundred levels, because it calls itself more often for each of them."""
    given = "{not: " * 150 + "{priorityLevel: {eq: 1}}" + "}" * 150
    assert cost_of(PAGE % f", filter: {given}") - cost_of(PAGE % "") == 1


def test_a_leaderboard_reads_the_rows_of_all_users() -> None:
    assert cost_of("{ leaderboard(period: ALL, first: 10) { rank } }") == 50 + 10
