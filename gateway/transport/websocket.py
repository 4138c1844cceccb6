"""GraphQL over WebSocket: the graphql-transport-ws protocol, directly on ASGI.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md. docs/subscriptions.md is the guide for clients;
docs/decisions/0021-websocket.md lists the decisions where the protocol leaves a choice.

    the socket's task ── reads messages ─┬─ one task for each operation ── writes its responses
                                         └─ one task that waits until the viewer's session ends

The tasks are one task group: an error in one of them ends the socket and cancels the others.
"""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass
from traceback import clear_frames
from typing import Any, NoReturn

import orjson
from starlette.types import Receive, Scope, Send

from gateway.auth.authentication import Authenticator
from gateway.execution.request_errors import RequestError
from gateway.transport import error_responses
from gateway.transport.error_responses import RequestRejected, mask_error
from gateway.transport.operation_service import format_errors, request_origin
from gateway.transport.requests import (
    Disconnected,
    Headers,
    Parameters,
    is_allowed_origin,
    parse_json,
    parse_parameters,
    request_headers,
    request_id_of,
)
from gateway.transport.subscription_service import PerViewerLimit, SessionEnd, SubscriptionService
from repositories.core.errors import GatewayError, Unauthenticated
from repositories.core.viewer import Viewer

PROTOCOL = "graphql-transport-ws"

_TRY_AGAIN_LATER = 1013
_BAD_REQUEST = 4400
_UNAUTHORIZED = 4401
_FORBIDDEN = 4403
_NOT_ACCEPTABLE = 4406
_INIT_TIMEOUT = 4408
_SUBSCRIBER_EXISTS = 4409
_TOO_MANY_REQUESTS = 4429
_INTERNAL_SERVER_ERROR = 4500

_MAX_REASON_BYTES = 123
"""A close frame has room for this many bytes of the reason (RFC 6455, section 5.5)."""

_MAX_ID_LENGTH = 128
"""Characters of the id of an operation, which every response repeats."""

Message = Mapping[str, Any]


class SocketClosed(Exception):
    """Raised to close the socket with a code and a reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason.encode()[:_MAX_REASON_BYTES].decode(errors="ignore")


@dataclass(frozen=True, slots=True)
class SocketOptions:
    """``max_sockets`` is per viewer, ``max_operations`` per socket, ``init_timeout`` in seconds."""

    origins: frozenset[str] = frozenset()
    init_timeout: float = 3.0
    max_sockets: int = 100
    max_operations: int = 50


class WebSocketEndpoint:
    """The route ``/graphql`` for WebSockets."""

    def __init__(
        self, subscriptions: SubscriptionService, authenticator: Authenticator, options: SocketOptions
    ) -> None:
        self.subscriptions = subscriptions
        self.authenticator = authenticator
        self.options = options
        self.socket_limit = PerViewerLimit(options.max_sockets, "WebSockets", "Close one of them first.")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one socket from its handshake to its end."""
        handshake = request_headers(scope)
        request_id = request_id_of(handshake)
        error_responses.request_id.set(request_id)
        await receive()
        if not is_allowed_origin(handshake, self.options.origins):
            message = "Pages of this origin may not connect: GATEWAY_CORS_ORIGINS does not list it."
            await reject_handshake(send, RequestRejected(403, "FORBIDDEN", message))
            return
        is_supported = PROTOCOL in scope["subprotocols"]
        subprotocol = PROTOCOL if is_supported else None
        headers = [(b"x-request-id", request_id.encode())]
        with suppress(OSError):
            await send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": headers})
            closed: SocketClosed | None = SocketClosed(_NOT_ACCEPTABLE, "Subprotocol not acceptable")
            if is_supported:
                closed = await _Socket(self, scope, handshake, receive, send).run()
            if closed is not None:
                await send({"type": "websocket.close", "code": closed.code, "reason": closed.reason})


async def reject_handshake(send: Send, rejected: RequestRejected) -> None:
    """Answers the request that would open a WebSocket with an error."""
    headers = [(b"content-type", b"application/json; charset=utf-8")]
    await send({"type": "websocket.http.response.start", "status": rejected.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": orjson.dumps({"errors": [rejected.error]})})


class _Socket:
    def __init__(
        self, endpoint: WebSocketEndpoint, scope: Scope, handshake: Headers, receive: Receive, send: Send
    ) -> None:
        self._endpoint = endpoint
        self._handshake = handshake
        self._origin = request_origin(scope, handshake)
        self._receive = receive
        self._send = send
        self._viewer = Viewer(network=self._origin.network)
        self._authorization: str | None = None
        self._is_initialised = False
        self._send_lock = asyncio.Lock()
        self._operations: dict[str, asyncio.Task[None]] = {}
        self._operation_count = 0

    async def run(self) -> SocketClosed | None:
        """Serves the socket until it ends. Returns how to close it; None if the client has disconnected."""
        closed: SocketClosed | None = None
        async with AsyncExitStack() as self._stack:
            try:
                async with asyncio.TaskGroup() as self._tasks:
                    self._init_timer: asyncio.Task[NoReturn] | None = self._tasks.create_task(self._limit_init_time())
                    while True:
                        await self._handle_message(_parse_message(await self._receive_text()))
            except* Disconnected as group:
                clear_frames(group.__traceback__)
            except* SocketClosed as group:
                closed = _first_exception(group)
            except* Exception as group:  # noqa: BLE001 (the last resort: masked and logged)
                mask_error(group)
                clear_frames(group.__traceback__)
                closed = SocketClosed(_INTERNAL_SERVER_ERROR, "Internal server error")
        self._operations.clear()  # a cancelled task and this object refer to each other
        return closed

    async def _receive_text(self) -> Any:
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            raise Disconnected
        if message.get("text") is None:
            raise SocketClosed(_BAD_REQUEST, "Messages must be text, not binary.")
        return message["text"]

    async def _send_message(self, **message: Any) -> None:
        """Sends one message at a time, so that at most one waits for a client that reads slowly."""
        data = orjson.dumps(message)
        text = data.decode()
        try:
            with self._endpoint.subscriptions.operations.held_bytes.hold(self._viewer, len(data)):
                async with self._send_lock:
                    await self._send({"type": "websocket.send", "text": text})
        except OSError:
            raise Disconnected from None

    async def _handle_message(self, message: Message) -> None:
        match message["type"]:
            case "connection_init":
                await self._initialise(_get_object(message, "payload"))
            case "ping":
                payload = _get_object(message, "payload")
                fields = {} if payload is None else {"payload": payload}
                await self._send_message(type="pong", **fields)
            case "pong":
                _get_object(message, "payload")
            case "subscribe":
                await self._start_operation(_get_id(message), _get_object(message, "payload"))
            case "complete":
                operation = self._operations.pop(_get_id(message), None)
                if operation is not None:
                    operation.cancel()
            case kind:
                name = orjson.dumps(kind).decode()
                raise SocketClosed(_BAD_REQUEST, f"Clients must not send messages of type {name}.")

    async def _limit_init_time(self) -> NoReturn:
        await asyncio.sleep(self._endpoint.options.init_timeout)
        raise SocketClosed(_INIT_TIMEOUT, "Connection initialisation timeout")

    async def _initialise(self, payload: Message | None) -> None:
        if self._init_timer is None:
            raise SocketClosed(_TOO_MANY_REQUESTS, "Too many initialisation requests")
        self._init_timer.cancel()
        self._init_timer = None
        endpoint, expires_at = self._endpoint, None
        self._authorization = _find_authorization(payload or {}, self._handshake)
        try:
            if self._authorization is not None:
                expires_at, self._viewer = await endpoint.authenticator.authenticate(self._authorization)
            self._stack.enter_context(endpoint.socket_limit.acquire(self._viewer, self._origin.network))
            watch = endpoint.subscriptions.watch_session(self._viewer, expires_at, self._authenticate_again)
            session_end = await self._stack.enter_async_context(watch)
        except (Unauthenticated, RequestError) as error:
            raise SocketClosed(_FORBIDDEN, f"Forbidden: {error}") from None
        except GatewayError as error:
            raise SocketClosed(_TRY_AGAIN_LATER, error.message) from None
        self._tasks.create_task(_close_at_session_end(session_end))
        await self._send_message(type="connection_ack")
        self._is_initialised = True

    async def _authenticate_again(self) -> Viewer:
        """The viewer with the current roles and time zone. Raises Unauthenticated if the session has ended."""
        if self._authorization is None:
            return self._viewer
        return (await self._endpoint.authenticator.authenticate(self._authorization))[1]

    async def _start_operation(self, key: str, payload: Message | None) -> None:
        """Starts an operation. The next message is handled after it has started.

        Therefore a client that subscribes and then queries misses no event in between.
        """
        if not self._is_initialised:
            raise SocketClosed(_UNAUTHORIZED, "Unauthorized")
        if key in self._operations:
            raise SocketClosed(_SUBSCRIBER_EXISTS, f"Subscriber for {key} already exists")
        parameters = _parse_payload(payload)
        limit = self._endpoint.options.max_operations
        if len(self._operations) >= limit:
            message = f"This WebSocket has {limit} open operations, which is the limit. Complete one of them first."
            errors = format_errors(RequestError.of(message, "RATE_LIMITED"))
            await self._send_message(id=key, type="error", payload=errors)
            return
        has_started = asyncio.Event()
        self._operations[key] = self._tasks.create_task(self._execute(key, parameters, has_started))
        await has_started.wait()

    async def _execute(self, key: str, parameters: Parameters, has_started: asyncio.Event) -> None:
        """Sends the responses of one operation. If the client completes it, it is cancelled and sends nothing more."""
        self._operation_count += 1
        error_responses.request_id.set(f"{error_responses.request_id.get()}/{self._operation_count}")
        after = parameters.extensions.get("lastEventId")
        try:
            viewer = await self._authenticate_again()
        except Unauthenticated as error:
            raise SocketClosed(_FORBIDDEN, f"Forbidden: {error}") from None
        except GatewayError as error:
            raise SocketClosed(_TRY_AGAIN_LATER, error.message) from None
        responses = self._endpoint.subscriptions.execute(parameters, viewer, self._origin, after)
        last: dict[str, Any] = {"type": "complete"}
        try:
            async with aclosing(responses):
                async for response in responses:
                    has_started.set()
                    if response is not None:
                        await self._send_message(id=key, type="next", payload=response)
        except Disconnected:
            raise
        except Exception as error:  # noqa: BLE001 (the last resort: masked and logged)
            last = {"type": "error", "payload": format_errors(error)}
        finally:
            has_started.set()
        if self._operations.get(key) is asyncio.current_task():
            del self._operations[key]
            await self._send_message(id=key, **last)


async def _close_at_session_end(session_end: SessionEnd) -> NoReturn:
    raise SocketClosed(_FORBIDDEN, f"Forbidden: {await session_end()}")


def _first_exception(group: BaseExceptionGroup[SocketClosed]) -> SocketClosed:
    """The first of the exceptions that several tasks raised in the same iteration of the event loop.

    Clears the frames of the tracebacks, which hold the socket's last message and refer to the exceptions in a cycle.
    """
    first = group.exceptions[0]
    clear_frames(group.__traceback__)
    clear_frames(first.__traceback__)
    return _first_exception(first) if isinstance(first, BaseExceptionGroup) else first.with_traceback(None)


def _parse_message(text: str) -> Message:
    try:
        message = parse_json(text, "The message")
    except RequestRejected as rejected:
        raise SocketClosed(_BAD_REQUEST, str(rejected)) from None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise SocketClosed(_BAD_REQUEST, "A message must be a JSON object with a `type`.")
    return message


def _get_object(message: Message, name: str) -> Message | None:
    value = message.get(name)
    if value is None or isinstance(value, dict):
        return value
    raise SocketClosed(_BAD_REQUEST, f"`{name}` of `{message['type']}` must be an object.")


def _get_id(message: Message) -> str:
    key = message.get("id")
    if isinstance(key, str) and 1 <= len(key) <= _MAX_ID_LENGTH:
        return key
    reason = f"`id` of `{message['type']}` must be a string of 1 to {_MAX_ID_LENGTH} characters."
    raise SocketClosed(_BAD_REQUEST, reason)


def _parse_payload(payload: Message | None) -> Parameters:
    """The parameters of an operation.

    An empty query is not an error of the protocol. It becomes a blank, so that parsing the document rejects it.
    """
    try:
        if payload is not None and payload.get("query") == "" and not payload.get("extensions"):
            payload = {**payload, "query": " "}
        return parse_parameters(payload)
    except RequestRejected as rejected:
        raise SocketClosed(_BAD_REQUEST, f"`payload` of `subscribe`: {rejected}") from None


def _find_authorization(payload: Message, handshake: Headers) -> str | None:
    """The value of ``Authorization`` in the payload of connection_init, else in the headers of the handshake."""
    for name in ("Authorization", "authorization"):
        if payload.get(name) is not None:
            return payload[name] if isinstance(payload[name], str) else ""
    header = handshake.get(b"authorization")
    return None if header is None else header.decode("latin-1")
