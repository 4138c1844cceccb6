"""The costs and counts of operations are those of the expanded document, and the limits are enforced."""

import json
from typing import Any

import pytest
from graphql import DocumentNode, GraphQLError, OperationDefinitionNode, get_introspection_query, parse, validate
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from gateway.execution.cost import MAX_COUNT
from gateway.execution.limits import Introspection, Limits, check_introspection, check_limits
from gateway.execution.measurement import Measurement, measure
from gateway.settings import Settings
from gateway.transport.error_responses import format_graphql_errors
from repositories.core.ids import new_id
from repositories.core.viewer import ANONYMOUS, Viewer
from tests.execution.documents import GRAPH, documents
from tests.execution.reference_cost import Counts, expand

DEFAULT = Limits.from_settings(Settings())
SIGNED_IN = Viewer(new_id())


def operation_of(document: DocumentNode) -> OperationDefinitionNode:
    operation = document.definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    return operation


def measure_text(text: str) -> Measurement:
    document = parse(text)
    assert validate(GRAPH, document) == []
    return measure(GRAPH, document, operation_of(document))


def cost(text: str, **variables: Any) -> int:
    return check_limits(measure_text(text), variables, DEFAULT)


def rejection(text: str, **variables: Any) -> dict[str, Any]:
    """The error of an operation that exceeds a limit, as clients get it."""
    with pytest.raises(GraphQLError) as caught:
        check_limits(measure_text(text), variables, DEFAULT)
    return format_graphql_errors([caught.value])[0]


TASKS = "{ tasks%s { nodes { title category { name } } } }"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{ viewer { email firstName } }", 1),
        ("{ __typename }", 0),
        (TASKS % "", 1 + 50 * 2),
        (TASKS % "(first: 3)", 1 + 3 * 2),
        (TASKS % "(last: 4)", 1 + 4 * 2),
        (TASKS % "(first: null)", 1 + 50 * 2),
        (TASKS % "(first: -5)", 1),
        (TASKS % "(first: 3, last: 4)", 1 + 4 * 2),
        ("{ tasks(first: 3) { edges { cursor node { title } } pageInfo { endCursor } } }", 1 + 3),
        ("{ tasks(first: 3) { totalCount } }", 1 + 5),
        ('{ dueTasks(until: "2030-01-01T00:00:00Z") { title } }', 50),
        ('{ dueTasks(until: "2030-01-01T00:00:00Z", first: 7) { category { name } } }', 7 * 2),
        ('{ nodes(ids: ["a", "b", "c"]) { id } }', 3),
        ("{ productivityTrends(period: WEEK) { score } }", 366),
        ("{ lifeLockDashboard { totalTasks weeklyProgress { date } } }", 1 + 5 + 5 + 10),
        ("{ viewer { roles { name } } }", 1 + 10),
        ('mutation { createTask(input: {title: "x"}) { task { id } userErrors { message } } }', 10 + 1 + 1 + 1),
        ('mutation { createTasks(input: {tasks: [{title: "x"}, {title: "y"}]}) { tasks { id } } }', 10 + 1 + 2 + 20),
        ("mutation { refreshUserDashboardStats { refreshedAt } }", 100 + 1),
        (
            "{ categories(first: 2) { nodes { tasks(first: 3) { nodes { title user { email } } totalCount } } } }",
            1 + 2 * (1 + 1 + 3 * 2 + 5),
        ),
    ],
)
def test_costs_of_operations(text: str, expected: int) -> None:
    assert cost(text) == expected


@pytest.mark.parametrize(
    ("variables", "size"),
    [
        ({}, 20),
        ({"n": 7}, 7),
        ({"n": 7.0}, 7),
        ({"n": None}, 50),
        ({"n": 0}, 0),
        ({"n": -3}, 0),
        ({"n": "7"}, 50),
        ({"n": True}, 50),
        ({"n": {}}, 50),
        ({"n": float("inf")}, 50),
    ],
)
def test_sizes_come_from_variables(variables: dict[str, Any], size: int) -> None:
    """A value of a wrong type counts as none; it is rejected later."""
    text = "query($n: Int = 20) { tasks(first: $n) { nodes { title category { name } } } }"
    assert cost(text, **variables) == 1 + size * 2


@pytest.mark.parametrize(
    ("head", "value", "variables"),
    [
        ("($x: CreateTasksInput!)", "$x", {"x": {"tasks": [{}, {}, {}]}}),
        ("($x: [CreateTaskInput!]!)", "{tasks: $x}", {"x": [{}, {}, {}]}),
        ('($x: CreateTasksInput! = {tasks: [{title: "a"}, {title: "b"}, {title: "c"}]})', "$x", {}),
    ],
)
def test_batches_cost_what_their_input_contains(head: str, value: str, variables: dict[str, Any]) -> None:
    text = f"mutation{head} {{ createTasks(input: {value}) {{ tasks {{ id }} }} }}"
    assert cost(text, **variables) == 10 + 1 + 3 + 3 * 10


def _literal(value: Any) -> str:
    """The GraphQL literal of a JSON value."""
    match value:
        case dict():
            return "{" + ", ".join(f"{name}: {_literal(entry)}" for name, entry in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_literal, value)) + "]"
    return json.dumps(value)


ITEM = {"title": "x"}


@pytest.mark.parametrize(
    ("field", "argument", "kind", "values", "expected"),
    [
        ("nodes(ids: %s) { id }", None, "[ID!]!", ["x" * 40, ["x" * 40], [12345], 12345], 1),
        ("nodes(ids: %s) { id }", None, "[ID!]!", [["a", "b", 3]], 3),
        ("tasks(first: %s) { nodes { id } }", None, "Int", [7], 1 + 7),
        ("tasks(first: %s) { nodes { id } }", None, "Int", [None], 1 + 50),
        ("createTasks(input: %s) { tasks { id } }", "tasks", "CreateTasksInput!", [ITEM, [ITEM]], 10 + 1 + 1 + 10),
        ("createTasks(input: %s) { tasks { id } }", "tasks", "CreateTasksInput!", [[ITEM] * 3], 10 + 1 + 3 + 30),
    ],
)
def test_the_same_value_has_the_same_cost(
    field: str, argument: str | None, kind: str, values: list[Any], expected: int
) -> None:
    """As a literal, as a variable, as the default of a variable, inside of a variable, and beside a variable."""
    operation = "mutation" if field.startswith("create") else "query"
    for value in values:
        whole = value if argument is None else {argument: value}
        literal = _literal(whole)
        ways: list[tuple[str, str, dict[str, Any]]] = [
            ("", literal, {}),
            (f"($x: {kind})", "$x", {"x": whole}),
            (f"($x: {kind} = {literal})", "$x", {}),
            (f"($x: {kind} = {_literal(_other(whole))})", "$x", {"x": whole}),
        ]
        if argument is not None:
            ways += [
                ("($x: [CreateTaskInput!]!)", f"{{{argument}: $x}}", {"x": value}),
                (f"($x: [CreateTaskInput!]! = {_literal(value)})", f"{{{argument}: $x}}", {}),
            ]
        if isinstance(value, list) and value and operation == "query":
            ways.append(("($x: ID!)", _literal(value).replace(_literal(value[0]), "$x", 1), {"x": value[0]}))
        for head, argued, variables in ways:
            text = f"{operation}{head} {{ {field % argued} }}"
            assert cost(text, **variables) == expected, text


def _other(value: Any) -> Any:
    """A value of the same type with another size."""
    if isinstance(value, dict):
        return {name: [ITEM] * 9 for name in value}
    return 9 if value is None or (isinstance(value, int) and value < 100) else ["y"] * 9


@given(
    documents(),
    st.fixed_dictionaries(
        {},
        optional={
            "a": st.none() | st.integers(-1, 40),
            "b": st.integers(0, 9),
            "ids": st.text() | st.integers(0, 10**9) | st.lists(st.text(), max_size=5),
            "id": st.text() | st.integers(0, 10**9),
        },
    ),
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_counts_are_those_of_the_expanded_document(text: str, variables: dict[str, Any]) -> None:
    document = parse(text)
    measurement = measure(GRAPH, document, operation_of(document))
    limits = Limits(MAX_COUNT, MAX_COUNT, MAX_COUNT, MAX_COUNT, MAX_COUNT, MAX_COUNT, MAX_COUNT)
    total = measurement.total
    assert expand(document, variables) == Counts(
        check_limits(measurement, variables, limits),
        total.depth,
        total.fields,
        total.root_fields,
        total.aliases,
        total.directives,
    )


def _doubling(levels: int, kind: str, last: str, around: str = "%s") -> str:
    fragments = [f"fragment F{n} on {kind} {{ {around % f'...F{n + 1} ...F{n + 1}'} }}" for n in range(levels)]
    return " ".join([*fragments, f"fragment F{levels} on {kind} {{ {last} }}"])


def test_fragments_that_double_are_measured_once_each() -> None:
    """2³⁰ fields in a few lines. Each of the 31 fragments adds at most four terms."""
    measurement = measure_text(
        "query($n: Int) { tasks { nodes { ...F0 } } } "
        + _doubling(30, "Task", "category { tasks(first: $n) { nodes { id } } }")
    )
    assert len(measurement.formula.terms) <= 4 * 31
    assert (measurement.total.fields, measurement.total.depth) == (MAX_COUNT, 6)
    assert rejection("{ ...F0 } " + _doubling(30, "Query", "viewer { id }")) == {
        "message": "This operation has 1,073,741,824 root fields; the limit is 50. Split it into several operations.",
        "locations": [{"line": 1, "column": 1207}],
        "extensions": {"code": "QUERY_TOO_COMPLEX", "requested": 2**30, "limit": 50},
    }


def test_counts_are_capped_at_the_greatest_int_of_graphql() -> None:
    around = "category { tasks(first: 500) { nodes { %s } } }"
    measurement = measure_text("{ tasks { nodes { ...F0 } } } " + _doubling(30, "Task", "id", around))
    assert measurement.total.cost == MAX_COUNT


def test_an_operation_that_costs_too_much_is_rejected_with_both_numbers_and_its_location() -> None:
    inner = "nodes { category { tasks(first: 500) { nodes { category { tasks(first: $n) { nodes { id } } } } } } }"
    assert rejection(f"query($n: Int) {{ viewer {{ id }} tasks(first: 500) {{ {inner} }} }}", n=500) == {
        "message": "This operation costs 125,751,502; the limit is 100,000. "
        "Request smaller pages, or select less in them.",
        "locations": [{"line": 1, "column": 32}],
        "extensions": {"code": "QUERY_TOO_COMPLEX", "requested": 125_751_502, "limit": 100_000},
    }
    assert rejection("{ tasks(first: 999999999) { nodes { id } } }")["extensions"]["requested"] == 1_000_000_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "{ " + " ".join(f"a{n}: viewer {{ id }}" for n in range(51)) + " }",
            "This operation has 51 root fields; the limit is 50. Split it into several operations.",
        ),
        (
            "{ viewer { " + "...F " * 40 + "} } fragment F on User { " + "id " * 50 + "}",
            (
                "This operation selects 2,001 fields; the limit is 2,000. "
                "Select fewer, or split it into several operations."
            ),
        ),
        (
            "{ tasks(first: 1) { nodes { "
            + "category { tasks(first: 1) { nodes { " * 5
            + "id"
            + " } } }" * 5
            + " } } }",
            "This operation is 18 levels deep; the limit is 15. Select the deeper levels in another operation.",
        ),
        (
            "{ viewer { " + " ".join(f"a{n}: id" for n in range(101)) + " } }",
            "This operation has 101 aliases; the limit is 100. Split it into several operations.",
        ),
        (
            "{ viewer { " + " ".join("id @include(if: true)" for _ in range(101)) + " } }",
            "This operation has 101 directives; the limit is 100. Remove those that are not needed.",
        ),
    ],
    ids=["root fields", "fields", "depth", "aliases", "directives"],
)
def test_other_limits(text: str, message: str) -> None:
    assert rejection(text)["message"] == message


def test_a_count_equal_to_its_limit_is_allowed() -> None:
    assert cost("{ " + " ".join(f"a{n}: __typename" for n in range(50)) + " }") == 0
    assert cost("{ tasks(first: 99999) { nodes { id } } }") == 100_000


@pytest.mark.parametrize(
    "text",
    [
        "{ viewer { " + "... { " * 160 + "id" + " }" * 160 + " } }",
        "{ ...F0 } "
        + " ".join(f"fragment F{n} on Query {{ ...F{n + 1} }}" for n in range(500))
        + " fragment F500 on Query { viewer { id } }",
        "{ ...F } fragment F on Query { ...F viewer { id } }",
    ],
    ids=["inline fragments", "fragments", "a cycle"],
)
def test_deep_nesting_is_rejected_while_measuring(text: str) -> None:
    """This includes documents that validation would have rejected before."""
    document = parse(text)
    with pytest.raises(GraphQLError, match=r"^This operation is nested more than 150 levels deep\."):
        measure(GRAPH, document, operation_of(document))


INTROSPECTIONS = [
    get_introspection_query(),
    "{ __schema { queryType { name } } }",
    '{ viewer { id } x: __type(name: "Task") { name } }',
    "{ ... on Query { ...F } } fragment F on Query { ...G } fragment G on Query { y: __schema { types { name } } }",
]


@pytest.mark.parametrize("text", INTROSPECTIONS, ids=["standard", "schema", "alias", "fragments"])
def test_the_setting_decides_who_may_introspect(text: str) -> None:
    measurement = measure_text(text)
    cases = {
        Introspection.ALWAYS: (None, None),
        Introspection.SIGNED_IN: ("UNAUTHENTICATED", None),
        Introspection.NEVER: ("FORBIDDEN", "FORBIDDEN"),
    }
    for setting, expected in cases.items():
        limits = Limits.from_settings(Settings(introspection=setting.value))
        for viewer, code in zip((ANONYMOUS, SIGNED_IN), expected, strict=True):
            if code is None:
                check_introspection(measurement, viewer, limits)
            else:
                with pytest.raises(GraphQLError) as caught:
                    check_introspection(measurement, viewer, limits)
                assert format_graphql_errors([caught.value])[0]["extensions"] == {"code": code}


def test_typename_is_not_introspection() -> None:
    measurement = measure_text("{ __typename viewer { __typename } }")
    check_introspection(measurement, ANONYMOUS, Limits.from_settings(Settings(introspection="never")))


def test_the_default_is_open_introspection_on_sqlite_and_signed_in_on_postgresql() -> None:
    production = Settings(database_url=SecretStr("postgresql://gateway:secret@db/siso"))
    assert Limits.from_settings(Settings()).introspection is Introspection.ALWAYS
    assert Limits.from_settings(production).introspection is Introspection.SIGNED_IN
    assert (
        Limits.from_settings(production.model_copy(update={"introspection": "never"})).introspection
        is Introspection.NEVER
    )


@pytest.mark.parametrize("text", INTROSPECTIONS)
def test_introspection_has_a_fixed_cost(text: str) -> None:
    assert cost(text) in {101, 102}


def test_the_full_standard_introspection_is_allowed_and_three_times_as_much_is_not() -> None:
    full = get_introspection_query(
        specified_by_url=True,
        directive_is_repeatable=True,
        schema_description=True,
        input_value_deprecation=True,
        one_of=True,
    )
    assert cost(full) == 101
    query = full[: full.index("fragment FullType")]
    fragments = full[full.index("fragment FullType") :]
    body = query[query.index("{") + 1 : query.rindex("}")]
    three = "{" + "".join(body.replace("__schema", f"a{n}: __schema", 1) for n in range(3)) + "}" + fragments
    assert rejection(three)["message"].startswith("This operation introspects ")


def test_nested_introspection_is_limited() -> None:
    """graphql-core's own rule rejects three levels of lists. Below that, the number of values is limited."""
    bomb = "{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }"
    assert [error.message for error in validate(GRAPH, parse(bomb))] == ["Maximum introspection depth exceeded"]
    aliased = " ".join(
        f"a{n}: fields {{ type {{ fields {{ type {{ name kind description }} }} }} }}" for n in range(12)
    )
    assert rejection(f"{{ __schema {{ types {{ {aliased} }} }} }}")["extensions"]["code"] == "QUERY_TOO_COMPLEX"
