"""Compares the gateway's executor with graphql-core's, in process and without a database.

Run it with `python -m benchmarks.executors`. Each operation is parsed and validated once. Both executors then execute
it in turns. The result is the ratio of the medians, which depends much less on the machine than the times do.
"""

import argparse
import asyncio
import gc
import inspect
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

import aiodataloader
import orjson
import strawberry
from graphql import DocumentNode, ExecutionResult, GraphQLSchema, parse, validate
from graphql.execution import Executor, execute
from strawberry.schema._graphql_core import BaseGraphQLExecutionContext

from benchmarks.page import PAGE, describe_environment, replace_section
from benchmarks.replay import CreateContext, Execute, record_operations
from gateway.execution.documents import Document
from gateway.execution.executor import CompiledExecutor
from gateway.execution.planner import OperationPlans
from resolvers.request.context import Context
from schema import schema

ROUNDS = 15
_MIN_SECONDS = 0.05
"""The minimum time of one measurement, which repeats the operation as often as needed."""

TASK = "id title description status priorityLevel dueDate completedAt createdAt"
OPERATIONS = {
    "300 tasks × 8 fields": f"{{ tasks(first: 300, order: [{{field: DUE_DATE}}]) {{ nodes {{ {TASK} }} }} }}",
    "50 tasks with their category": "{ tasks(order: [{field: DUE_DATE}]) { nodes { "
    f"{TASK} category {{ id name color }} }} }} }}",
    "20 clients with their contacts": "{ clients { nodes { id companyName status industry annualRevenue "
    "contacts { nodes { id firstName lastName position isPrimary } } } } }",
    "dashboard": "{ lifeLockDashboard { totalTasks completedTasks overdueTasks todaysTasks "
    "categoryBreakdown { category { id name color } total completed } "
    "upcomingDeadlines(first: 5) { id title dueDate priorityLevel } } }",
    "createTask and its payload": 'mutation { createTask(input: {title: "Read", priorityLevel: 5}) '
    "{ task { id title status priorityLevel dueDate } userErrors { code message field } } }",
}


class Case(NamedTuple):
    """An operation to measure. ``create_context`` creates the context of one execution."""

    name: str
    core_schema: GraphQLSchema
    document: DocumentNode
    create_context: Callable[[], Any]

    @classmethod
    def parse(
        cls, name: str, text: str, create_context: Callable[[], Any], schema: strawberry.Schema = schema
    ) -> "Case":
        """Parses and validates the text of the operation."""
        core_schema: GraphQLSchema = schema._schema  # noqa: SLF001 (there is no public attribute)
        document = parse(text)
        assert not validate(core_schema, document)
        return cls(name, core_schema, document, create_context)


async def execute_case(case: Case, executor: type[Executor[Any]]) -> ExecutionResult:
    context = case.create_context()
    outcome = execute(case.core_schema, case.document, context_value=context, executor_class=executor)
    result = await outcome if inspect.isawaitable(outcome) else outcome
    if isinstance(context, Context):
        await context.close()
    return result


async def _measure(case: Case, executor: type[Executor[Any]], repetitions: int) -> float:
    """Returns the average seconds of one execution."""
    gc.collect()
    start = time.perf_counter()
    for _ in range(repetitions):
        await execute_case(case, executor)
    return (time.perf_counter() - start) / repetitions


def with_cached_plans(executor: type[Executor[Any]], case: Case) -> type[Executor[Any]]:
    """The gateway's executor with the plans that the case's document owns, as in the gateway; others as they are."""
    if not issubclass(executor, CompiledExecutor):
        return executor
    document = Document(case.document)
    plans = OperationPlans(document.operations[0], document.fragments)
    return type(executor.__name__, (executor,), {"operation_plans": plans})


async def compare(case: Case, ours: type[Executor[Any]], theirs: type[Executor[Any]]) -> tuple[float, float]:
    """Returns the median seconds of both over alternating rounds. Exits if their results differ."""
    ours = with_cached_plans(ours, case)
    first, second = await execute_case(case, ours), await execute_case(case, theirs)
    if second.errors or (orjson.dumps(first.data), first.errors) != (orjson.dumps(second.data), second.errors):
        raise SystemExit(f"{case.name}: the results differ or have errors: {first.errors} {second.errors}")
    seconds: dict[type[Executor[Any]], list[float]] = {ours: [], theirs: []}
    repetitions = {executor: max(1, int(_MIN_SECONDS / await _measure(case, executor, 3))) for executor in seconds}
    for number in range(ROUNDS):
        for executor in (ours, theirs) if number % 2 else (theirs, ours):
            seconds[executor].append(await _measure(case, executor, repetitions[executor]))
    return statistics.median(seconds[ours]), statistics.median(seconds[theirs])


@strawberry.type
class _Heading:
    id: int
    name: str


@strawberry.type
class _Thing:
    a: int
    b: str
    c: str | None
    d: float
    e: bool
    f: str
    g: int | None
    h: str
    heading_id: strawberry.Private[int]

    @strawberry.field
    async def heading(self, info: strawberry.Info) -> _Heading:
        heading: _Heading = await info.context.load(self.heading_id)
        return heading


_THINGS = [_Thing(a=i, b=f"b{i}", c=None, d=i / 7, e=True, f="f", g=i, h="h", heading_id=i % 8) for i in range(300)]


@strawberry.type
class _Query:
    @strawberry.field
    def things(self, first: int) -> list[_Thing]:
        return _THINGS[:first]


async def _load_headings(keys: list[int]) -> list[_Heading]:
    return [_Heading(id=key, name=f"heading {key}") for key in keys]


def _plain_cases() -> list[Case]:
    """Operations on a Strawberry schema that does not use the gateway's framework."""
    plain = strawberry.Schema(query=_Query)
    list_fields = "{ things(first: 300) { a b c d e f g h } }"
    list_with_loader = "{ things(first: 50) { a b c d e f g h heading { id name } } }"
    return [
        Case.parse("any Strawberry schema: 300 × 8 fields", list_fields, lambda: None, plain),
        Case.parse(
            "any Strawberry schema: 50 × 8 fields, resolver with a loader",
            list_with_loader,
            lambda: aiodataloader.DataLoader(_load_headings),
            plain,
        ),
    ]


async def _cases() -> list[Case]:
    operations: list[Execute] = [partial(_execute_text, text) for text in OPERATIONS.values()]
    contexts = await record_operations(operations)
    recorded = zip(OPERATIONS.items(), contexts, strict=True)
    return [Case.parse(*operation, create_context) for operation, create_context in recorded] + _plain_cases()


async def _execute_text(text: str, create_context: CreateContext) -> None:
    result = await execute_case(Case.parse("", text, create_context), BaseGraphQLExecutionContext)
    assert not result.errors, result.errors


async def table(ours: type[Executor[Any]], theirs: type[Executor[Any]] = BaseGraphQLExecutionContext) -> str:
    """Returns the table of all cases. Prints each line as soon as it is measured."""
    lines = ["| operation | graphql-core, ms | gateway, ms | ratio |", "|---|---:|---:|---:|"]
    print("\n".join(lines))
    for case in await _cases():
        our_time, their_time = await compare(case, ours, theirs)
        times = f"{their_time * 1000:.2f} | {our_time * 1000:.2f}"
        lines.append(f"| {case.name} | {times} | {their_time / our_time:.1f} × |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.executors", description=__doc__)
    parser.add_argument("--executor", default="gateway.execution.executor:NativeExecutor", help="module:class")
    parser.add_argument("--write", action="store_true", help=f"write the table into {PAGE}")
    options = parser.parse_args(arguments)
    text = asyncio.run(table(load_executor(options.executor)))
    if options.write:
        replace_section(PAGE, "executors", f"{describe_environment()}\n\n{text}")


def load_executor(path: str) -> type[Executor[Any]]:
    """Imports the executor at ``module:name``."""
    module, _, name = path.partition(":")
    executor: type[Executor[Any]] = getattr(import_module(module), name)
    return executor


if __name__ == "__main__":
    main(sys.argv[1:])
