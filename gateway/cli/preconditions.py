"""What a command requires of the database: that it is reachable and migrated to the newest revision."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

from gateway.auth.keys import database_options
from gateway.cli.console import CommandError, print_notice
from gateway.settings import Settings
from migrations import files
from repositories import inspection
from repositories.core.errors import ServiceUnavailable
from repositories.engines.database import Database
from repositories.engines.factory import open_database

_ATTEMPTS = 3
_FIRST_BACKOFF = 0.5


def database_location(settings: Settings, url: str | None = None) -> str:
    """The database's address without its password, for messages."""
    url = url or _database_url(settings)
    if url is None:
        return f"SQLite file {settings.database_path}"
    parts = urlsplit(url)
    host = parts.hostname or parse_qs(parts.query).get("host", ["localhost"])[0]
    return f"PostgreSQL at {host}:{parts.port or 5432}{parts.path}"


def _database_url(settings: Settings) -> str | None:
    return settings.database_url.get_secret_value() if settings.database_url else None


async def fetch_revision(settings: Settings, url: str | None = None) -> str | None:
    """The revision of the database, None if it is empty.

    Raises CommandError if the database cannot be used. PostgreSQL gets three attempts, because it may be starting.
    """
    url = url or _database_url(settings)
    location, backoff = database_location(settings, url), _FIRST_BACKOFF
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return await inspection.fetch_revision(
                url, settings.database_path, timeout=settings.database_connect_timeout
            )
        except inspection.MissingGrant as error:
            raise CommandError(f"The login to {location} cannot switch to the viewers' roles yet. {error}.") from error
        except ServiceUnavailable as error:
            problem = f"{location} cannot be used: {failure_reason(error)}."
            if url is None:
                raise CommandError(problem) from error
            if attempt == _ATTEMPTS:
                raise CommandError(f"{problem} Check GATEWAY_DATABASE_URL and that the server is running.") from error
            print_notice(f"{problem} Retrying in {backoff:g} s (attempt {attempt} of {_ATTEMPTS}).")
            await asyncio.sleep(backoff)
            backoff *= 2
    raise AssertionError


def failure_reason(error: Exception) -> str:
    """The driver's error behind the gateway's own, on one line."""
    cause = error.__cause__
    if isinstance(cause, TimeoutError):
        return "it does not respond"
    return " ".join(str(cause or error).split()).rstrip(".") or type(cause).__name__


def require_newest_revision(stored: str | None) -> None:
    """Raises CommandError, with the command that fixes it, unless the database is at the newest revision."""
    newest = files.newest_revision()
    if stored == newest:
        return
    if stored is None:
        raise CommandError("The database is not migrated yet. Run `siso migrate up` first.")
    if stored in files.revisions():
        raise CommandError(
            f"The database is at revision {stored}, but this version of siso needs {newest}. Run `siso migrate up`."
        )
    raise CommandError(
        f"The database is at revision {stored}, which this version of siso does not know. Install a newer version."
    )


@asynccontextmanager
async def open_migrated_database(settings: Settings) -> AsyncIterator[Database]:
    """A connected database at the newest revision; raises CommandError if there is none."""
    require_newest_revision(await fetch_revision(settings))
    database = open_database(database_options(settings))
    await database.connect()
    try:
        yield database
    finally:
        await database.close()
