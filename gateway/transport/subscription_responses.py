"""What subscriptions have in common whatever carries them: how many there may be, until when, and what is delivered.

async with streams.stay(viewer, client, until) as ended:       # Unauthenticated if the session is over already
    async with aclosing(streams.responses(prepared, parameters, viewer, client, after)) as responses:
        async for response in responses: ...                   # None, then GraphQL responses; RequestError ends them
    reason = await ended()                                     # waits; why the viewer has to go
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any
from uuid import UUID

from gateway.execution.processor import Prepared
from gateway.execution.request_errors import RequestError
from gateway.execution.subscribe import subscription
from gateway.transport.consistency import asks_for_token, token_after
from gateway.transport.operations import Operations, asks_for_cost, presented
from gateway.transport.requests import Parameters
from repositories.core.viewer import Viewer
from resolvers.identity.presence import presence
from resolvers.request.context import RequestOrigin

Responses = AsyncGenerator[dict[str, Any] | None, None]
"""GraphQL responses. The first item is None: it was begun, and nothing is missed from there on."""

Ended = Callable[[], Awaitable[str]]
"""Waits until the viewer has to go, and says why."""


class PerViewerLimit:
    """How many of something each viewer has in this process; anonymous callers of one address count together."""

    def __init__(self, most: int, what: str, way_out: str) -> None:
        self._most = most
        self._message = f"You have {most} {what} open already, which is as many as there may be. {way_out}"
        self._taken: Counter[UUID | str | None] = Counter()

    @contextmanager
    def taken(self, viewer: Viewer, address: str | None) -> Iterator[None]:
        """One place while the block runs, or RequestError."""
        key = viewer.id or address
        if self._taken[key] >= self._most:
            raise RequestError.of(self._message, "RATE_LIMITED", 429)
        self._taken[key] += 1
        try:
            yield
        finally:
            self._taken[key] -= 1
            if not self._taken[key]:
                del self._taken[key]


class Streams:
    """The subscriptions of a process; ``most`` is how many of them a viewer may have."""

    def __init__(self, operations: Operations, most: int) -> None:
        self.operations = operations
        self.places = PerViewerLimit(
            most, "subscriptions", "End one that you no longer need, or ask for several ids in one."
        )

    async def answers(
        self, parameters: Parameters, viewer: Viewer, client: RequestOrigin, after: Any = None
    ) -> Responses:
        """What an operation of any kind is answered with: of queries and mutations, one response.

        RequestError is why there is none, or no other; RequestRefused that too much is going on.
        """
        operations = self.operations
        prepared = await operations.prepared(parameters, viewer)
        await operations.keep(parameters)
        if prepared.kind == "subscription":
            async with aclosing(self.responses(prepared, parameters, viewer, client, after)) as responses:
                async for response in responses:
                    yield response
            return
        yield None
        bill = await operations.billed(parameters, prepared.cost, viewer, client)
        async with operations.gate:
            result = await operations.pipeline.run(prepared, operations.context(viewer, client))
        response = presented(result, bill if asks_for_cost(parameters) else None)
        if prepared.kind == "mutation":
            await self._tell_position(parameters, response)
        yield response

    async def responses(
        self, prepared: Prepared, parameters: Parameters, viewer: Viewer, client: RequestOrigin, after: Any = None
    ) -> Responses:
        """The deliveries of a subscription as GraphQL responses; whoever goes on ``after`` one names its id.

        It costs what it asks for when it begins, and so does each delivery. RequestError is why there are no more.
        """
        if after is not None and not isinstance(after, str):
            message = "`lastEventId` must be a string: the `extensions.id` of the last response that arrived."
            raise RequestError.of(message, "BAD_REQUEST")
        operations = self.operations

        @asynccontextmanager
        async def turn() -> AsyncIterator[None]:
            await operations.billed(parameters, prepared.cost, viewer, client)
            async with operations.gate.turn():
                yield

        bill = await operations.billed(parameters, prepared.cost, viewer, client)
        shown = bill if asks_for_cost(parameters) else None
        with self.places.taken(viewer, client.address):
            async with subscription(
                operations.pipeline, prepared, lambda: operations.context(viewer, client, after), turn
            ) as deliveries:
                yield None
                async for delivery in deliveries:
                    response = presented(delivery.result, shown)
                    if delivery.id is not None:
                        response.setdefault("extensions", {})["id"] = delivery.id
                    await self._tell_position(parameters, response)
                    yield response

    async def _tell_position(self, parameters: Parameters, response: dict[str, Any]) -> None:
        """If it is asked for, so that who asks a replica next sees what this response shows."""
        if asks_for_token(parameters) and (token := await token_after(self.operations.database)) is not None:
            response.setdefault("extensions", {})["consistencyToken"] = token

    @asynccontextmanager
    async def stay(self, viewer: Viewer, client: RequestOrigin, until: float | None) -> AsyncIterator[Ended]:
        """What is yielded waits until the viewer has to go, and says why.

        That is when the token ends (``until``, seconds since 1970) or its session is ended; Unauthenticated is raised
        if it was before. Anonymous callers may stay.
        """
        if viewer.id is None:
            yield _for_ever
            return
        async with presence(self.operations.context(viewer, client)) as is_over:

            async def ended() -> str:
                try:
                    async with asyncio.timeout(None if until is None else until - time.time()):
                        await is_over()
                except TimeoutError:
                    return "The token has expired: connect anew with a current one."
                return "The session has ended: sign in again."

            yield ended


async def _for_ever() -> str:
    never: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    return await never
