"""The embedded engine below the seam: one SQLite file, many readers, one writer.

WAL lets readers keep their snapshot while the writer works. SQLite runs in threads of aiosqlite; a statement that takes
too long, or whose request has gone away, is interrupted.
"""

import asyncio
import logging
import re
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiosqlite

from repositories.core.errors import (
    DatabaseFault,
    Forbidden,
    GatewayError,
    ServiceUnavailable,
    Timeout,
    ValidationError,
)
from repositories.core.viewer import Viewer
from repositories.engines.database import Database, DatabaseOptions, PoolState, Snapshot, WriteConnection
from repositories.sql.constraints import error_of_constraint
from repositories.sql.statements import Compiled, Engine, fold

logging.getLogger("aiosqlite").setLevel(logging.INFO)
"""At DEBUG the driver logs every statement with its values, which belong to people."""

_CONSTRAINT = re.compile(r"(UNIQUE|CHECK|FOREIGN KEY|NOT NULL) constraint failed(?:: (.+))?")


def mapped(error: Exception) -> GatewayError | None:
    """The driver's error in our tree, or None for what is our own mistake."""
    if isinstance(error, sqlite3.IntegrityError):
        found = _CONSTRAINT.search(str(error))
        if found and found[1] != "NOT NULL":
            return error_of_constraint(found[2])
        if str(error).endswith("is append-only"):
            return Forbidden()
    if isinstance(error, sqlite3.OperationalError):
        if "locked" in str(error) or "unable to open" in str(error):
            return ServiceUnavailable()
        if "interrupted" in str(error):
            return Timeout()
    return ValidationError.for_unstorable_text() if isinstance(error, UnicodeEncodeError) else None


async def _stop(connection: aiosqlite.Connection, running: "asyncio.Future[Any]") -> None:
    """Interrupts a statement until it ends: it may still be waiting for its thread, where an interrupt goes unheard.

    Who is cancelled again meanwhile waits all the same, for the connection is given back afterwards.
    """
    while not running.done():
        try:
            await connection.interrupt()
            await asyncio.wait([running], timeout=0.01)
        except asyncio.CancelledError:
            continue
    if not running.cancelled():
        running.exception()


class SqliteDatabase(Database):
    """A pool of reading connections and one that writes."""

    engine = Engine.SQLITE

    def __init__(self, options: DatabaseOptions) -> None:
        super().__init__(options)
        self._idle: list[aiosqlite.Connection] = []
        self._free = asyncio.Semaphore(options.pool_size)
        self._all: list[aiosqlite.Connection] = []
        self._opening: set[asyncio.Task[aiosqlite.Connection]] = set()
        self._writer: aiosqlite.Connection | None = None
        self._writing = asyncio.Lock()

    async def connect(self) -> None:
        """Opens the file, which must exist: an empty database is made by the migrations."""
        if not Path(self.options.sqlite_path).exists():  # noqa: ASYNC240 (once, at start)
            raise ServiceUnavailable(f"There is no database file {self.options.sqlite_path}.")
        self._writer = await self._open()

    async def _open(self, *, read_only: bool = False) -> aiosqlite.Connection:
        connection = await aiosqlite.connect(self.options.sqlite_path, isolation_level=None)
        busy = int(self.options.pool_timeout * 1000)
        pragmas = ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", f"busy_timeout={busy}")
        try:
            await connection.create_function("fold", 1, fold, deterministic=True)
            for pragma in (*pragmas, "query_only=ON") if read_only else pragmas:
                await connection.execute_fetchall(f"PRAGMA {pragma}")
        except BaseException:
            await asyncio.shield(connection.close())
            raise
        self._all.append(connection)
        return connection

    async def _open_reader(self) -> aiosqlite.Connection:
        """A new connection to read with; whoever asked for it and has gone meanwhile leaves it to the next one."""
        opening = asyncio.create_task(self._open(read_only=True))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(self._keep)
            raise

    def _keep(self, opening: "asyncio.Task[aiosqlite.Connection]") -> None:
        if not opening.cancelled() and opening.exception() is None:
            self._idle.append(opening.result())

    async def close(self) -> None:
        """Closes every connection, also those that are still being opened."""
        await asyncio.gather(*self._opening, return_exceptions=True)
        for connection in self._all:
            await connection.close()
        self._all.clear()
        self._idle.clear()

    def snapshot(self, viewer: Viewer, since: int | None = None) -> Snapshot:
        """A deferred transaction on a reading connection."""
        return _SqliteSnapshot(self, viewer)

    @asynccontextmanager
    async def transaction(self, viewer: Viewer) -> AsyncIterator[WriteConnection]:
        """An immediate transaction; writers wait for one another, in order here, by busy_timeout between processes."""
        try:
            async with asyncio.timeout(self.options.pool_timeout):
                await self._writing.acquire()
        except TimeoutError as error:
            raise ServiceUnavailable from error
        try:
            if self._writer is None:
                raise ServiceUnavailable
            write = _SqliteWrite(self, viewer, self._writer)
            try:
                await write.execute_sql("BEGIN IMMEDIATE")
                yield write
                write.ensure_committable()
                await write.execute_sql("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    await asyncio.shield(self._writer.execute_fetchall("ROLLBACK"))
                raise
        finally:
            self._writing.release()

    @asynccontextmanager
    async def try_lock(self, name: str) -> AsyncIterator[bool]:
        """An exclusive transaction on an empty file of that name beside the database.

        So it is SQLite's own lock between processes, on every system, and goes with the process that has it.
        """
        path = self.options.sqlite_path.with_name(f"{self.options.sqlite_path.name}-{name}.lock")
        connection = await aiosqlite.connect(path, isolation_level=None, timeout=0)
        try:
            try:
                await connection.execute_fetchall("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                    raise
            yield connection.in_transaction
        finally:
            await asyncio.shield(connection.close())

    async def acquire(self) -> aiosqlite.Connection:
        """A reading connection, or ServiceUnavailable when none comes free in time."""
        try:
            async with asyncio.timeout(self.options.pool_timeout):
                await self._free.acquire()
        except TimeoutError as error:
            raise ServiceUnavailable from error
        try:
            return self._idle.pop() if self._idle else await self._open_reader()
        except BaseException:
            self._free.release()
            raise

    def release(self, connection: aiosqlite.Connection) -> None:
        """Gives a reading connection back."""
        self._idle.append(connection)
        self._free.release()

    async def call_driver(
        self, connection: aiosqlite.Connection, text: str, arguments: Sequence[Any] = ()
    ) -> Sequence[Any]:
        """Runs one statement; it is interrupted when its time is up or nobody waits for it any more."""
        if any("\0" in argument for argument in arguments if type(argument) is str):
            raise ValidationError.for_unstorable_text()
        self.notify_statement_listeners(text)
        running = asyncio.ensure_future(connection.execute_fetchall(text, arguments))
        try:
            async with asyncio.timeout(self.options.statement_timeout):
                return list(await asyncio.shield(running))
        except (TimeoutError, asyncio.CancelledError) as stopped:
            await _stop(connection, running)
            if isinstance(stopped, TimeoutError):
                raise Timeout from stopped
            raise
        except (sqlite3.Error, UnicodeEncodeError) as error:
            known = mapped(error)
            if known is not None:
                raise known from error
            name = getattr(error, "sqlite_errorname", "")
            raise DatabaseFault(f"{type(error).__name__} ({name}) in: {text}") from None

    def pool_state(self) -> PoolState:
        """Of the reading connections."""
        size = len(self._all) - (self._writer is not None)
        return PoolState(size, size - len(self._idle))


class _SqliteSnapshot(Snapshot):
    def __init__(self, database: SqliteDatabase, viewer: Viewer) -> None:
        super().__init__(database, viewer)
        self.database = database
        self._connection: aiosqlite.Connection | None = None

    async def begin(self) -> None:
        self._connection = await self.database.acquire()
        await self.database.call_driver(self._connection, "BEGIN")

    async def run(self, text: str, arguments: list[Any]) -> Sequence[Any]:
        assert self._connection is not None  # noqa: S101 (begin ran)
        return await self.database.call_driver(self._connection, text, arguments)

    async def end(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                if connection.in_transaction:
                    await asyncio.shield(connection.execute_fetchall("ROLLBACK"))
            finally:
                self.database.release(connection)


class _SqliteWrite(WriteConnection):
    def __init__(self, database: SqliteDatabase, viewer: Viewer, connection: aiosqlite.Connection) -> None:
        super().__init__(database, viewer)
        self.database = database
        self._connection = connection

    async def fetch(self, compiled: Compiled, arguments: list[Any]) -> Sequence[Any]:
        if not self._connection.in_transaction:
            raise Timeout  # SQLite undoes a transaction whose write is interrupted; nothing may run outside of one
        return await self.database.call_driver(self._connection, compiled.text, arguments)

    async def execute_sql(self, text: str) -> None:
        await self.database.call_driver(self._connection, text)
