"""Subscriptions: streams of results, each executed as an operation of its own with a context of its own.

    async with open_subscription(processor, prepared, new_context) as results:
        async for result in results: ...

The source (resolvers/streaming/deliveries.py) says when there is something to send. The result is read at that moment,
under the viewer's policies. Between two deliveries a subscription holds memory only, no connection.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from graphql import ExecutionResult, GraphQLError, create_source_event_stream

from gateway.execution.processor import OperationProcessor, PreparedOperation
from gateway.execution.request_errors import RequestError
from repositories.core.errors import GatewayError
from resolvers.request.context import Context
from resolvers.streaming.deliveries import Source


@dataclass(frozen=True, slots=True)
class SubscriptionResult:
    """One result. After an interruption, a client continues after the last ``id`` that it received, if there is one."""

    result: ExecutionResult
    id: str | None = None


DeliveryContext = Callable[[], AbstractAsyncContextManager[Context]]
"""Makes the context manager that each delivery runs in. It yields the delivery's context.

Entering it may wait, or raise RequestError.
"""


@asynccontextmanager
async def open_subscription(
    processor: OperationProcessor,
    prepared: PreparedOperation,
    new_context: Callable[[], Context],
    delivery_context: DeliveryContext | None = None,
) -> AsyncIterator[AsyncIterator[SubscriptionResult]]:
    """Yields the results of a subscription. Every event from the start of the block on is delivered.

    Without ``delivery_context``, each delivery runs at once in a new context. RequestError if the subscription is
    rejected, and later if its source fails. The source is closed with the block.
    """
    source = await _open_source(processor, prepared, new_context())
    results = _results(processor, prepared, source, delivery_context or (lambda: nullcontext(new_context())))
    async with aclosing(source), aclosing(results):
        with _convert_errors():
            await anext(source)
        yield results


@contextmanager
def _convert_errors() -> Iterator[None]:
    """Raises a GatewayError of the source as a RequestError."""
    try:
        yield
    except GatewayError as error:
        raise _request_error([GraphQLError(error.message, original_error=error)]) from error


async def _open_source(processor: OperationProcessor, prepared: PreparedOperation, context: Context) -> Source:
    try:
        stream: Any = create_source_event_stream(processor.create_executor(prepared, context))
        if not hasattr(stream, "__aiter__"):
            stream = await stream
    finally:
        await context.close()
    if isinstance(stream, ExecutionResult):
        raise _request_error(stream.errors or [])
    source: Source = stream
    return source


async def _results(
    processor: OperationProcessor,
    prepared: PreparedOperation,
    source: Source,
    delivery_context: DeliveryContext,
) -> AsyncGenerator[SubscriptionResult, None]:
    with _convert_errors():
        async for delivery in source:
            assert delivery is not None  # noqa: S101 (only the first item is)
            async with delivery_context() as context:
                try:
                    value = await delivery.resolve(context)
                    result = await processor.run(prepared, context, root_value=value)
                finally:
                    await context.close()
            yield SubscriptionResult(result, delivery.id)


def _request_error(errors: list[GraphQLError]) -> RequestError:
    """The error of a subscription that cannot start. Without an exception of the source, the request is wrong."""
    cause = errors[0].original_error
    if isinstance(cause, GatewayError):
        return RequestError(errors, cause.status)
    return RequestError(errors, 400 if cause is None or isinstance(cause, GraphQLError) else 500)
