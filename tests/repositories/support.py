"""Helpers of several test modules: context managers, strategies for texts, and a database for property tests."""

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

ALPHABET = "aAbBzZäÄßẞéÉİiıIΣσςДд你😀ǅ%_\\ '\"-09"  # noqa: RUF001 (ambiguous letters are intended)
"""Characters whose case, sort order or meaning in LIKE often causes bugs."""

texts = st.text(ALPHABET, max_size=6)
titles = st.text(ALPHABET, min_size=1, max_size=6)


def examples(count: int) -> settings:
    """Hypothesis settings for ``count`` examples, without deadline, because any statement may be slow."""
    return settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


def fold(text: str) -> str:
    """Lower case by Unicode's simple mapping: every character becomes exactly one."""
    return "".join(character.lower()[0] for character in text)


@asynccontextmanager
async def open_snapshot(database: Database, viewer: Viewer = SERVICE) -> AsyncIterator[Snapshot]:
    """A snapshot. It is closed at the end of the block."""
    snapshot = database.snapshot(viewer)
    try:
        yield snapshot
    finally:
        await snapshot.close()


@asynccontextmanager
async def connect_database(options: DatabaseOptions, **changes: Any) -> AsyncIterator[Database]:
    """A connected database with some options changed. It is closed at the end of the block."""
    database = open_database(replace(options, **changes))
    await database.connect()
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def borrow_connection(database: Database, viewer: Viewer = ANONYMOUS) -> AsyncIterator[Any]:
    """The asyncpg connection of one of the pool's connections to PostgreSQL."""
    pool = database.pool_for(viewer)  # type: ignore[attr-defined]
    connection = await pool.acquire()
    connection.on_idle()  # ends the transaction of the caller before
    try:
        yield connection._asyncpg
    finally:
        pool.release(connection)


async def until_blocked(database: Database, count: int) -> None:
    """Returns when at least ``count`` transactions wait for a lock."""
    async with borrow_connection(database) as connection:
        text = "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted"
        while await connection.fetchval(text) < count:  # noqa: ASYNC110 (the server sends no notification)
            await asyncio.sleep(0.005)


class SharedDatabase:
    """A database with its own event loop, shared by the examples of property tests. Each example creates its users."""

    def __init__(self, options: DatabaseOptions) -> None:
        self._runner = asyncio.Runner()
        self.database = open_database(options)
        self.run(self.database.connect())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def close(self) -> None:
        self.run(self.database.close())
        self._runner.close()
