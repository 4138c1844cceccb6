"""The GraphQL endpoint: Strawberry's view with our viewer, context, errors and JSON."""

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
from repositories.kit.viewer import ANONYMOUS, Viewer
from resolvers.kit.context import Context
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


class GraphQLEndpoint(GraphQL[Context, None]):
    """``/graphql``. The request's database connection is given back before the answer is encoded."""

    def __init__(self, schema: BaseSchema, database: Database, tokens: Tokens, *, graphiql: bool) -> None:
        super().__init__(schema, graphql_ide="graphiql" if graphiql else None)
        self._database = database
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 401 to whatever is wrong with an Authorization header; without one the viewer is anonymous."""
        try:
            scope["viewer"] = self._viewer(Headers(scope=scope))
        except Unauthenticated as error:
            await error_response(error)(scope, receive, send)
            return
        await super().__call__(scope, receive, send)

    def _viewer(self, headers: Headers) -> Viewer:
        given = headers.getlist("authorization")
        if not given:
            return ANONYMOUS
        return self._tokens.viewer_of_header(given[0] if len(given) == 1 else "")

    async def get_context(self, request: Any, response: Any) -> Context:
        """What the operation runs with."""
        del response
        return Context(self._database, request.scope["viewer"], REACTIONS)

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
