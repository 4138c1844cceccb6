"""`siso schema`: the contract is written, and changes to it are told apart."""

import re
from pathlib import Path

import pytest

from schema import schema
from tests.cli.siso import Siso

ROOT = Path(__file__).parents[2]


@pytest.fixture
def contract(unmigrated: Siso) -> Path:
    """The present contract, to be changed into one that clients were built against."""
    unmigrated.expect_output("schema", "export", "old.graphql")
    return unmigrated.folder / "old.graphql"


def replace(file: Path, old: str, new: str) -> None:
    """Changes the file; what is to be changed must be there."""
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_it_is_written_and_printed_alike(unmigrated: Siso, contract: Path) -> None:
    text = contract.read_text(encoding="utf-8")
    assert text == schema.as_str().rstrip() + "\n"
    assert unmigrated.expect_output("schema", "export") == text.rstrip("\n")


def test_nothing_changed(unmigrated: Siso, contract: Path) -> None:
    assert unmigrated.expect_output("schema", "check", "--against", contract.name) == "0 breaking, 0 dangerous, 0 safe"


def test_a_breaking_change(unmigrated: Siso, contract: Path) -> None:
    replace(contract, "type Query {", "type Query {\n  gone: Int\n")
    ended = unmigrated.run("schema", "check", "--against", contract.name)
    assert ended.code == 1
    assert "breaking" in ended.out.splitlines()[0]
    assert "gone" in ended.out.splitlines()[0]
    assert ended.out.splitlines()[-1] == "1 breaking, 0 dangerous, 0 safe"


def test_a_dangerous_change(unmigrated: Siso, contract: Path) -> None:
    """A value that clients do not know yet may be more than they are prepared for."""
    described = re.search(r'  """[^"]*"""\n  CANCELLED\n', contract.read_text(encoding="utf-8"))
    assert described
    replace(contract, described[0], "")
    result = unmigrated.expect_output("schema", "check", "--against", contract.name)
    assert result.splitlines()[0].startswith("dangerous")
    assert "CANCELLED" in result.splitlines()[0]
    assert result.splitlines()[-1].startswith("0 breaking, 1 dangerous")


def test_a_safe_change(unmigrated: Siso, contract: Path) -> None:
    replace(contract, "  createTask(", "  makeTask(")
    ended = unmigrated.run("schema", "check", "--against", contract.name)
    assert [line.split()[0] for line in ended.out.splitlines()] == ["breaking", "safe", "1"]
    assert "createTask" in ended.out.splitlines()[1]


def test_what_is_no_schema(unmigrated: Siso) -> None:
    assert "cannot be read: No such file" in unmigrated.expect_error("schema", "check", "--against", "none.graphql")
    (unmigrated.folder / "odd.graphql").write_text("type {")
    assert "is not a GraphQL schema: Syntax Error" in unmigrated.expect_error(
        "schema", "check", "--against", "odd.graphql"
    )
    (unmigrated.folder / "half.graphql").write_text("type Query { a: Missing }")
    assert "is not a GraphQL schema: " in unmigrated.expect_error("schema", "check", "--against", "half.graphql")
    assert "cannot be written" in unmigrated.expect_error("schema", "export", "no/such/folder.graphql")
