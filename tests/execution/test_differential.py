"""The compiled executor against graphql-core's: the same data, keys in the same order, the same errors."""

import json
import re
from collections import Counter
from typing import Any

import pytest
from graphql import ExecutionResult, GraphQLError, GraphQLSchema, execute, parse
from graphql.execution import Executor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis_graphql import strategies

from gateway.execution.executor import CompiledExecutor
from tests.execution.ugly import CatRow, Shown, ugly


async def run(schema: GraphQLSchema, text: str, executor: type[Executor[Any]], **arguments: Any) -> ExecutionResult:
    """The result of one operation."""
    found = execute(schema, parse(text), executor_class=executor, **arguments)
    return found if isinstance(found, ExecutionResult) else await found


def nulled(data: Any, error: GraphQLError) -> tuple[str | int, ...]:
    """The place that is null because of an error."""
    place: list[str | int] = []
    for key in error.path or ():
        if data is None:
            break
        data = data[key]
        place.append(key)
    assert data is None
    return tuple(place)


GRAPH = ugly._schema
THOROUGH = settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def same(ours: ExecutionResult, theirs: ExecutionResult, *, in_order: bool) -> bool:
    """Whether two results are the same, but for the races that graphql-core leaves open."""
    shared = {
        place
        for result in (ours, theirs)
        for place, count in Counter(nulled(result.data, error) for error in result.errors or ()).items()
        if count > 1
    }
    if not in_order:
        shared |= {
            place
            for result in (ours, theirs)
            for error in result.errors or ()
            if (place := nulled(result.data, error)) != tuple(error.path or ())
        }

    def told(result: ExecutionResult) -> tuple[str, list[Any], list[Any], set[Any]]:
        places = [nulled(result.data, error) for error in result.errors or ()]
        alone = [
            (e.formatted, p == tuple(e.path or ()))
            for e, p in zip(result.errors or (), places, strict=True)
            if p not in shared
        ]
        at_once = [error for error, is_own in alone if is_own and in_order]
        rest = sorted((error for error, is_own in alone if not is_own or not in_order), key=repr)
        return json.dumps(result.data), at_once, rest, set(places)

    return told(ours) == told(theirs)


async def compared(text: str, number: int, *, wildness: int, may_be_late: bool) -> None:
    """Runs an operation by both executors.

    An error that makes more null than its own field gets there in some turns of the loop. Whether another error below
    the same place comes before, and which of them stands first, is a race in graphql-core; so of several only the place
    is compared, and of one not the order. Where something is awaited, which of several is told is such a race as well.
    """
    Shown.wildness, Shown.may_be_late = wildness, may_be_late
    theirs = await run(GRAPH, text, Executor, root_value=CatRow(number))
    ours = await run(GRAPH, text, CompiledExecutor, root_value=CatRow(number))
    in_order = not may_be_late and not re.search("awaited|many", text)
    assert same(ours, theirs, in_order=in_order), (ours, theirs)


def left_by_core(test: Any) -> Any:
    """graphql-core leaves coroutines behind that it had not begun when it cancels the siblings of an error."""
    test = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")(test)
    return pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <coroutine:pytest.PytestUnraisableExceptionWarning"
    )(test)


@left_by_core
@pytest.mark.parametrize("may_be_late", [False, True])
@pytest.mark.parametrize("wildness", [0, 3, 30])
@THOROUGH
@given(text=strategies.queries(GRAPH), number=st.integers(0, 10**6))
async def test_any_query_gives_the_same(*, wildness: int, may_be_late: bool, text: str, number: int) -> None:
    await compared(text, number, wildness=wildness, may_be_late=may_be_late)


@THOROUGH
@given(text=strategies.queries(GRAPH), number=st.integers(0, 10**6), may_be_late=st.booleans())
async def test_ours_leaves_nothing_behind(*, text: str, number: int, may_be_late: bool) -> None:
    """No coroutine that nobody awaits: the warning would be an error."""
    Shown.wildness, Shown.may_be_late = 30, may_be_late
    await run(GRAPH, text, CompiledExecutor, root_value=CatRow(number))


@left_by_core
@pytest.mark.parametrize("wildness", [0, 10])
@THOROUGH
@given(text=strategies.mutations(GRAPH), number=st.integers(0, 10**6))
async def test_any_mutation_gives_the_same(wildness: int, text: str, number: int) -> None:
    await compared(text, number, wildness=wildness, may_be_late=False)
