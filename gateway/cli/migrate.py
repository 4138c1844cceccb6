"""`siso migrate`."""

import asyncio
from collections.abc import Callable
from typing import Any

from gateway.cli.console import CommandError, print_notice, print_result
from gateway.cli.preconditions import fetch_revision
from gateway.settings import Settings, load_settings
from migrations import run


def up(revision: str) -> None:
    _migrate(lambda connection: run.upgrade(connection, revision, print_waiting))


def down(revision: str, *, yes: bool) -> None:
    if not yes:
        raise CommandError(f"Migrating down to {revision} deletes tables and their data. Add --yes to confirm.")
    _migrate(lambda connection: run.downgrade(connection, revision, print_waiting))


def status() -> None:
    stored = _fetch_revision(load_settings())
    is_done = stored is not None
    for name, description in run.revision_descriptions():
        print_result(f"{name}  {'done   ' if is_done else 'pending'}  {description.splitlines()[0]}")
        is_done = is_done and name != stored


def print_waiting() -> None:
    print_notice("Another process is migrating this database. Waiting until it has finished.")


def _migrate(work: Callable[[Any], None]) -> None:
    settings = load_settings()
    before = _fetch_revision(settings)
    try:
        run.call_with_connection(settings.owner_url(), settings.database_path, work)
    except run.MigrationError as error:
        raise CommandError(f"The migration was not run: {error}.".replace("..", ".")) from error
    after = _fetch_revision(settings)
    print_result(f"The database is {'already ' if after == before else ''}at revision {after or 'base'}.")


def _fetch_revision(settings: Settings) -> str | None:
    return asyncio.run(fetch_revision(settings, settings.owner_url()))
