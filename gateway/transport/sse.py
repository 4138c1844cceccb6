"""GraphQL over server-sent events, graphql-sse's mode of distinct connections: each operation is a stream of its own.

https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md. A `next` event carries a GraphQL response, `complete`
says that there will be no more. A stream that ends without it was interrupted, and its client comes back: with the
header ``Last-Event-ID``, nothing is missed in between.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.types import Send

from gateway.transport.negotiation import EVENTS
from gateway.transport.operations import failures
from gateway.transport.requests import Headers, Parameters
from gateway.transport.responses import header_lines
from gateway.transport.subscription_responses import Ended, Responses
from repositories.core.errors import Unauthenticated

_COMPLETE = b"event: complete\ndata:\n\n"
_COMMENT = b":\n\n"
_BEGINNING = b"retry: 1000\n\n"
"""After so many milliseconds a browser that was cut off comes back. As the first bytes it also says that it began."""


def last_event_id(given: Headers, parameters: Parameters) -> Any:
    """What a client got last before it was cut off; browsers say so by themselves when they come back."""
    named = given.get(b"last-event-id")
    return named.decode("latin-1") if named else parameters.extensions.get("lastEventId")


def next_event(response: dict[str, Any]) -> bytes:
    """One GraphQL response, under the id that a client names to go on after it, if there is one."""
    key = response.get("extensions", {}).get("id")
    name = b"" if key is None else b"id: %b\n" % key.encode()
    return b"event: next\n%bdata: %b\n\n" % (name, orjson.dumps(response))


def whole(response: dict[str, Any]) -> bytes:
    """The stream of an operation that has one response."""
    return next_event(response) + _COMPLETE


@dataclass(frozen=True, slots=True)
class EventStreams:
    """How the event streams of a process behave.

    ``heartbeat`` is after how many seconds something is sent, at the latest, so that nobody on the way closes what
    looks dead. Once ``stopping`` is set, all streams end as if they were interrupted.
    """

    heartbeat: float
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(
        self,
        send: Send,
        headers: dict[str, str],
        responses: Responses,
        ended: Ended,
    ) -> None:
        """Sends responses as they come, until there are no more, the viewer has to go, or the process stops.

        Nothing is sent before the operation has begun, so that a client that sees the stream open misses nothing.
        """
        begun = False

        async def write(data: bytes, *, is_last: bool = False) -> None:
            nonlocal begun
            if not begun:
                begun = True
                lines = header_lines(EVENTS, headers | {"X-Accel-Buffering": "no"})
                await send({"type": "http.response.start", "status": 200, "headers": lines})
                data = _BEGINNING + data
            await send({"type": "http.response.body", "body": data, "more_body": not is_last})

        last = await _first(_delivered(responses, write), _ended(ended), self._stopped(), self._beating(write))
        await write(last, is_last=True)

    async def _stopped(self) -> bytes:
        await self.stopping.wait()
        return b""

    async def _beating(self, write: Callable[[bytes], Awaitable[None]]) -> bytes:
        while True:
            await asyncio.sleep(self.heartbeat)
            await write(_COMMENT)


async def _delivered(responses: Responses, write: Callable[[bytes], Awaitable[None]]) -> bytes:
    try:
        async with aclosing(responses):
            async for response in responses:
                await write(b"" if response is None else next_event(response))
    except Exception as error:  # noqa: BLE001 (the status was sent; it is masked and logged)
        return whole({"errors": failures(error)})
    return _COMPLETE


async def _ended(ended: Ended) -> bytes:
    return whole({"errors": failures(Unauthenticated(await ended()))})


async def _first(*ways: Coroutine[Any, Any, bytes]) -> bytes:
    """What the first one that ends has as the last bytes of the stream; the others are then over."""
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return next(task for task in tasks if task in done).result()
