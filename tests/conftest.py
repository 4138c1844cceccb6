"""Fixtures: a migrated database on each engine, a replica, and the statements that a test executes."""

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from migrations import run
from repositories.engines.database import Database, DatabaseOptions
from repositories.engines.factory import open_database
from tests.databases import (
    ENGINES,
    KEYS,
    Server,
    Standby,
    copy_sqlite,
    create_template,
    database_of,
    postgres_options,
    postgres_server,
    run_standby,
    temporary_clone,
)
from tests.measured import pause_coverage, unmeasured_tests
from tests.worker_database import WorkerDatabase

_COMMANDS = Path(__file__).parent / "cli"
_SLOW_MODULES = {
    "test_cache_memory",  # traces every allocation
    "test_cache_outages",  # wait for timeouts
    "test_http_connections",
    "test_issuer_keys",
    "test_mutation_timeouts",
    "test_sse_ends",
    "test_websocket_limits",
    "test_clients",  # start processes
    "test_lock",
    "test_migrations",  # run every migration up and down
    "test_row_events",  # run every command
}


_UNMEASURED = pytest.StashKey[bool]()

_TEST_TIMEOUT = 240.0
"""Seconds after which an asynchronous test fails where it waits. Less than ``faulthandler_timeout``, which shows only
that the event loop waits."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests that `make quick` runs, and spreads those of commands evenly over the run.

    Tests of commands mostly wait for processes. In one group, they would leave the cores idle.
    """
    for item in items:
        if isinstance(item, pytest.Function):
            if _is_quick(item):
                item.add_marker(pytest.mark.quick)
            if inspect.iscoroutinefunction(item.obj):
                item.obj = _limit_time(item.obj)
    for item in unmeasured_tests(items):
        item.stash[_UNMEASURED] = True
    commands = [item for item in items if _COMMANDS in item.path.parents]
    others = [item for item in items if _COMMANDS not in item.path.parents]
    place = {item: index / len(group) for group in (commands, others) for index, item in enumerate(group)}
    items.sort(key=place.__getitem__)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Pauses the coverage during tests that do not measure it."""
    if not item.stash.get(_UNMEASURED, False):
        return (yield)
    with pause_coverage(item.config):
        return (yield)


def _limit_time(test: Any) -> Any:
    @functools.wraps(test)
    async def limited(*args: Any, **kwargs: Any) -> None:
        async with asyncio.timeout(_TEST_TIMEOUT):
            await test(*args, **kwargs)

    return limited


def _is_quick(item: pytest.Function) -> bool:
    """Whether it needs no PostgreSQL, runs no command, and has no generated examples."""
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    needs_postgresql = "server" in item.fixturenames or "postgresql" in parameters
    is_property = hasattr(item.obj, "hypothesis")
    is_slow = item.path.stem in _SLOW_MODULES or _COMMANDS in item.path.parents
    return not (needs_postgresql or is_property or is_slow)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The PostgreSQL server of this test process."""
    with postgres_server() as running:
        yield running


@pytest.fixture(scope="session")
def postgres_template(server: Server) -> str:
    """A migrated database to clone."""
    return create_template(server)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file to copy."""
    path = tmp_path_factory.mktemp("sqlite") / "template.sqlite3"
    run.call_with_connection(None, path, run.upgrade)
    return path


@pytest.fixture(scope="session")
def worker_database(server: Server, postgres_template: str) -> Iterator[WorkerDatabase]:
    """The PostgreSQL database that the tests of this process share."""
    shared = WorkerDatabase(server, postgres_template)
    yield shared
    shared.close()


@pytest.fixture(params=ENGINES)
def options(request: pytest.FixtureRequest) -> DatabaseOptions:
    """A migrated database without rows of other tests, on each engine in turn; for tests without DDL."""
    return _options(request, "sqlite_only" if request.param == "sqlite" else "postgres_only")


@pytest.fixture(params=ENGINES)
def cloned_options(request: pytest.FixtureRequest) -> DatabaseOptions:
    """A migrated database of the test's own, on each engine in turn; for DDL, outages, locks and processes."""
    return _options(request, "sqlite_only" if request.param == "sqlite" else "cloned_postgres")


def _options(request: pytest.FixtureRequest, fixture: str) -> DatabaseOptions:
    found: DatabaseOptions = request.getfixturevalue(fixture)
    return found


@pytest.fixture
def sqlite_only(sqlite_template: Path, tmp_path: Path) -> DatabaseOptions:
    """A migrated SQLite file of the test's own, for tests of one engine."""
    return DatabaseOptions(sqlite_path=copy_sqlite(sqlite_template, tmp_path), **KEYS)


@pytest.fixture
def postgres_only(server: Server, worker_database: WorkerDatabase) -> Iterator[DatabaseOptions]:
    """The migrated PostgreSQL database that tests share, without rows of other tests."""
    yield postgres_options(server, worker_database.name)
    worker_database.wipe()


@pytest.fixture
def cloned_postgres(server: Server, postgres_template: str) -> Iterator[DatabaseOptions]:
    """A migrated PostgreSQL database of the test's own, for DDL, outages, locks and processes."""
    with temporary_clone(server, postgres_template) as name:
        yield postgres_options(server, name)


@pytest.fixture(scope="module")
def running_standby(server: Server, postgres_template: str) -> Iterator[Standby]:
    """A streaming replica of the server, for the tests of a module."""
    with run_standby(server) as standby:
        yield standby


@pytest_asyncio.fixture
async def standby(running_standby: Standby) -> AsyncIterator[Standby]:
    """The replica. After the test it is started and resumed, so that the next test finds it running."""
    yield running_standby
    await asyncio.to_thread(running_standby.start)
    await running_standby.resume()


@pytest_asyncio.fixture
async def replicated(cloned_postgres: DatabaseOptions, standby: Standby) -> DatabaseOptions:
    """A migrated PostgreSQL database of the test's own, and the replica, which contains it, for reads."""
    await standby.catch_up()
    return replace(cloned_postgres, read_url=standby.login("gateway", database_of(cloned_postgres)))


@pytest_asyncio.fixture
async def database(options: DatabaseOptions) -> AsyncIterator[Database]:
    """A connected database."""
    connected = open_database(options)
    await connected.connect()
    yield connected
    await connected.close()


@pytest.fixture
def statements(database: Database) -> list[str]:
    """The statements that the database executes from now on. A test clears the list to start counting."""
    executed: list[str] = []
    database.statement_listeners.append(executed.append)
    return executed
