"""Compares the compiled executor with graphql-core's: data, order of keys, and errors must be the same."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from graphql import (
    ExecutionResult,
    FieldNode,
    GraphQLError,
    GraphQLSchema,
    InlineFragmentNode,
    Visitor,
    execute,
    parse,
    print_ast,
    visit,
)
from graphql.execution import Executor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis_graphql import strategies

from gateway.execution.executor import CompiledExecutor
from tests.execution.faulty_schema import SCHEMA, CatRow, FaultyRow


async def run(schema: GraphQLSchema, text: str, executor: type[Executor[Any]], **arguments: Any) -> ExecutionResult:
    result = execute(schema, parse(text), executor_class=executor, **arguments)
    return result if isinstance(result, ExecutionResult) else await result


def null_path(data: Any, error: GraphQLError) -> tuple[str | int, ...]:
    """The path of the value that is null because of an error."""
    path: list[str | int] = []
    for key in error.path or ():
        if data is None:
            break
        data = data[key]
        path.append(key)
    assert data is None
    return tuple(path)


GRAPH = SCHEMA._schema
THOROUGH = settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def is_same(ours: ExecutionResult, theirs: ExecutionResult, *, in_order: bool) -> bool:
    """Whether two results are the same, apart from the races in graphql-core (see :func:`compare`)."""
    shared = {
        path
        for result in (ours, theirs)
        for path, count in Counter(null_path(result.data, error) for error in result.errors or ()).items()
        if count > 1
    }
    if not in_order:
        shared |= {
            path
            for result in (ours, theirs)
            for error in result.errors or ()
            if (path := null_path(result.data, error)) != tuple(error.path or ())
        }

    def comparable(result: ExecutionResult) -> tuple[str, list[Any], list[Any], set[Any]]:
        paths = [null_path(result.data, error) for error in result.errors or ()]
        alone = [
            (error.formatted, path == tuple(error.path or ()))
            for error, path in zip(result.errors or (), paths, strict=True)
            if path not in shared
        ]
        ordered = [error for error, is_own in alone if is_own and in_order]
        unordered = sorted((error for error, is_own in alone if not is_own or not in_order), key=repr)
        return json.dumps(result.data), ordered, unordered, set(paths)

    return comparable(ours) == comparable(theirs)


async def compare(
    text: str, number: int, *, wildness: int, may_be_late: bool, variables: Mapping[str, Any] | None = None
) -> None:
    """Executes an operation with both executors and compares the results.

    An error that makes more null than its own field takes some iterations of the event loop to do so. Which of several
    errors below the same null is reported, and in which order, is a race in graphql-core. So only the path of the null
    is compared for several errors, and the order is not compared for one. If a value is awaited, there is a race too.
    """
    FaultyRow.wildness, FaultyRow.may_be_late = wildness, may_be_late
    theirs, ours = [
        await run(GRAPH, text, executor, root_value=CatRow(number), variable_values=variables)
        for executor in (Executor, CompiledExecutor)
    ]
    in_order = not may_be_late and not re.search("awaited|many", text)
    assert is_same(ours, theirs, in_order=in_order), (ours, theirs)


def ignore_abandoned_coroutines(test: Any) -> Any:
    """graphql-core abandons coroutines that have not started when it cancels the siblings of an error."""
    test = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")(test)
    return pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <coroutine:pytest.PytestUnraisableExceptionWarning"
    )(test)


@ignore_abandoned_coroutines
@pytest.mark.parametrize("may_be_late", [False, True])
@pytest.mark.parametrize("wildness", [0, 3, 30])
@THOROUGH
@given(text=strategies.queries(GRAPH), number=st.integers(0, 10**6))
async def test_any_query_gives_the_same_result(*, wildness: int, may_be_late: bool, text: str, number: int) -> None:
    await compare(text, number, wildness=wildness, may_be_late=may_be_late)


@THOROUGH
@given(text=strategies.queries(GRAPH), number=st.integers(0, 10**6), may_be_late=st.booleans())
async def test_our_executor_abandons_no_coroutine(*, text: str, number: int, may_be_late: bool) -> None:
    """The warning about a coroutine that is never awaited would be an error."""
    FaultyRow.wildness, FaultyRow.may_be_late = 30, may_be_late
    await run(GRAPH, text, CompiledExecutor, root_value=CatRow(number))


@ignore_abandoned_coroutines
@pytest.mark.parametrize("wildness", [0, 10])
@THOROUGH
@given(text=strategies.mutations(GRAPH), number=st.integers(0, 10**6))
async def test_any_mutation_gives_the_same_result(wildness: int, text: str, number: int) -> None:
    await compare(text, number, wildness=wildness, may_be_late=False)


_DIRECTIVES = [
    (),
    (),
    (),
    *(
        parse(f"{{ field {directive} }}").definitions[0].selection_set.selections[0].directives  # type: ignore[attr-defined]
        for directive in ("@skip(if: $a)", "@include(if: $b)", "@skip(if: $b) @include(if: $c)")
    ),
]


class _DirectiveWriter(Visitor):
    """Puts ``@skip`` and ``@include`` at some fields and inline fragments."""

    def __init__(self, draw: Any) -> None:
        super().__init__()
        self._draw = draw

    def leave(self, node: Any, *_: Any) -> Any:
        if not isinstance(node, FieldNode | InlineFragmentNode):
            return None
        return replace(node, directives=self._draw(st.sampled_from(_DIRECTIVES)))


@st.composite
def queries_with_directives(draw: Any) -> str:
    """Queries in which the variables a, b and c decide what is selected."""
    document = parse(draw(strategies.queries(GRAPH)))
    text = print_ast(visit(document, _DirectiveWriter(draw)))
    return f"query($a: Boolean, $b: Boolean, $c: Boolean = true) {text[text.index('{') :]}"


_CONDITIONS = st.dictionaries(st.sampled_from("abc"), st.sampled_from([True, False, None]))


@ignore_abandoned_coroutines
@pytest.mark.parametrize("wildness", [0, 3])
@THOROUGH
@given(text=queries_with_directives(), variables=_CONDITIONS, number=st.integers(0, 10**6))
async def test_any_condition_gives_the_same_result(
    wildness: int, text: str, variables: dict[str, Any], number: int
) -> None:
    """A condition that is null, or a variable without a value, is an error of the object that selects the field."""
    await compare(text, number, wildness=wildness, may_be_late=False, variables=variables)
