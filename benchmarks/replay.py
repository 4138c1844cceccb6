"""The real schema without a database: a Database that records the rows of each statement and replays them.

An operation runs once on a temporary SQLite file with demo data, and the rows of each statement are recorded. After
that, its resolvers, loaders and units of work run as usual, but every statement returns the recorded rows.
"""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

from asyncpg.pgproto import pgproto

from migrations import run
from repositories.core.viewer import SERVICE, Viewer
from repositories.demo.seed import load_demo
from repositories.engines.database import (
    Database,
    DatabaseOptions,
    PoolState,
    ReadConnection,
    Snapshot,
    WriteConnection,
)
from repositories.engines.factory import open_database
from repositories.identity import Users
from repositories.permissions import RoleName
from repositories.sql.statements import Compiled, Statement
from resolvers.reactions import REACTIONS
from resolvers.request.context import Context

DAY = dt.date(2026, 6, 15)
_NOON = dt.datetime(2026, 6, 15, 12, tzinfo=dt.UTC)
_KEY = b"benchmarks encrypt with this key"


def _with_driver_uuids(row: Any) -> Any:
    """Replaces UUIDs by those of asyncpg, as on PostgreSQL, which are converted to text faster than Python's."""
    if not isinstance(row, tuple):
        return row
    make: Any = type(row)
    return make._make(pgproto.UUID(value.bytes) if type(value) is UUID else value for value in row)


Recording = dict[Statement[Any], list[Any]]


class _ReplayConnection(ReadConnection):
    """Returns recorded rows. Executes and records the statements instead while it has a source connection."""

    def __init__(self, database: "ReplayDatabase", viewer: Viewer, source: ReadConnection | None) -> None:
        super().__init__(database, viewer)
        self.recording = database.recording
        self.source = source

    async def fetch(self, compiled: Compiled, arguments: list[Any]) -> Sequence[Any]:
        raise NotImplementedError  # rows() does not call it

    async def rows(self, statement: Statement[Any], /, **values: Any) -> list[Any]:
        if self.source is not None:
            self.recording[statement] = [_with_driver_uuids(row) for row in await self.source.rows(statement, **values)]
        return list(self.recording[statement])


class _ReplaySnapshot(_ReplayConnection, Snapshot):
    source: Snapshot | None

    async def close(self) -> None:
        if self.source is not None:
            await self.source.close()

    async def begin(self) -> None:
        """Does nothing, because there is no connection."""

    async def run(self, text: str, arguments: list[Any]) -> Sequence[Any]:
        raise NotImplementedError  # rows() does not call it

    async def end(self) -> None:
        """Does nothing, because there is no connection."""


class _ReplayWrite(_ReplayConnection, WriteConnection):
    async def execute_sql(self, text: str) -> None:
        """Does nothing, because there is no transaction."""


class ReplayDatabase(Database):
    """Records all statements until :meth:`stop_recording`, then replays them."""

    def __init__(self, source: Database) -> None:
        super().__init__(source.options)
        self.engine = source.engine
        self.recording: Recording = {}
        self._source: Database | None = source

    def stop_recording(self) -> None:
        self._source = None

    async def connect(self) -> None:
        """Does nothing, because the source is connected already."""

    async def close(self) -> None:
        """Does nothing, because the caller closes the source."""

    def snapshot(self, viewer: Viewer, since: int | None = None) -> Snapshot:
        return _ReplaySnapshot(self, viewer, self._source.snapshot(viewer) if self._source else None)

    @asynccontextmanager
    async def transaction(self, viewer: Viewer) -> AsyncIterator[WriteConnection]:
        if self._source is None:
            yield _ReplayWrite(self, viewer, None)
            return
        async with self._source.transaction(viewer) as source:
            yield _ReplayWrite(self, viewer, source)

    def try_lock(self, name: str) -> AbstractAsyncContextManager[bool]:
        raise NotImplementedError

    def pool_state(self) -> PoolState:
        return PoolState(0, 0)


CreateContext = Callable[[], Context]
Execute = Callable[[CreateContext], Awaitable[None]]
"""Executes one operation, with a context that it creates."""


async def record_operations(operations: Sequence[Execute]) -> list[CreateContext]:
    """Executes each operation once. Returns for each one a function that creates contexts which replay it."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "demo.sqlite3"
        await asyncio.to_thread(run.call_with_connection, None, path, run.upgrade)
        options = DatabaseOptions(sqlite_path=path, encryption_keys={"demo": _KEY}, index_key=_KEY)
        source = open_database(options)
        await source.connect()
        try:
            await load_demo(source, users=1, tasks=700, day=DAY)
            snapshot = source.snapshot(SERVICE)
            user = await Users(snapshot).of_email("ada@example.com")
            await snapshot.close()
            assert user is not None
            viewer = Viewer(user.id, frozenset({RoleName.USER}), time_zone="UTC")
            return [await _record(source, viewer, execute) for execute in operations]
        finally:
            await source.close()


async def _record(source: Database, viewer: Viewer, execute: Execute) -> CreateContext:
    database = ReplayDatabase(source)

    def create_context() -> Context:
        return Context(database, viewer, REACTIONS, lambda: _NOON)

    await execute(create_context)
    database.stop_recording()
    return create_context
