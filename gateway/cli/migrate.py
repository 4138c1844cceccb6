"""`siso migrate`."""

import asyncio
from collections.abc import Callable
from typing import Any

from gateway.cli.console import CommandError, say
from gateway.cli.ready import revision as stored_revision
from gateway.settings import Settings, load_settings
from migrations import run


def up(revision: str) -> None:
    """Applies what is pending up to ``revision``."""
    _change(lambda connection: run.upgrade(connection, revision))


def down(revision: str, *, yes: bool) -> None:
    """Takes migrations back down to ``revision``."""
    if not yes:
        raise CommandError(f"Migrating down to {revision} deletes tables and their data. Add --yes to do it.")
    _change(lambda connection: run.downgrade(connection, revision))


def status() -> None:
    """Lists the revisions."""
    found = _stored(load_settings())
    done = found is not None
    for name, about in run.revisions():
        say(f"{name}  {'done   ' if done else 'pending'}  {about.splitlines()[0]}")
        done = done and name != found


def _change(work: Callable[[Any], None]) -> None:
    settings = load_settings()
    before = _stored(settings)
    try:
        run.call_with_connection(settings.owner_url(), settings.database_path, work)
    except run.MigrationError as error:
        raise CommandError(f"The migration was not run: {error}.".replace("..", ".")) from error
    after = _stored(settings)
    say(f"The database is at revision {after or 'base'}" + (", as before." if after == before else "."))


def _stored(settings: Settings) -> str | None:
    return asyncio.run(stored_revision(settings, settings.owner_url()))
