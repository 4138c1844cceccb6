"""`siso migrate`, `seed`, `token` and `docs`, the help texts, and the output of unexpected errors."""

import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import jwt
import pytest
import typer.main

from gateway.cli.console import redact_passwords
from gateway.cli.docs import settings_page
from gateway.cli.main import app
from migrations import files, run
from tests.cli.fork_server import BUFFERED, PROGRAM
from tests.cli.siso import Siso

ROOT = Path(__file__).parents[2]
COMMANDS = ["serve", "seed", "token", "doctor", "import-legacy", "explain"]
COMMANDS += [
    "migrate up",
    "migrate down",
    "migrate status",
    "migrate new",
    "schema export",
    "schema check",
    "docs settings",
    "events export",
    "keys rotate",
    "sessions clean",
    "jobs list",
    "jobs run",
]


def test_migrations_go_up_and_down(siso: Siso) -> None:
    assert "pending" not in siso.expect_output("migrate", "status")
    assert siso.expect_output("migrate", "up") == f"The database is already at revision {files.newest_revision()}."
    assert siso.expect_output("migrate", "down", "base", "--yes") == "The database is at revision base."
    assert "done" not in siso.expect_output("migrate", "status")
    assert siso.expect_output("migrate", "up", "0001") == "The database is at revision 0001."
    assert siso.expect_output("migrate", "status").splitlines()[0].split()[:2] == ["0001", "done"]
    assert siso.expect_output("migrate", "up").startswith(f"The database is at revision {files.newest_revision()}")
    assert siso.expect_output("migrate", "down", "-1", "--yes") != ""


def test_migrating_down_needs_a_confirmation(on_sqlite: Siso) -> None:
    assert "Add --yes" in on_sqlite.expect_error("migrate", "down", "-1")
    assert "pending" not in on_sqlite.expect_output("migrate", "status")


def test_an_unknown_revision(on_sqlite: Siso) -> None:
    assert "siso: The migration was not run: Can't locate revision" in on_sqlite.expect_error("migrate", "up", "nope")


def test_a_login_that_may_not_migrate(on_postgresql: Siso) -> None:
    owner = on_postgresql.settings.pop("GATEWAY_OWNER_DATABASE_URL")
    error = on_postgresql.expect_error("migrate", "down", "-1", "--yes")
    assert re.search("The migration was not run: (must be owner of|permission denied for)", error)
    assert "DROP" not in error
    on_postgresql.expect_output("migrate", "down", "-1", "--yes", GATEWAY_OWNER_DATABASE_URL=owner)


def test_the_newest_revision_is_equal_to_alembics() -> None:
    assert files.newest_revision() == run.revision_descriptions()[-1][0]
    assert set(files.revisions()) == {name for name, _ in run.revision_descriptions()}


def test_seeding_twice(siso: Siso) -> None:
    arguments = ("seed", "--demo", "--users", "3", "--tasks", "20")
    assert siso.expect_output(*arguments) == "Loaded 5 users with 100 tasks."
    assert siso.expect_output(*arguments) == "The database already has users. Nothing was loaded."


def test_seeding_without_demo_is_an_error(on_sqlite: Siso) -> None:
    assert "siso seed --demo" in on_sqlite.expect_error("seed")
    assert "--users" in on_sqlite.expect_error("seed", "--demo", "--users", "0")


def test_a_token(siso: Siso) -> None:
    siso.expect_output("seed", "--demo", "--users", "1", "--tasks", "0")
    token = siso.expect_output("token", "ADA@example.com", "--lifetime", "60")
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 60
    admin = jwt.decode(siso.expect_output("token", "admin@example.com"), options={"verify_signature": False})
    assert admin["app_metadata"]["roles"] == ["admin", "user"]
    assert admin["exp"] - admin["iat"] == 12 * 3600
    manager = jwt.decode(siso.expect_output("token", "manager@example.com"), options={"verify_signature": False})
    assert manager["app_metadata"]["roles"] == ["partnership_manager", "user"]


def test_a_token_for_an_address_in_another_spelling(on_sqlite: Siso) -> None:
    on_sqlite.expect_output("seed", "--demo", "--users", "1", "--tasks", "0")
    with closing(sqlite3.connect(on_sqlite.settings["GATEWAY_DATABASE_PATH"])) as database:
        database.execute("UPDATE users SET email = 'ada@bücher.example' WHERE email = 'ada@example.com'")
        database.commit()
    for spelling in ("ada@bücher.example", "ADA@xn--bcher-kva.example", "ada@bu\u0308cher\uff0eexample"):
        assert on_sqlite.expect_output("token", spelling).count(".") == 2
    for other in ("ada@bucher.example", "ada@bücher.example\x1c"):
        assert "There is no user" in on_sqlite.expect_error("token", other)


def test_unknown_and_suspended_users_get_no_token(on_sqlite: Siso) -> None:
    assert "There is no user bob@example.com." in on_sqlite.expect_error("token", "bob@example.com")
    on_sqlite.expect_output("seed", "--demo", "--users", "1", "--tasks", "0")
    with closing(sqlite3.connect(on_sqlite.settings["GATEWAY_DATABASE_PATH"])) as database:
        database.execute("UPDATE users SET status = 'suspended' WHERE email = 'ada@example.com'")
        database.commit()
    assert "ada@example.com is suspended" in on_sqlite.expect_error("token", "ada@example.com")


def test_a_token_needs_a_migrated_database(unmigrated: Siso) -> None:
    assert "Run `siso migrate up` first" in unmigrated.expect_error("token", "ada@example.com")
    assert "Run `siso migrate up` first" in unmigrated.expect_error("seed", "--demo")


def test_the_settings_page_is_up_to_date(unmigrated: Siso) -> None:
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == settings_page()
    unmigrated.expect_output("docs", "settings", "pages/settings.md")
    assert (unmigrated.folder / "pages" / "settings.md").read_text(encoding="utf-8") == settings_page()


def test_every_command_is_listed_here() -> None:
    names = []
    for name, command in typer.main.get_group(app).commands.items():
        subcommands = getattr(command, "commands", None)
        names += [f"{name} {subcommand}" for subcommand in subcommands] if subcommands else [name]
    assert sorted(names) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_contains_an_example(unmigrated: Siso, command: str) -> None:
    assert f"Example: siso {command}" in unmigrated.expect_output(*command.split(), "--help")


def test_usage_errors_are_one_line(unmigrated: Siso) -> None:
    assert unmigrated.expect_error("serve", "--nonsense").endswith("See `siso serve --help`.")
    assert "No such command" in unmigrated.expect_error("fly")
    assert "--port" in unmigrated.expect_error("serve", "--port", "70000")


def test_an_unexpected_error_is_one_line_with_an_id(on_sqlite: Siso) -> None:
    """The test deletes a table that exists according to the database's revision."""
    with closing(sqlite3.connect(on_sqlite.settings["GATEWAY_DATABASE_PATH"])) as database:
        database.executescript("PRAGMA foreign_keys = OFF; DROP VIEW visible_user_dashboard_stats; DROP TABLE users;")
    error = on_sqlite.expect_error("token", "ada@example.com")
    assert error.startswith("siso: An unexpected error occurred (error ")
    assert "users" not in error
    with on_sqlite.start("--debug", "token", "ada@example.com") as process:
        _, err = process.communicate()
    assert "OperationalError (SQLITE_ERROR) in: SELECT users" in err
    assert process.returncode == 2


def test_passwords_in_urls_are_redacted() -> None:
    assert redact_passwords("at postgresql://ada:geh:eim@host/db!") == "at postgresql://ada:***@host/db!"


def test_signal_during_the_exit_of_a_command(tmp_path: Path) -> None:
    """Ctrl-C after the command has ended changes nothing. Python would print a traceback."""
    code = (
        "import atexit, os, signal; atexit.register(os.kill, os.getpid(), signal.SIGINT); "
        "from gateway.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "docs", "settings", str(tmp_path / "settings.md")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("command", [["schema", "export"], ["docs", "settings", "/dev/stdout"], ["--help"]])
def test_output_that_cannot_be_written_is_one_line(on_sqlite: Siso, command: list[str]) -> None:
    """Python's exit does not try again, which would print a traceback and end with the code 120."""
    with Path("/dev/full").open("w") as output:
        ended = subprocess.run(
            [PROGRAM, *command],
            env=BUFFERED | on_sqlite.settings,
            cwd=on_sqlite.folder,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.endswith("cannot be written: No space left on device.")
