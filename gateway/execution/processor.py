"""The steps of an operation: parse → validate → limit → plan → execute.

    document = processor.parse(text, viewer)                                  # parse → validate
    prepared = processor.prepare(document, operation_name, viewer, variables) # limit
    result = await processor.run(prepared, context)                           # plan → execute

Each raises :class:`RequestError` for an operation that is rejected without any data.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

from graphql import ExecutionResult, Executor, GraphQLError, OperationDefinitionNode
from strawberry import Schema

from gateway.execution.documents import Document, Documents
from gateway.execution.executor import CompiledExecutor, NativeExecutor
from gateway.execution.operation import Operation
from gateway.execution.request_errors import RequestError, shorten
from gateway.execution.timings import Timings
from repositories.core.errors import Timeout
from repositories.core.viewer import Viewer
from resolvers.request.context import Context


@dataclass(frozen=True, slots=True)
class PreparedOperation:
    """An operation of a valid document with its variables, within the limits, and its cost."""

    document: Document
    operation: OperationDefinitionNode
    kind: str
    """``query``, ``mutation`` or ``subscription``."""
    variables: Mapping[str, Any]
    cost: int


CheckCost = Callable[[Document, OperationDefinitionNode, Mapping[str, Any], Viewer], int]
"""Returns the cost of an operation, or raises RequestError if it exceeds a limit."""

NO_VARIABLES: Mapping[str, Any] = MappingProxyType({})


def accept_any_cost(
    document: Document, operation: OperationDefinitionNode, variables: Mapping[str, Any], viewer: Viewer
) -> int:
    """Accepts every operation, at no cost."""
    return 0


def never_hides_suggestions(viewer: Viewer) -> bool:
    """Shows every viewer the names of the schema that are similar to an unknown name."""
    return False


class OperationProcessor:
    """Prepares and runs the operations of a schema.

    ``executor`` is graphql-core's executor or a subclass. ``check_cost`` gets every operation with its variables before
    it runs. ``hides_suggestions`` says whether errors must not suggest names of the schema to a viewer. ``time_limit``
    is in seconds, ``max_bytes`` the size of the largest response.
    """

    def __init__(  # noqa: PLR0913 (the steps, one by one)
        self,
        schema: Schema,
        *,
        executor: type[Executor[Any]] = NativeExecutor,
        check_cost: CheckCost = accept_any_cost,
        hides_suggestions: Callable[[Viewer], bool] = never_hides_suggestions,
        max_tokens: int = 4000,
        time_limit: float | None = None,
        max_bytes: int | None = None,
    ) -> None:
        self.schema = schema._schema  # noqa: SLF001 (Strawberry has no public name for it)
        self.documents = Documents(self.schema, max_tokens=max_tokens)
        self._executor: Any = executor
        self._check_cost = check_cost
        self._hides_suggestions = hides_suggestions
        self._time_limit = time_limit
        self.max_bytes = max_bytes

    def find_document(self, text: str, viewer: Viewer) -> Document | None:
        """The valid document of a text if it is cached; RequestError if it is known to be invalid."""
        return self.documents.find(text, hide_suggestions=self._hides_suggestions(viewer))

    def parse(self, text: str, viewer: Viewer, timings: Timings | None = None) -> Document:
        """Parses and validates a document, which can take milliseconds; RequestError if it is invalid."""
        return self.documents.get(text, hide_suggestions=self._hides_suggestions(viewer), timings=timings)

    def prepare(
        self,
        document: Document,
        operation_name: str | None,
        viewer: Viewer,
        variables: Mapping[str, Any] = NO_VARIABLES,
    ) -> PreparedOperation:
        """Chooses an operation of a document (None for the only one), and checks its limits."""
        operation = document.operation(operation_name)
        cost = self._check_cost(document, operation, variables, viewer)
        return PreparedOperation(document, operation, operation.operation.value, variables, cost)

    def operation(self, prepared: PreparedOperation) -> Operation:
        """What is computed once for an operation of a document."""
        cache = prepared.document.operation_cache
        operation: Operation | None = cache.get(id(prepared.operation))
        if operation is None:
            operation = cache[id(prepared.operation)] = Operation(self.schema, prepared.document, prepared.operation)
        return operation

    def create_executor(self, prepared: PreparedOperation, context: Context, root_value: Any = None) -> Executor[Any]:
        """The executor of an operation; RequestError if the variables do not have their declared types.

        A subscription is rejected with RequestError if the viewer lacks the permission for it.
        """
        operation = self.operation(prepared)
        if prepared.kind == "subscription":
            operation.authorise(context)
        executor = operation.create_executor(
            self._executor,
            prepared.variables,
            context,
            root_value,
            hide_suggestions=self._hides_suggestions(context.viewer),
        )
        if isinstance(executor, list):
            raise RequestError([shorten(error) for error in executor])
        return executor

    async def run(
        self,
        prepared: PreparedOperation,
        context: Context,
        timings: Timings | None = None,
        *,
        root_value: Any = None,
        max_bytes: int | None = None,
    ) -> ExecutionResult:
        """The result of a query, a mutation, or one delivery of a subscription, whose value is ``root_value``.

        Closes the context. A timeout or a cancellation also stops the SQL statements. After a timeout, a mutation has
        the results of the fields that were committed before it, and an error for each of the others.
        """
        executor = self.create_executor(prepared, context, root_value)
        if isinstance(executor, CompiledExecutor):
            executor.max_bytes = self.max_bytes if max_bytes is None else max_bytes
        time_limit = self._time_limit
        if time_limit is not None and prepared.kind == "mutation" and isinstance(executor, CompiledExecutor):
            executor.deadline = asyncio.get_running_loop().time() + time_limit
            time_limit = None
        if timings is not None:
            timings.mark("plan")
        try:
            result = executor.execute_operation()
            if isinstance(result, ExecutionResult):
                return result
            waiting = cast("Awaitable[ExecutionResult]", result)
            if time_limit is None:
                return await waiting
            async with asyncio.timeout(time_limit):
                return await waiting
        except TimeoutError as error:
            raise RequestError([GraphQLError("", original_error=Timeout())], Timeout.status) from error
        finally:
            await context.close()
            if timings is not None:
                timings.mark("run")
