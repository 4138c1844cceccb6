"""Legacy `tasks` tables, in a SQLite file or on PostgreSQL, read in batches and never changed."""

import re
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiosqlite
import asyncpg

_BATCH = 500
_URL = re.compile(r"^postgres(ql)?(\+asyncpg)?:")


class SourceError(Exception):
    """A source that cannot be read; the message is one line without secrets."""


class LegacyRow(NamedTuple):
    """A row as it was found, unchecked."""

    id: object
    user_id: object
    title: object
    description: object
    status: object
    category: object
    created_at: object
    updated_at: object


class Source(ABC):
    """The rows of type `life-lock`, read through one cursor: whatever the ids are, each row comes exactly once."""

    as_text = ""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    @abstractmethod
    async def count(self) -> int:
        """How many there are."""

    @abstractmethod
    def batches(self) -> AsyncIterator[list[LegacyRow]]:
        """All rows, by id."""

    def query(self, columns: str) -> str:
        """The text of a query."""
        return f"SELECT {columns} FROM tasks WHERE type{self.as_text} = 'life-lock'"  # noqa: S608 (constants)

    def select(self) -> str:
        """The query for all rows."""
        return self.query(", ".join(f"{name}{self.as_text}" for name in LegacyRow._fields)) + " ORDER BY tasks.id"


class _SqliteSource(Source):
    async def count(self) -> int:
        rows = list(await self.connection.execute_fetchall(self.query("count(*)")))
        return int(rows[0][0])

    async def batches(self) -> AsyncIterator[list[LegacyRow]]:
        async with self.connection.execute(self.select()) as cursor:
            while found := await cursor.fetchmany(_BATCH):
                yield [LegacyRow(*row) for row in found]


class _PostgresSource(Source):
    as_text = "::text"

    async def count(self) -> int:
        return int(await self.connection.fetchval(self.query("count(*)")))

    async def batches(self) -> AsyncIterator[list[LegacyRow]]:
        cursor = await self.connection.cursor(self.select())
        while found := await cursor.fetch(_BATCH):
            yield [LegacyRow(*row) for row in found]


@asynccontextmanager
async def open_source(where: str) -> AsyncIterator[Source]:
    """The source at a postgresql:// URL or the path of a SQLite file, or SourceError."""
    opened = _on_postgresql(where) if _URL.match(where) else _in_file(Path(where))
    async with opened as source:
        yield source


@asynccontextmanager
async def _in_file(path: Path) -> AsyncIterator[Source]:
    """Text that is not UTF-8 is read with its bytes escaped, to be refused row by row."""
    address = f"{Path.absolute(path).as_uri()}?mode=ro"
    try:
        sqlite3.connect(address, uri=True).close()  # where this fails, aiosqlite would leave a thread behind
        connection = await aiosqlite.connect(address, uri=True)
    except sqlite3.Error as error:
        raise SourceError(f"{path} cannot be read: {error}") from error
    connection.text_factory = lambda data: data.decode(errors="surrogateescape")
    try:
        yield _SqliteSource(connection)
    except sqlite3.Error as error:
        raise SourceError(_unfit(error)) from error
    finally:
        await connection.close()


@asynccontextmanager
async def _on_postgresql(url: str) -> AsyncIterator[Source]:
    """One read-only snapshot, so that rows neither come nor go while they are read."""
    try:
        connection = await asyncpg.connect(
            _URL.sub("postgresql:", url),
            timeout=10,
            statement_cache_size=0,
            server_settings={"timezone": "UTC", "datestyle": "ISO"},
        )
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise SourceError(f"The source cannot be reached: {str(error) or 'it does not answer'}") from error
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield _PostgresSource(connection)
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.InsufficientPrivilegeError) as error:
        raise SourceError(_unfit(error)) from error
    finally:
        await connection.close()


def _unfit(error: Exception) -> str:
    columns = ", ".join((*LegacyRow._fields, "type"))
    return f"The source has no readable table tasks with the columns {columns}: {error}"
