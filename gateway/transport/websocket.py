"""GraphQL over WebSocket: the protocol graphql-transport-ws, straight on ASGI.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md; docs/subscriptions.md is for who connects, and
docs/decisions/0021-websocket.md says what was decided where the protocol leaves a choice.

    the socket's task ── reads messages ─┬─ a task for each operation ── writes its responses
                                         └─ a task that waits until the viewer has to go

They are one group: whatever ends the socket ends them all.
"""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass
from typing import Any, NoReturn

import orjson
from starlette.types import Receive, Scope, Send

from gateway.auth.tokens import Tokens
from gateway.execution.request_errors import RequestError
from gateway.transport import error_responses
from gateway.transport.error_responses import RequestRejected
from gateway.transport.operations import client_of, failures
from gateway.transport.requests import (
    Disconnected,
    Headers,
    Parameters,
    checked,
    headers_of,
    is_own,
    loaded,
    request_id_of,
)
from gateway.transport.subscription_responses import Ended, PerViewerLimit, Streams
from repositories.core.errors import GatewayError, Unauthenticated
from repositories.core.viewer import ANONYMOUS

PROTOCOL = "graphql-transport-ws"

_TRY_AGAIN_LATER = 1013
_MALFORMED = 4400
_UNAUTHORIZED = 4401
_FORBIDDEN = 4403
_NOT_ACCEPTABLE = 4406
_TIMEOUT = 4408
_EXISTS = 4409
_TOO_MANY = 4429
_BROKEN = 4500

_LONGEST_REASON = 123
"""Bytes that a close frame has for it."""

Message = Mapping[str, Any]


class Closed(Exception):
    """The socket has to be closed."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason.encode()[:_LONGEST_REASON].decode(errors="ignore")


@dataclass(frozen=True, slots=True)
class SocketOptions:
    """How sockets behave: ``max_sockets`` of a viewer, ``max_operations`` of a socket; times are seconds."""

    origins: frozenset[str] = frozenset()
    init_timeout: float = 3.0
    max_sockets: int = 100
    max_operations: int = 50


class WebSocketEndpoint:
    """``/graphql`` for WebSockets."""

    def __init__(self, streams: Streams, tokens: Tokens, options: SocketOptions) -> None:
        self.streams = streams
        self.tokens = tokens
        self.options = options
        self.places = PerViewerLimit(options.max_sockets, "WebSockets", "Close one first.")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One socket, from its handshake to its end."""
        given = headers_of(scope)
        request_id = request_id_of(given)
        error_responses.request_id.set(request_id)
        await receive()
        if not is_own(given, self.options.origins):
            await _refuse(send)
            return
        speaks = PROTOCOL in scope["subprotocols"]
        headers = [(b"x-request-id", request_id.encode())]
        with suppress(OSError):
            await send({"type": "websocket.accept", "subprotocol": PROTOCOL if speaks else None, "headers": headers})
            closed: Closed | None = Closed(_NOT_ACCEPTABLE, "Subprotocol not acceptable")
            if speaks:
                closed = await _Socket(self, scope, given, receive, send).run()
            if closed is not None:
                await send({"type": "websocket.close", "code": closed.code, "reason": closed.reason})


async def _refuse(send: Send) -> None:
    refused = RequestRejected(403, "FORBIDDEN", "Pages of this site may not connect; see GATEWAY_CORS_ORIGINS.")
    headers = [(b"content-type", b"application/json; charset=utf-8")]
    await send({"type": "websocket.http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": orjson.dumps({"errors": [refused.error]})})


class _Socket:
    """A socket that was accepted."""

    def __init__(self, endpoint: WebSocketEndpoint, scope: Scope, given: Headers, receive: Receive, send: Send) -> None:
        self._endpoint = endpoint
        self._given = given
        self._client = client_of(scope, given)
        self._receive = receive
        self._send = send
        self._viewer = ANONYMOUS
        self._is_ready = False
        self._turn = asyncio.Lock()
        self._operations: dict[str, asyncio.Task[None]] = {}
        self._count = 0

    async def run(self) -> Closed | None:
        """Until it ends; how it is to be closed, if the client has not gone."""
        ended: Closed | None = None
        async with AsyncExitStack() as self._stack:
            try:
                async with asyncio.TaskGroup() as self._tasks:
                    self._waiting: asyncio.Task[NoReturn] | None = self._tasks.create_task(self._wait_for_init())
                    while True:
                        await self._take(_message(await self._received()))
            except* Disconnected:
                pass
            except* Closed as closed:
                ended = _first(closed)
            except* Exception as failed:  # noqa: BLE001 (the last resort: masked and logged)
                error_responses.masked(failed)
                ended = Closed(_BROKEN, "Internal server error")
        return ended

    async def _received(self) -> Any:
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            raise Disconnected
        if message.get("text") is None:
            raise Closed(_MALFORMED, "Messages are text, not binary.")
        return message["text"]

    async def _say(self, **message: Any) -> None:
        """One after the other, so that no more than one message is added to what a client has not read."""
        text = orjson.dumps(message).decode()
        try:
            async with self._turn:
                await self._send({"type": "websocket.send", "text": text})
        except OSError:
            raise Disconnected from None

    async def _take(self, message: Message) -> None:
        match message["type"]:
            case "connection_init":
                await self._initialise(_object(message, "payload"))
            case "ping":
                payload = _object(message, "payload")
                await (self._say(type="pong") if payload is None else self._say(type="pong", payload=payload))
            case "pong":
                _object(message, "payload")
            case "subscribe":
                await self._subscribe(_id(message), _object(message, "payload"))
            case "complete":
                operation = self._operations.pop(_id(message), None)
                if operation is not None:
                    operation.cancel()
            case kind:
                raise Closed(_MALFORMED, f"There is no message of type {orjson.dumps(kind).decode()} for a client.")

    async def _wait_for_init(self) -> NoReturn:
        await asyncio.sleep(self._endpoint.options.init_timeout)
        raise Closed(_TIMEOUT, "Connection initialisation timeout")

    async def _initialise(self, payload: Message | None) -> None:
        if self._waiting is None:
            raise Closed(_TOO_MANY, "Too many initialisation requests")
        self._waiting.cancel()
        self._waiting = None
        endpoint, until = self._endpoint, None
        authorization = _authorization(payload or {}, self._given)
        try:
            if authorization is not None:
                until, self._viewer = await endpoint.tokens.of_header(authorization)
            self._stack.enter_context(endpoint.places.taken(self._viewer, self._client.address))
            ended = await self._stack.enter_async_context(endpoint.streams.stay(self._viewer, self._client, until))
        except (Unauthenticated, RequestError) as error:
            raise Closed(_FORBIDDEN, f"Forbidden: {error}") from None
        except GatewayError as error:
            raise Closed(_TRY_AGAIN_LATER, error.message) from None
        self._tasks.create_task(_leave(ended))
        await self._say(type="connection_ack")
        self._is_ready = True

    async def _subscribe(self, key: str, payload: Message | None) -> None:
        if not self._is_ready:
            raise Closed(_UNAUTHORIZED, "Unauthorized")
        if key in self._operations:
            raise Closed(_EXISTS, f"Subscriber for {key} already exists")
        parameters = _parameters(payload)
        most = self._endpoint.options.max_operations
        if len(self._operations) >= most:
            message = f"This WebSocket has {most} operations open, which is as many as there may be: complete one."
            await self._say(id=key, type="error", payload=failures(RequestError.of(message, "RATE_LIMITED")))
            return
        has_begun = asyncio.Event()
        self._operations[key] = self._tasks.create_task(self._operate(key, parameters, has_begun))
        await has_begun.wait()

    async def _operate(self, key: str, parameters: Parameters, has_begun: asyncio.Event) -> None:
        """Answers one operation. One that its client has completed is cancelled, and says nothing more.

        The next message is taken once it has begun: who subscribes and then asks, misses nothing in between.
        """
        self._count += 1
        error_responses.request_id.set(f"{error_responses.request_id.get()}/{self._count}")
        after = parameters.extensions.get("lastEventId")
        answers = self._endpoint.streams.answers(parameters, self._viewer, self._client, after)
        last: dict[str, Any] = {"type": "complete"}
        try:
            async with aclosing(answers):
                async for response in answers:
                    has_begun.set()
                    if response is not None:
                        await self._say(id=key, type="next", payload=response)
        except Disconnected:
            raise
        except Exception as error:  # noqa: BLE001 (the last resort: masked and logged)
            last = {"type": "error", "payload": failures(error)}
        finally:
            has_begun.set()
        if self._operations.get(key) is asyncio.current_task():
            del self._operations[key]
            await self._say(id=key, **last)


async def _leave(ended: Ended) -> NoReturn:
    raise Closed(_FORBIDDEN, f"Forbidden: {await ended()}")


def _first(group: BaseExceptionGroup[Closed]) -> Closed:
    """Of what ended a socket in the same moment."""
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


def _message(text: str) -> Message:
    try:
        message = loaded(text, "The message")
    except RequestRejected as refused:
        raise Closed(_MALFORMED, str(refused)) from None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise Closed(_MALFORMED, "A message is a JSON object with a `type`.")
    return message


def _object(message: Message, name: str) -> Message | None:
    given = message.get(name)
    if given is None or isinstance(given, dict):
        return given
    raise Closed(_MALFORMED, f"`{name}` of `{message['type']}` must be an object.")


def _id(message: Message) -> str:
    key = message.get("id")
    if isinstance(key, str) and key:
        return key
    raise Closed(_MALFORMED, f"`id` of `{message['type']}` must be a string, and not an empty one.")


def _parameters(payload: Message | None) -> Parameters:
    """Those of an operation. An empty text is one that cannot be parsed, which is no matter of the protocol."""
    try:
        if payload is not None and payload.get("query") == "" and not payload.get("extensions"):
            payload = {**payload, "query": " "}
        return checked(payload)
    except RequestRejected as refused:
        raise Closed(_MALFORMED, f"`payload` of `subscribe`: {refused}") from None


def _authorization(params: Message, given: Headers) -> str | None:
    """What the client says in its connectionParams, else in the header of its handshake."""
    for name in ("Authorization", "authorization"):
        if params.get(name) is not None:
            return str(params[name])
    header = given.get(b"authorization")
    return None if header is None else header.decode("latin-1")
