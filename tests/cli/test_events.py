"""`siso events export`: each event once, in order, as JSON lines."""

import asyncio
import datetime as dt
import json
import stat
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from repositories.aggregates import event_store
from repositories.aggregates.event_store import EventStore
from repositories.aggregates.unit_of_work import open_unit_of_work
from repositories.engines.database import Database, DatabaseOptions
from repositories.life_lock.events import CategoryCreated, TaskReopened
from tests.cli.fork_server import BUFFERED, PROGRAM
from tests.cli.siso import Process, Siso
from tests.factories import make_category, make_task, make_user, viewer_of
from tests.repositories.support import connect_database, open_snapshot

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


async def _record_events(database: Database, days: int) -> list[Any]:
    """Records one event of each of two types per day."""
    ada = await make_user(database)
    task, category = await make_task(database, ada), await make_category(database, ada)
    for day in range(days):
        async with open_unit_of_work(database, viewer_of(ada), (), START + dt.timedelta(days=day)) as work:
            work.record(TaskReopened(task.id, ada.id, None))
            work.record(CategoryCreated(category.id, ada.id))
    async with open_snapshot(database) as snapshot:
        return [event async for event in EventStore(snapshot).export(None, None)]


def _create_events(options: DatabaseOptions) -> list[Any]:
    async def make() -> list[Any]:
        async with connect_database(options) as database:
            return await _record_events(database, 3)

    return asyncio.run(make())


def test_all_events_are_exported(siso: Siso, options: DatabaseOptions) -> None:
    rows = _create_events(options)
    ended = siso.run("events", "export")
    assert (ended.code, ended.err.strip()) == (0, "Exported 6 events.")
    lines = [json.loads(line) for line in ended.out.splitlines()]
    assert lines[0] == {
        "sequence": rows[0].sequence,
        "id": str(rows[0].id),
        "timestamp": "2026-01-01T00:00:00+00:00",
        "eventType": "TaskReopened",
        "aggregateType": "task",
        "aggregateId": str(rows[0].aggregate_id),
        "userId": str(rows[0].user_id),
        "version": 1,
        "eventData": {"owner_id": str(rows[0].user_id), "completed_at": None},
    }
    assert [line["id"] for line in lines] == [str(row.id) for row in rows]
    file = siso.folder / "audit.jsonl"
    assert siso.run("events", "export", str(file)).out == ""
    assert file.read_text() == ended.out


def test_filters_can_be_combined(siso: Siso, options: DatabaseOptions) -> None:
    rows = _create_events(options)

    def export(*arguments: str) -> list[int]:
        return [json.loads(line)["sequence"] for line in siso.run("events", "export", *arguments).out.splitlines()]

    numbers = [row.sequence for row in rows]
    assert export("--from", "2026-01-02") == numbers[2:]
    assert export("--to", "2026-01-02T00:00:00") == numbers[:2]
    both = ("--from", "2026-01-02", "--to", "2026-01-03")
    assert export(*both, "--type", "CategoryCreated") == [numbers[3]]
    assert export("--type", "CategoryCreated", "--type", "TaskReopened") == numbers
    assert export("--type", "Unknown") == []


def test_invalid_arguments_are_errors(on_sqlite: Siso, unmigrated: Siso) -> None:
    assert "cannot be written" in on_sqlite.expect_error("events", "export", "/no/such/folder/file")
    assert "--from" in on_sqlite.expect_error("events", "export", "--from", "yesterday")


async def test_events_are_read_in_batches(
    database: Database, statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each event is exported once, with one statement per batch."""
    monkeypatch.setattr(event_store, "LOAD_BATCH", 4)
    for count, batches in ((2, 2), (1, 2)):
        rows = await _record_events(database, count)
        async with open_snapshot(database) as snapshot:
            statements.clear()
            assert [event async for event in EventStore(snapshot).export(None, None)] == rows
            assert len([text for text in statements if not text.startswith("BEGIN")]) == batches


def _launch_with_a_full_disk(arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Process:
    """Starts `siso` in a process whose files cannot grow beyond 128 KiB, so coverage cannot write its data either."""
    environment = {name: value for name, value in environment.items() if not name.startswith("COVERAGE_")}
    command: list[str] = ["sh", "-c", 'ulimit -f 256; exec "$@"', "sh", str(PROGRAM), *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_an_export_that_fails_leaves_the_file_as_it_was(on_sqlite: Siso, sqlite_only: DatabaseOptions) -> None:
    """A wrong database, a database that is not migrated, a full disk, a folder that does not exist."""

    async def create_events() -> None:
        async with connect_database(sqlite_only) as database:
            ada = await make_user(database)
            async with open_unit_of_work(database, viewer_of(ada), (), START) as work:
                for _ in range(600):
                    work.record(TaskReopened(ada.id, ada.id, None))

    asyncio.run(create_events())
    file = on_sqlite.folder / "audit.jsonl"
    file.write_text("earlier\n")
    file.chmod(0o644)
    link = on_sqlite.folder / "link.jsonl"
    link.symlink_to(file)

    def expect_error(siso: Siso, path: Path, message: str, **settings: str) -> None:
        error = siso.expect_error("events", "export", str(path), **settings)
        assert message in error, error
        assert file.read_text() == "earlier\n"
        assert list(on_sqlite.folder.glob(".*.new")) == []

    expect_error(on_sqlite, file, "not migrated yet", GATEWAY_DATABASE_PATH=str(on_sqlite.folder / "none.sqlite3"))
    expect_error(on_sqlite, file, "cannot be used", GATEWAY_DATABASE_PATH=str(file))
    expect_error(on_sqlite, on_sqlite.folder / "no" / "file", "No such file or directory.")
    expect_error(on_sqlite, Path("/dev/full"), "/dev/full cannot be written: No space left on device.")
    full = Siso(on_sqlite.folder, on_sqlite.settings, _launch_with_a_full_disk)
    for path in (file, link):
        expect_error(full, path, f"{path} cannot be written: File too large.")

    assert on_sqlite.run("events", "export", str(link)).err.strip() == "Exported 600 events."
    assert link.is_symlink()
    assert len(file.read_text().splitlines()) == 600
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(on_sqlite.folder.glob(".*.new")) == []
    with Path("/dev/full").open("w") as output:
        ended = subprocess.run(
            [PROGRAM, "events", "export"],
            env=BUFFERED | on_sqlite.settings,
            cwd=on_sqlite.folder,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (2, "siso: The output cannot be written: No space left on device.\n")


def test_an_export_can_be_written_to_a_pipe(on_sqlite: Siso) -> None:
    assert on_sqlite.run("events", "export", "/dev/stdout").code == 0
