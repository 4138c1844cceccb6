"""`siso events export`: every event once, in order, as JSON lines."""

import asyncio
import datetime as dt
import json
from typing import Any

import pytest

from repositories.aggregates import event_store as module
from repositories.aggregates.event_store import EventStore
from repositories.aggregates.unit_of_work import open_unit_of_work
from repositories.engines.database import Database, DatabaseOptions
from repositories.life_lock.events import CategoryCreated, TaskReopened
from tests.cli.siso import Siso
from tests.factories import make_category, make_task, make_user, viewer_of
from tests.repositories.support import connect_database, open_snapshot

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


async def _recorded(database: Database, days: int) -> list[Any]:
    """An event of each of two types a day."""
    ada = await make_user(database)
    task, category = await make_task(database, ada), await make_category(database, ada)
    for day in range(days):
        async with open_unit_of_work(database, viewer_of(ada), (), START + dt.timedelta(days=day)) as work:
            work.record(TaskReopened(task.id, ada.id, None))
            work.record(CategoryCreated(category.id, ada.id))
    async with open_snapshot(database) as snapshot:
        return [event async for event in EventStore(snapshot).export(None, None)]


def _made(options: DatabaseOptions) -> list[Any]:
    async def make() -> list[Any]:
        async with connect_database(options) as database:
            return await _recorded(database, 3)

    return asyncio.run(make())


def test_everything_is_exported(siso: Siso, options: DatabaseOptions) -> None:
    rows = _made(options)
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


def test_filters_hold_together(siso: Siso, options: DatabaseOptions) -> None:
    rows = _made(options)

    def exported(*arguments: str) -> list[int]:
        return [json.loads(line)["sequence"] for line in siso.run("events", "export", *arguments).out.splitlines()]

    numbers = [row.sequence for row in rows]
    assert exported("--from", "2026-01-02") == numbers[2:]
    assert exported("--to", "2026-01-02T00:00:00") == numbers[:2]
    both = ("--from", "2026-01-02", "--to", "2026-01-03")
    assert exported(*both, "--type", "CategoryCreated") == [numbers[3]]
    assert exported("--type", "CategoryCreated", "--type", "TaskReopened") == numbers
    assert exported("--type", "Unheard") == []


def test_what_cannot_be_is_refused(on_sqlite: Siso, unmigrated: Siso) -> None:
    assert "cannot be written" in on_sqlite.expect_error("events", "export", "/no/such/folder/file")
    assert "--from" in on_sqlite.expect_error("events", "export", "--from", "yesterday")


async def test_batches_follow_on_from_each_other(
    database: Database, statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every event once, however they fall into batches; one statement a batch."""
    monkeypatch.setattr(module, "LOAD_BATCH", 4)
    for count, batches in ((2, 2), (1, 2)):
        rows = await _recorded(database, count)
        async with open_snapshot(database) as snapshot:
            statements.clear()
            assert [event async for event in EventStore(snapshot).export(None, None)] == rows
            assert len([text for text in statements if not text.startswith("BEGIN")]) == batches
