"""Databases that all tests of a module share, for property tests and matrices of many small cases."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from repositories.engines.database import DatabaseOptions
from tests.databases import ENGINES, KEYS, Server, copy_sqlite, postgres_options, temporary_clone
from tests.repositories.support import SharedDatabase


@pytest.fixture(scope="module", params=ENGINES)
def shared_database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SharedDatabase]:
    """A migrated and connected database of each engine in turn, with its own event loop."""
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        database = SharedDatabase(
            DatabaseOptions(sqlite_path=copy_sqlite(template, tmp_path_factory.mktemp("shared_database")), **KEYS)
        )
        yield database
        database.close()
        return
    server: Server = request.getfixturevalue("server")
    with temporary_clone(server, request.getfixturevalue("postgres_template")) as name:
        database = SharedDatabase(postgres_options(server, name))
        yield database
        database.close()
