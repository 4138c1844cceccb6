"""GraphQL over HTTP (https://http-spec.graphql.org), straight on ASGI, for this is where every request passes.

docs/decisions/0012-http.md says what was decided where the specification leaves a choice.
"""

from dataclasses import dataclass
from typing import Any

import orjson
from graphql import ExecutionResult
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.auth.tokens import Tokens
from gateway.execution.processor import Prepared
from gateway.execution.request_errors import RequestError
from gateway.execution.timings import Timings
from gateway.transport import error_responses
from gateway.transport.concurrency import DisconnectWatcher
from gateway.transport.consistency import HEADER, asks_for_token, since_of, token_after
from gateway.transport.error_responses import RequestRejected
from gateway.transport.negotiation import EVENTS, GRAPHQL, JSON, negotiated, prefers_page, takes_events
from gateway.transport.operations import asks_for_cost, client_of, presented
from gateway.transport.requests import (
    Disconnected,
    Headers,
    Parameters,
    body_of,
    headers_of,
    parameters_of_body,
    parameters_of_query,
    refuse_forged,
    refuse_unreadable,
    request_id_of,
)
from gateway.transport.responses import answer
from gateway.transport.sse import EventStreams, last_event_id, whole
from gateway.transport.subscription_responses import Responses, Streams
from repositories.core.viewer import ANONYMOUS, Viewer
from repositories.engines.position import parse_position
from resolvers.request.context import RequestOrigin

_PARTIAL = 294
_WELL_FORMED = 400
"""The status of a request error in a well-formed request, for which ``application/json`` has 200."""


@dataclass(frozen=True, slots=True)
class Options:
    """How the endpoint behaves; sizes are bytes."""

    max_request_size: int = 1_000_000
    max_batch: int = 0
    origins: frozenset[str] = frozenset()
    timed: bool = False


@dataclass(slots=True)
class _Exchange:
    """One request and what its answer will have."""

    scope: Scope
    receive: Receive
    send: Send
    given: Headers
    headers: dict[str, str]
    timings: Timings | None
    media_type: str = JSON
    viewer: Viewer = ANONYMOUS
    since: int = 0
    """The position that queries have to show."""
    until: float | None = None
    """When the viewer's token ends, in seconds since 1970."""
    is_batch: bool = False


_Response = dict[str, Any] | Responses
_Answer = tuple[int, bytes] | None
"""The status and the body; None once a stream was sent."""


class GraphQLEndpoint:
    """``/graphql``. The request's database connection is given back before the answer is encoded."""

    def __init__(
        self,
        streams: Streams,
        tokens: Tokens,
        *,
        event_streams: EventStreams,
        options: Options = Options(),
        page: ASGIApp | None = None,
    ) -> None:
        self._operations = streams.operations
        self._streams = streams
        self._event_streams = event_streams
        self._tokens = tokens
        self._options = options
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; whatever goes wrong is answered in JSON."""
        given = headers_of(scope)
        if self._page is not None and _is_visit(scope, given):
            await self._page(scope, receive, send)
            return
        request_id = request_id_of(given)
        error_responses.request_id.set(request_id)
        timings = Timings() if self._options.timed or b"x-server-timing" in given else None
        headers = {"X-Request-ID": request_id, "Cache-Control": "no-store"}
        exchange = _Exchange(scope, receive, send, given, headers, timings)
        try:
            answered = await self._answered(exchange)
        except Disconnected:
            return
        except Exception as error:  # noqa: BLE001 (the last resort: masked and logged)
            refused = error if isinstance(error, RequestRejected) else RequestRejected.of(error)
            answered = refused.status, orjson.dumps({"errors": [refused.error]})
            exchange.headers |= refused.headers
            if exchange.media_type == EVENTS:
                exchange.media_type = JSON
        if answered is None:
            return
        status, body = answered
        if timings is not None:
            timings.mark("encode")
            exchange.headers["Server-Timing"] = timings.header()
        await answer(send, status, exchange.media_type, body, exchange.headers)

    async def _answered(self, exchange: _Exchange) -> _Answer:
        method, given, limit = exchange.scope["method"], exchange.given, self._options.max_request_size
        if method not in {"GET", "POST"}:
            message = f"{method} is not for GraphQL: use GET or POST; with graphql-sse, distinct connections."
            raise RequestRejected(405, "METHOD_NOT_ALLOWED", message, {"Allow": "GET, POST"})
        media_type = negotiated(given.get(b"accept"))
        if media_type is None:
            message = f"The answer would be `{GRAPHQL}`, `{JSON}` or `{EVENTS}`: accept one of them."
            raise RequestRejected(406, "NOT_ACCEPTABLE", message)
        exchange.media_type = media_type
        if method == "GET":
            refuse_forged(given, self._options.origins)
        else:
            refuse_unreadable(given, limit)
        exchange.since = since_of(given)
        if b"authorization" in given:
            header = given[b"authorization"].decode("latin-1")
            exchange.until, exchange.viewer = await self._tokens.of_header(header)
        if method == "GET":
            return await self._watched(exchange, parameters_of_query(exchange.scope["query_string"], limit))
        body = await body_of(exchange.receive, limit)
        return await self._watched(exchange, parameters_of_body(body, self._options.max_batch))

    async def _watched(self, exchange: _Exchange, parameters: Parameters | list[Parameters]) -> _Answer:
        """Runs what is asked for, one after the other, as long as the client is there and when it is its turn."""
        if exchange.timings is not None:
            exchange.timings.mark("receive")
        with DisconnectWatcher(exchange.receive):
            if isinstance(parameters, list):
                return await self._batched(exchange, parameters)
            status, response = await self._operated(exchange, parameters)
            if isinstance(response, dict):
                return status, whole(response) if exchange.media_type == EVENTS else orjson.dumps(response)
            client = client_of(exchange.scope, exchange.given)
            async with self._streams.stay(exchange.viewer, client, exchange.until) as ended:
                await self._event_streams.send(exchange.send, exchange.headers, response, ended)
            return None

    async def _batched(self, exchange: _Exchange, batch: list[Parameters]) -> _Answer:
        exchange.is_batch = True
        if exchange.media_type == EVENTS:
            message = "An event stream is of one operation: send no list."
            raise RequestRejected(400, "BAD_REQUEST", message)
        responses = [(await self._operated(exchange, one))[1] for one in batch]
        return 200, orjson.dumps(responses)

    async def _operated(self, exchange: _Exchange, parameters: Parameters) -> tuple[int, _Response]:
        """The status and the GraphQL response of one operation, or those of a subscription."""
        operations, client = self._operations, client_of(exchange.scope, exchange.given)
        try:
            prepared = await self._prepared(exchange, parameters)
            if prepared.kind == "subscription":
                after = last_event_id(exchange.given, parameters)
                return 200, self._streams.responses(prepared, parameters, exchange.viewer, client, after)
            bill = await operations.billed(parameters, prepared.cost, exchange.viewer, client)
            if bill is not None and bill.spent is not None:
                exchange.headers |= bill.spent.headers
            async with operations.gate:
                result = await self._run(exchange, prepared, client)
        except RequestError as error:
            exchange.headers |= error_responses.headers_of(error.errors[0].original_error)
            is_plain = exchange.media_type == JSON and error.status == _WELL_FORMED
            is_told_inside = is_plain or exchange.media_type == EVENTS
            return 200 if is_told_inside else error.status, {"errors": error_responses.present(error.errors)}
        response = presented(result, bill if asks_for_cost(parameters) else None)
        if asks_for_token(parameters) and HEADER in exchange.headers:
            response.setdefault("extensions", {})["consistencyToken"] = exchange.headers[HEADER]
        return _PARTIAL if result.errors and exchange.media_type == GRAPHQL else 200, response

    async def _prepared(self, exchange: _Exchange, parameters: Parameters) -> Prepared:
        prepared = await self._operations.prepared(parameters, exchange.viewer, exchange.timings)
        if prepared.kind == "subscription" and (exchange.is_batch or not takes_events(exchange.given.get(b"accept"))):
            message = (
                f"A subscription has many answers: send it alone with `Accept: {EVENTS}` (graphql-sse, distinct "
                "connections), or over WebSocket (graphql-transport-ws)."
            )
            raise RequestRejected(400, "BAD_REQUEST", message)
        if prepared.kind == "mutation" and exchange.scope["method"] == "GET":
            message = "A mutation changes something: use POST."
            raise RequestRejected(405, "METHOD_NOT_ALLOWED", message, {"Allow": "POST"})
        await self._operations.keep(parameters)
        return prepared

    async def _run(self, exchange: _Exchange, prepared: Prepared, client: RequestOrigin) -> ExecutionResult:
        """The result. A query whose replica failed between two statements is run anew, without it."""
        operations, is_mutation = self._operations, prepared.kind == "mutation"
        context = operations.context(exchange.viewer, client, since=None if is_mutation else exchange.since)
        result = await operations.pipeline.run(prepared, context, exchange.timings)
        if context.needs_retry:
            context = operations.context(exchange.viewer, client)
            result = await operations.pipeline.run(prepared, context, exchange.timings)
        if is_mutation and (token := await token_after(operations.database)) is not None:
            exchange.headers[HEADER], exchange.since = token, parse_position(token)
        return result


def _is_visit(scope: Scope, given: Headers) -> bool:
    """Whether a person opens the address in a browser, without an operation in it."""
    is_operation = b"query=" in scope["query_string"] or b"extensions=" in scope["query_string"]
    return scope["method"] == "GET" and prefers_page(given.get(b"accept")) and not is_operation
