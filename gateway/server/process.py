"""Serves the application with uvicorn, in one process or several.

Each process opens its own database connections when it starts, and closes them after its last request.
"""

import datetime as dt
import gc
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
from gateway.server.connection_limits import ConnectionLimits
from gateway.server.http_protocol import HTTPProtocol
from gateway.server.logging_config import logging_config
from gateway.server.websocket_protocol import SocketProtocol
from gateway.settings import Settings, load_settings
from repositories.core.clock import now
from repositories.core.errors import GatewayError
from repositories.engines.database import Database
from repositories.engines.factory import open_database

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


_KEEP_ALIVE = 75
"""Seconds that an idle connection stays open. Load balancers usually close theirs after 60 seconds: if the gateway
closed first, they could send a request on a closed connection."""
_GC_THRESHOLD = 10_000
"""How many more objects are made than freed before the next garbage collection. Python's default is 700, which the rows
of one list exceed."""


class DatabaseLifespan:
    """Connects the database before the application starts, and closes it after the application has stopped."""

    def __init__(self, app: "ASGIApp", database: Database) -> None:
        self._app = app
        self._database = database

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        try:
            await self._database.connect()
        except GatewayError as error:
            await receive()
            await send({"type": "lifespan.startup.failed", "message": error.message})
            return

        async def send_after_work(message: "Message") -> None:
            """Freezes the garbage collector after startup; closes the database before uvicorn gets the last message.

            Objects that are loaded at startup live as long as the process, so garbage collections can skip them. The
            others become rare, because requests leave no reference cycles.
            Uvicorn does not wait for work that follows the last message.
            """
            if message["type"] == "lifespan.startup.complete":
                gc.collect()
                gc.freeze()
                gc.set_threshold(_GC_THRESHOLD, *gc.get_threshold()[1:])
            else:
                await self._database.close()
            await send(message)

        await self._app(scope, receive, send_after_work)


@dataclass(frozen=True)
class AppFactory:
    """Creates the application. The factory can be pickled, so uvicorn can pass it to its worker processes."""

    settings: Settings
    fallback: bool = False
    demo: bool = False
    clock: Callable[[], dt.datetime] = now

    def __call__(self) -> "ASGIApp":
        # the supervisor of several workers needs none of these imports
        from gateway.auth.issuers import create_external_accounts  # noqa: PLC0415
        from gateway.server.app import create_app  # noqa: PLC0415
        from resolvers.reactions import REACTIONS  # noqa: PLC0415

        database = open_database(database_options(self.settings))
        external = create_external_accounts(self.settings, database, REACTIONS)
        tokens = Tokens(signing_key(self.settings), self.settings.jwt_audience)
        app = create_app(
            self.settings,
            database,
            tokens,
            external=external,
            fallback=self.fallback,
            demo=self.demo,
            clock=self.clock,
        )
        return DatabaseLifespan(app, database)


def create() -> "ASGIApp":
    """Creates the application for other servers, or to reload it: `uvicorn --factory gateway.server.process:create`."""
    return AppFactory(load_settings())()


class _Server(uvicorn.Server):
    """Calls ``on_ready`` when the server accepts requests."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()


def serve(factory: AppFactory, listener: socket.socket, on_ready: Callable[[], None]) -> bool:
    """Serves until SIGINT or SIGTERM, then finishes the requests in flight. False if the application cannot start."""
    config = _server_config(factory)
    if factory.settings.workers > 1:
        supervisor = Multiprocess(config, [listener])
        on_ready()
        supervisor.run()
        return all(process.exitcode != STARTUP_FAILURE for process in supervisor.processes)
    return _serve_in_this_process(_Server(config, on_ready), listener)


def _server_config(factory: AppFactory) -> uvicorn.Config:
    settings = factory.settings
    return uvicorn.Config(
        factory,
        factory=True,
        lifespan="on",
        loop="auto",  # uvloop, except on Windows
        http=http_protocol(settings),
        **websocket_options(settings),
        workers=settings.workers,
        timeout_graceful_shutdown=settings.shutdown_timeout,
        timeout_keep_alive=_KEEP_ALIVE,
        access_log=False,
        proxy_headers=False,  # gateway/server/app.py adds the middleware; uvicorn would trust every local process
        server_header=False,
        log_config=logging_config(settings.log_level),
        log_level=None if settings.log_level == "debug" else "warning",
    )


def http_protocol(settings: Settings) -> Any:
    """The option ``http`` of uvicorn."""
    return partial(
        HTTPProtocol,
        limits=ConnectionLimits.from_settings(settings),
        head_timeout=settings.head_timeout,
        min_upload_rate=settings.min_upload_rate,
        send_timeout=settings.socket_send_timeout,
    )


def websocket_options(settings: Settings) -> dict[str, Any]:
    """The options of uvicorn for WebSockets. Compression is off, because each socket would need memory for a window."""
    return {
        "ws": partial(SocketProtocol, send_timeout=settings.socket_send_timeout),
        "ws_max_size": settings.max_socket_message_size,
        "ws_ping_interval": settings.socket_ping_interval,
        "ws_ping_timeout": settings.socket_ping_interval,
        "ws_per_message_deflate": False,
    }


def _serve_in_this_process(server: uvicorn.Server, listener: socket.socket) -> bool:
    """Handles signals itself, because uvicorn raises the signal again at its end, which would end this process."""

    def stop(*_: object) -> None:
        server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        server.run([listener])
    except SystemExit as stopped:
        return stopped.code != STARTUP_FAILURE
    return True
