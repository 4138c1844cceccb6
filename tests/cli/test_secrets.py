"""No option takes a secret, because every user of a machine sees command lines; exported data is the owner's only."""

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from gateway.cli.console import redact_passwords
from gateway.cli.main import app
from repositories.core.ids import new_id
from tests.cli.siso import Siso
from tests.cli.test_import import Row, write_file
from tests.databases import Server, temporary_clone

PARAMETERS_WITH_TEXT = {
    "serve": {"host"},
    "migrate up": {"revision"},
    "migrate down": {"revision"},
    "migrate new": {"name"},
    "explain": {"name"},
    "token": {"email"},
    "schema export": {"file"},
    "schema check": {"against"},
    "events export": {"file", "since", "until", "types"},
    "import-legacy": {"source", "report"},
    "jobs run": {"name"},
    "docs settings": {"file"},
}
"""Every parameter that takes a text. None is a secret; the source of an import must not contain one."""


def _commands(command: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, each in command.commands.items():
        yield from _commands(each, f"{path} {name}".strip())


def test_no_parameter_takes_a_secret() -> None:
    """Flags and numbers carry no secrets. A new parameter must be reviewed and added to the table."""
    with_text = {
        path: {each.name for each in command.params if each.type_descriptor.annotation not in {bool, int}}
        for path, command in _commands(typer.main.get_command(app))
    }
    assert {path: names for path, names in with_text.items() if names} == PARAMETERS_WITH_TEXT
    assert {each.name for each in typer.main.get_command(app).params} == {"debug"}


@pytest.mark.parametrize(
    "source",
    [
        "postgresql://somebody:geheim@127.0.0.1:1/nothing",
        "postgres://:geheim@127.0.0.1:1/nothing",
        "postgresql+asyncpg://somebody:ge@heim@127.0.0.1:1/nothing",
        "postgresql://somebody@127.0.0.1:1/nothing?password=geheim",
        "postgresql://127.0.0.1:1/nothing?user=somebody&password=geheim&sslmode=require",
    ],
)
def test_password_in_the_source_of_an_import_is_rejected(on_sqlite: Siso, source: str) -> None:
    """The error names the alternatives and does not repeat the password."""
    error = on_sqlite.expect_error("import-legacy", "--source", source)
    assert "GATEWAY_LEGACY_SOURCE" in error
    assert "PGPASSWORD" in error
    assert "heim" not in error


def test_source_of_an_import_can_be_a_setting(on_sqlite: Siso, server: Server) -> None:
    """A URL in the environment, and a path in the file .env."""
    with temporary_clone(server, "template1") as name:
        server.sql(
            "CREATE TABLE tasks (id text, user_id text, title text, description text, status text, "
            "type text, category text, created_at text, updated_at text)",
            database=name,
        )
        url = server.login("postgres", name).replace("postgres:@", "postgres:geheim@")
        assert "Read 0 rows" in on_sqlite.expect_output("import-legacy", GATEWAY_LEGACY_SOURCE=url)
        without = server.login("postgres", name).replace("postgres:@", "postgres@")
        assert "Read 0 rows" in on_sqlite.expect_output("import-legacy", "--source", without, PGPASSWORD="geheim")
    path = write_file(on_sqlite.folder / "legacy.sqlite3", [])
    (on_sqlite.folder / ".env").write_text(f"GATEWAY_LEGACY_SOURCE={path}\n")
    assert "Read 0 rows" in on_sqlite.expect_output("import-legacy")


@pytest.mark.parametrize("existing_mode", [None, 0o644, 0o666])
def test_exports_and_reports_are_private(on_sqlite: Siso, existing_mode: int | None) -> None:
    """Also if the file exists. The content is the new one only."""
    source = write_file(on_sqlite.folder / "legacy.sqlite3", [Row(str(new_id()), str(new_id()))])
    commands = {
        "audit.jsonl": ["events", "export", "audit.jsonl"],
        "rejected.jsonl": ["import-legacy", "--source", source, "--report", "rejected.jsonl"],
        "rejected.csv": ["import-legacy", "--source", source, "--report", "rejected.csv"],
    }
    for name, arguments in commands.items():
        file = on_sqlite.folder / name
        if existing_mode is not None:
            file.write_text("old content\n" * 100)
            file.chmod(existing_mode)
        on_sqlite.expect_output(*arguments)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, name
        assert "old content" not in file.read_text()


def test_export_to_a_device_does_not_change_its_mode(on_sqlite: Siso) -> None:
    before = Path("/dev/null").stat().st_mode
    on_sqlite.expect_output("events", "export", "/dev/null")
    assert Path("/dev/null").stat().st_mode == before


def test_passwords_are_redacted_wherever_a_url_has_them() -> None:
    assert redact_passwords("x postgresql://a:b@c/d?password=e&f=g y") == "x postgresql://a:***@c/d?password=***&f=g y"
    assert redact_passwords("postgresql://a:b@b@c/d") == "postgresql://a:***@c/d"
    assert redact_passwords("redis://:b@c/0, redis://c/0") == "redis://:***@c/0, redis://c/0"
