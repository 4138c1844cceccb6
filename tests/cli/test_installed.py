"""Each command as the installed program, whose interpreter has imported nothing else before."""

from pathlib import Path

import pytest

from repositories.engines.database import DatabaseOptions
from tests.cli.conftest import create_siso
from tests.cli.siso import Siso, launch_installed
from tests.cli.test_commands import COMMANDS
from tests.cli.test_import import write_file
from tests.databases import Server

_EMAIL = "ada@example.com"
_DATABASE_COMMANDS = {
    "migrate status": "0001  done",
    "migrate down -1 --yes": "The database is at revision ",
    "migrate up": "The database is at revision ",
    "seed --demo --users 1 --tasks 1": "Loaded 3 users with ",
    f"token {_EMAIL}": "ey",
    "doctor": "ok ",
    "import-legacy --source legacy.sqlite3": "Read 0 rows",
    "events export": '{"sequence":1,',
    "keys rotate": "Encrypted 0 values",
    "sessions clean": "Deleted 0 ",
    "jobs list": "name ",
    "jobs run roll-days": "roll-days succeeded: ",
}
"""Commands, in an order that gives each what it needs, and how their output begins."""
_OTHER_COMMANDS = {
    "schema export contract.graphql": "",
    "schema check --against contract.graphql": "0 breaking",
    "docs settings settings.md": "",
    "explain Task": "Task  life_lock.tasks",
}


@pytest.fixture
def installed(options: DatabaseOptions, tmp_path: Path, request: pytest.FixtureRequest) -> Siso:
    """The installed program with a migrated database. The test runs on each engine."""
    server: Server | None = request.getfixturevalue("server") if options.url else None
    return create_siso(options, tmp_path, server, launch_installed)


def test_every_command_is_run_here() -> None:
    """`migrate new` writes into the source code; tests/cli/test_explain.py runs it."""
    run = [*_DATABASE_COMMANDS, *_OTHER_COMMANDS]
    left_out = [name for name in COMMANDS if not any(command.startswith(name) for command in run)]
    assert left_out == ["serve", "migrate new"]


def test_commands_on_a_database(installed: Siso) -> None:
    write_file(installed.folder / "legacy.sqlite3", [])
    for command, begin in _DATABASE_COMMANDS.items():
        assert installed.expect_output(*command.split()).startswith(begin), command
    with installed.serving() as gateway:
        assert gateway.get("/health")["status"] == "ok"


def test_commands_without_a_database(tmp_path: Path) -> None:
    installed = Siso(tmp_path, {}, launch_installed)
    for command, begin in _OTHER_COMMANDS.items():
        assert installed.expect_output(*command.split()).startswith(begin), command
