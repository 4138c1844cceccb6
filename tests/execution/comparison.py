"""Runs operations with graphql-core's executor and with ours, and compares the results."""

import json
from collections.abc import AsyncGenerator, Callable
from typing import Any

import strawberry
from graphql import ExecutionResult, GraphQLSchema, execute, parse, subscribe
from graphql.execution import Executor

from gateway.execution.executor import CompiledExecutor


def core_schema(schema: strawberry.Schema | GraphQLSchema) -> GraphQLSchema:
    """The graphql-core schema of a Strawberry schema."""
    return schema._schema if isinstance(schema, strawberry.Schema) else schema


def comparable(result: ExecutionResult) -> Any:
    """The data, with its keys in their order, and the errors."""
    return json.dumps(result.data), [error.formatted for error in result.errors or ()]


async def run(
    schema: strawberry.Schema | GraphQLSchema, text: str, executor: type[Executor[Any]], **arguments: Any
) -> ExecutionResult:
    """The result of one operation with one executor; ``arguments`` are those of :func:`graphql.execute`."""
    result = execute(core_schema(schema), parse(text), executor_class=executor, **arguments)
    return result if isinstance(result, ExecutionResult) else await result


async def run_both(schema: strawberry.Schema | GraphQLSchema, text: str, **arguments: Any) -> Any:
    """``data`` and the messages of the errors with their paths, which must be the same with both executors.

    Each executor gets its own value of an argument that is a :class:`Fresh`.
    """
    results = [
        await run(schema, text, executor, **{name: _value(argument) for name, argument in arguments.items()})
        for executor in (Executor, CompiledExecutor)
    ]
    theirs, ours = results
    assert comparable(ours) == comparable(theirs)
    return ours.data, [(error.message, error.path) for error in ours.errors or ()]


class Fresh:
    """An argument that is made for each executor."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


def _value(argument: Any) -> Any:
    return argument.make() if isinstance(argument, Fresh) else argument


async def subscribe_both(schema: strawberry.Schema, text: str, **arguments: Any) -> list[Any]:
    """The results of a subscription, which must be the same with both executors."""
    results = []
    for executor in (Executor, CompiledExecutor):
        stream: Any = subscribe(core_schema(schema), parse(text), executor_class=executor, **arguments)
        stream = stream if isinstance(stream, AsyncGenerator) else await stream
        results.append([result async for result in stream])
    theirs, ours = results
    assert [comparable(result) for result in ours] == [comparable(result) for result in theirs]
    return [(result.data, [error.message for error in result.errors or ()]) for result in ours]
