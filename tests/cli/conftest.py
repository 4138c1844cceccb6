"""The command line on a database of its own, in an empty folder."""

from pathlib import Path

import pytest

from repositories.engines.database import DatabaseOptions
from tests.cli.siso import Siso
from tests.databases import KEY_SETTINGS, Server, database_of

TOKEN_SECRET = "a secret of the tests that is long enough"  # noqa: S105 (signs nothing but tests' tokens)


@pytest.fixture
def options(cloned_options: DatabaseOptions) -> DatabaseOptions:
    """A database of the test's own, because commands are processes, and some of them migrate."""
    return cloned_options


@pytest.fixture
def postgres_only(cloned_postgres: DatabaseOptions) -> DatabaseOptions:
    """As ``options``, on PostgreSQL."""
    return cloned_postgres


@pytest.fixture
def unmigrated(tmp_path: Path) -> Siso:
    """On a SQLite file that does not exist yet."""
    return Siso(tmp_path, {})


@pytest.fixture
def siso(options: DatabaseOptions, tmp_path: Path, request: pytest.FixtureRequest) -> Siso:
    """On a fresh, migrated database of each engine in turn."""
    server = request.getfixturevalue("server") if options.url else None
    return of(options, tmp_path, server)


@pytest.fixture
def on_sqlite(sqlite_only: DatabaseOptions, tmp_path: Path) -> Siso:
    """On a fresh, migrated SQLite file."""
    return of(sqlite_only, tmp_path, None)


@pytest.fixture
def on_postgresql(postgres_only: DatabaseOptions, tmp_path: Path, server: Server) -> Siso:
    """On a fresh, migrated PostgreSQL database."""
    return of(postgres_only, tmp_path, server)


def of(options: DatabaseOptions, folder: Path, server: Server | None) -> Siso:
    """The command line on the database that ``options`` reach."""
    if options.url is None or options.service_url is None or server is None:
        return Siso(folder, {"GATEWAY_DATABASE_PATH": str(options.sqlite_path)})
    return Siso(
        folder,
        {
            "GATEWAY_DATABASE_URL": options.url,
            "GATEWAY_SERVICE_DATABASE_URL": options.service_url,
            "GATEWAY_OWNER_DATABASE_URL": server.login("owner", database_of(options)),
            "GATEWAY_JWT_SECRET": TOKEN_SECRET,
            **KEY_SETTINGS,
        },
    )
