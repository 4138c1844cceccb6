"""`siso migrate`."""

import asyncio
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.cli.console import CommandError, print_notice, print_result
from gateway.cli.preconditions import fetch_revision
from gateway.settings import Settings, load_settings
from migrations import run
from repositories.sql.migration_text import migration_text, new_tables


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


def new(name: str) -> None:
    """Writes a revision that creates the declared tables that no revision creates yet."""
    if not re.fullmatch("[a-z][a-z0-9_]{0,40}", name):
        raise CommandError(f"{name} is not a name: use lower-case letters, digits and underscores.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "migrated.sqlite3"
        run.call_with_connection(None, path, run.upgrade)
        existing = run.call_with_connection(None, path, run.table_names)
    tables = new_tables(existing)
    if not tables:
        raise CommandError("Every declared table has a migration. Declare a table in repositories/tables first.")
    last = run.revision_descriptions()[-1][0]
    revision = f"{int(last) + 1:04}"
    title = f"Creates {', '.join(table.name.replace('_', ' ') for table in tables)}."
    file = run.VERSIONS / f"{revision}_{name}.py"
    text = migration_text(tables, existing, title=title, revision=revision, down_revision=last)
    file.write_text(text, encoding="utf-8")
    print_result(
        f"{file} creates {', '.join(table.name for table in tables)}. Read and correct it, then `siso migrate up`."
    )


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
