"""Builds the ASGI application: the GraphQL endpoints, the other routes, the services behind them and the lifespan."""

import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from gateway.auth.authentication import Authenticator, ExternalIssuer
from gateway.auth.tokens import Tokens, create_accounts
from gateway.execution.budget import Budget
from gateway.execution.cost_limiter import CostLimiter
from gateway.execution.limits import Limits
from gateway.execution.persisted import MemoryQueryStore, PersistedQueries
from gateway.execution.persisted_redis import RedisQueryStore
from gateway.execution.processor import OperationProcessor
from gateway.explorer import DemoData, explorer_routes, serve_page
from gateway.explorer.demo import DemoAccounts, DemoMessages
from gateway.jobs.runner import JobRunner, jobs_by_name
from gateway.jobs.scheduler import run_scheduler
from gateway.server.event_announcements import open_announcements
from gateway.server.health_check import health_route
from gateway.server.http_protocol import STOP
from gateway.server.mail_delivery import create_outbox, create_transport
from gateway.settings import Settings
from gateway.transport.concurrency import ConcurrencyLimit
from gateway.transport.consistency import HEADER
from gateway.transport.error_responses import RequestRejected
from gateway.transport.held_bytes import HeldBytes
from gateway.transport.http import GraphQLEndpoint, HTTPOptions
from gateway.transport.idempotency_header import REPLAYED_HEADER, IdempotencyOptions
from gateway.transport.local_requests import is_local_request
from gateway.transport.operation_service import OperationService
from gateway.transport.responses import error_response
from gateway.transport.sse import EventStreams
from gateway.transport.subscription_service import SubscriptionService
from gateway.transport.websocket import SocketOptions, WebSocketEndpoint, reject_handshake
from repositories.core.byte_budget import CLIENT_CACHES
from repositories.core.clock import now
from repositories.engines.database import Database
from resolvers.caching.cache import Cache
from resolvers.identity.accounts import Accounts
from resolvers.identity.outbox import Outbox
from resolvers.identity.queries import account_time_zone, find_active_user, first_weekday
from resolvers.request.account_lookup import AccountLookup
from resolvers.request.context import AccountCalendar, Services
from resolvers.request.payment_starter import PaymentStarter
from resolvers.services.mail import LoggedMail, MailTransport
from resolvers.streaming.feed import Feed, FeedOptions
from schema import schema

_EXPOSED_HEADERS = (
    "X-Request-ID",
    "Server-Timing",
    "Retry-After",
    "RateLimit",
    "RateLimit-Policy",
    HEADER,
    REPLAYED_HEADER,
)
_PREFLIGHT_LIFETIME = 7200
_ANNOUNCED_POLL_INTERVAL = 1.0
_UNANNOUNCED_POLL_INTERVAL = 0.25
"""Seconds between two polls of the event store if the processes do not announce their events to each other."""


class _Application:
    """Routes ``/graphql`` directly to its endpoint, past Starlette's routing and middleware."""

    def __init__(self, endpoints: Mapping[str, ASGIApp], other_routes: ASGIApp) -> None:
        self._endpoints = endpoints
        self._other_routes = other_routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in self._endpoints and scope["path"] == "/graphql":
            await self._endpoints[scope["type"]](scope, receive, send)
        elif scope["type"] == "websocket":
            await reject_handshake(send, RequestRejected(404, "NOT_FOUND", "WebSockets are opened on /graphql."))
        else:
            await self._other_routes(scope, receive, send)


def create_app(  # noqa: PLR0913 (the parts of the process)
    settings: Settings,
    database: Database,
    tokens: Tokens,
    *,
    external: ExternalIssuer | None = None,
    fallback: bool = False,
    demo: bool = False,
    clock: Callable[[], dt.datetime] = now,
    payments: PaymentStarter | None = None,
) -> ASGIApp:
    """The gateway over a database. Connect the database before the application's lifespan starts.

    ``fallback`` reports in /health that SQLite replaces an unreachable PostgreSQL. ``demo`` lets users of GraphiQL
    sign in as the users of the demo data. ``clock`` returns the current time of requests. ``external`` verifies the
    tokens of an external issuer. Without ``payments``, users cannot pay orders.
    """
    CLIENT_CACHES.resize(settings.cache_bytes)
    cache = create_cache(settings, tokens)
    feed = create_feed(settings, database, cache)
    authenticator = Authenticator(tokens, database, feed, external)
    query_store = create_redis_query_store(settings)
    accounts = create_accounts(settings, tokens)
    transport = create_transport(settings, database, fallback=fallback)
    outbox = create_outbox(settings, database, tokens, transport, clock) if transport else None
    services = create_services(accounts, feed, cache, outbox, payments)
    operations = create_operation_service(settings, database, services, query_store, clock, tokens=tokens)
    event_streams = EventStreams(settings.event_stream_heartbeat)
    stores = (query_store, cache, operations.cost_limiter, accounts.attempts)
    closers = [store.close for store in stores if store is not None]
    explorer = create_explorer_data(settings, database, tokens, transport) if demo else None
    other_routes = Starlette(
        routes=create_routes(settings, database, explorer, fallback=fallback),
        exception_handlers={HTTPException: error_response, Exception: error_response},
        lifespan=create_lifespan(
            settings,
            JobRunner(database, clock),
            feed,
            authenticator=authenticator,
            outbox=outbox,
            event_streams=event_streams,
            closers=closers,
        ),
    )
    other_routes.router.redirect_slashes = False  # it would redirect to the host that the client names
    endpoints = create_endpoints(settings, operations, authenticator, event_streams)
    return add_middleware(settings, _Application(endpoints, other_routes))


def create_cache(settings: Settings, tokens: Tokens) -> Cache | None:
    """The cache of dashboards and reference data; None if it is switched off."""
    kind, entries = settings.cache_kind(), settings.cache_entries
    if kind == "off":
        return None
    from resolvers.caching import store as cache_store  # noqa: PLC0415 (takes 14 MB; loaded only with a cache)

    secret = tokens.derive_key("cache")
    if kind == "redis" and settings.redis_url is not None:
        store = cache_store.redis_store(settings.redis_url.get_secret_value(), secret)
    else:
        store = cache_store.memory_store()
    return Cache(store, secret, lifetime=settings.cache_lifetime, entries=entries)


def create_feed(settings: Settings, database: Database, cache: Cache | None) -> Feed:
    """The feed of events. The cache listens to the commits of this process and to the events of all processes."""
    if cache is not None:
        database.commit_listeners.append(cache.invalidate_for_events)
    channel = open_announcements(settings, database)
    feed = Feed(database, channel, feed_options(settings, is_announced=channel is not None))
    if cache is not None:
        feed.listeners.append(cache.invalidate_for_rows)
    return feed


def feed_options(settings: Settings, *, is_announced: bool) -> FeedOptions:
    return FeedOptions(
        poll_interval=_ANNOUNCED_POLL_INTERVAL if is_announced else _UNANNOUNCED_POLL_INTERVAL,
        queue_size=settings.subscription_queue,
        replay_limit=settings.subscription_replay,
        live_interval=settings.live_interval,
    )


def create_services(
    accounts: Accounts, feed: Feed, cache: Cache | None, outbox: Outbox | None, payments: PaymentStarter | None
) -> Services:
    """The services that resolvers find by their class."""
    services: dict[type[Any], Any] = {
        Accounts: accounts,
        AccountCalendar: AccountCalendar(account_time_zone, first_weekday),
        AccountLookup: AccountLookup(find_active_user),
        Feed: feed,
    }
    if cache is not None:
        services[Cache] = cache
    if outbox is not None:
        services[Outbox] = outbox
    if payments is not None:
        services[PaymentStarter] = payments
    return services


def create_redis_query_store(settings: Settings) -> RedisQueryStore | None:
    if settings.redis_url is None:
        return None
    url, lifetime = settings.redis_url.get_secret_value(), settings.persisted_query_lifetime
    return RedisQueryStore(url, lifetime, settings.persisted_query_bytes)


def create_cost_limiter(settings: Settings) -> CostLimiter:
    budget = (
        Budget(settings.rate_limit_store.get_secret_value(), settings.cost_per_minute)
        if settings.cost_per_minute
        else None
    )
    return CostLimiter(schema._schema, Limits.from_settings(settings), budget)  # noqa: SLF001 (Strawberry has no public name for it)


def create_processor(settings: Settings, cost_limiter: CostLimiter) -> OperationProcessor:
    return OperationProcessor(
        schema,
        check_cost=cost_limiter.check,
        hides_suggestions=cost_limiter.hides_suggestions,
        max_tokens=settings.max_document_tokens,
        time_limit=settings.operation_timeout,
        max_bytes=settings.max_response_bytes,
    )


def create_concurrency_limit(settings: Settings, size: int) -> ConcurrencyLimit:
    return ConcurrencyLimit(
        size,
        settings.queue_timeout,
        per_viewer=settings.max_operations_per_viewer,
        max_waiting=settings.max_waiting_operations,
    )


def create_operation_service(  # noqa: PLR0913 (the parts of the service)
    settings: Settings,
    database: Database,
    services: Services,
    query_store: RedisQueryStore | None,
    clock: Callable[[], dt.datetime],
    *,
    tokens: Tokens,
) -> OperationService:
    cost_limiter = create_cost_limiter(settings)
    query_stores = (MemoryQueryStore(), query_store) if query_store else (MemoryQueryStore(),)
    return OperationService(
        create_processor(settings, cost_limiter),
        database,
        cost_limiter,
        create_concurrency_limit(settings, settings.max_operations),
        create_concurrency_limit(settings, 1),
        HeldBytes(settings.max_held_bytes),
        PersistedQueries(*(query_stores if settings.persisted_queries else ())),
        services,
        clock,
        IdempotencyOptions(tokens.derive_key("idempotency"), dt.timedelta(hours=settings.idempotency_hours)),
    )


def create_endpoints(
    settings: Settings, operations: OperationService, authenticator: Authenticator, event_streams: EventStreams
) -> dict[str, ASGIApp]:
    """The applications of ``/graphql`` by the type of the ASGI scope."""
    subscriptions = SubscriptionService(operations, settings.max_subscriptions)
    return {
        "http": GraphQLEndpoint(
            subscriptions,
            authenticator,
            event_streams=event_streams,
            options=http_options(settings),
            page=serve_page if settings.graphiql else None,
        ),
        "websocket": WebSocketEndpoint(subscriptions, authenticator, socket_options(settings)),
    }


_OTHER_VALUES = 1000
"""The values that a request may have outside of its variables."""


def http_options(settings: Settings) -> HTTPOptions:
    return HTTPOptions(
        max_request_size=settings.max_request_size,
        max_batch=settings.max_batch,
        max_values=settings.max_variable_values + _OTHER_VALUES,
        origins=settings.origins(),
        is_always_timed=settings.server_timing == "always",
    )


def socket_options(settings: Settings) -> SocketOptions:
    return SocketOptions(
        origins=settings.origins(),
        init_timeout=settings.socket_init_timeout,
        max_sockets=settings.max_sockets,
        max_operations=settings.max_socket_operations,
    )


def create_explorer_data(
    settings: Settings, database: Database, tokens: Tokens, transport: MailTransport | None
) -> DemoData:
    """What the demo shows in GraphiQL: its accounts, and the e-mails that would have been sent."""
    messages = DemoMessages(transport) if isinstance(transport, LoggedMail) else None
    return DemoData(DemoAccounts(database, tokens, settings.token_lifetime), messages)


def create_routes(settings: Settings, database: Database, demo: DemoData | None, *, fallback: bool) -> list[Route]:
    """The routes outside ``/graphql``."""
    routes = [Route("/", _redirect_to_graphiql), health_route(database, fallback=fallback)]
    if settings.graphiql:
        routes += explorer_routes(demo, is_local_request)
    return routes


async def _redirect_to_graphiql(request: Request) -> Response:
    return RedirectResponse("/graphql")


def create_lifespan(  # noqa: PLR0913 (the parts of the process that run in the background)
    settings: Settings,
    runner: JobRunner,
    feed: Feed,
    *,
    authenticator: Authenticator,
    outbox: Outbox | None,
    event_streams: EventStreams,
    closers: Sequence[Callable[[], Awaitable[None]]],
) -> Callable[[Starlette], AbstractAsyncContextManager[dict[str, Any]]]:
    """Runs the feed, the scheduled jobs and the outbox while the application runs, and then calls the closers.

    The application accepts requests as soon as the authenticator knows the latest changes of accounts.
    """

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
        runs_jobs, timeout = settings.jobs == "on", settings.shutdown_timeout
        jobs = jobs_by_name(settings).values() if runs_jobs else ()
        sending = outbox.run(timeout) if outbox is not None and runs_jobs else nullcontext()
        async with feed.run(), run_scheduler(runner, jobs, timeout), sending:
            await authenticator.start(max(settings.token_lifetime, settings.access_token_lifetime))
            yield {STOP: event_streams.stopping.set}
        for close in closers:
            await close()

    return lifespan


def add_middleware(settings: Settings, app: ASGIApp) -> ASGIApp:
    if settings.origins():
        app = CORSMiddleware(
            app,
            allow_origins=settings.origins(),
            allow_methods=("GET", "POST"),
            allow_headers=("*",),
            expose_headers=_EXPOSED_HEADERS,
            max_age=_PREFLIGHT_LIFETIME,
        )
    if settings.trusted_proxies:
        proxied: Any = ProxyHeadersMiddleware  # its types are those of another ASGI library
        app = proxied(app, settings.trusted_proxies)
    return app
