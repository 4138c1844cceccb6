"""The application with its database, and the processes that serve it.

Each process opens its own database connections when its event loop runs, and gives them back after its last request.
"""

import datetime as dt
import gc
import logging
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from gateway.auth.keys import database_options
from gateway.auth.tokens import Tokens, signing_key
from gateway.server.http_protocol import HTTPProtocol
from gateway.server.websocket_protocol import SocketProtocol
from gateway.settings import Settings, load_settings
from repositories.core.clock import now
from repositories.core.errors import GatewayError
from repositories.engines.database import Database
from repositories.engines.factory import open_database

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


_KEEP_ALIVE = 75
"""Seconds an idle connection stays open: longer than load balancers keep theirs, which never meet a closed one so."""


class _Connected:
    """Around the application: connected to the database before its start-up, until after its shutdown."""

    def __init__(self, app: "ASGIApp", database: Database) -> None:
        self.app = app
        self.database = database

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return
        try:
            await self.database.connect()
        except GatewayError as error:
            await receive()
            await send({"type": "lifespan.startup.failed", "message": error.message})
            return

        async def accompany(message: "Message") -> None:
            """After its last message the server waits for nobody any more, so everything must be closed by then.

            What is loaded when it starts lives as long as the process: garbage collections pass it over from there on.
            """
            if message["type"] == "lifespan.startup.complete":
                gc.collect()
                gc.freeze()
            else:
                await self.database.close()
            await send(message)

        await self.app(scope, receive, accompany)


@dataclass(frozen=True)
class Gateway:
    """A factory of the application that can be handed to another process."""

    settings: Settings
    fallback: bool = False
    demo: bool = False
    clock: Callable[[], dt.datetime] = now

    def __call__(self) -> "ASGIApp":
        """The application; its lifespan connects the database."""
        from gateway.auth.issuers import outside_accounts  # noqa: PLC0415 (as above)
        from gateway.server.app import create_app  # noqa: PLC0415 (the supervisor of several workers never needs it)
        from resolvers.reactions import REACTIONS  # noqa: PLC0415 (as above)

        database = open_database(database_options(self.settings))
        outside = outside_accounts(self.settings, database, REACTIONS)
        tokens = Tokens(signing_key(self.settings), self.settings.jwt_audience, outside)
        app = create_app(self.settings, database, tokens, fallback=self.fallback, demo=self.demo, clock=self.clock)
        return _Connected(app, database)


def create() -> "ASGIApp":
    """For other servers and reloading in development: `uvicorn --factory gateway.server.process:create`."""
    return Gateway(load_settings())()


class _Server(uvicorn.Server):
    """Says when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Serves, and says so."""
        await super().startup(sockets)
        self._ready()


def serve(gateway: Gateway, listener: socket.socket, ready: Callable[[], None]) -> bool:
    """Serves until SIGINT or SIGTERM, then answers the requests in flight. False if it could not start."""
    settings = gateway.settings
    config = uvicorn.Config(
        gateway,
        factory=True,
        lifespan="on",
        loop="auto",  # uvloop, except on Windows
        http=http_protocol(settings),
        **websocket_options(settings),
        workers=settings.workers,
        timeout_graceful_shutdown=settings.shutdown_timeout,
        timeout_keep_alive=_KEEP_ALIVE,
        access_log=False,
        proxy_headers=False,  # whom to believe is a setting (gateway/server/app.py); uvicorn would believe this machine
        server_header=False,
        log_config=logging_config(settings.log_level),
        log_level=None if settings.log_level == "debug" else "warning",
    )
    if settings.workers > 1:
        supervisor = Multiprocess(config, [listener])
        ready()
        supervisor.run()
        return all(process.exitcode != STARTUP_FAILURE for process in supervisor.processes)
    return _serve_alone(_Server(config, ready), listener)


def http_protocol(settings: Settings) -> Any:
    """How uvicorn carries HTTP."""
    return partial(HTTPProtocol, patience=settings.socket_send_timeout)


def websocket_options(settings: Settings) -> dict[str, Any]:
    """How uvicorn carries WebSockets. Nothing is compressed, which would cost each of them a window of memory."""
    return {
        "ws": partial(SocketProtocol, patience=settings.socket_send_timeout),
        "ws_max_size": settings.max_request_size,
        "ws_ping_interval": settings.socket_ping_interval,
        "ws_ping_timeout": settings.socket_ping_interval,
        "ws_per_message_deflate": False,
    }


def _serve_alone(server: uvicorn.Server, listener: socket.socket) -> bool:
    """In this process. Uvicorn raises the signal that stopped it once more at its end, which must not end us."""

    def stop(*_: object) -> None:
        server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        server.run([listener])
    except SystemExit as stopped:
        return stopped.code != STARTUP_FAILURE
    return True


def logging_config(level: str) -> dict[str, Any]:
    """Log lines on standard error, for :func:`logging.config.dictConfig`, which every worker applies again."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "loggers": {"alembic": {"level": "WARNING"}, "apscheduler": {"level": "WARNING"}},
        "root": {"level": logging.getLevelName(level.upper()), "handlers": ["stderr"]},
    }
