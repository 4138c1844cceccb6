"""The GraphQL endpoint: Strawberry's view with our viewer, context, errors and JSON."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import orjson
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from strawberry.asgi import GraphQL
from strawberry.http import GraphQLHTTPResponse
from strawberry.schema.base import BaseSchema
from strawberry.types import ExecutionResult

from gateway import errors
from gateway.identity import Tokens
from repositories.kit.database import Database
from repositories.kit.errors import GatewayError, Unauthenticated
from repositories.kit.repository import now
from repositories.kit.viewer import ANONYMOUS, Viewer
from resolvers.kit.context import NO_SERVICES, Client, Context, Services
from resolvers.reactions import REACTIONS


class JSONResponse(Response):
    """JSON by orjson."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The body."""
        return orjson.dumps(content)


def error_response(error: GatewayError) -> Response:
    """A request that is refused before it is a GraphQL operation, in the shape GraphQL errors have."""
    body = {"errors": [{"message": error.message, "extensions": errors.extensions(error)}]}
    headers = {"WWW-Authenticate": "Bearer"} if isinstance(error, Unauthenticated) else None
    return JSONResponse(body, status_code=error.status, headers=headers)


_LONGEST_ADDRESS = 45
"""Of IPv6 with an IPv4 address in it; a scope beyond it is cut off."""


class GraphQLEndpoint(GraphQL[Context, None]):
    """``/graphql``. The request's database connection is given back before the answer is encoded."""

    def __init__(  # noqa: PLR0913 (the parts of the process)
        self,
        schema: BaseSchema,
        database: Database,
        tokens: Tokens,
        *,
        graphiql: bool,
        services: Services = NO_SERVICES,
        clock: Callable[[], dt.datetime] = now,
    ) -> None:
        super().__init__(schema, graphql_ide="graphiql" if graphiql else None)
        self._database = database
        self._tokens = tokens
        self._services = services
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 401 to whatever is wrong with an Authorization header; without one the viewer is anonymous.

        503 if an outside issuer's token cannot be verified for the moment.
        """
        try:
            scope["viewer"] = await self._viewer(Headers(scope=scope))
        except GatewayError as error:
            await error_response(error)(scope, receive, send)
            return
        await super().__call__(scope, receive, send)

    async def _viewer(self, headers: Headers) -> Viewer:
        given = headers.getlist("authorization")
        if not given:
            return ANONYMOUS
        return await self._tokens.viewer_of_header(given[0] if len(given) == 1 else "")

    async def get_context(self, request: Any, response: Any) -> Context:
        """What the operation runs with."""
        del response
        client = Client(
            request.client.host[:_LONGEST_ADDRESS] if request.client else None, request.headers.get("user-agent")
        )
        viewer = request.scope["viewer"]
        return Context(self._database, viewer, REACTIONS, self._clock, services=self._services, client=client)

    async def execute_operation(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the operation, then closes its context."""
        context: Context = kwargs["context"]
        try:
            return await super().execute_operation(*args, **kwargs)
        finally:
            await context.close()

    async def process_result(self, request: Request, result: ExecutionResult) -> GraphQLHTTPResponse:
        """The answer: errors presented, data as it is."""
        del request
        answer: GraphQLHTTPResponse = {"data": result.data}
        if result.errors:
            answer["errors"] = errors.present(result.errors)  # type: ignore[typeddict-item]
        if result.extensions:
            answer["extensions"] = result.extensions
        return answer

    def encode_json(self, data: object) -> bytes:
        """JSON by orjson."""
        return orjson.dumps(data)
