"""Reads a legacy `tasks` table, in a SQLite file or on PostgreSQL, in batches and without changing it."""

import re
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiosqlite
import asyncpg

_BATCH_SIZE = 500
_URL = re.compile(r"^postgres(ql)?(\+asyncpg)?:")


class SourceError(Exception):
    """The source cannot be read. The message is one line and contains no password."""


class LegacyRow(NamedTuple):
    """A row of the legacy table, before validation."""

    id: object
    user_id: object
    title: object
    description: object
    status: object
    category: object
    created_at: object
    updated_at: object


class Source(ABC):
    """The rows of type `life-lock`. One cursor reads all of them, so that duplicate ids do not disturb the paging."""

    text_cast = ""
    """SQL that converts a column to text."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    @abstractmethod
    async def count(self) -> int:
        """Returns the number of rows."""

    @abstractmethod
    def batches(self) -> AsyncIterator[list[LegacyRow]]:
        """Yields all rows, ordered by id."""

    def query(self, columns: str) -> str:
        return f"SELECT {columns} FROM tasks WHERE type{self.text_cast} = 'life-lock'"  # noqa: S608 (constants)

    def select_all(self) -> str:
        return self.query(", ".join(f"{name}{self.text_cast}" for name in LegacyRow._fields)) + " ORDER BY tasks.id"


class _SqliteSource(Source):
    async def count(self) -> int:
        rows = list(await self.connection.execute_fetchall(self.query("count(*)")))
        return int(rows[0][0])

    async def batches(self) -> AsyncIterator[list[LegacyRow]]:
        async with self.connection.execute(self.select_all()) as cursor:
            while records := await cursor.fetchmany(_BATCH_SIZE):
                yield [LegacyRow(*record) for record in records]


class _PostgresSource(Source):
    text_cast = "::text"

    async def count(self) -> int:
        return int(await self.connection.fetchval(self.query("count(*)")))

    async def batches(self) -> AsyncIterator[list[LegacyRow]]:
        cursor = await self.connection.cursor(self.select_all())
        while records := await cursor.fetch(_BATCH_SIZE):
            yield [LegacyRow(*record) for record in records]


@asynccontextmanager
async def open_source(location: str) -> AsyncIterator[Source]:
    """Opens the source at a postgresql:// URL or the path of a SQLite file. Raises SourceError."""
    opening = _open_postgresql(location) if _URL.match(location) else _open_file(Path(location))
    async with opening as source:
        yield source


@asynccontextmanager
async def _open_file(path: Path) -> AsyncIterator[Source]:
    """Text that is not UTF-8 is read with escaped bytes, so that only its row is rejected."""
    uri = f"{Path.absolute(path).as_uri()}?mode=ro"
    try:
        sqlite3.connect(uri, uri=True).close()  # aiosqlite would leak a thread if this failed
        connection = await aiosqlite.connect(uri, uri=True)
    except sqlite3.Error as error:
        raise SourceError(f"{path} cannot be read: {error}") from error
    connection.text_factory = lambda data: data.decode(errors="surrogateescape")
    try:
        yield _SqliteSource(connection)
    except sqlite3.Error as error:
        raise SourceError(_unsuitable_source(error)) from error
    finally:
        await connection.close()


@asynccontextmanager
async def _open_postgresql(url: str) -> AsyncIterator[Source]:
    """Reads in one snapshot, so that concurrent changes of the table have no effect."""
    try:
        connection = await asyncpg.connect(
            _URL.sub("postgresql:", url),
            timeout=10,
            statement_cache_size=0,
            server_settings={"timezone": "UTC", "datestyle": "ISO"},
        )
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise SourceError(f"The source cannot be reached: {str(error) or 'it does not respond'}") from error
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield _PostgresSource(connection)
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.InsufficientPrivilegeError) as error:
        raise SourceError(_unsuitable_source(error)) from error
    finally:
        await connection.close()


def _unsuitable_source(error: Exception) -> str:
    columns = ", ".join((*LegacyRow._fields, "type"))
    return f"The source has no readable table tasks with the columns {columns}: {error}"
