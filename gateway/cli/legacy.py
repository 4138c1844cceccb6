"""`siso import-legacy`."""

import asyncio
import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gateway.cli.console import CommandError, contains_password, print_result, progress_bar, redact_passwords
from gateway.cli.preconditions import open_migrated_database
from gateway.cli.private_files import append_privately
from gateway.settings import Settings, load_settings
from repositories.legacy.importer import ImportResult, import_tasks
from repositories.legacy.legacy_rows import RejectedRow
from repositories.legacy.legacy_source import SourceError, open_source


def import_legacy(source: str | None, report: Path | None, *, dry_run: bool) -> None:
    """Imports the tasks and prints how many rows were new, imported before, or rejected, with the reasons."""
    settings = load_settings()
    source = _source(settings, source)
    try:
        result = asyncio.run(_import(settings, source, report, dry_run=dry_run))
    except SourceError as error:
        raise CommandError(redact_passwords(f"{error}.")) from error
    new = "would be new" if dry_run else "new"
    rejected = sum(result.rejected.values())
    print_result(
        f"Read {result.read} rows: {result.added} {new}, {result.present} already present, {rejected} rejected."
    )
    for reason, count in result.rejected.most_common():
        print_result(f"{count:8} {reason}")
    if rejected and report is None:
        print_result("Use `--report FILE` to list the rejected rows.")


def _source(settings: Settings, option: str | None) -> str:
    """The location of the source, from the option or the setting. The option must not contain a password."""
    if option is None and settings.legacy_source is not None:
        return settings.legacy_source.get_secret_value()
    if option is None:
        raise CommandError("Name the source with --source or GATEWAY_LEGACY_SOURCE.")
    if contains_password(option):
        message = (
            "Every user of this machine can see the password on the command line. Put the URL into "
            "GATEWAY_LEGACY_SOURCE, or the password into PGPASSWORD or the file ~/.pgpass."
        )
        raise CommandError(message)
    return option


async def _import(settings: Settings, source: str, report: Path | None, *, dry_run: bool) -> ImportResult:
    """A report of an earlier import is replaced only if the database and the source can be read."""
    async with open_migrated_database(settings) as database, open_source(source) as legacy:
        total = await legacy.count()
        with _open_report(report) as on_rejected, progress_bar() as progress:
            bar = progress.add_task("Importing tasks", total=total)
            return await import_tasks(
                database,
                legacy,
                dry_run=dry_run,
                on_rejected=on_rejected,
                on_progress=lambda rows: progress.advance(bar, rows),
            )


@contextmanager
def _open_report(path: Path | None) -> Iterator[Callable[[RejectedRow], object]]:
    """Writes each rejected row at once, so that an interrupted import leaves a report of the rows it has read."""
    if path is None:
        yield lambda _row: None
        return
    with append_privately(path) as write:
        if path.suffix.lower() == ".csv":
            write(_csv_line(RejectedRow._fields))
            yield lambda row: write(_csv_line(row))
        else:
            yield lambda row: write(f"{json.dumps(row._asdict())}\n".encode())


def _csv_line(values: Sequence[str]) -> bytes:
    line = io.StringIO(newline="")
    csv.writer(line).writerow(values)
    return line.getvalue().encode()
