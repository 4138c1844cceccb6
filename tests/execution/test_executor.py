"""Cases that random operations do not reach: roots, order, cancellation, and what graphql-core executes itself."""

import asyncio
from typing import Any

import pytest
from graphql import (
    AbortController,
    DocumentNode,
    ExecutionResult,
    GraphQLSchema,
    build_schema,
    execute,
    execute_sync,
    get_introspection_query,
    parse,
)
from graphql.execution import AbortedGraphQLExecutionError, Executor

from gateway.execution.documents import Document
from gateway.execution.executor import CompiledExecutor, NativeExecutor
from gateway.execution.plan import Plan
from gateway.execution.planner import OperationPlans, Planner
from schema import schema as gateway_schema
from tests.execution.comparison import Fresh, core_schema, run, run_both, subscribe_both
from tests.execution.shape_schema import SCHEMA, Log


def make_plan(
    planner: Planner, plans: OperationPlans, document: DocumentNode, variables: dict[str, Any] | None = None
) -> Plan | None:
    """The plan of the only operation of a document."""
    query: Any = core_schema(SCHEMA).query_type
    executor: Any = CompiledExecutor.build(core_schema(SCHEMA), document, None, None, variables)
    return planner.plan(plans, executor.variable_values, query)


def plans_of(document: DocumentNode) -> OperationPlans:
    """The cache of the plans of the only operation of a document."""
    known = Document(document)
    return OperationPlans(known.operations[0], known.fragments)


async def test_objects_of_several_types() -> None:
    data, errors = await run_both(
        SCHEMA,
        """{ shapes { __typename name size ... on Circle { radius } ... on Square { side inner { name } } }
        pairs { ... on Square { name side inner { n: name inner { side } } } ... on Circle { size } } }""",
    )
    assert data["pairs"] == [[{"size": "SMALL"}, None], None, [], [None, {"size": None}]]
    assert errors == [("in b has none", ["pairs", 3, 0, "inner", "inner"])]
    data, errors = await run_both(SCHEMA, "{ shapes { kind: __typename size ... on Square { inner { side } } } }")
    assert data == {
        "shapes": [
            {"kind": "Circle", "size": "SMALL"},
            None,
            {"kind": "Square", "size": "LARGE", "inner": {"side": 4}},
            {"kind": "Circle", "size": None},
        ]
    }
    assert errors == []


async def test_nested_lists_and_enums() -> None:
    text = "{ __typename numbers sizes pairs { ... on Circle { radius } ... on Square { size } } plain broken }"
    assert await run_both(SCHEMA, text) == (
        {
            "__typename": "Query",
            "numbers": [[[1, 2], None, []], []],
            "sizes": ["LARGE", "SMALL"],
            "pairs": [[{"radius": 1.5}, None], None, [], [{"size": "LARGE"}, {"radius": 0.0}]],
            "plain": "plain",
            "broken": None,
        },
        [("'key'", ["broken"])],
    )


async def test_waiting_resolvers_are_cancelled_when_all_data_is_null() -> None:
    """Otherwise there would be no response."""
    logs = []

    def log() -> Log:
        logs.append(Log())
        return logs[-1]

    for text in ("{ hanging failing }", "{ failing hanging square { inner { name } } }"):
        data, errors = await run_both(SCHEMA, text, context_value=Fresh(log))
        assert (data, errors) == (None, [("no number", ["failing"])])
    assert [sorted(each.calls) for each in logs] == [["cancelled", "failing", "hanging"]] * 4


async def test_a_cancelled_operation_cancels_its_resolvers() -> None:
    for executor in (CompiledExecutor, NativeExecutor):
        log = Log()
        running = asyncio.ensure_future(run(SCHEMA, "{ hanging square { name } }", executor, context_value=log))
        await log.started.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert log.calls == ["hanging", "cancelled"]


@pytest.mark.parametrize(
    ("selected", "calls", "data"),
    [
        (
            "first second third sixth",
            ["first starts", "second starts", "third waits", "third starts", "sixth starts"],
            {"first": "first", "second": None, "third": "third", "sixth": "sixth"},
        ),
        ("first fourth sixth", ["first starts", "fourth starts"], None),
        ("third fourth sixth", ["third waits", "third starts", "fourth starts"], None),
        ("third fifth second third2: third", ["third waits", "third starts", "fifth waits", "fifth starts"], None),
        ("a: sixth b: sixth", ["sixth starts", "sixth starts"], {"a": "sixth", "b": "sixth"}),
    ],
)
async def test_mutations_run_one_after_another(selected: str, calls: list[str], data: Any) -> None:
    """None runs after an error that makes all data null."""
    logs = []

    def log() -> Log:
        logs.append(Log())
        return logs[-1]

    result, errors = await run_both(SCHEMA, f"mutation {{ {selected} }}", context_value=Fresh(log))
    assert result == data
    assert len(errors) == ("second" in selected.split() or data is None)
    assert [each.calls for each in logs] == [calls, calls]


async def test_the_events_of_a_subscription_have_their_own_errors() -> None:
    assert await subscribe_both(SCHEMA, "subscription($n: Int!) { c: count(to: $n) }", variable_values={"n": 3}) == [
        ({"c": 0}, []),
        (None, ["Int cannot represent non-integer value: 'none'"]),
        ({"c": 2}, []),
    ]
    assert await subscribe_both(SCHEMA, "subscription { squares { name inner { name side } } }") == [
        ({"squares": {"name": "1", "inner": {"name": "in 1", "side": 2}}}, []),
        ({"squares": {"name": "2", "inner": {"name": "in 2", "side": 3}}}, []),
        (None, ["4 has none"]),
    ]
    assert await subscribe_both(SCHEMA, "subscription { maybe { name ... on Square { side } } }") == [
        ({"maybe": {"name": "a"}}, []),
        ({"maybe": None}, []),
        ({"maybe": {"name": "b", "side": 3}}, []),
        ({"maybe": {"name": "c"}}, []),
    ]


FLAGS = "abcdef"


async def test_plans_are_cached_for_each_combination_of_skip_and_include() -> None:
    text = f"query({', '.join(f'${name}: Boolean = false' for name in FLAGS)}) {{"
    text += "plain @skip(if: $a) square @include(if: $b) { name ...F side @skip(if: $b) @include(if: $c) }"
    text += "".join(f" {name}: __typename @include(if: ${name})" for name in FLAGS)
    text += "} fragment F on Square { other: name @include(if: $c) ... @skip(if: $d) { side } }"
    document, planner = parse(text), Planner(core_schema(SCHEMA))
    plans = plans_of(document)
    for chosen in range(2 ** len(FLAGS)):
        variables = {name: bool(chosen >> place & 1) for place, name in enumerate(FLAGS)}
        data, errors = await run_both(SCHEMA, text, variable_values=variables)
        assert errors == []
        assert ("plain" in data, "square" in data) == (not variables["a"], variables["b"])
        plan = make_plan(planner, plans, document, variables)
        assert plan is not None
        assert plan is make_plan(planner, plans, document, variables)
        assert list(plan.root.by_key) == list(data)
    assert plans.variables == tuple(FLAGS)
    assert len(plans.cache) == 2 ** len(FLAGS)


async def test_graphql_core_rejects_null_in_include() -> None:
    text = "query($a: Boolean) { plain @include(if: $a) }"
    data, errors = await run_both(SCHEMA, text, variable_values={"a": None})
    assert data is None
    assert [path for _, path in errors] == [None]


NO_VALUE = (
    "Argument 'if' has invalid value: Expected variable '$a' provided to type 'Boolean!' to provide a runtime value."
)
NULL = "Argument 'if' has invalid value: Expected variable '$a' provided to non-null type 'Boolean!' not to be None."


@pytest.mark.parametrize(("variables", "message"), [({}, NO_VALUE), ({"a": None}, NULL)])
@pytest.mark.parametrize(
    ("text", "expected", "paths"),
    [
        ("{ square { name @include(if: $a) } plain }", None, [["square"]]),
        ("{ square { inner { name @skip(if: $a) } } }", None, [["square", "inner"]]),
        ("{ shapes { name @include(if: $a) } }", {"shapes": [None] * 4}, [["shapes", place] for place in (0, 2, 3)]),
        (
            "{ shapes { ...F name } } fragment F on Square { inner { side @skip(if: $a) } }",
            {"shapes": [{"name": "a"}, None, None, {"name": "c"}]},
            [["shapes", 2, "inner"]],
        ),
        (
            "{ shapes { name ... on Square @skip(if: $a) { side } } plain }",
            {"shapes": [None] * 4, "plain": "plain"},
            [["shapes", place] for place in (0, 2, 3)],
        ),
        (
            "{ pairs { ... on Circle { size @include(if: $a) } } }",
            {"pairs": [[None, None], None, [], [{}, None]]},
            [["pairs", 0, 0], ["pairs", 3, 1]],
        ),
    ],
)
async def test_a_condition_without_a_value_is_an_error_of_each_object(
    text: str, expected: Any, paths: list[Any], variables: dict[str, Any], message: str
) -> None:
    """The document is not validated here: validation rejects a variable that may be missing."""
    text = f"query($a: Boolean) {text}"
    assert await run_both(SCHEMA, text, variable_values=variables) == (expected, [(message, path) for path in paths])
    if "..." not in text:
        text = text.replace("$a: Boolean", "").replace("$a", '"yes"').replace("()", "")
        data, errors = await run_both(SCHEMA, text)
        assert (data, [path for _, path in errors]) == (expected, paths)


async def test_a_null_condition_is_an_error_of_each_event() -> None:
    text = "subscription($a: Boolean = true) { maybe { name @include(if: $a) } }"
    results = await subscribe_both(SCHEMA, text, variable_values={"a": None})
    assert results == [({"maybe": None}, [NULL]), ({"maybe": None}, []), *[({"maybe": None}, [NULL])] * 2]


async def test_graphql_core_executes_operations_with_middleware() -> None:
    called: list[str] = []

    def middleware(resolve: Any, root: Any, info: Any, **arguments: Any) -> Any:
        called.append(info.field_name)
        return resolve(root, info, **arguments)

    data, _ = await run_both(SCHEMA, "{ plain square { name } }", middleware=[middleware])
    assert data == {"plain": "plain", "square": {"name": "s"}}
    assert called == ["plain", "square", "name"] * 2


async def test_graphql_core_executes_operations_with_an_abort_signal() -> None:
    for executor in (Executor, CompiledExecutor, NativeExecutor):
        control, log = AbortController(), Log()
        running = asyncio.ensure_future(
            run(SCHEMA, "{ hanging plain }", executor, context_value=log, abort_signal=control.signal)
        )
        await log.started.wait()
        control.abort()
        with pytest.raises(AbortedGraphQLExecutionError):
            await running
        log.never.set()


async def test_graphql_core_executes_operations_with_another_is_awaitable() -> None:
    checked: list[Any] = []

    def is_awaitable(value: Any) -> Any:
        checked.append(value)
        return hasattr(value, "__await__")

    data, _ = await run_both(SCHEMA, "{ plain }", is_awaitable=is_awaitable)
    assert data == {"plain": "plain"}
    assert "plain" in checked


def test_without_an_event_loop() -> None:
    """The data and errors of resolvers that are not async are returned at once."""
    text = "{ broken plain shapes { name } b: broken }"
    for run_sync in (execute, execute_sync):
        theirs, ours = [
            run_sync(core_schema(SCHEMA), parse(text), executor_class=e) for e in (Executor, CompiledExecutor)
        ]
        assert isinstance(ours, ExecutionResult)
        assert ours == theirs
        assert [error.path for error in ours.errors or ()] == [["broken"], ["b"]]


BY_NAME = build_schema("""
    interface Named { name: String }
    type Person implements Named { name: String, friends: [Named!], loud: String! @deprecated }
    type Dog implements Named { name: String }
    type Query { people(named: [String!] = ["a"], count: Int!): [Person], any: Named, total: Int }
""")


def _people(_: Any, named: list[str], count: int) -> Any:
    friends = [{"__typename": "Dog", "name": "d"}, {"__typename": "Person", "name": "p"}]
    return [{"name": name * count, "friends": friends, "loud": None if name == "quiet" else "!"} for name in named]


async def test_a_schema_without_strawberry() -> None:
    """It is built from SDL. graphql-core's default resolvers read dicts and call functions."""
    text = """query($c: Int!, $n: [String!]) { total people(count: $c, named: $n) {
        name friends { __typename name ... on Person { loud } } } any { name } }"""
    root = {"total": lambda _: 1 / 0, "people": _people, "any": {"__typename": "Person", "name": "n"}}
    data, errors = await run_both(BY_NAME, text, root_value=root, variable_values={"c": 2})
    assert data == {"total": None, "people": [{"name": "aa", "friends": None}], "any": {"name": "n"}}
    assert [path for _, path in errors] == [["total"], ["people", 0, "friends", 1, "loud"]]
    text = '{ people(count: 1, named: ["x", "quiet"]) { name loud } unknown { of } any { nor } }'
    data, errors = await run_both(BY_NAME, text, root_value=root)
    assert data == {"people": [{"name": "x", "loud": "!"}, None], "any": {}}
    data, errors = await run_both(
        BY_NAME, "query($n: Int) { people(count: $n) { name } total }", root_value={"total": 5}
    )
    assert data == {"people": None, "total": 5}
    assert [message for message, _ in errors] == [
        "Argument 'count' has invalid value: Expected variable '$n' provided to type 'Int!' to provide a runtime value."
    ]


async def test_an_operation_without_a_root_type() -> None:
    text = "mutation { anything }"
    for executor in (CompiledExecutor, NativeExecutor):
        result = await run(GraphQLSchema(core_schema(SCHEMA).query_type), text, executor)
        assert result.data is None
        assert [error.message for error in result.errors or ()] == [
            "Schema is not configured to execute mutation operation."
        ]


async def test_introspection_gives_the_same_result() -> None:
    data, errors = await run_both(
        gateway_schema, get_introspection_query(specified_by_url=True, input_value_deprecation=True)
    )
    assert errors == []
    assert len(data["__schema"]["types"]) > 100
    data, errors = await run_both(
        gateway_schema, '{ a: __type(name: "Task") { fields { name } } b: __type(name: "None") { name } }'
    )
    assert (errors, data["b"]) == ([], None)
