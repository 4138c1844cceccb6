"""The real schema without a database: what repositories found once is given again.

An operation runs once on a temporary SQLite file with demo data, and the rows of each statement are kept; from then on
its resolvers, loaders and units of work run as ever, on a seam that answers from memory.
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


def _as_driven(row: Any) -> Any:
    """A row with the UUIDs that PostgreSQL's driver makes, which spell themselves faster than Python's."""
    if not isinstance(row, tuple):
        return row
    make: Any = type(row)
    return make._make(pgproto.UUID(value.bytes) if type(value) is UUID else value for value in row)


Tape = dict[Statement[Any], list[Any]]


class _Taped(ReadConnection):
    """Answers from a tape, and from the database behind it what is not yet on the tape."""

    def __init__(self, database: "MemoryDatabase", viewer: Viewer, behind: ReadConnection | None) -> None:
        super().__init__(database, viewer)
        self.tape = database.tape
        self.behind = behind

    async def fetch(self, compiled: Compiled, arguments: list[Any]) -> Sequence[Any]:
        """Not here: whole rows are kept."""
        raise NotImplementedError

    async def rows(self, statement: Statement[Any], /, **values: Any) -> list[Any]:
        """The rows of the first time."""
        if self.behind is not None:
            self.tape[statement] = [_as_driven(row) for row in await self.behind.rows(statement, **values)]
        return list(self.tape[statement])


class _TapedSnapshot(_Taped, Snapshot):
    behind: Snapshot | None

    async def close(self) -> None:
        """Ends the one behind."""
        if self.behind is not None:
            await self.behind.close()

    async def begin(self) -> None:
        """Nothing to open."""

    async def run(self, text: str, arguments: list[Any]) -> Sequence[Any]:
        """Not here."""
        raise NotImplementedError

    async def end(self) -> None:
        """Nothing to give back."""


class _TapedWrite(_Taped, WriteConnection):
    async def execute_sql(self, text: str) -> None:
        """Nothing to say it to."""


class MemoryDatabase(Database):
    """A database that remembers; :meth:`forget_the_source` when all that is asked for has been asked once."""

    def __init__(self, source: Database) -> None:
        super().__init__(source.options)
        self.engine = source.engine
        self.tape: Tape = {}
        self._source: Database | None = source

    def forget_the_source(self) -> None:
        """From here on everything comes from memory."""
        self._source = None

    async def connect(self) -> None:
        """The source is connected already."""

    async def close(self) -> None:
        """Nothing of its own is open."""

    def snapshot(self, viewer: Viewer, since: int | None = None) -> Snapshot:
        """A snapshot that remembers."""
        return _TapedSnapshot(self, viewer, self._source.snapshot(viewer) if self._source else None)

    @asynccontextmanager
    async def transaction(self, viewer: Viewer) -> AsyncIterator[WriteConnection]:
        """A transaction that remembers."""
        if self._source is None:
            yield _TapedWrite(self, viewer, None)
            return
        async with self._source.transaction(viewer) as behind:
            yield _TapedWrite(self, viewer, behind)

    def try_lock(self, name: str) -> AbstractAsyncContextManager[bool]:
        """Not here."""
        raise NotImplementedError

    def pool_state(self) -> PoolState:
        """Nothing is open."""
        return PoolState(0, 0)


Ask = Callable[[Callable[[], Context]], Awaitable[None]]
"""Asks something with a context of its making."""


async def remembered(asks: Sequence[Ask]) -> list[Callable[[], Context]]:
    """For each of ``asks`` a maker of contexts on a database that remembers the answers to it, and to nothing else."""
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
            return [await _remembering(source, viewer, ask) for ask in asks]
        finally:
            await source.close()


async def _remembering(source: Database, viewer: Viewer, ask: Ask) -> Callable[[], Context]:
    memory = MemoryDatabase(source)

    def context() -> Context:
        return Context(memory, viewer, REACTIONS, lambda: _NOON)

    await ask(context)
    memory.forget_the_source()
    return context
