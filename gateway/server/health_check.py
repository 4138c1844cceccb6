"""The route /health, for load balancers and operators."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.transport.responses import JSONResponse
from repositories.aggregates.event_store import EventStore
from repositories.core.errors import GatewayError
from repositories.core.ids import new_id
from repositories.core.viewer import ANONYMOUS
from repositories.engines.database import Database


def health_route(database: Database, *, fallback: bool) -> Route:
    """Runs a query, and answers 503 if it fails.

    The status is ``degraded`` if the replica is unreachable, or if SQLite replaces an unreachable PostgreSQL
    (``fallback``).
    """

    async def health(_: Request) -> Response:
        pool, is_replica_available = database.pool_state(), await database.check_replica()
        state: dict[str, Any] = {
            "engine": database.engine.value,
            "fallback": fallback,
            "connections": pool.size,
            "in_use": pool.used,
        }
        if is_replica_available is not None:
            state["replica"] = "ok" if is_replica_available else "unavailable"
        body = {"status": "degraded" if fallback or is_replica_available is False else "ok", "database": state}
        try:
            async with database.snapshot(ANONYMOUS) as snapshot:
                await EventStore(snapshot).exists(new_id())
        except GatewayError as error:
            return JSONResponse(body | {"status": "unavailable", "reason": error.message}, status_code=503)
        return JSONResponse(body)

    return Route("/health", health)
