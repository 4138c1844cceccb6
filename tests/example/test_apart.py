"""docs/adding-a-domain.md shows these files, and the notebook is not part of the gateway."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError

from repositories.aggregates.derived import repository_of
from repositories.core.errors import ValidationError
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.sql.constraints import error_of_constraint
from repositories.sql.migration_text import migration_text
from repositories.tables import metadata
from tests.api.client import ROOT, Ask
from tests.example import migration
from tests.example.conftest import Migrate
from tests.example.tables import Note, NoteColor
from tests.factories import make_user

_PAGE = (ROOT / "docs" / "adding-a-domain.md").read_text("utf-8")
_FILES = dict(re.findall(r"^`tests/example/(\w+)\.py`:\n\n```python\n(.*?)^```$", _PAGE, re.DOTALL | re.MULTILINE))


def test_the_page_shows_every_file() -> None:
    assert list(_FILES) == ["tables", "migration", "test_notebook"]


@pytest.mark.parametrize("name", _FILES)
def test_the_page_shows_the_file_unchanged(name: str) -> None:
    assert _FILES[name] == (Path(__file__).parent / f"{name}.py").read_text("utf-8")


def test_the_gateway_does_not_register_the_notebook() -> None:
    assert Note.__table__ not in metadata.tables.values()
    assert error_of_constraint("ck_notes_text_length").path == ()


def test_the_migration_is_the_generated_one(tmp_path: Path) -> None:
    """`siso migrate new` writes it, up to the formatting."""
    written = tmp_path / "migration.py"
    text = migration_text([Note.__table__], set(), title="Creates notes.", revision="9999", down_revision="9998")
    written.write_text(text, encoding="utf-8")
    subprocess.run([sys.executable, "-m", "ruff", "format", "--config", ROOT / "pyproject.toml", written], check=True)
    assert written.read_text("utf-8") == (Path(__file__).parent / "migration.py").read_text("utf-8")


async def test_the_database_enforces_the_declaration(ask: Ask, database: Database) -> None:
    """The fixture ``ask`` has run the migration."""
    del ask
    ada = await make_user(database)
    notes = repository_of(Note)
    for values in ({"text": ""}, {"text": "x" * 10_001}):
        with pytest.raises(ValidationError):
            async with database.transaction(SERVICE) as write:
                await notes(write).add(user_id=ada.id, **values)
    async with database.transaction(SERVICE) as write:
        note = await notes(write).add(user_id=ada.id, text="x" * 10_000)
    assert (note.color, note.version, note.deleted_at) == (NoteColor.YELLOW, 1, None)


def test_the_migration_can_be_reverted_and_repeated(migrate: Migrate) -> None:
    for step in (migration.upgrade, migration.downgrade, migration.upgrade):
        migrate(step)
    with pytest.raises(DBAPIError, match="exist"):
        migrate(migration.upgrade)
