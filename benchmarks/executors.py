"""The gateway's executor beside graphql-core's, in process, without a database: `python -m benchmarks.executors`.

Each operation is parsed and validated once. Both executors then run it by turns, and the ratio of the medians is told:
it depends far less on the machine than the times do.
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

from benchmarks.memory import remembered
from benchmarks.page import PAGE, circumstances, replace_part
from resolvers.request.context import Context
from schema import schema

ROUNDS = 15
_LEAST_SECONDS = 0.05

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
    """An operation to measure, with what makes the context of one run."""

    name: str
    core: GraphQLSchema
    document: DocumentNode
    context: Callable[[], Any]

    @classmethod
    def of(cls, name: str, text: str, context: Callable[[], Any], schema: strawberry.Schema = schema) -> "Case":
        """The case of a document that is valid."""
        core: GraphQLSchema = schema._schema  # noqa: SLF001 (there is no public way to it)
        document = parse(text)
        assert not validate(core, document)
        return cls(name, core, document, context)


async def answer(case: Case, executor: type[Executor[Any]]) -> ExecutionResult:
    """One run."""
    context = case.context()
    outcome = execute(case.core, case.document, context_value=context, executor_class=executor)
    result = await outcome if inspect.isawaitable(outcome) else outcome
    if isinstance(context, Context):
        await context.close()
    return result


async def _seconds(case: Case, executor: type[Executor[Any]], times: int) -> float:
    """How long a run takes, on average over so many."""
    gc.collect()
    start = time.perf_counter()
    for _ in range(times):
        await answer(case, executor)
    return (time.perf_counter() - start) / times


async def compare(case: Case, ours: type[Executor[Any]], theirs: type[Executor[Any]]) -> tuple[float, float]:
    """The medians of both over alternating rounds, in seconds; both must give the same answer."""
    first, second = await answer(case, ours), await answer(case, theirs)
    if second.errors or (orjson.dumps(first.data), first.errors) != (orjson.dumps(second.data), second.errors):
        raise SystemExit(f"{case.name}: the answers differ or have errors: {first.errors} {second.errors}")
    taken: dict[type[Executor[Any]], list[float]] = {ours: [], theirs: []}
    times = {executor: max(1, int(_LEAST_SECONDS / await _seconds(case, executor, 3))) for executor in taken}
    for number in range(ROUNDS):
        for executor in (ours, theirs) if number % 2 else (theirs, ours):
            taken[executor].append(await _seconds(case, executor, times[executor]))
    return statistics.median(taken[ours]), statistics.median(taken[theirs])


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
        """Through a loader."""
        found: _Heading = await info.context.load(self.heading_id)
        return found


_THINGS = [_Thing(a=i, b=f"b{i}", c=None, d=i / 7, e=True, f="f", g=i, h="h", heading_id=i % 8) for i in range(300)]


@strawberry.type
class _Query:
    @strawberry.field
    def things(self, first: int) -> list[_Thing]:
        """From memory."""
        return _THINGS[:first]


async def _headings(keys: list[int]) -> list[_Heading]:
    return [_Heading(id=key, name=f"heading {key}") for key in keys]


def _plain_cases() -> list[Case]:
    """A Strawberry schema of which the gateway knows nothing."""
    plain = strawberry.Schema(query=_Query)
    listed = "{ things(first: 300) { a b c d e f g h } }"
    loaded = "{ things(first: 50) { a b c d e f g h heading { id name } } }"
    return [
        Case.of("any Strawberry schema: 300 × 8 fields", listed, lambda: None, plain),
        Case.of(
            "any Strawberry schema: 50 × 8 fields, resolver with a loader",
            loaded,
            lambda: aiodataloader.DataLoader(_headings),
            plain,
        ),
    ]


async def _cases() -> list[Case]:
    contexts = await remembered([partial(_ask, text) for text in OPERATIONS.values()])
    made = [Case.of(*operation, context) for operation, context in zip(OPERATIONS.items(), contexts, strict=True)]
    return made + _plain_cases()


async def _ask(text: str, context: Callable[[], Context]) -> None:
    result = await answer(Case.of("", text, context), BaseGraphQLExecutionContext)
    assert not result.errors, result.errors


async def table(ours: type[Executor[Any]], theirs: type[Executor[Any]] = BaseGraphQLExecutionContext) -> str:
    """The table of all cases; each line is printed when it is known."""
    lines = ["| operation | graphql-core, ms | gateway, ms | ratio |", "|---|---:|---:|---:|"]
    print("\n".join(lines))
    for case in await _cases():
        mine, core = await compare(case, ours, theirs)
        lines.append(f"| {case.name} | {core * 1000:.2f} | {mine * 1000:.2f} | {core / mine:.1f} × |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Compares and prints, and writes if asked to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.executors", description=__doc__)
    parser.add_argument("--executor", default="gateway.execution.executor:NativeExecutor", help="module:class")
    parser.add_argument("--write", action="store_true", help=f"write the table into {PAGE}")
    given = parser.parse_args(arguments)
    text = asyncio.run(table(named(given.executor)))
    if given.write:
        replace_part(PAGE, "executors", f"{circumstances()}\n\n{text}")


def named(path: str) -> type[Executor[Any]]:
    """The executor at ``module:name``."""
    module, _, name = path.partition(":")
    found: type[Executor[Any]] = getattr(import_module(module), name)
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
