"""The SQLite engine: one file, many reading connections, one writing connection.

WAL mode lets readers keep their snapshot while the writer commits. aiosqlite runs each connection in a thread. A
statement is interrupted if it exceeds its timeout or if its task is cancelled.
"""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import aiosqlite

from repositories.core.errors import DatabaseFault, ServiceUnavailable, Timeout, ValidationError
from repositories.core.viewer import Viewer
from repositories.engines.database import Database, DatabaseOptions, PoolState, Snapshot, WriteConnection
from repositories.engines.fair_slots import FairSlots, wait_for_connection
from repositories.engines.sqlite_errors import map_sqlite_error
from repositories.sql.statements import Compiled, Engine, fold

log = logging.getLogger(__name__)
logging.getLogger("aiosqlite").setLevel(logging.INFO)
"""At DEBUG, aiosqlite logs every statement with its values, which can be personal data."""

_CACHED_STATEMENTS = 32
"""Prepared statements of one connection. One with the largest filter takes about 150 kB in SQLite's own memory."""


@contextmanager
def _map_errors(text: str) -> Iterator[None]:
    """Raises driver errors of the block as those of repositories/core/errors.py. ``text`` is the statement."""
    try:
        yield
    except (sqlite3.Error, UnicodeEncodeError) as error:
        gateway_error = map_sqlite_error(error)
        if gateway_error is not None:
            raise gateway_error from error
        name = getattr(error, "sqlite_errorname", "")
        raise DatabaseFault(f"{type(error).__name__} ({name}) in: {text}") from None


async def _roll_back(connection: aiosqlite.Connection) -> None:
    """Rolls back after another error. An error here would hide it, and SQLite has then rolled back itself."""
    if connection.in_transaction:
        with suppress(sqlite3.Error):
            await asyncio.shield(connection.execute_fetchall("ROLLBACK"))


def _identity(path: Path) -> tuple[int, int] | None:
    """What distinguishes the file at the path from other files, None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


async def _interrupt(connection: aiosqlite.Connection, statement: "asyncio.Future[Any]") -> None:
    """Interrupts a statement repeatedly until it ends. An interrupt has no effect before its thread has started it.

    It waits even if it is cancelled, because the caller returns the connection afterwards.
    """
    while not statement.done():
        try:
            await connection.interrupt()
            await asyncio.wait([statement], timeout=0.01)
        except asyncio.CancelledError:
            continue
    if not statement.cancelled():
        statement.exception()  # marks the exception as retrieved


class SqliteDatabase(Database):
    """A pool of reading connections and one writing connection."""

    engine = Engine.SQLITE

    def __init__(self, options: DatabaseOptions) -> None:
        super().__init__(options)
        self._uri = f"{Path(options.sqlite_path).absolute().as_uri()}?mode=rw"
        self._file: tuple[int, int] | None = None
        self._is_missing = False
        self._connections: list[aiosqlite.Connection] = []
        self._idle_readers: list[aiosqlite.Connection] = []
        self._reader_slots: FairSlots[None] = FairSlots(options.pool_size, max(1, options.pool_size // 2))
        self._opening_tasks: set[asyncio.Task[aiosqlite.Connection]] = set()
        self._writer: aiosqlite.Connection | None = None
        self._writer_slot: FairSlots[None] = FairSlots(1, 1)
        self._has_quota = True
        """Whether the quota of accounts applies to the transaction of the writer."""

    async def connect(self) -> None:
        """Opens the file. It must exist, because only the migrations create it."""
        if not Path(self.options.sqlite_path).exists():  # noqa: ASYNC240 (once, at start)
            message = f"The database file {self.options.sqlite_path} does not exist. `siso migrate up` creates it."
            raise ServiceUnavailable(message)
        self._writer = await self._open()
        await self._limit_accounts(self._writer)
        self._file = _identity(self.options.sqlite_path)

    async def _limit_accounts(self, writer: aiosqlite.Connection) -> None:
        """Rejects what exceeds the quota of an account, except in service work.

        The triggers belong to this connection, because the quota is not stored in the file.
        """
        await writer.create_function("has_quota", 0, lambda: self._has_quota)
        for kind, limit in {"rows": self.options.account_rows, "bytes": self.options.account_bytes}.items():
            count = f"{kind.removesuffix('s')}_count"
            if limit is not None:
                await writer.execute_fetchall(
                    f"CREATE TEMP TRIGGER quota_of_{kind} AFTER UPDATE OF {count} ON main.account_usage "
                    f"WHEN NEW.{count} > OLD.{count} AND NEW.{count} > {limit} AND has_quota() "
                    f"BEGIN SELECT RAISE(ABORT, 'CHECK constraint failed: quota_{kind}_{limit}'); END"
                )

    def _check_file(self) -> None:
        """Raises ServiceUnavailable while the file is not at its path, and logs when this begins and ends.

        Open connections would write to a file that was moved away. A different file at the path is not opened, because
        SQLite must not open it while connections to the first one use the files beside it.
        """
        found = _identity(self.options.sqlite_path)
        is_missing = found != self._file
        if is_missing is not self._is_missing:
            self._is_missing = is_missing
            path = self.options.sqlite_path
            if not is_missing:
                log.warning("The database file %s is back.", path)
            elif found is None:
                log.error("The database file %s was moved or deleted. Requests fail until it is back.", path)
            else:
                log.error("Another file replaced the database file %s. Restart the gateway to use it.", path)
        if is_missing:
            raise ServiceUnavailable

    async def _open(self, *, read_only: bool = False) -> aiosqlite.Connection:
        """Opens the file without creating it."""
        busy_timeout = int(self.options.pool_timeout * 1000)
        pragmas = ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", f"busy_timeout={busy_timeout}")
        with _map_errors("PRAGMA"):
            connection = await aiosqlite.connect(
                self._uri, uri=True, isolation_level=None, cached_statements=_CACHED_STATEMENTS
            )
            try:
                await connection.create_function("fold", 1, fold, deterministic=True)
                for pragma in (*pragmas, "query_only=ON") if read_only else pragmas:
                    await connection.execute_fetchall(f"PRAGMA {pragma}")
            except BaseException:
                await asyncio.shield(connection.close())
                raise
        self._connections.append(connection)
        return connection

    async def _open_reader(self) -> aiosqlite.Connection:
        """Opens a reading connection. If the caller is cancelled, the connection becomes idle instead."""
        opening = asyncio.create_task(self._open(read_only=True))
        self._opening_tasks.add(opening)
        opening.add_done_callback(self._opening_tasks.discard)
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(self._add_idle_reader)
            raise

    def _add_idle_reader(self, opening: "asyncio.Task[aiosqlite.Connection]") -> None:
        if not opening.cancelled() and opening.exception() is None:
            self._idle_readers.append(opening.result())

    async def close(self) -> None:
        """Closes all connections, including those that are still being opened."""
        await asyncio.gather(*self._opening_tasks, return_exceptions=True)
        for connection in self._connections:
            await connection.close()
        self._connections.clear()
        self._idle_readers.clear()

    def snapshot(self, viewer: Viewer, since: int | None = None) -> Snapshot:
        """Returns a snapshot that is a deferred transaction on a reading connection."""
        return _SqliteSnapshot(self, viewer)

    @asynccontextmanager
    async def transaction(self, viewer: Viewer) -> AsyncIterator[WriteConnection]:
        """An immediate transaction.

        Viewers of this process take turns. Writers of other processes wait with SQLite's ``busy_timeout``.
        """
        if not self._writer_slot.take(viewer.key):
            await wait_for_connection(self._writer_slot, viewer.key, self.options.pool_timeout)
        try:
            if self._writer is None:
                raise ServiceUnavailable
            self._check_file()
            self._has_quota = not viewer.is_service
            write = _SqliteWrite(self, viewer, self._writer)
            try:
                await write.execute_sql("BEGIN IMMEDIATE")
                yield write
                write.ensure_committable()
                await write.execute_sql("COMMIT")
            except BaseException:
                await _roll_back(self._writer)
                raise
        finally:
            self._writer_slot.release(viewer.key)

    @asynccontextmanager
    async def try_lock(self, name: str) -> AsyncIterator[bool]:
        """Begins an exclusive transaction on an empty file ``….lock`` beside the database.

        SQLite's own file lock works between processes on every operating system, and is released with its process.
        """
        self._check_file()
        path = self.options.sqlite_path.with_name(f"{self.options.sqlite_path.name}-{name}.lock")
        try:
            path.touch(mode=0o600)
        except OSError as error:
            raise ServiceUnavailable from error
        with _map_errors("ATTACH"):
            connection = await aiosqlite.connect(path, isolation_level=None, timeout=0)
        try:
            try:
                await connection.execute_fetchall("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                    raise ServiceUnavailable from error
            yield connection.in_transaction
        finally:
            await asyncio.shield(connection.close())

    async def acquire_reader(self, viewer: Viewer) -> aiosqlite.Connection:
        """Returns a reading connection. If none becomes free within the pool timeout, see wait_for_connection."""
        if not self._reader_slots.take(viewer.key):
            await wait_for_connection(self._reader_slots, viewer.key, self.options.pool_timeout)
        try:
            self._check_file()
            return self._idle_readers.pop() if self._idle_readers else await self._open_reader()
        except BaseException:
            self._reader_slots.release(viewer.key)
            raise

    def release_reader(self, connection: aiosqlite.Connection, viewer: Viewer) -> None:
        self._idle_readers.append(connection)
        self._reader_slots.release(viewer.key)

    async def call_driver(
        self, connection: aiosqlite.Connection, text: str, arguments: Sequence[Any] = ()
    ) -> Sequence[Any]:
        """Executes one statement. Interrupts it if it exceeds the statement timeout or if the caller is cancelled."""
        if any("\0" in argument for argument in arguments if type(argument) is str):
            raise ValidationError.for_unstorable_text()
        self.notify_statement_listeners(text)
        statement = asyncio.ensure_future(connection.execute_fetchall(text, arguments))
        with _map_errors(text):
            try:
                async with asyncio.timeout(self.options.statement_timeout):
                    return list(await asyncio.shield(statement))
            except (TimeoutError, asyncio.CancelledError) as error:
                await _interrupt(connection, statement)
                if isinstance(error, TimeoutError):
                    raise Timeout from error
                raise

    def pool_state(self) -> PoolState:
        """Returns the state of the reading connections."""
        size = len(self._connections) - (self._writer is not None)
        return PoolState(size, size - len(self._idle_readers))


class _SqliteSnapshot(Snapshot):
    def __init__(self, database: SqliteDatabase, viewer: Viewer) -> None:
        super().__init__(database, viewer)
        self.database = database
        self._connection: aiosqlite.Connection | None = None

    async def begin(self) -> None:
        self._connection = await self.database.acquire_reader(self.viewer)
        await self.database.call_driver(self._connection, "BEGIN")

    async def run(self, text: str, arguments: list[Any]) -> Sequence[Any]:
        assert self._connection is not None  # noqa: S101 (begin ran)
        return await self.database.call_driver(self._connection, text, arguments)

    async def end(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await _roll_back(connection)
            finally:
                self.database.release_reader(connection, self.viewer)


class _SqliteWrite(WriteConnection):
    def __init__(self, database: SqliteDatabase, viewer: Viewer, connection: aiosqlite.Connection) -> None:
        super().__init__(database, viewer)
        self.database = database
        self._connection = connection

    async def fetch(self, compiled: Compiled, arguments: list[Any]) -> Sequence[Any]:
        if not self._connection.in_transaction:
            raise Timeout  # SQLite rolls back the transaction of an interrupted write; autocommit must not follow
        return await self.database.call_driver(self._connection, compiled.text, arguments)

    async def execute_sql(self, text: str) -> None:
        await self.database.call_driver(self._connection, text)
