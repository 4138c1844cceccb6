"""The page shows these files, and the notebook is nobody else's."""

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
_SHOWN = dict(re.findall(r"^`tests/example/(\w+)\.py`:\n\n```python\n(.*?)^```$", _PAGE, re.DOTALL | re.MULTILINE))


def test_the_page_shows_all_of_it() -> None:
    assert list(_SHOWN) == ["tables", "migration", "data", "queries", "commands", "contract", "test_notebook"]


@pytest.mark.parametrize("name", _SHOWN)
def test_the_page_shows_what_runs(name: str) -> None:
    assert _SHOWN[name] == (Path(__file__).parent / f"{name}.py").read_text("utf-8")


def test_it_is_no_domain_of_the_gateway() -> None:
    assert Note.__table__ not in metadata.tables.values()
    assert error_of_constraint("ck_notes_text_length").path == ()


def test_its_migration_can_be_undone_and_redone(migrate: Migrate) -> None:
    for step in (migration.upgrade, migration.downgrade, migration.upgrade):
        migrate(step)
    with pytest.raises(DBAPIError, match="exist"):
        migrate(migration.upgrade)
