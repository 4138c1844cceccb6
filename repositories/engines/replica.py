"""A streaming replica of the primary, which answers reads as far as it has replayed what they have to show.

It may fall behind, hang, go away and come back at any time. It is asked once a second how far it is; whenever it cannot
answer, the primary does, and until it can it is left alone.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakSet

from repositories.core.errors import ServiceUnavailable
from repositories.engines.database import DatabaseOptions
from repositories.engines.pool import Pool
from repositories.engines.postgresql_connection import PostgresConnection

log = logging.getLogger(__name__)

_POSITION = (
    "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END"
    " AS position"
)
_REST = 1.0
"""Seconds between two questions that nobody waits for; so long a replica that has failed is left alone at least."""
_PAUSE = 0.005
"""Seconds between two questions while somebody waits."""

Talk = Callable[..., Awaitable[Any]]
"""Calls the driver and maps what it raises."""


async def position(pool: Pool[PostgresConnection], talk: Talk, within: float) -> int:
    """Up to where the server that a pool reaches has written, or replayed; one that hangs is out of reach."""
    connection = await pool.acquire()
    limit = asyncio.get_running_loop().call_later(within, connection.terminate)
    try:
        found: int = (await talk(connection.fetch, _POSITION))[0]["position"]
    except BaseException:
        connection.terminate()
        raise
    finally:
        limit.cancel()
        pool.release(connection)
    return found


class Replica:
    """The replica as one process knows it.

    ``connect`` opens a connection to it: those of the pool serve snapshots, and one more asks how far it is. It must be
    one server, for what it has replayed is remembered.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[PostgresConnection]], talk: Talk, options: DatabaseOptions
    ) -> None:
        self._connect = connect
        self._talk = talk
        self._within = options.connect_timeout
        self._patience = options.read_wait
        self.pool = Pool(self._opened, options.pool_size, options.pool_timeout)
        self._asking = Pool(self._opened, 1, options.pool_timeout)
        self._open: WeakSet[PostgresConnection] = WeakSet()
        self._question: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._left: float | None = None
        """When it failed, by the loop's clock; None while it is used."""
        self._replayed = 0
        """How far it is known to be; 0 where that has to be asked."""
        self._beginning = 0

    @property
    def is_out(self) -> bool:
        """Whether it has failed, and not answered since."""
        return self._left is not None

    async def start(self, beginning: int) -> None:
        """Asks for the first time. Nothing older than ``beginning`` is read from it: the schema may have changed."""
        self._beginning = beginning
        await self.ask()
        self._watching = asyncio.ensure_future(self._watch())

    async def close(self) -> None:
        """Closes its connections, after those in use are given back; one that hangs is not waited for."""
        for task in (self._watching, self._question):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        limit = asyncio.get_running_loop().call_later(self._within, self._cut)
        await self.pool.close()
        await self._asking.close()
        limit.cancel()

    async def connection(self, since: int) -> PostgresConnection | None:
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
        if self._left is None:
            log.warning("The read replica is out, the primary answers for it: %r", error.__cause__ or error)
            self._left = asyncio.get_running_loop().time()

    async def ask(self) -> None:
        """Asks how far it is; whoever asks meanwhile shares the answer."""
        if self._question is None:
            self._question = asyncio.ensure_future(self._ask())
        await asyncio.shield(self._question)

    async def _opened(self) -> PostgresConnection:
        """A new connection. It may lead to a server that has started again and stands further back than before."""
        try:
            opened = await self._connect()
        except ServiceUnavailable as error:
            self.leave(error)
            raise
        self._open.add(opened)
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
                await asyncio.sleep(_PAUSE)
        return True

    async def _ask(self) -> None:
        try:
            self._replayed = max(await position(self._asking, self._talk, self._within), self._replayed)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is told, and the primary answers)
            self.leave(error)
            self._cut()
        else:
            self._take_back()
        finally:
            self._question = None

    def _cut(self) -> None:
        """Ends all connections to it; whoever waits for an answer on one is told."""
        for connection in list(self._open):
            connection.terminate()

    def _take_back(self) -> None:
        """Uses it again, now that it answers and has had some time to recover."""
        if self._left is not None and asyncio.get_running_loop().time() - self._left >= _REST:
            self._left = None
            log.warning("The read replica answers again.")

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_REST)
            await self.ask()
