"""`siso serve`: checks everything that can prevent the gateway from working, then serves requests."""

import asyncio
import errno
import logging.config
import socket
from collections.abc import Mapping
from functools import partial
from ipaddress import ip_address
from typing import Any

from gateway.auth.keys import database_options
from gateway.auth.tokens import Tokens, signing_key
from gateway.cli.console import CommandError, print_notice, print_result
from gateway.cli.preconditions import (
    database_location,
    fetch_revision,
    open_migrated_database,
    require_newest_revision,
)
from gateway.server.logging_config import logging_config
from gateway.server.process import AppFactory
from gateway.server.process import serve as serve_until_stopped
from gateway.settings import Settings, load_settings
from migrations import files
from repositories.core.viewer import SERVICE
from repositories.demo.seed import load_demo
from repositories.identity import Users, roles_of

logger = logging.getLogger("gateway")

_DEMO_USER = "ada@example.com"


def serve(options: Mapping[str, Any], *, demo: bool) -> None:
    """Serves until the process is told to stop. ``options`` are settings from the command line."""
    settings = load_settings().model_copy(update=dict(options))
    logging.config.dictConfig(logging_config(settings.log_level))
    signing_key(settings)
    database_options(settings)
    listener = _bind(settings)
    address, port = listener.getsockname()[:2]
    factory, token = _prepare(settings, demo=demo, is_reachable=not ip_address(address).is_loopback)
    settings = factory.settings
    _listen(listener, settings)

    def announce() -> None:
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        url, location = f"http://{host}:{port}/graphql", database_location(settings)
        print_result(f"siso-gateway serves {url} from the {location}. Press Ctrl-C to stop it.")
        if token:
            print_result(f'As {_DEMO_USER}, send this header: {{"Authorization": "Bearer {token}"}}')

    if not serve_until_stopped(factory, listener, announce):
        raise CommandError("The gateway could not start. The log above says why.")
    print_result("siso-gateway has stopped.")


def _prepare(settings: Settings, *, demo: bool, is_reachable: bool) -> tuple[AppFactory, str | None]:
    """The gateway on a migrated database, and a token if the database holds the demo data.

    GraphiQL offers the demo accounts only if other machines cannot reach it, because one of them is an administrator.
    """
    if demo and settings.database_url is None:
        return AppFactory(settings, demo=not is_reachable), _prepare_demo(settings)
    if demo:
        print_result(
            f"{database_location(settings)} is configured, so --demo loads nothing. "
            "To load demo data into it, run `siso seed --demo`."
        )
    try:
        revision = asyncio.run(fetch_revision(settings))
    except CommandError as error:
        if settings.database_url is None or settings.database_fallback != "sqlite":
            raise
        return AppFactory(_fall_back_to_sqlite(settings, error), fallback=True), None
    require_newest_revision(revision)
    return AppFactory(settings), None


def _fall_back_to_sqlite(settings: Settings, error: CommandError) -> Settings:
    urls = ("database_url", "service_database_url", "database_read_url")
    settings = settings.model_copy(update=dict.fromkeys(urls))
    logger.warning(
        "%s Falling back to the %s, because GATEWAY_DATABASE_FALLBACK=sqlite. Data written there does not reach "
        "PostgreSQL.",
        error,
        database_location(settings),
    )
    _migrate(settings)
    return settings


def _migrate(settings: Settings) -> None:
    """Migrates the SQLite file to the newest revision; imports Alembic only if a migration is pending."""
    revision = asyncio.run(fetch_revision(settings))
    if revision == files.newest_revision():
        return
    if revision in files.revisions() or revision is None:
        from gateway.cli.migrate import print_waiting
        from migrations import run

        upgrade = partial(run.upgrade, on_wait=print_waiting)
        run.call_with_connection(None, settings.database_path, upgrade)
        print_notice(f"Migrated the {database_location(settings)} to revision {files.newest_revision()}.")
    else:
        require_newest_revision(revision)


def _prepare_demo(settings: Settings) -> str | None:
    """Migrates the SQLite file and loads demo data into an empty one.

    Returns a token for the first demo user, None if that user has been deleted.
    """
    _migrate(settings)

    async def load() -> str | None:
        async with open_migrated_database(settings) as database:
            task_count = await load_demo(database)
            if task_count:
                print_result(f"Loaded demo data: {task_count} tasks.")
            async with database.snapshot(SERVICE) as snapshot:
                user = await Users(snapshot).of_email(_DEMO_USER)
                roles = await roles_of(snapshot, user) if user else frozenset()
        tokens = Tokens(signing_key(settings), settings.jwt_audience)
        return tokens.issue(user, roles, settings.token_lifetime) if user else None

    return asyncio.run(load())


def _bind(settings: Settings) -> socket.socket:
    """Reserves the port before any slow check runs."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise CommandError(f"{settings.host} is not an address to listen on. Set --host or GATEWAY_HOST.") from error
    listener = socket.socket(family, kind)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        raise _port_error(settings, error) from error
    return listener


def _listen(listener: socket.socket, settings: Settings) -> None:
    """Starts listening. Earlier clients get a connection error, later ones wait."""
    try:
        listener.listen(2048)
    except OSError as error:
        raise _port_error(settings, error) from error


def _port_error(settings: Settings, error: OSError) -> CommandError:
    if error.errno == errno.EADDRINUSE:
        return CommandError(
            f"Port {settings.port} of {settings.host} is already in use. Choose another with --port or GATEWAY_PORT."
        )
    return CommandError(f"Port {settings.port} of {settings.host} cannot be used: {error.strerror}.")
