"""The pipeline: parse → validate → limit → plan → run.

    prepared = pipeline.prepare(text, operation_name, viewer, variables)   # parse → validate → limit
    result = await pipeline.run(prepared, context)                         # plan → run

Both raise :class:`RequestError` for what is refused without any data.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

from graphql import ExecutionResult, Executor, GraphQLError, OperationDefinitionNode
from strawberry import Schema

from gateway.execution.documents import Document, Documents
from gateway.execution.executor import NativeExecutor
from gateway.execution.operation import Operation
from gateway.execution.request_errors import RequestError, shortened
from gateway.execution.timings import Timings
from repositories.core.errors import Timeout
from repositories.core.viewer import Viewer
from resolvers.request.context import Context


@dataclass(frozen=True, slots=True)
class Prepared:
    """An operation of a valid document with its variables, within the limits; ``cost`` is what was counted for it."""

    document: Document
    operation: OperationDefinitionNode
    variables: Mapping[str, Any]
    cost: int

    @property
    def kind(self) -> str:
        """query, mutation or subscription."""
        return self.operation.operation.value


Limits = Callable[[Document, OperationDefinitionNode, Mapping[str, Any], Viewer], int]
"""What an operation costs, or RequestError if it asks for too much."""

NO_VARIABLES: Mapping[str, Any] = MappingProxyType({})


def unlimited(
    document: Document, operation: OperationDefinitionNode, variables: Mapping[str, Any], viewer: Viewer
) -> int:
    """No limits, and nothing is counted."""
    return 0


def always_suggesting(viewer: Viewer) -> bool:
    """Everybody is told which names come near to an unknown one."""
    return False


class OperationProcessor:
    """Runs operations on a schema.

    ``executor`` runs them (graphql-core's extension point), ``limits`` sees every operation with its variables before
    it runs, ``hides_suggestions`` tells who is not told the names of the schema, and ``time_limit`` is in seconds.
    """

    def __init__(  # noqa: PLR0913 (the steps, one by one)
        self,
        schema: Schema,
        *,
        executor: type[Executor[Any]] = NativeExecutor,
        limits: Limits = unlimited,
        hides_suggestions: Callable[[Viewer], bool] = always_suggesting,
        max_tokens: int = 4000,
        time_limit: float | None = None,
    ) -> None:
        self.schema = schema._schema  # noqa: SLF001 (Strawberry has no public way to what it made)
        self.documents = Documents(self.schema, max_tokens=max_tokens)
        self._executor: Any = executor
        self._limits = limits
        self._hides_suggestions = hides_suggestions
        self._time_limit = time_limit

    def prepare(
        self,
        text: str,
        operation_name: str | None,
        viewer: Viewer,
        variables: Mapping[str, Any] = NO_VARIABLES,
        timings: Timings | None = None,
    ) -> Prepared:
        """The operation of that name in a document, if its viewer may ask for so much."""
        document = self.documents.get(text, hide_suggestions=self._hides_suggestions(viewer), timings=timings)
        operation = document.operation(operation_name)
        return Prepared(document, operation, variables, self._limits(document, operation, variables, viewer))

    def _operation(self, prepared: Prepared) -> Operation:
        kept = prepared.document.plans
        known: Operation | None = kept.get(id(prepared.operation))
        if known is None:
            known = kept[id(prepared.operation)] = Operation(self.schema, prepared.document, prepared.operation)
        return known

    def executor(self, prepared: Prepared, context: Context, root_value: Any = None) -> Executor[Any]:
        """What executes an operation, or RequestError if its variables are not what it declares."""
        executor = self._operation(prepared).executor(
            self._executor,
            prepared.variables,
            context,
            root_value,
            hide_suggestions=self._hides_suggestions(context.viewer),
        )
        if isinstance(executor, list):
            raise RequestError([shortened(error) for error in executor])
        return executor

    async def run(
        self, prepared: Prepared, context: Context, timings: Timings | None = None, *, root_value: Any = None
    ) -> ExecutionResult:
        """The result of a query, a mutation, or of one event of a subscription, which is then ``root_value``.

        When its time is up, or nobody waits any more, its statements stop.
        """
        executor = self.executor(prepared, context, root_value)
        if timings is not None:
            timings.mark("plan")
        try:
            async with asyncio.timeout(self._time_limit):
                result = executor.execute_operation()
                if not isinstance(result, ExecutionResult):
                    result = await cast("Awaitable[ExecutionResult]", result)
        except TimeoutError as error:
            raise RequestError([GraphQLError("", original_error=Timeout())], Timeout.status) from error
        finally:
            await context.close()
            if timings is not None:
                timings.mark("run")
        return result
