"""Subscriptions: a stream of results, each run as an operation of its own on a context of its own.

    async with subscription(pipeline, prepared, new_context) as deliveries:
        async for delivery in deliveries: ...

The source (resolvers/streaming/deliveries.py) says when there is something to answer; what it answers is read at that
moment, under the viewer's policies. Between two deliveries nothing is held but memory.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from graphql import ExecutionResult, GraphQLError, create_source_event_stream

from gateway.execution.processor import OperationProcessor, Prepared
from gateway.execution.request_errors import RequestError
from repositories.core.errors import GatewayError
from resolvers.request.context import Context
from resolvers.streaming.deliveries import Source


@dataclass(frozen=True, slots=True)
class SubscriptionResult:
    """One result; after an interruption a client goes on after the last ``id`` that it got, if there is one."""

    result: ExecutionResult
    id: str | None = None


Turn = Callable[[], AbstractAsyncContextManager[None]]
"""What each delivery is made within: it may have to wait, or be refused with RequestError."""


@asynccontextmanager
async def subscription(
    pipeline: OperationProcessor, prepared: Prepared, new_context: Callable[[], Context], turn: Turn = nullcontext
) -> AsyncIterator[AsyncIterator[SubscriptionResult]]:
    """The deliveries of a subscription, or RequestError if there will be none. Within the block none is missed.

    A source that fails ends the stream with RequestError too. At the end of the block the source is closed.
    """
    source = await _source(pipeline, prepared, new_context())
    async with aclosing(source), aclosing(_deliveries(pipeline, prepared, new_context, source, turn)) as deliveries:
        with _told():
            await anext(source)
        yield deliveries


@contextmanager
def _told() -> Iterator[None]:
    """What fails in a source is a request error."""
    try:
        yield
    except GatewayError as error:
        raise _refused([GraphQLError(error.message, original_error=error)]) from error


async def _source(pipeline: OperationProcessor, prepared: Prepared, context: Context) -> Source:
    try:
        stream: Any = create_source_event_stream(pipeline.executor(prepared, context))
        if not hasattr(stream, "__aiter__"):
            stream = await stream
    finally:
        await context.close()
    if isinstance(stream, ExecutionResult):
        raise _refused(stream.errors or [])
    found: Source = stream
    return found


async def _deliveries(
    pipeline: OperationProcessor,
    prepared: Prepared,
    new_context: Callable[[], Context],
    source: Source,
    turn: Turn,
) -> AsyncGenerator[SubscriptionResult, None]:
    with _told():
        async for delivery in source:
            assert delivery is not None  # noqa: S101 (only the first item is)
            async with turn():
                context = new_context()
                try:
                    value = await delivery.resolve(context)
                    result = await pipeline.run(prepared, context, root_value=value)
                finally:
                    await context.close()
            yield SubscriptionResult(result, delivery.id)


def _refused(errors: list[GraphQLError]) -> RequestError:
    cause = errors[0].original_error
    return RequestError(errors, cause.status if isinstance(cause, GatewayError) else 500)
