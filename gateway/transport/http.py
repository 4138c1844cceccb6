"""GraphQL over HTTP (https://http-spec.graphql.org). It runs directly on ASGI, because every request passes it.

docs/decisions/0012-http.md lists the decisions where the specification leaves a choice.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from graphql import ExecutionResult
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.auth.authentication import Authenticator
from gateway.execution.processor import PreparedOperation
from gateway.execution.request_errors import RequestError
from gateway.execution.timings import Timings
from gateway.transport import error_responses
from gateway.transport.concurrency import DisconnectWatcher
from gateway.transport.consistency import HEADER, current_token, requested_position, requests_token
from gateway.transport.error_responses import RequestRejected, error_headers, format_graphql_errors
from gateway.transport.idempotency_header import mark_replayed
from gateway.transport.negotiation import (
    EVENTS,
    GRAPHQL,
    JSON,
    accepts_event_stream,
    negotiate_media_type,
    prefers_html,
)
from gateway.transport.operation_service import format_result, request_origin, requests_cost
from gateway.transport.requests import (
    Disconnected,
    Headers,
    Parameters,
    check_body_headers,
    check_cross_site_get,
    parse_body,
    parse_query_string,
    read_body,
    request_headers,
    request_id_of,
)
from gateway.transport.responses import send_response
from gateway.transport.sse import EventStreams, format_single_response, last_event_id
from gateway.transport.subscription_service import Responses, SubscriptionService
from repositories.core.errors import RateLimited
from repositories.core.viewer import ANONYMOUS, Viewer
from repositories.engines.position import parse_position
from resolvers.request.context import RequestOrigin
from resolvers.request.key_claims import Idempotency

_PARTIAL_SUCCESS = 294
_BAD_REQUEST = 400
"""A request error with this status has status 200 in ``application/json``, as the specification demands."""


@dataclass(frozen=True, slots=True)
class HTTPOptions:
    """Options of the endpoint.

    ``max_request_size`` is in bytes; ``max_batch`` 0 switches batches off; ``max_values`` is for one operation.
    """

    max_request_size: int = 1_000_000
    max_batch: int = 0
    max_values: int = 11_000
    origins: frozenset[str] = frozenset()
    is_always_timed: bool = False


@dataclass(slots=True)
class _Exchange:
    """One request, and the parts of its response that are known so far."""

    scope: Scope
    receive: Receive
    send: Send
    request_headers: Headers
    response_headers: dict[str, str]
    timings: Timings | None
    media_type: str = JSON
    viewer: Viewer = ANONYMOUS
    authorization: str = ""
    since: int = 0
    """The database position that queries must include."""
    expires_at: float | None = None
    """When the viewer's token expires, in seconds since 1970."""
    is_batch: bool = False
    max_bytes: int | None = None
    """The bytes that are left for the next operation of a batch."""


_GraphQLResponse = dict[str, Any] | Responses
_HTTPResponse = tuple[int, bytes] | None
"""The status and the body; None if an event stream has been sent."""


class GraphQLEndpoint:
    """The route ``/graphql``. A browser that opens it gets ``page`` if there is one."""

    def __init__(
        self,
        subscriptions: SubscriptionService,
        authenticator: Authenticator,
        *,
        event_streams: EventStreams,
        options: HTTPOptions = HTTPOptions(),
        page: ASGIApp | None = None,
    ) -> None:
        self._operations = subscriptions.operations
        self._subscriptions = subscriptions
        self._event_streams = event_streams
        self._authenticator = authenticator
        self._options = options
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = request_headers(scope)
        if self._page is not None and _is_page_visit(scope, headers):
            await self._page(scope, receive, send)
            return
        request_id = request_id_of(headers)
        error_responses.request_id.set(request_id)
        timings = Timings() if self._options.is_always_timed or b"x-server-timing" in headers else None
        response_headers = {"X-Request-ID": request_id, "Cache-Control": "no-store"}
        exchange = _Exchange(scope, receive, send, headers, response_headers, timings)
        try:
            response = await self._handle(exchange)
        except Disconnected:
            return
        except Exception as error:  # noqa: BLE001 (the last resort: unexpected errors are masked and logged)
            response = _reject(exchange, error)
        if response is None:
            return
        if timings is not None:
            timings.mark("encode")
            response_headers["Server-Timing"] = timings.header()
        await self._send(exchange, *response)

    async def _send(self, exchange: _Exchange, status: int, body: bytes) -> None:
        try:
            with self._operations.held_bytes.hold(exchange.viewer, len(body)):
                await send_response(exchange.send, status, exchange.media_type, body, exchange.response_headers)
        except RateLimited as error:
            status, body = _reject(exchange, error)
            await send_response(exchange.send, status, exchange.media_type, body, exchange.response_headers)

    async def _handle(self, exchange: _Exchange) -> _HTTPResponse:
        """Checks and executes the request. The token is verified before the body is read."""
        method, headers, limit = exchange.scope["method"], exchange.request_headers, self._options.max_request_size
        if method not in {"GET", "POST"}:
            message = f"Use GET or POST, not {method}. With graphql-sse, use the distinct connections mode."
            raise RequestRejected(405, "METHOD_NOT_ALLOWED", message, {"Allow": "GET, POST"})
        media_type = negotiate_media_type(headers.get(b"accept"))
        if media_type is None:
            message = f"The `Accept` header must allow `{GRAPHQL}`, `{JSON}` or `{EVENTS}`."
            raise RequestRejected(406, "NOT_ACCEPTABLE", message)
        exchange.media_type = media_type
        if method == "GET":
            check_cross_site_get(headers, self._options.origins)
        else:
            check_body_headers(headers, limit)
        exchange.since = requested_position(headers)
        if b"authorization" in headers:
            exchange.authorization = headers[b"authorization"].decode("latin-1")
            exchange.expires_at, exchange.viewer = await self._authenticator.authenticate(exchange.authorization)
        else:
            exchange.viewer = Viewer(network=request_origin(exchange.scope, headers).network)
        if method == "GET":
            return await self._execute_request(exchange, parse_query_string(exchange.scope["query_string"]))
        body = await read_body(exchange.receive, limit)
        return await self._execute_request(
            exchange, parse_body(body, self._options.max_batch, self._options.max_values)
        )

    async def _execute_request(self, exchange: _Exchange, parameters: Parameters | list[Parameters]) -> _HTTPResponse:
        """Executes the request; cancels it and raises Disconnected if the client disconnects."""
        if exchange.timings is not None:
            exchange.timings.mark("receive")
        with DisconnectWatcher(exchange.receive):
            if isinstance(parameters, list):
                return await self._execute_batch(exchange, parameters)
            status, response = await self._execute(exchange, parameters)
            if isinstance(response, dict):
                is_stream = exchange.media_type == EVENTS
                return status, format_single_response(response) if is_stream else orjson.dumps(response)
            await self._send_events(exchange, response)
            return None

    async def _send_events(self, exchange: _Exchange, responses: Responses) -> None:
        async def authenticate_again() -> Viewer:
            return (await self._authenticator.authenticate(exchange.authorization))[1]

        watch = self._subscriptions.watch_session(exchange.viewer, exchange.expires_at, authenticate_again)
        async with watch as session_end:
            hold = partial(self._operations.held_bytes.hold, exchange.viewer)
            await self._event_streams.send(exchange.send, exchange.response_headers, responses, session_end, hold)

    async def _execute_batch(self, exchange: _Exchange, batch: list[Parameters]) -> _HTTPResponse:
        """Executes the operations of a batch one after another. They share the bytes of one response."""
        exchange.is_batch = True
        if exchange.media_type == EVENTS:
            message = "An event stream carries one operation, not a batch."
            raise RequestRejected(400, "BAD_REQUEST", message)
        responses: list[bytes] = []
        exchange.max_bytes = self._operations.processor.max_bytes
        for parameters in batch:
            encoded = orjson.dumps((await self._execute(exchange, parameters))[1])
            responses.append(encoded)
            if exchange.max_bytes is not None:
                exchange.max_bytes = max(0, exchange.max_bytes - len(encoded))
        return 200, b"[%b]" % b",".join(responses)

    async def _execute(self, exchange: _Exchange, parameters: Parameters) -> tuple[int, _GraphQLResponse]:
        """The status and the response of one operation, or the responses of a subscription."""
        operations, origin = self._operations, request_origin(exchange.scope, exchange.request_headers)
        try:
            prepared = await self._prepare(exchange, parameters)
            if prepared.kind == "subscription":
                after = last_event_id(exchange.request_headers, parameters)
                return 200, self._subscriptions.subscribe(prepared, parameters, exchange.viewer, origin, after)
            headers = None if exchange.is_batch else exchange.request_headers
            idempotency = operations.open_idempotency(parameters, prepared, exchange.viewer, headers)
            charge = await operations.charge(parameters, prepared.cost, exchange.viewer, origin)
            if charge is not None and charge.budget is not None:
                exchange.response_headers |= charge.budget.headers
            async with operations.concurrency_limit.turn(exchange.viewer):
                result = await self._run(exchange, prepared, origin, idempotency)
        except RequestError as error:
            return _request_error(exchange, error)
        response = format_result(result, charge if requests_cost(parameters) else None)
        if idempotency is not None and idempotency.is_replayed:
            mark_replayed(parameters, response, exchange.response_headers)
        if requests_token(parameters) and HEADER in exchange.response_headers:
            response.setdefault("extensions", {})["consistencyToken"] = exchange.response_headers[HEADER]
        return _PARTIAL_SUCCESS if result.errors and exchange.media_type == GRAPHQL else 200, response

    async def _prepare(self, exchange: _Exchange, parameters: Parameters) -> PreparedOperation:
        """The operation, rejected if this request cannot carry an operation of its kind."""
        prepared = await self._operations.prepare(parameters, exchange.viewer, exchange.timings)
        if prepared.kind == "subscription" and (
            exchange.is_batch or not accepts_event_stream(exchange.request_headers.get(b"accept"))
        ):
            message = (
                f"A subscription has several responses: send it alone with `Accept: {EVENTS}` (graphql-sse, distinct "
                "connections mode), or over WebSocket (graphql-transport-ws)."
            )
            raise RequestRejected(400, "BAD_REQUEST", message)
        if prepared.kind == "mutation" and exchange.scope["method"] == "GET":
            message = "A GET request must not carry a mutation: use POST."
            raise RequestRejected(405, "METHOD_NOT_ALLOWED", message, {"Allow": "POST"})
        await self._operations.store_persisted_query(parameters, exchange.viewer)
        return prepared

    async def _run(
        self,
        exchange: _Exchange,
        prepared: PreparedOperation,
        origin: RequestOrigin,
        idempotency: Idempotency | None,
    ) -> ExecutionResult:
        """Runs a query or a mutation. A mutation sets the position that later queries must include."""
        operations, is_mutation = self._operations, prepared.kind == "mutation"
        since = None if is_mutation else exchange.since
        result = await operations.run(
            prepared,
            exchange.viewer,
            origin,
            since=since,
            timings=exchange.timings,
            max_bytes=exchange.max_bytes,
            idempotency=idempotency,
        )
        if is_mutation and (token := await current_token(operations.database)) is not None:
            exchange.response_headers[HEADER], exchange.since = token, parse_position(token)
        return result


def _reject(exchange: _Exchange, error: Exception) -> tuple[int, bytes]:
    """The response to a request that is rejected; it is JSON even if an event stream was requested."""
    rejected = error if isinstance(error, RequestRejected) else RequestRejected.from_exception(error)
    exchange.response_headers |= rejected.headers
    if exchange.media_type == EVENTS:
        exchange.media_type = JSON
    return rejected.status, orjson.dumps({"errors": [rejected.error]})


def _request_error(exchange: _Exchange, error: RequestError) -> tuple[int, _GraphQLResponse]:
    """The status and the response of an operation that has no data."""
    exchange.response_headers |= error_headers(error.errors[0].original_error)
    is_plain_json = exchange.media_type == JSON and error.status == _BAD_REQUEST
    status = 200 if is_plain_json or exchange.media_type == EVENTS else error.status
    return status, {"errors": format_graphql_errors(error.errors)}


def _is_page_visit(scope: Scope, headers: Headers) -> bool:
    """Whether a browser opens the address without an operation in the query string."""
    is_operation = b"query=" in scope["query_string"] or b"extensions=" in scope["query_string"]
    return scope["method"] == "GET" and prefers_html(headers.get(b"accept")) and not is_operation
