"""`siso import-legacy`, from both kinds of sources into both engines."""

import asyncio
import csv
import json
import signal
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import asyncpg
import pytest

from repositories.core.viewer import SERVICE
from repositories.engines.database import Database, DatabaseOptions
from repositories.engines.factory import open_database
from repositories.life_lock.analytics import Analytics
from repositories.life_lock.categories import Categories
from repositories.life_lock.tasks import Tasks
from repositories.tables.identity import User
from repositories.tables.life_lock import Task, TaskStatus
from tests.cli.siso import Siso
from tests.databases import ENGINES, Server, temporary_clone
from tests.factories import make_user

COLUMNS = ("id", "user_id", "title", "description", "status", "type", "category", "created_at", "updated_at")
CREATED, UPDATED = "2024-03-01T22:30:00+00:00", "2024-03-02T10:00:00Z"
TABLE = f"CREATE TABLE tasks ({', '.join(f'{name} text' for name in COLUMNS)})"


class Row(NamedTuple):
    """A row of the legacy table."""

    id: str | None
    user_id: str | None
    title: str | None = "Buy milk"
    description: str | None = None
    status: str | None = "todo"
    type: str = "life-lock"
    category: str | None = "Home"
    created_at: str | None = CREATED
    updated_at: str | None = UPDATED


def write_file(path: Path, rows: Sequence[Row]) -> str:
    """Writes a legacy SQLite file."""
    with closing(sqlite3.connect(path)) as database:
        database.execute(TABLE)
        database.executemany(f"INSERT INTO tasks VALUES ({', '.join('?' * len(COLUMNS))})", rows)
        database.commit()
    return str(path)


async def write_database(url: str, rows: Sequence[Row]) -> str:
    """Writes a legacy table on PostgreSQL."""
    connection = await asyncpg.connect(url)
    await connection.execute(TABLE)
    await connection.copy_records_to_table("tasks", records=rows)
    await connection.close()
    return url


@pytest.fixture(params=ENGINES)
def legacy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Returns a function that writes a legacy source and returns its location. The test runs with each engine."""
    if request.param == "sqlite":

        async def write(rows: Sequence[Row]) -> str:
            return write_file(tmp_path / "legacy.sqlite3", rows)

        yield write
        return
    server: Server = request.getfixturevalue("server")
    with temporary_clone(server, "template1") as name:
        yield lambda rows: write_database(server.login("postgres", name), rows)


async def tasks_of(database: Database) -> dict[UUID, Task]:
    snapshot = database.snapshot(SERVICE)
    found = await Tasks(snapshot).find(limit=100_000)
    await snapshot.close()
    return {task.id: task for task in found}


async def category_names(database: Database, user: User) -> dict[UUID, tuple[str, str]]:
    """Returns the names and colors of a user's categories by id."""
    snapshot = database.snapshot(SERVICE)
    found = await Categories(snapshot).find(limit=1000)
    await snapshot.close()
    return {row.id: (row.name, row.color) for row in found if row.user_id == user.id}


async def test_tasks_are_imported_once(siso: Siso, database: Database, legacy: Any) -> None:
    ada, bob = await make_user(database, time_zone="Asia/Tokyo"), await make_user(database)
    keys = [str(uuid4()) for _ in range(6)]
    source = await legacy(
        [
            Row(keys[0], str(ada.id), "  Buy milk ", "two litres", "Done", category="Home"),
            Row(keys[1], str(ada.id), status="in progress", category=" Home "),
            Row(keys[2], str(ada.id), status="canceled", category="Work"),
            Row(keys[3], str(bob.id), status=None, category="Home", updated_at=None),
            Row(keys[4], str(bob.id), category=None),
            Row(keys[5], str(bob.id), type="work-lock"),
        ]
    )
    first = await asyncio.to_thread(siso.expect_output, "import-legacy", "--source", source)
    assert first == "Read 5 rows: 5 new, 0 already present, 0 rejected."

    tasks = await tasks_of(database)
    assert set(tasks) == {UUID(key) for key in keys[:5]}
    one, two, three, four, five = (tasks[UUID(key)] for key in keys[:5])
    assert (one.title, one.description, one.status) == ("Buy milk", "two litres", TaskStatus.COMPLETED)
    assert one.created_at.isoformat() == CREATED
    assert one.completed_at == one.updated_at
    assert one.updated_at.isoformat() == "2024-03-02T10:00:00+00:00"
    assert [row.status.value for row in (two, three, four)] == ["in_progress", "cancelled", "pending"]
    assert four.updated_at == four.created_at

    hers, his = await category_names(database, ada), await category_names(database, bob)
    assert sorted(hers.values()) == [("Home", "#3B82F6"), ("Work", "#3B82F6")]
    assert list(his.values()) == [("Home", "#3B82F6")]
    assert [hers[row.category_id][0] for row in (one, two, three) if row.category_id] == ["Home", "Home", "Work"]
    assert (four.category_id, five.category_id) == (next(iter(his)), None)

    again = await asyncio.to_thread(siso.expect_output, "import-legacy", "--source", source)
    assert again == "Read 5 rows: 0 new, 5 already present, 0 rejected."
    assert await tasks_of(database) == tasks


async def test_days_are_counted_in_the_users_time_zone(siso: Siso, database: Database, tmp_path: Path) -> None:
    """10:30 p.m. in London is the next morning in Tokyo."""
    ada = await make_user(database, time_zone="Asia/Tokyo")
    source = write_file(tmp_path / "legacy.sqlite3", [Row(str(uuid4()), str(ada.id), status="done")])
    await asyncio.to_thread(siso.expect_output, "import-legacy", "--source", source)
    snapshot = database.snapshot(SERVICE)
    days = await Analytics(snapshot).find(limit=10)
    await snapshot.close()
    assert [(row.date.isoformat(), row.tasks_created, row.tasks_completed) for row in days] == [("2024-03-02", 1, 1)]


async def test_rejected_rows_are_reported_and_the_others_imported(siso: Siso, database: Database, legacy: Any) -> None:
    ada, bob = await make_user(database), await make_user(database)
    taken = uuid4()
    async with database.transaction(SERVICE) as write:
        await Tasks(write).add(id=taken, user_id=bob.id, title="His")
    user, twice = str(ada.id), str(uuid4())
    rejected = {
        "id is not a UUID": Row("17", user),
        "title is empty": Row(str(uuid4()), user, title="  "),
        "title is longer than 255 characters": Row(str(uuid4()), user, title="x" * 256),
        "description is longer than 10000 characters": Row(str(uuid4()), user, description="x" * 10_001),
        "status is unknown": Row(str(uuid4()), user, status="someday"),
        "category is longer than 100 characters": Row(str(uuid4()), user, category="x" * 101),
        "created_at is not a readable date": Row(str(uuid4()), user, created_at="yesterday"),
        "user_id belongs to no user": Row(str(uuid4()), str(uuid4())),
        "user_id is not a UUID": Row(str(uuid4()), None),
        "id belongs to another user's task": Row(str(taken), user),
        "title is empty; status is unknown": Row(str(uuid4()), user, title=None, status="?"),
    }
    source = await legacy([*rejected.values(), Row(None, user), Row(twice, user), Row(twice.upper(), user)])
    arguments = ("import-legacy", "--source", source, "--report", "rejected.jsonl")
    result = await asyncio.to_thread(siso.expect_output, *arguments)
    assert result.splitlines()[0] == "Read 14 rows: 1 new, 0 already present, 13 rejected."
    lines = [json.loads(line) for line in (siso.folder / "rejected.jsonl").read_text(encoding="utf-8").splitlines()]
    expected = {(row.id, reason) for reason, row in rejected.items()} | {
        ("", "id is not a UUID"),
        (twice, "id occurs twice"),
    }
    assert {(line["id"], line["reason"]) for line in lines} == expected
    assert "       2 id is not a UUID" in result.splitlines()
    assert set(await tasks_of(database)) == {taken, UUID(twice)}


async def test_a_dry_run_changes_nothing(siso: Siso, database: Database, tmp_path: Path) -> None:
    ada = await make_user(database)
    source = write_file(tmp_path / "legacy.sqlite3", [Row(str(uuid4()), str(ada.id)), Row("x", str(ada.id))])
    arguments = ("import-legacy", "--source", source, "--dry-run", "--report", "rejected.csv")
    result = await asyncio.to_thread(siso.expect_output, *arguments)
    assert result.splitlines()[0] == "Read 2 rows: 1 would be new, 0 already present, 1 rejected."
    with (siso.folder / "rejected.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [["id", "user_id", "reason"], ["x", str(ada.id), "id is not a UUID"]]
    assert await tasks_of(database) == {}
    assert await category_names(database, ada) == {}


async def test_deleted_tasks_are_not_imported_again(siso: Siso, database: Database, tmp_path: Path) -> None:
    ada = await make_user(database)
    source = write_file(tmp_path / "legacy.sqlite3", [Row(str(uuid4()), str(ada.id))])
    await asyncio.to_thread(siso.expect_output, "import-legacy", "--source", source)
    async with database.transaction(SERVICE) as write:
        (task,) = (await tasks_of(database)).values()
        await Tasks(write).remove(task)
    again = await asyncio.to_thread(siso.expect_output, "import-legacy", "--source", source)
    assert again == "Read 1 rows: 0 new, 1 already present, 0 rejected."
    assert await tasks_of(database) == {}


async def test_a_killed_import_can_be_continued(siso: Siso, database: Database, tmp_path: Path) -> None:
    users = [await make_user(database) for _ in range(5)]
    rows = [
        Row(str(uuid4()), str(users[index % 5].id), f"Task {index}", category=f"Category {index % 7}")
        for index in range(20_000)
    ]
    source = write_file(tmp_path / "legacy.sqlite3", rows)
    process = siso.start("import-legacy", "--source", source)
    while await count(database) == 0:
        assert process.poll() is None
        await asyncio.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    left = await count(database)
    assert 0 < left < len(rows)

    result = await asyncio.to_thread(siso.expect_output, "import-legacy", "--source", source)
    assert result == f"Read 20000 rows: {20_000 - left} new, {left} already present, 0 rejected."
    assert await count(database) == len(rows)
    categories = [name for user in users for name, _ in (await category_names(database, user)).values()]
    assert len(categories) == 5 * 7
    again = await asyncio.to_thread(siso.expect_output, "import-legacy", "--source", source)
    assert again == "Read 20000 rows: 0 new, 20000 already present, 0 rejected."


async def count(database: Database) -> int:
    snapshot = database.snapshot(SERVICE)
    found = await Tasks(snapshot).count()
    await snapshot.close()
    return found


def test_unreadable_sources(on_sqlite: Siso, server: Server) -> None:
    def error_of(source: str) -> str:
        return on_sqlite.expect_error("import-legacy", "--source", source)

    assert "cannot be read" in error_of("none.sqlite3")
    (on_sqlite.folder / "notes.txt").write_text("no database" * 100)
    assert "file is not a database" in error_of("notes.txt")
    assert "has no readable table tasks with the columns" in error_of(on_sqlite.settings["GATEWAY_DATABASE_PATH"])
    assert "has no readable table tasks with the columns" in error_of(server.login("gateway", "postgres"))
    url = "postgresql://somebody:geheim@127.0.0.1:1/nothing"
    unreachable = on_sqlite.expect_error("import-legacy", GATEWAY_LEGACY_SOURCE=url)
    assert "The source cannot be reached" in unreachable
    assert "geheim" not in unreachable
    assert "Name the source with --source or GATEWAY_LEGACY_SOURCE" in on_sqlite.expect_error("import-legacy")


def test_text_that_cannot_be_stored(on_sqlite: Siso, sqlite_only: DatabaseOptions) -> None:
    """Bytes that are not UTF-8, and the NUL character, which PostgreSQL cannot store."""

    async def create_user() -> User:
        database = open_database(sqlite_only)
        await database.connect()
        user = await make_user(database)
        await database.close()
        return user

    user = str(asyncio.run(create_user()).id)
    source = write_file(on_sqlite.folder / "legacy.sqlite3", [Row(str(uuid4()), user, "nul \0")])
    with closing(sqlite3.connect(source)) as database:
        database.execute(
            "INSERT INTO tasks (id, user_id, title, type, created_at) "
            "VALUES (?, ?, CAST(x'ff41' AS TEXT), 'life-lock', ?), (CAST(x'fe' AS TEXT), ?, x'00', 'life-lock', ?)",
            (str(uuid4()), user, CREATED, user, CREATED),
        )
        database.commit()
    result = on_sqlite.expect_output("import-legacy", "--source", source, "--report", "rejected.csv")
    assert result.splitlines()[0] == "Read 3 rows: 0 new, 0 already present, 3 rejected."
    assert "title is not readable text" in result


def test_an_unwritable_report(on_sqlite: Siso) -> None:
    source = write_file(on_sqlite.folder / "legacy.sqlite3", [])
    assert "cannot be written" in on_sqlite.expect_error(
        "import-legacy", "--source", source, "--report", "no/such/file.csv"
    )
