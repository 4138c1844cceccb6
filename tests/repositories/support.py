"""What several topics share: a snapshot as a block, plain models of text, and a database for properties."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from repositories.core.viewer import ANONYMOUS, SERVICE, Viewer
from repositories.engines.database import Database, DatabaseOptions, Snapshot
from repositories.engines.factory import open_database

T = TypeVar("T")

ALPHABET = "aAbBzZäÄßẞéÉİiıIΣσςДд你😀ǅ%_\\ '\"-09"  # noqa: RUF001 (which is the point)
"""Characters whose case, order or meaning to LIKE has been somebody's bug."""

texts = st.text(ALPHABET, max_size=6)
titles = st.text(ALPHABET, min_size=1, max_size=6)


def examples(count: int) -> settings:
    """How many examples of a property are tried; a database may be slow at any of them."""
    return settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


def fold(text: str) -> str:
    """Text without its case: every character by itself, as Unicode's simple mapping has it."""
    return "".join(character.lower()[0] for character in text)


@asynccontextmanager
async def open_snapshot(database: Database, viewer: Viewer = SERVICE) -> AsyncIterator[Snapshot]:
    """A snapshot that is closed at the end of the block."""
    snapshot = database.snapshot(viewer)
    try:
        yield snapshot
    finally:
        await snapshot.close()


@asynccontextmanager
async def connect_database(options: DatabaseOptions, **changes: Any) -> AsyncIterator[Database]:
    """A database with some options changed, closed at the end of the block."""
    opened = open_database(replace(options, **changes))
    await opened.connect()
    try:
        yield opened
    finally:
        await opened.close()


@asynccontextmanager
async def borrow_connection(database: Database, viewer: Viewer = ANONYMOUS) -> AsyncIterator[Any]:
    """One of the pool's connections to PostgreSQL, as the driver has it."""
    pool = database.pool_for(viewer)  # type: ignore[attr-defined]
    connection = await pool.acquire()
    try:
        yield connection._asyncpg
    finally:
        pool.release(connection)


async def until_blocked(database: Database, count: int) -> None:
    """Waits until ``count`` transactions wait for a lock."""
    async with borrow_connection(database) as connection:
        text = "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted"
        while await connection.fetchval(text) < count:  # noqa: ASYNC110 (the server tells nobody)
            await asyncio.sleep(0.005)


class SharedDatabase:
    """A database and the event loop it lives in, shared by the examples of a property; each brings users of its own."""

    def __init__(self, options: DatabaseOptions) -> None:
        self._runner = asyncio.Runner()
        self.database = open_database(options)
        self.run(self.database.connect())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs one example."""
        return self._runner.run(work)

    def close(self) -> None:
        """Closes the database, then the loop."""
        self.run(self.database.close())
        self._runner.close()
