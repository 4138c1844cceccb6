"""Errors that importing the tables raises, with the installed program and a copy of the package of tables."""

import shutil
from pathlib import Path

import pytest

from repositories.sql import aggregate
from tests.cli.siso import TIMEOUT, Siso, launch_installed

_REPOSITORIES = Path(aggregate.__file__).parents[1]
_NOTES = """
from uuid import UUID

from repositories.sql.table import Column, Table, column

class Note(Table, schema="notebook", name="notes"):
    __slots__ = ()
"""
_SEARCHED = 'text: Column[str] = column("The text.", length=(1, 100), encrypted=True, searched=True)'
_IS_SEARCHED = "notes.text: an encrypted column cannot be searched, filtered or sorted"
_UNKNOWN = 'user_id: Column[UUID] = column(references="identity.people.id")'
_IS_UNKNOWN = "notes.user_id: it references identity.people.id, which does not exist"


def _siso_with(folder: Path, notebook: str) -> Siso:
    """The program with one more module of tables."""
    copy = folder / "source" / "repositories"
    shutil.copytree(_REPOSITORIES, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "tables" / "notebook.py").write_text(notebook, encoding="utf-8")
    return Siso(folder, {"PYTHONPATH": str(copy.parent)}, launch_installed)


@pytest.mark.parametrize(
    ("command", "declaration", "error"),
    [
        ("explain Note", _SEARCHED, _IS_SEARCHED),
        ("--debug explain Note", _SEARCHED, _IS_SEARCHED),
        ("serve --port 0", _SEARCHED, _IS_SEARCHED),
        ("migrate new foo", _SEARCHED, _IS_SEARCHED),
        ("explain Note", _UNKNOWN, _IS_UNKNOWN),
    ],
)
def test_a_contradiction_names_the_table_and_the_column(
    tmp_path: Path, command: str, declaration: str, error: str
) -> None:
    siso = _siso_with(tmp_path, f"{_NOTES}    {declaration}")
    assert siso.expect_error(*command.split()) == f"siso: {error}. Correct the declaration."


def test_debug_shows_the_traceback_of_an_unexpected_error_during_imports(tmp_path: Path) -> None:
    siso = _siso_with(tmp_path, 'raise RuntimeError("the notebook is missing")')
    with siso.start("--debug", "explain", "Task") as process:
        out, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, out) == (2, "")
    *_, error, line = err.splitlines()
    assert error == "RuntimeError: the notebook is missing"
    assert line.endswith("See the log above.")
