"""docs/adding-a-domain.md shows these files, and the notebook is not part of the gateway."""

import re
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError

from repositories.sql.constraints import error_of_constraint
from repositories.tables import metadata
from tests.api.client import ROOT
from tests.example import migration
from tests.example.conftest import Migrate
from tests.example.tables import Note

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


def test_the_migration_can_be_reverted_and_repeated(migrate: Migrate) -> None:
    for step in (migration.upgrade, migration.downgrade, migration.upgrade):
        migrate(step)
    with pytest.raises(DBAPIError, match="exist"):
        migrate(migration.upgrade)
