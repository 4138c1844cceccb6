"""`siso import-legacy`."""

import asyncio
import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.cli.console import CommandError, print_result, progress_bar, redact_passwords
from gateway.cli.preconditions import open_migrated_database
from gateway.settings import Settings, load_settings
from repositories.legacy.importer import ImportResult, import_tasks
from repositories.legacy.legacy_rows import RejectedRow
from repositories.legacy.legacy_source import SourceError, open_source


def import_legacy(source: str, report: Path | None, *, dry_run: bool) -> None:
    """Imports the tasks and prints how many rows were new, imported before, or rejected, with the reasons."""
    settings = load_settings()
    try:
        with _open_report(report) as on_rejected:
            result = asyncio.run(_import(settings, source, on_rejected, dry_run=dry_run))
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


async def _import(
    settings: Settings, source: str, on_rejected: Callable[[RejectedRow], None], *, dry_run: bool
) -> ImportResult:
    async with open_migrated_database(settings) as database, open_source(source) as legacy:
        total = await legacy.count()
        with progress_bar() as progress:
            bar = progress.add_task("Importing tasks", total=total)
            return await import_tasks(
                database,
                legacy,
                dry_run=dry_run,
                on_rejected=on_rejected,
                on_progress=lambda rows: progress.advance(bar, rows),
            )


@contextmanager
def _open_report(path: Path | None) -> Iterator[Callable[[RejectedRow], None]]:
    """Writes each rejected row at once, so that an interrupted import leaves a report of the rows it has read."""
    if path is None:
        yield lambda _row: None
        return
    try:
        file = path.open("w", encoding="utf-8", newline="", buffering=1)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}.") from error
    with file:
        if path.suffix.lower() == ".csv":
            rows = csv.writer(file)
            rows.writerow(RejectedRow._fields)
            yield rows.writerow
        else:
            yield lambda row: print(json.dumps(row._asdict()), file=file)
