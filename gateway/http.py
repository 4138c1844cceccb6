"""GraphQL over HTTP (https://http-spec.graphql.org), straight on ASGI, for this is where every request passes.

docs/decisions/0012-http.md says what was decided where the specification leaves a choice.
"""

from dataclasses import dataclass
from typing import Any

import orjson
from graphql import ExecutionResult
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway import errors
from gateway.consistency import HEADER, position_after, since_of
from gateway.errors import RequestRefused
from gateway.execution.pipeline import Prepared
from gateway.execution.refusals import RequestError
from gateway.identity import Tokens
from gateway.negotiation import GRAPHQL, JSON, negotiated, prefers_page
from gateway.operations import Operations, asks_for_cost, client_of, presented
from gateway.requests import (
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
from gateway.responses import answer
from gateway.timings import Timings
from gateway.traffic import Watch
from repositories.kit.viewer import ANONYMOUS, Viewer
from resolvers.kit.context import Client

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
    given: Headers
    headers: dict[str, str]
    timings: Timings | None
    media_type: str = JSON
    viewer: Viewer = ANONYMOUS
    since: int = 0
    """The position that queries have to show."""


class GraphQLEndpoint:
    """``/graphql``. The request's database connection is given back before the answer is encoded."""

    def __init__(
        self, operations: Operations, tokens: Tokens, options: Options = Options(), page: ASGIApp | None = None
    ) -> None:
        self._operations = operations
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
        errors.request_id.set(request_id)
        timings = Timings() if self._options.timed or b"x-server-timing" in given else None
        exchange = _Exchange(scope, receive, given, {"X-Request-ID": request_id, "Cache-Control": "no-store"}, timings)
        try:
            status, body = await self._answered(exchange)
        except Disconnected:
            return
        except Exception as error:  # noqa: BLE001 (the last resort: masked and logged)
            refused = error if isinstance(error, RequestRefused) else RequestRefused.of(error)
            status, body = refused.status, orjson.dumps({"errors": [refused.error]})
            exchange.headers |= refused.headers
        if timings is not None:
            timings.mark("encode")
            exchange.headers["Server-Timing"] = timings.header()
        await answer(send, status, exchange.media_type, body, exchange.headers)

    async def _answered(self, exchange: _Exchange) -> tuple[int, bytes]:
        """The status and the body."""
        method, given, limit = exchange.scope["method"], exchange.given, self._options.max_request_size
        if method not in {"GET", "POST"}:
            message = f"{method} is not for GraphQL: use GET or POST."
            raise RequestRefused(405, "METHOD_NOT_ALLOWED", message, {"Allow": "GET, POST"})
        media_type = negotiated(given.get(b"accept"))
        if media_type is None:
            message = f"The answer would be `{GRAPHQL}` or `{JSON}`: accept one of them."
            raise RequestRefused(406, "NOT_ACCEPTABLE", message)
        exchange.media_type = media_type
        if method == "GET":
            refuse_forged(given, self._options.origins)
        else:
            refuse_unreadable(given, limit)
        exchange.since = since_of(given)
        if b"authorization" in given:
            _, exchange.viewer = await self._tokens.of_header(given[b"authorization"].decode("latin-1"))
        if method == "GET":
            return await self._watched(exchange, parameters_of_query(exchange.scope["query_string"], limit))
        body = await body_of(exchange.receive, limit)
        return await self._watched(exchange, parameters_of_body(body, self._options.max_batch))

    async def _watched(self, exchange: _Exchange, parameters: Parameters | list[Parameters]) -> tuple[int, bytes]:
        """Runs what is asked for, one after the other, as long as the client is there and when it is its turn."""
        if exchange.timings is not None:
            exchange.timings.mark("receive")
        with Watch(exchange.receive):
            if isinstance(parameters, Parameters):
                status, response = await self._operated(exchange, parameters)
                return status, orjson.dumps(response)
            responses = [(await self._operated(exchange, one))[1] for one in parameters]
            return 200, orjson.dumps(responses)

    async def _operated(self, exchange: _Exchange, parameters: Parameters) -> tuple[int, dict[str, Any]]:
        """The status and the GraphQL response of one operation."""
        operations, client = self._operations, client_of(exchange.scope, exchange.given)
        try:
            prepared = await self._prepared(exchange, parameters)
            bill = await operations.billed(parameters, prepared.cost, exchange.viewer, client)
            if bill is not None and bill.spent is not None:
                exchange.headers |= bill.spent.headers
            async with operations.gate:
                result = await self._run(exchange, prepared, client)
        except RequestError as error:
            exchange.headers |= errors.headers_of(error.errors[0].original_error)
            is_plain = exchange.media_type == JSON and error.status == _WELL_FORMED
            return 200 if is_plain else error.status, {"errors": errors.present(error.errors)}
        response = presented(result, bill if asks_for_cost(parameters) else None)
        if parameters.extensions.get("consistencyToken") is True and HEADER in exchange.headers:
            response.setdefault("extensions", {})["consistencyToken"] = exchange.headers[HEADER]
        return _PARTIAL if result.errors and exchange.media_type == GRAPHQL else 200, response

    async def _prepared(self, exchange: _Exchange, parameters: Parameters) -> Prepared:
        prepared = await self._operations.prepared(parameters, exchange.viewer, exchange.timings)
        if prepared.kind == "subscription":
            message = "Subscriptions are not answered here."
            raise RequestRefused(400, "BAD_REQUEST", message)
        if prepared.kind == "mutation" and exchange.scope["method"] == "GET":
            message = "A mutation changes something: use POST."
            raise RequestRefused(405, "METHOD_NOT_ALLOWED", message, {"Allow": "POST"})
        await self._operations.keep(parameters)
        return prepared

    async def _run(self, exchange: _Exchange, prepared: Prepared, client: Client) -> ExecutionResult:
        """The result. A query whose replica failed between two statements is run anew, without it."""
        operations, is_mutation = self._operations, prepared.kind == "mutation"
        context = operations.context(exchange.viewer, client, since=None if is_mutation else exchange.since)
        result = await operations.pipeline.run(prepared, context, exchange.timings)
        if context.is_lost:
            context = operations.context(exchange.viewer, client)
            result = await operations.pipeline.run(prepared, context, exchange.timings)
        if is_mutation:
            exchange.since = await position_after(operations.database, exchange.headers) or exchange.since
        return result


def _is_visit(scope: Scope, given: Headers) -> bool:
    """Whether a person opens the address in a browser, without an operation in it."""
    is_operation = b"query=" in scope["query_string"] or b"extensions=" in scope["query_string"]
    return scope["method"] == "GET" and prefers_page(given.get(b"accept")) and not is_operation
