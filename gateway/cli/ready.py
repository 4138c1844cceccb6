"""What must hold before a command works with the database: it is reachable, and migrated to the newest revision."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

from gateway.auth.keys import database_options
from gateway.cli.console import CommandError, note
from gateway.settings import Settings
from migrations import files
from repositories import inspection
from repositories.core.errors import ServiceUnavailable
from repositories.engines.database import Database
from repositories.engines.factory import open_database

_TRIES = 3
_FIRST_PAUSE = 0.5


def place(settings: Settings, url: str | None = None) -> str:
    """Where the database is, without its password."""
    url = url or (settings.database_url.get_secret_value() if settings.database_url else None)
    if url is None:
        return f"SQLite file {settings.database_path}"
    parts = urlsplit(url)
    host = parts.hostname or parse_qs(parts.query).get("host", ["localhost"])[0]
    return f"PostgreSQL at {host}:{parts.port or 5432}{parts.path}"


async def revision(settings: Settings, url: str | None = None) -> str | None:
    """The revision of the database, None for an empty one; PostgreSQL is tried three times."""
    url = url or (settings.database_url.get_secret_value() if settings.database_url else None)
    pause = _FIRST_PAUSE
    for attempt in range(1, _TRIES + 1):
        try:
            return await inspection.stored_revision(
                url, settings.database_path, timeout=settings.database_connect_timeout
            )
        except inspection.MissingGrant as error:
            raise CommandError(f"The login to {place(settings, url)} may not become a viewer yet. {error}.") from error
        except ServiceUnavailable as error:
            reason = why(error)
            where = place(settings, url)
            if url is None or attempt == _TRIES:
                raise CommandError(
                    f"{where} cannot be used: {reason}. Check GATEWAY_DATABASE_URL and that it is running."
                    if url
                    else f"{where} cannot be used: {reason}."
                ) from error
            note(f"{where} cannot be used: {reason}. Trying again in {pause:g} s (try {attempt} of {_TRIES}).")
            await asyncio.sleep(pause)
            pause *= 2
    raise AssertionError


def why(error: Exception) -> str:
    """The driver's reason behind an error of ours, on one line."""
    cause = error.__cause__
    if isinstance(cause, TimeoutError):
        return "it does not answer"
    return " ".join(str(cause or error).split()).rstrip(".") or type(cause).__name__


def refuse_unmigrated(found: str | None) -> None:
    """A database that this code cannot work with is refused with what to do."""
    newest = files.newest_revision()
    if found == newest:
        return
    if found is None:
        raise CommandError("The database is not migrated yet. Run `siso migrate up` first.")
    if found in files.revisions():
        raise CommandError(f"The database is at revision {found}, this code needs {newest}. Run `siso migrate up`.")
    raise CommandError(
        f"The database is at revision {found}, which this code does not know. Use a newer version of it."
    )


@asynccontextmanager
async def migrated_database(settings: Settings) -> AsyncIterator[Database]:
    """The database, connected, or a refusal that says what to do."""
    refuse_unmigrated(await revision(settings))
    database = open_database(database_options(settings))
    await database.connect()
    try:
        yield database
    finally:
        await database.close()
