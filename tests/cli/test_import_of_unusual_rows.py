"""`siso import-legacy` rejects rows that cannot be stored, and imports the others. An error is one line."""

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest

from repositories.engines.database import Database, DatabaseOptions
from repositories.legacy.importer import import_tasks
from repositories.legacy.legacy_rows import RejectedRow
from repositories.legacy.legacy_source import open_source
from repositories.life_lock.categories import Categories
from repositories.life_lock.tasks import Tasks
from tests.cli.siso import Siso
from tests.cli.test_import import Row, tasks_of, write_database, write_file
from tests.databases import Server, database_of
from tests.factories import make_user
from tests.repositories.support import connect_database, open_snapshot

OUT_OF_RANGE = "is not between the years 1900 and 2200"


async def test_dates_out_of_range_are_rejected(database: Database, siso: Siso, tmp_path: Path) -> None:
    user = str((await make_user(database, time_zone="Pacific/Auckland")).id)
    dates = {
        "9999-12-31": OUT_OF_RANGE,
        "9999-12-31T23:59:59-14:00": OUT_OF_RANGE,
        "0001-01-01": OUT_OF_RANGE,
        "0001-01-01T00:00:00+14:00": OUT_OF_RANGE,
        "2300-06-01T00:00:00Z": OUT_OF_RANGE,
        "2200-01-01T00:00:00Z": OUT_OF_RANGE,
        "1899-12-31T23:59:59Z": OUT_OF_RANGE,
        "infinity": OUT_OF_RANGE,
        "-infinity": OUT_OF_RANGE,
        "12026-01-01": "is not a readable date",
        "0044-03-15 00:00:00+00 BC": "is not a readable date",
        "1900-01-01T23:59:59Z": OUT_OF_RANGE,
        "2199-12-31T00:00:00Z": OUT_OF_RANGE,
        "1900-01-02T00:00:00Z": None,
        "2199-12-30T23:59:59Z": None,
    }
    rows = [Row(str(uuid4()), user, status="done", created_at=date, updated_at=None) for date in dates]
    rows += [Row(str(uuid4()), user, updated_at="infinity"), Row(str(uuid4()), user)]
    source = write_file(tmp_path / "legacy.sqlite3", rows)
    arguments = ("import-legacy", "--source", source, "--report", "rejected.jsonl")
    result = await asyncio.to_thread(siso.expect_output, *arguments)
    assert result.splitlines()[0] == "Read 17 rows: 3 new, 0 already present, 14 rejected."
    lines = [json.loads(line) for line in (tmp_path / "rejected.jsonl").read_text().splitlines()]
    expected = {
        row.id: f"created_at {reason}; updated_at {reason}"
        for row, reason in zip(rows, dates.values(), strict=False)
        if reason
    }
    assert {line["id"]: line["reason"] for line in lines} == expected | {rows[-2].id: f"updated_at {OUT_OF_RANGE}"}
    assert len(await tasks_of(database)) == 3
    again = await asyncio.to_thread(siso.expect_output, *arguments)
    assert again.splitlines()[0] == "Read 17 rows: 0 new, 3 already present, 14 rejected."


async def test_infinite_times_of_postgresql_are_rejected(
    on_postgresql: Siso, postgres_only: DatabaseOptions, server: Server
) -> None:
    """The columns of the legacy table are timestamps, as in a real database."""
    async with connect_database(postgres_only) as database:
        user = (await make_user(database)).id
        name = f"legacy_{uuid4().hex[:8]}"
        await asyncio.to_thread(server.sql, f"CREATE DATABASE {name}")
        url = server.login("postgres", name)
        connection = await asyncpg.connect(url)
        await connection.execute(
            "CREATE TABLE tasks (id uuid, user_id uuid, title text, description text, status text, type text, "
            "category text, created_at timestamptz, updated_at timestamptz)"
        )
        for date in ("infinity", "-infinity", "0044-03-15 BC", "2300-01-01", "294276-12-31", "2024-01-01"):
            await connection.execute(
                f"INSERT INTO tasks VALUES (gen_random_uuid(), '{user}', 'x', NULL, 'done', 'life-lock', NULL, "
                f"'{date}', '{date}')"
            )
        await connection.close()
        result = await asyncio.to_thread(on_postgresql.expect_output, "import-legacy", "--source", url)
        assert result.splitlines()[0] == "Read 6 rows: 1 new, 0 already present, 5 rejected."
        await asyncio.to_thread(server.sql, f"DROP DATABASE {name}")


@pytest.mark.parametrize(
    ("encoding", "data", "title"),
    [("SQL_ASCII", "fc6265", None), ("WIN1252", "6281", None), ("LATIN1", "6281", "b\x81")],
)
async def test_bytes_without_a_character_in_the_encoding_reject_their_row(  # noqa: PLR0913, PLR0917 (a table)
    on_sqlite: Siso, sqlite_only: DatabaseOptions, server: Server, encoding: str, data: str, title: str | None
) -> None:
    """The other rows are read. SQL_ASCII is read as UTF-8; 0x81 is a control character in Latin-1 only."""
    name = f"other_{uuid4().hex[:8]}"
    await asyncio.to_thread(
        server.sql,
        f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' "
        "LOCALE_PROVIDER libc",
    )
    async with connect_database(sqlite_only) as database:
        user = str((await make_user(database)).id)
        url = await write_database(server.login("postgres", name), [Row(str(uuid4()), user, "Müsli \\ 1")])
        unusual = str(uuid4())
        connection = await asyncpg.connect(url)
        await connection.execute(
            f"INSERT INTO tasks SELECT $1, user_id, convert_from('\\x{data}', '{encoding}'), NULL, status, type, "
            "category, created_at, updated_at FROM tasks",
            unusual,
        )
        await connection.close()
        arguments = ("import-legacy", "--source", url, "--report", "rejected.jsonl")
        result = await asyncio.to_thread(on_sqlite.expect_output, *arguments)
        rejected = 1 if title is None else 0
        assert result.splitlines()[0] == f"Read 2 rows: {2 - rejected} new, 0 already present, {rejected} rejected."
        lines = [json.loads(line) for line in (on_sqlite.folder / "rejected.jsonl").read_text().splitlines()]
        assert lines == [{"id": unusual, "user_id": user, "reason": "title is not readable text"}] * rejected
        titles = sorted(task.title for task in (await tasks_of(database)).values())
        assert titles == sorted(["Müsli \\ 1", *([] if title is None else [title])])
    await asyncio.to_thread(server.sql, f"DROP DATABASE {name}")


def _write_file_in_wal_mode(path: Path, rows: Sequence[Row]) -> None:
    write_file(path, rows)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = WAL")


async def test_a_source_on_a_read_only_medium_is_read(
    on_sqlite: Siso, sqlite_only: DatabaseOptions, tmp_path: Path
) -> None:
    """SQLite creates files beside a file in WAL mode. Here their names are too long, also for the superuser.

    If such a file contains changes, the source without it would be incomplete.
    """
    async with connect_database(sqlite_only) as database:
        user = str((await make_user(database)).id)
    source = tmp_path / ("l" * 252)
    _write_file_in_wal_mode(tmp_path / "legacy", [Row(str(uuid4()), user)])
    (tmp_path / "legacy").rename(source)
    content = source.read_bytes()
    result = await asyncio.to_thread(on_sqlite.expect_output, "import-legacy", "--source", str(source))
    assert result == "Read 1 rows: 1 new, 0 already present, 0 rejected."
    assert source.read_bytes() == content

    changed = tmp_path / "changed"
    _write_file_in_wal_mode(changed, [Row(str(uuid4()), user)])
    (tmp_path / "changed-shm").symlink_to(tmp_path / "missing" / "file")
    (tmp_path / "changed-wal").write_bytes(b"changes")
    error = await asyncio.to_thread(on_sqlite.expect_error, "import-legacy", "--source", str(changed))
    assert f"{changed}-wal contains changes. Copy both to another folder." in error


def test_a_damaged_source_is_one_line(on_sqlite: Siso) -> None:
    rows = [Row(str(uuid4()), str(uuid4()), "x" * 200) for _ in range(2000)]
    source = on_sqlite.folder / "legacy.sqlite3"
    write_file(source, rows)
    with source.open("r+b") as file:
        file.seek(50 * 4096)
        file.write(b"\xff" * 4096)
    error = on_sqlite.expect_error("import-legacy", "--source", str(source), "--report", "rejected.jsonl")
    assert error == "siso: The source cannot be read: database disk image is malformed."


async def test_a_batch_with_a_row_that_the_database_rejects_is_imported_row_by_row(
    cloned_options: DatabaseOptions, server: Server, tmp_path: Path
) -> None:
    """A constraint that only the database has. The error of the row names the column."""
    async with connect_database(cloned_options) as database:
        user = await make_user(database)
        if cloned_options.url:
            name = database_of(cloned_options)
            constraint = "ALTER TABLE life_lock.tasks ADD CONSTRAINT ck_tasks_title_shape CHECK (title <> 'bad')"
            await asyncio.to_thread(server.sql, constraint, database=name)
        else:
            with closing(sqlite3.connect(cloned_options.sqlite_path)) as direct:
                direct.execute(
                    "CREATE TRIGGER no_bad BEFORE INSERT ON tasks WHEN NEW.title = 'bad' "
                    "BEGIN SELECT RAISE(ABORT, 'CHECK constraint failed: ck_tasks_title_shape'); END"
                )
        keys = [str(uuid4()) for _ in range(5)]
        rows = [Row(key, str(user.id), "bad" if index == 2 else "good") for index, key in enumerate(keys)]
        rejected: list[RejectedRow] = []
        async with open_source(write_file(tmp_path / "legacy.sqlite3", rows)) as source:
            result = await import_tasks(database, source, on_rejected=rejected.append)
        assert (result.read, result.added, result.present) == (5, 4, 0)
        assert [row[:2] for row in rejected] == [(keys[2], str(user.id))]
        assert rejected[0].reason.startswith("title This value is not allowed")
        assert set(await tasks_of(database)) == {UUID(key) for key in keys} - {UUID(keys[2])}
        async with open_snapshot(database) as snapshot:
            assert [row.name for row in await Categories(snapshot).find(limit=9)] == ["Home"]
            assert await Tasks(snapshot).count() == 4


def test_a_report_of_an_earlier_import_is_kept_if_the_source_cannot_be_read(on_sqlite: Siso) -> None:
    report = on_sqlite.folder / "rejected.jsonl"
    report.write_text("earlier\n")
    on_sqlite.expect_error("import-legacy", "--source", "none.sqlite3", "--report", "rejected.jsonl")
    assert report.read_text() == "earlier\n"


def test_a_full_report_is_one_line(on_sqlite: Siso) -> None:
    source = write_file(on_sqlite.folder / "legacy.sqlite3", [Row("x", "y")])
    error = on_sqlite.expect_error("import-legacy", "--source", source, "--report", "/dev/full")
    assert error == "siso: /dev/full cannot be written: No space left on device."
