"""The ASGI application."""

import datetime as dt
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from gateway.auth.tokens import Tokens, accounts
from gateway.execution.budget import Budget
from gateway.execution.cost_limiter import CostLimiter
from gateway.execution.limits import Limits
from gateway.execution.persisted import NOT_KEPT, MemoryQueryStore, PersistedQueries, RedisQueryStore
from gateway.execution.processor import OperationProcessor
from gateway.explorer import explorer_routes, page
from gateway.explorer.demo import DemoAccounts
from gateway.jobs.runner import JobRunner, jobs_by_name
from gateway.jobs.scheduler import run_scheduler
from gateway.server.http_protocol import STOP
from gateway.server.redis_announcements import open_announcements
from gateway.settings import Settings
from gateway.transport.concurrency import ConcurrencyLimit
from gateway.transport.consistency import HEADER
from gateway.transport.http import GraphQLEndpoint, Options
from gateway.transport.operations import Operations
from gateway.transport.responses import JSONResponse, refused
from gateway.transport.sse import EventStreams
from gateway.transport.subscription_responses import Streams
from gateway.transport.websocket import SocketOptions, WebSocketEndpoint
from repositories.aggregates.event_store import EventStore
from repositories.core.clock import now
from repositories.core.errors import GatewayError
from repositories.core.ids import new_id
from repositories.core.viewer import ANONYMOUS
from repositories.engines.database import Database
from resolvers.caching.cache import Cache
from resolvers.identity.accounts import Accounts
from resolvers.identity.queries import account_time_zone
from resolvers.request.context import AccountTimeZone
from resolvers.streaming.feed import Feed, FeedOptions
from schema import schema

_EXPOSED = ("X-Request-ID", "Server-Timing", "Retry-After", "RateLimit", "RateLimit-Policy", HEADER)


class _Application:
    """Sends GraphQL requests straight to their endpoint, past what the other routes need."""

    def __init__(self, endpoints: Mapping[str, ASGIApp], others: ASGIApp) -> None:
        self._endpoints = endpoints
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_graphql = scope["type"] in self._endpoints and scope["path"] == "/graphql"
        await (self._endpoints[scope["type"]] if is_graphql else self._others)(scope, receive, send)


def create_cost_limiter(settings: Settings) -> CostLimiter:
    """What operations may ask for under these settings."""
    budget = Budget(settings.rate_limit_store, settings.cost_per_minute) if settings.cost_per_minute else None
    return CostLimiter(schema._schema, Limits.of(settings), budget)  # noqa: SLF001 (there is no public way to it)


def create_processor(settings: Settings, gauge: CostLimiter) -> OperationProcessor:
    """How operations run under these settings."""
    return OperationProcessor(
        schema,
        limits=gauge.cost,
        hides_suggestions=gauge.hides_suggestions,
        max_tokens=settings.max_document_tokens,
        time_limit=settings.operation_timeout,
    )


_UNANNOUNCED = 0.25
"""Seconds between two looks at the store where nobody announces events."""


def feed_options(settings: Settings, *, announced: bool) -> FeedOptions:
    """How events are followed under these settings."""
    return FeedOptions(
        poll=1.0 if announced else _UNANNOUNCED,
        waiting=settings.subscription_queue,
        replay=settings.subscription_replay,
        interval=settings.live_interval,
    )


def socket_options(settings: Settings) -> SocketOptions:
    """How WebSockets behave under these settings."""
    return SocketOptions(
        origins=settings.origins(),
        init_timeout=settings.socket_init_timeout,
        max_sockets=settings.max_sockets,
        max_operations=settings.max_socket_operations,
    )


def create_cache(settings: Settings, tokens: Tokens) -> Cache | None:
    """What is kept of what was computed, under these settings."""
    kind, entries = settings.cache_kind(), settings.cache_entries
    if kind == "off":
        return None
    from resolvers.caching import store as cache_store  # noqa: PLC0415 (loaded only where values are kept: it takes 14 MB)

    secret = tokens.derived_key("cache")
    if kind == "redis" and settings.redis_url is not None:
        store = cache_store.redis_store(settings.redis_url.get_secret_value(), secret)
    else:
        store = cache_store.memory_store(entries)
    return Cache(store, secret, lifetime=settings.cache_lifetime, entries=entries)


def create_app(  # noqa: PLR0913 (the parts of the process)
    settings: Settings,
    database: Database,
    tokens: Tokens,
    *,
    fallback: bool = False,
    demo: bool = False,
    clock: Callable[[], dt.datetime] = now,
) -> ASGIApp:
    """The gateway over a connected database.

    ``fallback`` says that SQLite stands in for a PostgreSQL that was out of reach; ``demo`` that whoever opens GraphiQL
    may sign in as the people of the demo data; ``clock`` tells requests the time.
    """
    redis = (
        RedisQueryStore(settings.redis_url.get_secret_value(), settings.persisted_query_lifetime)
        if settings.redis_url
        else None
    )
    stores = (MemoryQueryStore(), redis) if redis else (MemoryQueryStore(),)
    gauge = create_cost_limiter(settings)
    cache = create_cache(settings, tokens)
    if cache is not None:
        database.commit_listeners.append(cache.committed)
    line = open_announcements(settings, database)
    feed = Feed(database, line, feed_options(settings, announced=line is not None))
    identity = accounts(settings, tokens)
    services: dict[type[Any], Any] = {
        Accounts: identity,
        AccountTimeZone: AccountTimeZone(account_time_zone),
        Feed: feed,
    }
    if cache is not None:
        services[Cache] = cache
        feed.listeners.append(cache.happened)
    operations = Operations(
        create_processor(settings, gauge),
        database,
        gauge,
        ConcurrencyLimit(settings.max_operations, settings.queue_timeout),
        PersistedQueries(*stores) if settings.persisted_queries else NOT_KEPT,
        services,
        clock,
    )
    options = Options(
        max_request_size=settings.max_request_size,
        max_batch=settings.max_batch,
        origins=settings.origins(),
        timed=settings.server_timing == "always",
    )
    streams = Streams(operations, settings.max_subscriptions)
    event_streams = EventStreams(settings.event_stream_heartbeat)
    graphql = GraphQLEndpoint(
        streams, tokens, event_streams=event_streams, options=options, page=page if settings.graphiql else None
    )
    sockets = WebSocketEndpoint(streams, tokens, socket_options(settings))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
        jobs = jobs_by_name(settings).values() if settings.jobs == "on" else ()
        async with feed.running(), run_scheduler(JobRunner(database, clock), jobs, settings.shutdown_timeout):
            yield {STOP: event_streams.stopping.set}
        for store in (redis, cache, gauge, identity.attempts):
            if store is not None:
                await store.close()

    async def health(request: Request) -> Response:
        """Whether the gateway can do its work, for load balancers and people."""
        del request
        state, replica = database.pool_state(), await database.check_replica()
        about: dict[str, Any] = {
            "engine": database.engine.value,
            "fallback": fallback,
            "connections": state.size,
            "in_use": state.used,
        }
        if replica is not None:
            about["replica"] = "ok" if replica else "unavailable"
        body = {"status": "degraded" if fallback or replica is False else "ok", "database": about}
        try:
            async with database.snapshot(ANONYMOUS) as snapshot:
                await EventStore(snapshot).exists(new_id())
        except GatewayError as error:
            return JSONResponse(body | {"status": "unavailable", "reason": error.message}, status_code=503)
        return JSONResponse(body)

    async def home(request: Request) -> Response:
        """People who open the bare address want GraphiQL."""
        del request
        return RedirectResponse("/graphql")

    demo_accounts = DemoAccounts(database, tokens, settings.token_lifetime) if demo else None
    others = Starlette(
        routes=[
            Route("/", home),
            Route("/health", health),
            *(explorer_routes(demo_accounts) if settings.graphiql else []),
        ],
        exception_handlers={HTTPException: refused, Exception: refused},
        lifespan=lifespan,
    )
    return _within(settings, _Application({"http": graphql, "websocket": sockets}, others))


def _within(settings: Settings, app: ASGIApp) -> ASGIApp:
    """The application within what these settings put around it."""
    if settings.origins():
        app = CORSMiddleware(
            app,
            allow_origins=settings.origins(),
            allow_methods=("GET", "POST"),
            allow_headers=("*",),
            expose_headers=_EXPOSED,
            max_age=7200,
        )
    if settings.trusted_proxies:
        proxied: Any = ProxyHeadersMiddleware
        app = proxied(app, settings.trusted_proxies)
    return app
