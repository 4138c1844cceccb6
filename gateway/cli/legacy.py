"""`siso import-legacy`."""

import asyncio
import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.cli.console import CommandError, progress_bar, redacted, say
from gateway.cli.ready import migrated_database
from gateway.settings import Settings, load_settings
from repositories.legacy.importer import ImportResult, import_tasks
from repositories.legacy.legacy_rows import RejectedRow
from repositories.legacy.legacy_source import SourceError, open_source


def import_legacy(source: str, report: Path | None, *, dry_run: bool) -> None:
    """Imports with a progress bar and says what became of the rows."""
    settings = load_settings()
    try:
        with _report(report) as refuse:
            result = asyncio.run(_imported(settings, source, refuse, dry_run=dry_run))
    except SourceError as error:
        raise CommandError(redacted(f"{error}.")) from error
    new = "would be new" if dry_run else "new"
    refused = sum(result.rejected.values())
    say(f"Read {result.read} rows: {result.added} {new}, {result.present} there already, {refused} refused.")
    for reason, count in result.rejected.most_common():
        say(f"{count:8} {reason}")
    if refused and report is None:
        say("`--report FILE` lists the refused rows.")


async def _imported(
    settings: Settings, source: str, refuse: Callable[[RejectedRow], None], *, dry_run: bool
) -> ImportResult:
    async with migrated_database(settings) as database, open_source(source) as legacy:
        total = await legacy.count()
        with progress_bar() as progress:
            bar = progress.add_task("Importing tasks", total=total)
            return await import_tasks(
                database,
                legacy,
                dry_run=dry_run,
                on_rejected=refuse,
                on_progress=lambda rows: progress.advance(bar, rows),
            )


@contextmanager
def _report(path: Path | None) -> Iterator[Callable[[RejectedRow], None]]:
    """Writes refused rows as they come, so that an interrupted run leaves what it found."""
    if path is None:
        yield lambda _refused: None
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
            yield lambda refused: print(json.dumps(refused._asdict()), file=file)
