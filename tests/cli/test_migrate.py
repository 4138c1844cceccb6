"""`siso migrate`: interrupted at any moment, and several at once."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from gateway.cli.migrate import print_waiting
from migrations import run
from migrations.files import newest_revision
from migrations.lock import hold_migration_lock
from repositories import inspection
from tests.cli.conftest import TOKEN_SECRET
from tests.cli.siso import TIMEOUT, Launch, Siso
from tests.databases import ENGINES, KEY_SETTINGS, Server
from tests.repositories.test_migrations import MigratedDatabase

INTERRUPTIONS = int(os.environ.get("INTERRUPTED_MIGRATIONS", "8"))
"""How often a process is interrupted. CI sets 20."""

IMAGES = 25
"""How many states of the file, as a crash would leave them, are migrated."""

WAITING = "Another process is migrating this database. Waiting until it has finished."
DONE = f"The database is at revision {newest_revision()}."


@pytest.fixture(params=ENGINES)
def empty(request: pytest.FixtureRequest, tmp_path: Path, launch: Launch) -> Iterator[Siso]:
    """The command line with an empty database of each engine in turn."""
    if request.param == "sqlite":
        yield Siso(tmp_path, {}, launch)
        return
    server: Server = request.getfixturevalue("server")
    name = f"empty_{uuid4().hex[:12]}"
    server.sql(f"CREATE DATABASE {name} OWNER owner")
    url = server.login("owner", name)
    yield Siso(tmp_path, {"GATEWAY_DATABASE_URL": url, "GATEWAY_JWT_SECRET": TOKEN_SECRET, **KEY_SETTINGS}, launch)
    server.sql(f"DROP DATABASE {name} WITH (FORCE)")


def _database(siso: Siso) -> MigratedDatabase:
    return MigratedDatabase(siso.settings.get("GATEWAY_DATABASE_URL"), siso.folder / "var/siso.sqlite3")


def test_an_interrupted_run_is_completed_by_the_next(empty: Siso) -> None:
    """A run is interrupted by each signal in turn, each time a little later, until all revisions are applied."""
    began = time.monotonic()
    assert empty.expect_output("migrate", "up") == DONE
    duration = time.monotonic() - began
    complete = _database(empty).catalog()
    signals = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
    for attempt in range(INTERRUPTIONS):
        _database(empty).run(run.downgrade, "base")
        assert _database(empty).run(run.current_revision) is None
        process = empty.start("migrate", "up")
        time.sleep(duration * (attempt + 1) / (INTERRUPTIONS + 1))
        process.send_signal(signals[attempt % len(signals)])
        _, err = process.communicate(timeout=TIMEOUT)
        assert "Traceback" not in err, err
        assert empty.expect_output("migrate", "up") in {DONE, DONE.replace(" at", " already at")}
        assert _database(empty).catalog() == complete


def test_a_crash_between_any_two_statements_leaves_a_file_that_can_be_migrated(tmp_path: Path) -> None:
    """With a cache of one page, SQLite changes the file before the commit, so there are journals to roll back."""
    path, images = tmp_path / "siso.sqlite3", tmp_path / "images"

    def copy(*_: Any) -> None:
        folder = images / f"{len(list(images.iterdir())):04}"
        folder.mkdir()
        for file in (path, path.with_name(f"{path.name}-journal")):
            if file.exists():
                shutil.copy(file, folder)

    def migrate(connection: sa.Connection) -> None:
        connection.exec_driver_sql("PRAGMA cache_size = 1")
        connection.commit()
        sa.event.listen(connection.engine, "before_cursor_execute", copy)
        run.upgrade(connection)

    images.mkdir()
    run.call_with_connection(None, path, migrate)
    complete = MigratedDatabase(None, path).catalog()
    folders = sorted(images.iterdir())
    chosen = folders[:: max(1, len(folders) // IMAGES)]
    assert any((folder / f"{path.name}-journal").exists() for folder in chosen)
    for folder in chosen:
        crashed = MigratedDatabase(None, folder / path.name)
        inspection.read_file_revision(crashed.path)
        crashed.run(run.upgrade)
        assert crashed.catalog() == complete, folder
        crashed.run(run.check)


def test_several_runs_at_once_take_turns(empty: Siso) -> None:
    """All of them succeed."""
    processes = [empty.start("migrate", "up") for _ in range(4)]
    for process in processes:
        out, err = process.communicate(timeout=TIMEOUT * 2)
        assert (process.returncode, out.strip()) in {(0, DONE), (0, DONE.replace(" at", " already at"))}, err
        assert set(err.splitlines()) <= {WAITING}
    assert _database(empty).run(run.current_revision) == newest_revision()


def test_a_run_waits_for_another_and_says_so(empty: Siso) -> None:
    def start_while_locked(connection: sa.Connection) -> Any:
        with hold_migration_lock(connection, print_waiting):
            process = empty.start("migrate", "up")
            assert process.stderr is not None
            assert process.stderr.readline().strip() == WAITING
            assert process.poll() is None
        return process

    process = _database(empty).run(start_while_locked)
    out, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, out.strip(), err) == (0, DONE, "")


def test_a_path_with_special_characters(unmigrated: Siso) -> None:
    """They have a meaning in URLs."""
    settings = {"GATEWAY_DATABASE_PATH": "a b/50%25?#.sqlite3"}
    assert unmigrated.run("migrate", "up", **settings).out.strip() == DONE
    assert (unmigrated.folder / settings["GATEWAY_DATABASE_PATH"]).exists()
    assert unmigrated.run("migrate", "up", **settings).out.strip() == DONE.replace(" at", " already at")
    assert unmigrated.run("seed", "--demo", "--users", "1", "--tasks", "1", **settings).code == 0
