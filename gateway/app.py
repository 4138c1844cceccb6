"""The ASGI application."""

import datetime as dt
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from gateway.http import GraphQLEndpoint, JSONResponse
from gateway.identity import Tokens, accounts
from gateway.settings import Settings
from repositories.events import Events
from repositories.kit.database import Database
from repositories.kit.errors import GatewayError
from repositories.kit.repository import new_id, now
from repositories.kit.viewer import ANONYMOUS
from resolvers.identity.accounts import Accounts
from schema import schema


def create_app(
    settings: Settings,
    database: Database,
    tokens: Tokens,
    *,
    fallback: bool = False,
    clock: Callable[[], dt.datetime] = now,
) -> Starlette:
    """The gateway over a connected database.

    ``fallback`` says that SQLite stands in for a PostgreSQL that was out of reach; ``clock`` tells requests the time.
    """
    services = {Accounts: accounts(settings, tokens)}
    graphql = GraphQLEndpoint(schema, database, tokens, graphiql=settings.graphiql, services=services, clock=clock)

    async def health(request: Request) -> Response:
        """Whether the gateway can do its work, for load balancers and people."""
        del request
        state = database.pool_state()
        body = {
            "status": "degraded" if fallback else "ok",
            "database": {
                "engine": database.engine.value,
                "fallback": fallback,
                "connections": state.size,
                "in_use": state.used,
            },
        }
        snapshot = database.snapshot(ANONYMOUS)
        try:
            await Events(snapshot).exists(new_id())
        except GatewayError as error:
            return JSONResponse(body | {"status": "unavailable", "reason": error.message}, status_code=503)
        finally:
            await snapshot.close()
        return JSONResponse(body)

    async def home(request: Request) -> Response:
        """People who open the bare address want GraphiQL."""
        del request
        return RedirectResponse("/graphql")

    return Starlette(
        routes=[
            Route("/", home),
            Route("/health", health),
            Route("/graphql", graphql),
        ],
        middleware=[Middleware(ProxyHeadersMiddleware, trusted_hosts=settings.trusted_proxies)]
        if settings.trusted_proxies
        else [],
    )
