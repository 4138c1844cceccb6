"""`siso serve`: everything that can be wrong is found before the first request."""

import asyncio
import errno
import logging.config
import socket
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

from gateway.auth.keys import database_options
from gateway.auth.tokens import Tokens, signing_key
from gateway.cli.console import CommandError, note, say
from gateway.cli.ready import migrated_database, place, refuse_unmigrated, revision
from gateway.server.process import AppFactory, logging_config
from gateway.server.process import serve as serve_until_stopped
from gateway.settings import Settings, load_settings
from migrations import files
from repositories.core.viewer import SERVICE
from repositories.demo.seed import load_demo
from repositories.identity import Users, roles_of

logger = logging.getLogger("gateway")

_DEMO_USER = "ada@example.com"


def serve(given: Mapping[str, Any], *, demo: bool) -> None:
    """Checks, then serves. ``given`` are settings from the command line."""
    settings = load_settings().model_copy(update=dict(given))
    logging.config.dictConfig(logging_config(settings.log_level))
    signing_key(settings)
    database_options(settings)
    listener = _bound(settings)
    address, port = listener.getsockname()[:2]
    factory, token = _prepared(settings, demo=demo, reachable=not ip_address(address).is_loopback)
    settings = factory.settings
    _listen(listener, settings)

    def ready() -> None:
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        say(f"siso-gateway serves http://{host}:{port}/graphql from the {place(settings)}. Ctrl-C stops it.")
        if token:
            say(f'As {_DEMO_USER}, send this header: {{"Authorization": "Bearer {token}"}}')

    if not serve_until_stopped(factory, listener, ready):
        raise CommandError("The gateway could not start; the log says why.")
    say("siso-gateway has stopped.")


def _prepared(settings: Settings, *, demo: bool, reachable: bool) -> tuple[AppFactory, str | None]:
    """The gateway on a database that is fit to serve, and a token if it is the demo's.

    GraphiQL offers the demo's people only if other machines cannot reach it, for one of them is an administrator.
    """
    if demo and settings.database_url is None:
        return AppFactory(settings, demo=not reachable), _demo_token(settings)
    if demo:
        say(f"{place(settings)} is configured: --demo does not touch it. Demo data: `siso seed --demo`.")
    try:
        found = asyncio.run(revision(settings))
    except CommandError as error:
        if settings.database_url is None or settings.database_fallback != "sqlite":
            raise
        return AppFactory(_fallen_back(settings, error), fallback=True), None
    refuse_unmigrated(found)
    return AppFactory(settings), None


def _fallen_back(settings: Settings, error: CommandError) -> Settings:
    """The same settings on the SQLite file."""
    urls = ("database_url", "service_database_url", "database_read_url")
    settings = settings.model_copy(update=dict.fromkeys(urls))
    logger.warning(
        "%s FALLING BACK to the %s, because GATEWAY_DATABASE_FALLBACK=sqlite: what is written there does not reach "
        "PostgreSQL.",
        error,
        place(settings),
    )
    _migrate(settings)
    return settings


def _migrate(settings: Settings) -> None:
    """Brings the SQLite file to the newest revision; Alembic is loaded only if something is pending."""
    found = asyncio.run(revision(settings))
    if found == files.newest_revision():
        return
    if found in files.revisions() or found is None:
        from migrations import run

        run.call_with_connection(None, settings.database_path, run.upgrade)
        note(f"Migrated the {place(settings)} to revision {files.newest_revision()}.")
    else:
        refuse_unmigrated(found)


def _demo_token(settings: Settings) -> str | None:
    """Migrates and loads what is missing; a token for the demo's first user, if that is still there."""
    _migrate(settings)

    async def load() -> str | None:
        async with migrated_database(settings) as database:
            made = await load_demo(database)
            if made:
                say(f"Loaded demo data: {made} tasks.")
            async with database.snapshot(SERVICE) as snapshot:
                user = await Users(snapshot).of_email(_DEMO_USER)
                roles = await roles_of(snapshot, user) if user else frozenset()
        tokens = Tokens(signing_key(settings), settings.jwt_audience)
        return tokens.issue(user, roles, settings.token_lifetime) if user else None

    return asyncio.run(load())


def _bound(settings: Settings) -> socket.socket:
    """The port, taken before anything else is done."""
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
        raise _unusable(settings, error) from error
    return listener


def _listen(listener: socket.socket, settings: Settings) -> None:
    """From here on clients wait instead of being refused."""
    try:
        listener.listen(2048)
    except OSError as error:
        raise _unusable(settings, error) from error


def _unusable(settings: Settings, error: OSError) -> CommandError:
    if error.errno == errno.EADDRINUSE:
        return CommandError(
            f"Port {settings.port} of {settings.host} is taken. Choose another with --port or GATEWAY_PORT."
        )
    return CommandError(f"Port {settings.port} of {settings.host} cannot be used: {error.strerror}.")
