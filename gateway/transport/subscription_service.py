"""The steps of a subscription in all transports: count it, watch the viewer's session, format what it delivers.

async with subscriptions.watch_session(viewer, expires_at, authenticate_again) as session_end:
    async with aclosing(subscriptions.subscribe(prepared, parameters, viewer, origin, after)) as responses:
        async for response in responses: ...                    # None, then GraphQL responses; may raise RequestError
    reason = await session_end()
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from functools import partial
from typing import Any
from uuid import UUID

from gateway.auth.account_changes import may_change_viewer
from gateway.execution.processor import PreparedOperation
from gateway.execution.request_errors import RequestError
from gateway.execution.subscription_results import open_subscription
from gateway.transport.consistency import current_token, requests_token
from gateway.transport.idempotency_header import mark_replayed
from gateway.transport.operation_service import OperationService, format_result, requests_cost
from gateway.transport.requests import Parameters
from repositories.core.errors import GatewayError, Unauthenticated
from repositories.core.viewer import Viewer
from resolvers.request.context import Context, RequestOrigin
from resolvers.streaming.feed import Feed, aggregate_topic

Responses = AsyncGenerator[dict[str, Any] | None, None]
"""GraphQL responses. The first item is None: the operation has started, and from now on no event is missed."""

SessionEnd = Callable[[], Awaitable[str]]
"""Waits until the viewer's session or token ends, and returns the reason."""


class PerViewerLimit:
    """Limits a resource per viewer in this process. Anonymous callers are counted by their network.

    The error message contains ``resource`` (a plural) and ``advice`` (a sentence).
    """

    def __init__(self, limit: int, resource: str, advice: str) -> None:
        self._limit = limit
        self._message = f"You have {limit} open {resource}, which is the limit. {advice}"
        self._counts: Counter[UUID | str | None] = Counter()

    @contextmanager
    def acquire(self, viewer: Viewer, network: str | None) -> Iterator[None]:
        """Counts one more while the block runs; RequestError (RATE_LIMITED) if the limit is reached."""
        key = viewer.id or network
        if self._counts[key] >= self._limit:
            raise RequestError.of(self._message, "RATE_LIMITED", 429)
        self._counts[key] += 1
        try:
            yield
        finally:
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]


class SubscriptionService:
    """The subscriptions of a process. Each viewer may have ``max_per_viewer`` of them."""

    def __init__(self, operations: OperationService, max_per_viewer: int) -> None:
        self.operations = operations
        self._limit = PerViewerLimit(
            max_per_viewer, "subscriptions", "End one of them, or subscribe to several ids in one subscription."
        )

    async def execute(
        self, parameters: Parameters, viewer: Viewer, origin: RequestOrigin, after: Any = None
    ) -> Responses:
        """The responses of an operation of any kind; a query or a mutation has one.

        RequestError if the operation fails without data, RequestRejected if the concurrency limit is reached.
        """
        operations = self.operations
        prepared = await operations.prepare(parameters, viewer)
        await operations.store_persisted_query(parameters, viewer)
        if prepared.kind == "subscription":
            async with aclosing(self.subscribe(prepared, parameters, viewer, origin, after)) as responses:
                async for response in responses:
                    yield response
            return
        yield None
        idempotency = operations.open_idempotency(parameters, prepared, viewer)
        charge = await operations.charge(parameters, prepared.cost, viewer, origin)
        async with operations.concurrency_limit.turn(viewer):
            result = await operations.run(prepared, viewer, origin, idempotency=idempotency)
        response = format_result(result, charge if requests_cost(parameters) else None)
        if idempotency is not None and idempotency.is_replayed:
            mark_replayed(parameters, response)
        if prepared.kind == "mutation":
            await self._add_token(parameters, response)
        yield response

    async def subscribe(
        self,
        prepared: PreparedOperation,
        parameters: Parameters,
        viewer: Viewer,
        origin: RequestOrigin,
        after: Any = None,
    ) -> Responses:
        """The deliveries of a subscription as GraphQL responses.

        ``after`` is the id of the last event that the client received before an interruption. The subscription and
        each of its deliveries are charged like a query. RequestError ends the subscription.
        """
        _check_event_id(after)
        operations = self.operations
        charge = await operations.charge(parameters, prepared.cost, viewer, origin)
        reported = charge if requests_cost(parameters) else None
        new_context = partial(operations.create_context, viewer, origin, after)
        with self._limit.acquire(viewer, origin.network):
            async with open_subscription(
                operations.processor,
                prepared,
                new_context,
                lambda: self._charge_delivery(prepared, parameters, viewer, origin, new_context),
            ) as deliveries:
                yield None
                async for delivery in deliveries:
                    response = format_result(delivery.result, reported)
                    if delivery.id is not None:
                        response.setdefault("extensions", {})["id"] = delivery.id
                    await self._add_token(parameters, response)
                    yield response

    @asynccontextmanager
    async def _charge_delivery(
        self,
        prepared: PreparedOperation,
        parameters: Parameters,
        viewer: Viewer,
        origin: RequestOrigin,
        new_context: Callable[[], Context],
    ) -> AsyncIterator[Context]:
        """Charges one delivery, and waits until it may run. Its ``with`` block runs within the concurrency limit."""
        await self.operations.charge(parameters, prepared.cost, viewer, origin)
        async with self.operations.concurrency_limit.turn_of_delivery(viewer):
            context = new_context()
            yield context
        await self.operations.charge_time(prepared, context, origin)

    async def _add_token(self, parameters: Parameters, response: dict[str, Any]) -> None:
        """Adds the consistency token if the operation requests it."""
        if requests_token(parameters) and (token := await current_token(self.operations.database)) is not None:
            response.setdefault("extensions", {})["consistencyToken"] = token

    @asynccontextmanager
    async def watch_session(
        self, viewer: Viewer, expires_at: float | None, authenticate_again: Callable[[], Awaitable[Viewer]]
    ) -> AsyncIterator[SessionEnd]:
        """Yields a function that waits until the token expires, the session ends, or roles or time zone change.

        ``expires_at`` is in seconds since 1970. ``authenticate_again`` returns the viewer as it is now. Raises
        Unauthenticated if the session has ended already, or if the viewer has changed since it was authenticated. For
        anonymous callers the function waits forever.
        """
        if viewer.id is None:
            yield _wait_forever
            return
        feed: Feed = self.operations.services[Feed]
        topics = [aggregate_topic(key) for key in (viewer.id, viewer.session) if key is not None]
        async with feed.subscribe(topics, may_change_viewer, queue_size=None) as subscriber:
            if await authenticate_again() != viewer:
                raise Unauthenticated(_VIEWER_CHANGED)

            async def wait_for_change() -> str:
                while True:
                    await subscriber.take_all()
                    try:
                        if await authenticate_again() != viewer:
                            return _VIEWER_CHANGED
                    except GatewayError:
                        return "The session has ended: sign in again."

            async def session_end() -> str:
                try:
                    async with asyncio.timeout(None if expires_at is None else expires_at - time.time()):
                        return await wait_for_change()
                except TimeoutError:
                    return "The token has expired: connect again with a current token."

            yield session_end


_VIEWER_CHANGED = "Your roles or your time zone have changed: connect again."


def _check_event_id(after: Any) -> None:
    if after is not None and not isinstance(after, str):
        message = "`lastEventId` must be a string: the `extensions.id` of the last response that arrived."
        raise RequestError.of(message, "BAD_REQUEST")


async def _wait_forever() -> str:
    never: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    return await never
