"""Runs migrations, for the CLI and for tests.

Alembic needs a connection of SQLAlchemy's: the standard library's sqlite3 for the file, asyncpg for PostgreSQL.
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

_HERE = Path(__file__).parent


def _config(connection: sa.Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def head() -> str:
    """The revision that this code needs."""
    found = ScriptDirectory.from_config(_config()).get_current_head()
    assert found is not None  # noqa: S101 (there are migrations)
    return found


def revisions() -> list[tuple[str, str]]:
    """All revisions, oldest first, each with what it is about."""
    walked = ScriptDirectory.from_config(_config()).walk_revisions()
    return [(script.revision, script.doc) for script in walked][::-1]


def on_database(url: str | None, sqlite_path: Path, work: Callable[[sa.Connection], Any]) -> Any:
    """Runs ``work`` on a connection to PostgreSQL at ``url`` or, without one, to the SQLite file.

    If that is missing, it is made for its owner alone; SQLite gives the files beside it the same permissions.
    """
    if url is None:
        sqlite_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        sqlite_path.touch(mode=0o600)
        engine = sa.create_engine(f"sqlite:///{sqlite_path}", poolclass=sa.NullPool)
        with engine.connect() as connection:
            return work(connection)
    return asyncio.run(_on_postgresql(url, work))


async def _on_postgresql(url: str, work: Callable[[sa.Connection], Any]) -> Any:
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415 (only where PostgreSQL is used)

    engine = create_async_engine(
        re.sub(r"^postgres(ql)?(\+asyncpg)?:", "postgresql+asyncpg:", url), poolclass=sa.NullPool
    )
    async with engine.connect() as connection:
        found = await connection.run_sync(work)
    await engine.dispose()
    return found


def current(connection: sa.Connection) -> str | None:
    """The revision that the database is at, None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()


class MigrationError(Exception):
    """A migration that cannot be run; the message is one line without SQL."""


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except CommandError as error:
        raise MigrationError(str(error)) from error
    except sa.exc.DBAPIError as error:
        cause = error.orig.__cause__ if error.orig else None
        raise MigrationError(str(cause or error.orig).splitlines()[0]) from error


def upgrade(connection: sa.Connection, revision: str = "head") -> None:
    """Migrates up."""
    with _explained():
        command.upgrade(_config(connection), revision)
        connection.commit()


def downgrade(connection: sa.Connection, revision: str) -> None:
    """Migrates down to ``revision``; "base" for an empty database, "-1" for one step."""
    with _explained():
        command.downgrade(_config(connection), revision)
        connection.commit()


def check(connection: sa.Connection) -> None:
    """Raises if the database differs from the declared tables."""
    command.check(_config(connection))
