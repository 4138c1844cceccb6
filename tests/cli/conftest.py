"""The command line in an empty folder, with a separate database for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from repositories.engines.database import DatabaseOptions
from tests.cli.fork_server import ForkServer
from tests.cli.siso import Launch, Siso, launch_installed
from tests.databases import KEY_SETTINGS, Server, database_of

TOKEN_SECRET = "a secret of the tests that is long enough"  # noqa: S105 (used in tests only)


@pytest.fixture
def options(cloned_options: DatabaseOptions) -> DatabaseOptions:
    """A cloned database for each test, because commands run in other processes, and some of them migrate."""
    return cloned_options


@pytest.fixture
def postgres_only(cloned_postgres: DatabaseOptions) -> DatabaseOptions:
    """A cloned PostgreSQL database for each test."""
    return cloned_postgres


@pytest.fixture(scope="session")
def launch() -> Iterator[Launch]:
    """Starts commands fast; ``launch_installed`` starts the installed program."""
    server = ForkServer()
    yield server.start
    server.close()


@pytest.fixture
def unmigrated(tmp_path: Path, launch: Launch) -> Siso:
    """The command line with a SQLite file that does not exist yet."""
    return Siso(tmp_path, {}, launch)


@pytest.fixture
def siso(options: DatabaseOptions, tmp_path: Path, launch: Launch, request: pytest.FixtureRequest) -> Siso:
    """The command line with a migrated database. The test runs on each engine."""
    server = request.getfixturevalue("server") if options.url else None
    return create_siso(options, tmp_path, server, launch)


@pytest.fixture
def on_sqlite(sqlite_only: DatabaseOptions, tmp_path: Path, launch: Launch) -> Siso:
    """The command line with a migrated SQLite file."""
    return create_siso(sqlite_only, tmp_path, None, launch)


@pytest.fixture
def on_postgresql(postgres_only: DatabaseOptions, tmp_path: Path, launch: Launch, server: Server) -> Siso:
    """The command line with a migrated PostgreSQL database."""
    return create_siso(postgres_only, tmp_path, server, launch)


def create_siso(
    options: DatabaseOptions, folder: Path, server: Server | None, launch: Launch = launch_installed
) -> Siso:
    """Returns the command line for a database. ``server`` is needed for PostgreSQL."""
    if options.url is None or options.service_url is None or server is None:
        return Siso(folder, {"GATEWAY_DATABASE_PATH": str(options.sqlite_path)}, launch)
    return Siso(
        folder,
        {
            "GATEWAY_DATABASE_URL": options.url,
            "GATEWAY_SERVICE_DATABASE_URL": options.service_url,
            "GATEWAY_OWNER_DATABASE_URL": server.login("owner", database_of(options)),
            "GATEWAY_JWT_SECRET": TOKEN_SECRET,
            **KEY_SETTINGS,
        },
        launch,
    )
