"""`siso schema`: exports the SDL and classifies changes to it."""

import re
from pathlib import Path

import pytest

from schema import schema
from tests.cli.siso import Siso

ROOT = Path(__file__).parents[2]


@pytest.fixture
def contract(unmigrated: Siso) -> Path:
    """A file with the current SDL, which the test changes into an older version."""
    unmigrated.expect_output("schema", "export", "old.graphql")
    return unmigrated.folder / "old.graphql"


def replace(file: Path, old: str, new: str) -> None:
    """Replaces text in the file, which must contain it."""
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_the_exported_file_is_equal_to_the_printed_sdl(unmigrated: Siso, contract: Path) -> None:
    text = contract.read_text(encoding="utf-8")
    assert text == schema.as_str().rstrip() + "\n"
    assert unmigrated.expect_output("schema", "export") == text.rstrip("\n")


def test_an_unchanged_schema(unmigrated: Siso, contract: Path) -> None:
    assert unmigrated.expect_output("schema", "check", "--against", contract.name) == "0 breaking, 0 dangerous, 0 safe"


def test_a_breaking_change(unmigrated: Siso, contract: Path) -> None:
    replace(contract, "type Query {", "type Query {\n  gone: Int\n")
    ended = unmigrated.run("schema", "check", "--against", contract.name)
    assert ended.code == 1
    assert "breaking" in ended.out.splitlines()[0]
    assert "gone" in ended.out.splitlines()[0]
    assert ended.out.splitlines()[-1] == "1 breaking, 0 dangerous, 0 safe"


def test_a_dangerous_change(unmigrated: Siso, contract: Path) -> None:
    """Clients may not be able to handle a new enum value."""
    declaration = re.search(r'  """[^"]*"""\n  CANCELLED\n', contract.read_text(encoding="utf-8"))
    assert declaration
    replace(contract, declaration[0], "")
    result = unmigrated.expect_output("schema", "check", "--against", contract.name)
    assert result.splitlines()[0].startswith("dangerous")
    assert "CANCELLED" in result.splitlines()[0]
    assert result.splitlines()[-1].startswith("0 breaking, 1 dangerous")


def test_a_safe_change(unmigrated: Siso, contract: Path) -> None:
    replace(contract, "  createTask(", "  makeTask(")
    ended = unmigrated.run("schema", "check", "--against", contract.name)
    assert [line.split()[0] for line in ended.out.splitlines()] == ["breaking", "safe", "1"]
    assert "createTask" in ended.out.splitlines()[1]


def test_an_invalid_schema_file(unmigrated: Siso) -> None:
    assert "cannot be read: No such file" in unmigrated.expect_error("schema", "check", "--against", "none.graphql")
    (unmigrated.folder / "odd.graphql").write_text("type {")
    assert "is not a GraphQL schema: Syntax Error" in unmigrated.expect_error(
        "schema", "check", "--against", "odd.graphql"
    )
    (unmigrated.folder / "half.graphql").write_text("type Query { a: Missing }")
    assert "is not a GraphQL schema: " in unmigrated.expect_error("schema", "check", "--against", "half.graphql")
    assert "cannot be written" in unmigrated.expect_error("schema", "export", "no/such/folder.graphql")
