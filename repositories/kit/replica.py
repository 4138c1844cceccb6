"""A streaming replica of the primary, which answers reads as far as it has replayed what they have to show.

It may fall behind, go away and come back at any time. Nobody waits for it longer than briefly: whenever it cannot
answer, the primary does, and until it answers again it is left alone.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from repositories.kit.connection import Connection
from repositories.kit.errors import ServiceUnavailable
from repositories.kit.pool import Pool

log = logging.getLogger("repositories.replica")

_POSITION = (
    "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END"
    " AS position"
)
_BETWEEN_QUESTIONS = 0.005
_BETWEEN_ATTEMPTS = 1.0
"""Seconds between two attempts to reach a replica that has failed."""

Talk = Callable[..., Awaitable[Any]]
"""Calls the driver and maps what it raises."""


async def position(pool: Pool[Connection], talk: Talk) -> int:
    """Up to where the server that a pool reaches has written, or replayed."""
    connection = await pool.acquire()
    try:
        found: int = (await talk(connection.fetch, _POSITION))[0]["position"]
    except BaseException:
        connection.terminate()
        raise
    finally:
        pool.release(connection)
    return found


class Replica:
    """The replica as one process knows it.

    ``connect`` opens a connection to it; at most ``size`` serve snapshots, and one more asks how far it is.
    ``patience`` is how many seconds a read waits for it to catch up. It must be one server, for what it has replayed is
    remembered.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[Connection]], talk: Talk, *, size: int, timeout: float, patience: float
    ) -> None:
        self._connect = connect
        self._talk = talk
        self._patience = patience
        self.pool = Pool(self._opened, size, timeout)
        self._asking = Pool(self._opened, 1, timeout)
        self._question: asyncio.Task[None] | None = None
        self._recovery: asyncio.Task[None] | None = None
        self._replayed = 0
        self._beginning = 0

    @property
    def is_out(self) -> bool:
        """Whether it has failed, and not answered since."""
        return self._recovery is not None

    async def start(self, beginning: int) -> None:
        """Asks for the first time. Nothing older than ``beginning`` is read from it: the schema may have changed."""
        self._beginning = beginning
        await self.ask()

    async def close(self) -> None:
        """Closes its connections, after those in use are given back."""
        for task in (self._recovery, self._question):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        await self.pool.close()
        await self._asking.close()

    async def connection(self, since: int) -> Connection | None:
        """One of the pool's, to a state that shows ``since``; None when the primary has to answer."""
        if self.is_out or not await self._shows(since):
            return None
        try:
            connection = await self.pool.acquire()
        except ServiceUnavailable:
            if self.is_out:
                return None
            raise
        shows = False
        try:
            shows = await self._shows(since)
        finally:
            if not shows:
                self.pool.release(connection)
        return connection if shows else None

    def leave(self, error: Exception) -> None:
        """After an error of its: the primary answers until it can be reached again."""
        self._replayed = 0
        if self._recovery is None:
            log.warning("The read replica is out, the primary answers for it: %r", error.__cause__ or error)
            self._recovery = asyncio.ensure_future(self._recover())

    async def ask(self) -> None:
        """Asks how far it is; whoever asks meanwhile shares the answer."""
        if self._question is None:
            self._question = asyncio.ensure_future(self._ask())
        await asyncio.shield(self._question)

    async def _opened(self) -> Connection:
        """A new connection. It may lead to a server that has started again and stands further back than before."""
        try:
            opened = await self._connect()
        except ServiceUnavailable as error:
            self.leave(error)
            raise
        self._replayed = 0
        return opened

    async def _shows(self, since: int) -> bool:
        """Whether it has replayed so far, after a short wait for what a client has just written."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + (self._patience if since > self._beginning else 0)
        wanted = max(since, self._beginning)
        while self._replayed < wanted:
            await self.ask()
            if self._replayed < wanted:
                if self.is_out or clock() >= deadline:
                    return False
                await asyncio.sleep(_BETWEEN_QUESTIONS)
        return True

    async def _ask(self) -> None:
        try:
            self._replayed = max(self._replayed, await position(self._asking, self._talk))
        except Exception as error:  # noqa: BLE001 (whatever it is, it is told, and the primary answers)
            self.leave(error)
        finally:
            self._question = None

    async def _recover(self) -> None:
        while not self._replayed:
            await asyncio.sleep(_BETWEEN_ATTEMPTS)
            self._replayed = 0
            await self.ask()
        self._recovery = None
        log.warning("The read replica answers again.")
