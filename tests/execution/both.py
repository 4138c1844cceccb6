"""Operations run by graphql-core's executor and by ours, which must agree."""

import json
from collections.abc import AsyncGenerator, Callable
from typing import Any

import strawberry
from graphql import ExecutionResult, GraphQLSchema, execute, parse, subscribe
from graphql.execution import Executor

from gateway.execution.executor import CompiledExecutor


def graph(schema: strawberry.Schema | GraphQLSchema) -> GraphQLSchema:
    """graphql-core's part of a schema."""
    return schema._schema if isinstance(schema, strawberry.Schema) else schema


def shown(result: ExecutionResult) -> Any:
    """Data with its keys in their order, and errors."""
    return json.dumps(result.data), [error.formatted for error in result.errors or ()]


async def run(
    schema: strawberry.Schema | GraphQLSchema, text: str, executor: type[Executor[Any]], **given: Any
) -> ExecutionResult:
    """The result of one operation by one executor; ``given`` are the arguments of :func:`graphql.execute`."""
    found = execute(graph(schema), parse(text), executor_class=executor, **given)
    return found if isinstance(found, ExecutionResult) else await found


async def both(schema: strawberry.Schema | GraphQLSchema, text: str, **given: Any) -> Any:
    """``data`` and the messages of the errors with their paths, the same by both executors.

    A value of ``given`` that each of them gets one of is a :class:`Fresh`.
    """
    results = [
        await run(schema, text, executor, **{name: _made(value) for name, value in given.items()})
        for executor in (Executor, CompiledExecutor)
    ]
    theirs, ours = results
    assert shown(ours) == shown(theirs)
    return ours.data, [(error.message, error.path) for error in ours.errors or ()]


class Fresh:
    """Something that each executor gets one of."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


def _made(value: Any) -> Any:
    return value.make() if isinstance(value, Fresh) else value


async def events_of_both(schema: strawberry.Schema, text: str, **given: Any) -> list[Any]:
    """The responses to the events of a subscription, the same by both executors."""
    found = []
    for executor in (Executor, CompiledExecutor):
        stream: Any = subscribe(graph(schema), parse(text), executor_class=executor, **given)
        stream = stream if isinstance(stream, AsyncGenerator) else await stream
        found.append([result async for result in stream])
    theirs, ours = found
    assert [shown(result) for result in ours] == [shown(result) for result in theirs]
    return [(result.data, [error.message for error in result.errors or ()]) for result in ours]
