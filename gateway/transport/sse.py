"""GraphQL over server-sent events in graphql-sse's distinct connections mode: each operation has its own stream.

https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md. A `next` event carries a GraphQL response; `complete`
says that there are no more. A stream that ends without `complete` was interrupted: the client reconnects with the
header ``Last-Event-ID`` and misses nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager, aclosing
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.types import Send

from gateway.transport.held_bytes import WRITE_BUFFER
from gateway.transport.negotiation import EVENTS
from gateway.transport.operation_service import format_errors
from gateway.transport.requests import Headers, Parameters
from gateway.transport.responses import encode_headers
from gateway.transport.subscription_service import Responses, SessionEnd
from repositories.core.background_tasks import end_tasks
from repositories.core.errors import Unauthenticated

Hold = Callable[[int], AbstractContextManager[None]]
"""Makes the block that sends a number of bytes, or raises RateLimited (held_bytes.py)."""

_COMPLETE = b"event: complete\ndata:\n\n"
_COMMENT = b":\n\n"
_START = b"retry: 1000\n\n"
"""The first bytes of a stream. A browser reconnects this many milliseconds after an interruption."""


def last_event_id(headers: Headers, parameters: Parameters) -> Any:
    """The id of the last event that the client received before an interruption.

    Browsers send it as a header on their own; other clients may send it in ``extensions.lastEventId``.
    """
    value = headers.get(b"last-event-id")
    return value.decode("latin-1") if value else parameters.extensions.get("lastEventId")


def format_next_event(response: dict[str, Any]) -> bytes:
    """The event of one GraphQL response, with the event's id if the response has one."""
    key = response.get("extensions", {}).get("id")
    id_line = b"" if key is None else b"id: %b\n" % key.encode()
    return b"event: next\n%bdata: %b\n\n" % (id_line, orjson.dumps(response))


def format_single_response(response: dict[str, Any]) -> bytes:
    """The whole stream of an operation that has one response."""
    return format_next_event(response) + _COMPLETE


@dataclass(frozen=True, slots=True)
class EventStreams:
    """The event streams of a process.

    A comment is sent after ``heartbeat`` seconds, so that proxies do not close a stream as idle. Setting ``stopping``
    ends all streams without `complete`, so that their clients reconnect.
    """

    heartbeat: float
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(
        self, send: Send, headers: dict[str, str], responses: Responses, session_end: SessionEnd, hold: Hold
    ) -> None:
        """Sends responses until there are no more, the viewer's session ends, or the process stops.

        Sends nothing before the operation has started, so that a client whose stream is open misses no event.
        """
        is_started = False

        async def write(data: bytes, *, is_last: bool = False) -> None:
            nonlocal is_started
            if not is_started:
                is_started = True
                encoded = encode_headers(EVENTS, headers | {"X-Accel-Buffering": "no"})
                await send({"type": "http.response.start", "status": 200, "headers": encoded})
                data = _START + data
            with hold(len(data)):
                await send({"type": "http.response.body", "body": data, "more_body": not is_last})
                if len(data) > WRITE_BUFFER:
                    await send({"type": "http.response.body", "body": b"", "more_body": True})  # waits until it is read

        last = await _first_result(
            _write_responses(responses, write),
            _wait_for_session_end(session_end),
            self._wait_for_shutdown(),
            self._write_heartbeats(write),
        )
        await write(last, is_last=True)

    async def _wait_for_shutdown(self) -> bytes:
        await self.stopping.wait()
        return b""

    async def _write_heartbeats(self, write: Callable[[bytes], Awaitable[None]]) -> bytes:
        while True:
            await asyncio.sleep(self.heartbeat)
            await write(_COMMENT)


async def _write_responses(responses: Responses, write: Callable[[bytes], Awaitable[None]]) -> bytes:
    try:
        async with aclosing(responses):
            async for response in responses:
                await write(b"" if response is None else format_next_event(response))
    except Exception as error:  # noqa: BLE001 (the status is sent already; unexpected errors are masked and logged)
        return format_single_response({"errors": format_errors(error)})
    return _COMPLETE


async def _wait_for_session_end(session_end: SessionEnd) -> bytes:
    return format_single_response({"errors": format_errors(Unauthenticated(await session_end()))})


async def _first_result(*coroutines: Coroutine[Any, Any, bytes]) -> bytes:
    """Runs the coroutines concurrently until one ends, cancels the others, and returns its result."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end_tasks(tasks)
    return next(task for task in tasks if task in done).result()
