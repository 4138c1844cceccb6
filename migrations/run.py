"""Runs migrations, for the CLI and for tests.

Alembic needs a SQLAlchemy connection: through the standard library's sqlite3 for the file, asyncpg for PostgreSQL.
"""

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from migrations.lock import hold_migration_lock

_HERE = Path(__file__).parent
VERSIONS = _HERE / "versions"
"""The folder of the revisions."""


def _config(connection: sa.Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def revision_descriptions() -> list[tuple[str, str]]:
    """Returns all revisions, oldest first, each with its description."""
    scripts = ScriptDirectory.from_config(_config()).walk_revisions()
    return [(script.revision, script.doc) for script in scripts][::-1]


def table_names(connection: sa.Connection) -> set[str]:
    """Returns the names of the tables of a SQLite file."""
    return set(sa.inspect(connection).get_table_names())


def call_with_connection(url: str | None, sqlite_path: Path, function: Callable[[sa.Connection], Any]) -> Any:
    """Calls ``function`` with a connection to PostgreSQL at ``url`` or, if it is None, to the SQLite file.

    Creates a missing file with permissions for its owner only. SQLite gives the files beside it the same permissions.
    """
    if url is None:
        sqlite_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        sqlite_path.touch(mode=0o600)
        with _sqlite_engine(sqlite_path).connect() as connection:
            return function(connection)
    return asyncio.run(_call_on_postgresql(url, function))


def _sqlite_engine(path: Path) -> sa.Engine:
    """Begins transactions itself. The driver would begin one only before INSERT, UPDATE and DELETE.

    https://docs.sqlalchemy.org/en/20/dialects/sqlite.html#serializable-isolation-savepoints-transactional-ddl
    """
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(path)), poolclass=sa.NullPool)

    @sa.event.listens_for(engine, "connect")
    def disable_implicit_transactions(connection: Any, _record: object) -> None:
        connection.isolation_level = None

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


async def _call_on_postgresql(url: str, function: Callable[[sa.Connection], Any]) -> Any:
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415 (only where PostgreSQL is used)

    engine = create_async_engine(
        re.sub(r"^postgres(ql)?(\+asyncpg)?:", "postgresql+asyncpg:", url), poolclass=sa.NullPool
    )
    async with engine.connect() as connection:
        result = await connection.run_sync(function)
    await engine.dispose()
    return result


def current_revision(connection: sa.Connection) -> str | None:
    """Returns the revision of the database, or None if it is empty."""
    return MigrationContext.configure(connection).get_current_revision()


class MigrationError(Exception):
    """A migration failed. The message is one line without SQL."""


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except CommandError as error:
        raise MigrationError(str(error)) from error
    except sa.exc.DBAPIError as error:
        cause = error.orig.__cause__ if error.orig else None
        raise MigrationError(str(cause or error.orig).splitlines()[0]) from error


def upgrade(connection: sa.Connection, revision: str = "head", on_wait: Callable[[], None] = lambda: None) -> None:
    """Migrates up to ``revision``. Each revision is one transaction, with the row that records it.

    If another process migrates the database, calls ``on_wait`` and waits until it has finished.
    """
    with _translate_errors(), hold_migration_lock(connection, on_wait):
        command.upgrade(_config(connection), revision)
        connection.commit()


def downgrade(connection: sa.Connection, revision: str, on_wait: Callable[[], None] = lambda: None) -> None:
    """Migrates down to ``revision``, like ``upgrade``. "base" means an empty database, "-1" the previous revision."""
    with _translate_errors(), hold_migration_lock(connection, on_wait):
        command.downgrade(_config(connection), revision)
        connection.commit()


def check(connection: sa.Connection) -> None:
    """Raises Alembic's CommandError if the database differs from the declared tables."""
    command.check(_config(connection))
