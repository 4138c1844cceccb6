"""Reads a legacy `tasks` table, in a SQLite file or on PostgreSQL, in batches and without changing it."""

import codecs
import os
import re
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, closing, contextmanager
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
    """The rows of type `life-lock`. One cursor reads all of them, so that duplicate ids do not disturb the paging.

    Text that is not UTF-8 is read with escaped bytes, so that only its row is rejected.
    """

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    async def count(self) -> int:
        """Returns the number of rows."""
        with self.translate_errors():
            return await self.fetch_count()

    async def batches(self) -> AsyncIterator[list[LegacyRow]]:
        """Yields all rows, ordered by id."""
        columns = ", ".join(map(self.as_text, LegacyRow._fields))
        with self.translate_errors():
            cursor = await self.open_cursor(f"{self.query(columns)} ORDER BY tasks.id")
        while True:
            with self.translate_errors():
                records = await self.fetch(cursor)
            if not records:
                return
            yield [LegacyRow(*map(self.decode, record)) for record in records]

    def query(self, columns: str) -> str:
        return f"SELECT {columns} FROM tasks WHERE {self.as_plain_text('type')} = 'life-lock'"  # noqa: S608 (constants)

    def as_text(self, column: str) -> str:
        """SQL that converts a column to what :meth:`decode` reads."""
        return self.as_plain_text(column)

    def as_plain_text(self, column: str) -> str:
        """SQL that converts a column to text."""
        return column

    def decode(self, value: object) -> object:
        return value

    @abstractmethod
    def translate_errors(self) -> AbstractContextManager[None]:
        """Raises a SourceError for an error of the driver."""

    @abstractmethod
    async def fetch_count(self) -> int: ...

    @abstractmethod
    async def open_cursor(self, statement: str) -> Any: ...

    @abstractmethod
    async def fetch(self, cursor: Any) -> Sequence[Sequence[object]]:
        """The next rows, none at the end."""


class _SqliteSource(Source):
    @contextmanager
    def translate_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise SourceError(_unsuitable_source(error)) from error

    async def fetch_count(self) -> int:
        rows = list(await self.connection.execute_fetchall(self.query("count(*)")))
        return int(rows[0][0])

    async def open_cursor(self, statement: str) -> aiosqlite.Cursor:
        cursor: aiosqlite.Cursor = await self.connection.execute(statement)
        return cursor

    async def fetch(self, cursor: aiosqlite.Cursor) -> list[Any]:
        return list(await cursor.fetchmany(_BATCH_SIZE))


class _PostgresSource(Source):
    """A database that is not in UTF-8 can contain bytes that the server cannot convert to UTF-8.

    Its columns are read as bytes and decoded here, so that such bytes concern their row only.
    """

    encoding = ""
    """The encoding of the database if its columns are read as bytes."""
    codec = "utf-8"

    @contextmanager
    def translate_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise SourceError(_unsuitable_source(error)) from error

    def as_plain_text(self, column: str) -> str:
        return f"{column}::text"

    def as_text(self, column: str) -> str:
        text = self.as_plain_text(column)
        return f"convert_to({text}, '{self.encoding}')" if self.encoding else text

    def decode(self, value: object) -> object:
        return value.decode(self.codec, errors="surrogateescape") if isinstance(value, bytes) else value

    async def fetch_count(self) -> int:
        encoding = await self.connection.fetchval("SELECT getdatabaseencoding()")
        codec = _codec_of(encoding)
        if codec is not None:
            self.encoding, self.codec = encoding, codec
        return int(await self.connection.fetchval(self.query("count(*)")))

    async def open_cursor(self, statement: str) -> Any:
        return await self.connection.cursor(statement)

    async def fetch(self, cursor: Any) -> Sequence[Sequence[object]]:
        rows: Sequence[Sequence[object]] = await cursor.fetch(_BATCH_SIZE)
        return rows


def _codec_of(encoding: str) -> str | None:
    """Python's codec for an encoding of PostgreSQL; None if the server sends UTF-8, or must convert to it."""
    if encoding in {"UTF8", "SQL_ASCII"}:
        return "utf-8" if encoding == "SQL_ASCII" else None
    try:
        return codecs.lookup(re.sub(r"^WIN(?=\d)", "cp", encoding).replace("KOI8", "koi8-")).name
    except LookupError:
        return None


@asynccontextmanager
async def open_source(location: str) -> AsyncIterator[Source]:
    """Opens the source at a postgresql:// URL or the path of a SQLite file. Raises SourceError."""
    opening = _open_postgresql(location) if _URL.match(location) else _open_file(Path(location))
    async with opening as source:
        yield source


@asynccontextmanager
async def _open_file(path: Path) -> AsyncIterator[Source]:
    try:
        connection = await aiosqlite.connect(_readable_uri(path), uri=True)
    except sqlite3.Error as error:
        raise SourceError(f"{path} cannot be read: {error}") from error
    connection.text_factory = lambda data: data.decode(errors="surrogateescape")
    try:
        yield _SqliteSource(connection)
    finally:
        await connection.close()


def _readable_uri(path: Path) -> str:
    """A URI with which the file can be read. Raises sqlite3.Error or SourceError.

    SQLite creates a file beside a file in WAL mode, which is not possible on a read-only medium. Then the file is
    opened as immutable, unless changes wait in such a file.
    """
    uri = f"{Path.absolute(path).as_uri()}?mode=ro"
    try:
        _read_schema(uri)
    except sqlite3.OperationalError:
        if not path.is_file():
            raise
        for changes in (f"{path}-wal", f"{path}-journal"):
            if os.path.exists(changes) and os.path.getsize(changes):  # noqa: PTH110, PTH202 (a path may be too long)
                message = f"{path} cannot be read here, because {changes} contains changes. Copy both to another folder"
                raise SourceError(message) from None
        uri = f"{uri}&immutable=1"
        _read_schema(uri)
    return uri


def _read_schema(uri: str) -> None:
    with closing(sqlite3.connect(uri, uri=True)) as connection:
        connection.execute("SELECT count(*) FROM sqlite_schema")


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
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise SourceError(f"The source cannot be reached: {str(error) or 'it does not respond'}") from error
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield _PostgresSource(connection)
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise SourceError(_unsuitable_source(error)) from error
    finally:
        await connection.close()


_NO_TABLE = re.compile("no such (table|column)")
_UNSUITABLE = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.InsufficientPrivilegeError)


def _unsuitable_source(error: Exception) -> str:
    if isinstance(error, _UNSUITABLE) or (isinstance(error, sqlite3.Error) and _NO_TABLE.match(str(error))):
        columns = ", ".join((*LegacyRow._fields, "type"))
        return f"The source has no readable table tasks with the columns {columns}: {error}"
    return f"The source cannot be read: {error}"
