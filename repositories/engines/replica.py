"""A streaming replica of the primary. It serves reads for which it has replayed enough of the WAL.

The replica may lag behind, stop responding, disconnect and return at any time. Its position is queried once a second.
While it is unavailable, the primary serves all reads, and no request waits for the replica.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from typing import Any
from weakref import WeakSet

from repositories.core.background_tasks import end_tasks
from repositories.core.errors import ServiceUnavailable
from repositories.engines.database import DatabaseOptions
from repositories.engines.pool import Pool
from repositories.engines.postgresql_connection import PostgresConnection

log = logging.getLogger(__name__)

_SELECT_POSITION = (
    "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END"
    " AS position"
)
_REFRESH_INTERVAL = 1.0
"""Seconds between two position queries in the background. A failed replica is not used for at least as long."""
_POLL_INTERVAL = 0.005
"""Seconds between two position queries while a read waits for the replica."""

CallDriver = Callable[..., Awaitable[Any]]
"""PostgresDatabase.call_driver, which maps the driver's errors."""


async def fetch_position(pool: Pool[PostgresConnection], call_driver: CallDriver, time_limit: float) -> int:
    """Returns the WAL position that the server of the pool has written or, if it is a replica, replayed.

    Terminates the connection after ``time_limit`` seconds, which raises ServiceUnavailable.
    """
    connection = await pool.acquire()
    timer = asyncio.get_running_loop().call_later(time_limit, connection.terminate)
    connection.on_idle()  # ends the transaction of the caller before, whose role may not read the position
    try:
        position: int = (await call_driver(connection.fetch, _SELECT_POSITION))[0]["position"]
    except BaseException:
        connection.terminate()
        raise
    finally:
        timer.cancel()
        pool.release(connection)
    return position


class Replica:
    """The connections to the replica, and what this process knows of its position and availability.

    ``connect`` opens a connection. It must always reach the same server, because the position is cached. ``pool``
    serves snapshots. One more connection queries the position.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[PostgresConnection]], call_driver: CallDriver, options: DatabaseOptions
    ) -> None:
        self._connect = connect
        self._call_driver = call_driver
        self._timeout = options.connect_timeout
        self._max_wait = options.read_wait
        self.pool = Pool(self._open_connection, options.pool_size, options.pool_timeout)
        self._position_pool = Pool(self._open_connection, 1, options.pool_timeout)
        self._connections: WeakSet[PostgresConnection] = WeakSet()
        self._current_refresh: asyncio.Task[None] | None = None
        self._background_refresh: asyncio.Task[None] | None = None
        self._unavailable_since: float | None = None
        """The time of the first failure by the event loop's clock, or None while the replica is available."""
        self._replayed = 0
        """The replayed position at the last query, or 0 if it must be queried again."""
        self._minimum_position = 0

    @property
    def is_unavailable(self) -> bool:
        return self._unavailable_since is not None

    async def start(self, minimum_position: int) -> None:
        """Queries the position and starts to do so periodically.

        No read uses the replica before it has reached ``minimum_position``, because the schema may have been older.
        """
        self._minimum_position = minimum_position
        await self.refresh_position()
        self._background_refresh = asyncio.ensure_future(self._refresh_periodically())

    async def close(self) -> None:
        """Waits until all connections are returned, then closes them. Terminates them if this takes too long."""
        await end_tasks(task for task in (self._background_refresh, self._current_refresh) if task is not None)
        timer = asyncio.get_running_loop().call_later(self._timeout, self._terminate_connections)
        await self.pool.close()
        await self._position_pool.close()
        timer.cancel()

    async def acquire(self, since: int, viewer: Hashable) -> PostgresConnection | None:
        """Returns a connection of ``pool`` that shows the position ``since``, or None if the primary must be used."""
        if self.is_unavailable or not await self._wait_until_replayed(since):
            return None
        try:
            connection = await self.pool.acquire(viewer)
        except ServiceUnavailable:
            if self.is_unavailable:
                return None
            raise
        has_replayed = False
        try:
            has_replayed = await self._wait_until_replayed(since)  # again: the connection may have reset the position
        finally:
            if not has_replayed:
                self.pool.release(connection)
        return connection if has_replayed else None

    def mark_unavailable(self, error: Exception) -> None:
        """Uses only the primary until the replica responds again."""
        self._replayed = 0
        if self._unavailable_since is None:
            log.warning("The read replica is unavailable: %r. The primary serves all reads.", error.__cause__ or error)
            self._unavailable_since = asyncio.get_running_loop().time()

    async def refresh_position(self) -> None:
        """Queries the position. Concurrent callers share one query."""
        if self._current_refresh is None:
            self._current_refresh = asyncio.ensure_future(self._query_position())
        await asyncio.shield(self._current_refresh)

    async def _open_connection(self) -> PostgresConnection:
        """Opens a connection and forgets the position, because a restarted server can be behind its old position."""
        try:
            connection = await self._connect()
        except ServiceUnavailable as error:
            self.mark_unavailable(error)
            raise
        self._connections.add(connection)
        self._replayed = 0
        return connection

    async def _wait_until_replayed(self, since: int) -> bool:
        """Waits up to ``read_wait`` seconds until the replica has replayed ``since``. Returns whether it has.

        It does not wait for positions from before the start of this process.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + (self._max_wait if since > self._minimum_position else 0)
        required = max(since, self._minimum_position)
        while self._replayed < required:
            await self.refresh_position()
            if self._replayed < required:
                if self.is_unavailable or clock() >= deadline:
                    return False
                await asyncio.sleep(_POLL_INTERVAL)
        return True

    async def _query_position(self) -> None:
        try:
            position = await fetch_position(self._position_pool, self._call_driver, self._timeout)
            self._replayed = max(position, self._replayed)
        except Exception as error:  # noqa: BLE001 (any error is logged, and the primary serves the reads)
            self.mark_unavailable(error)
            self._terminate_connections()
        else:
            self._mark_available()
        finally:
            self._current_refresh = None

    def _terminate_connections(self) -> None:
        """Terminates all connections, which raises ServiceUnavailable in the statements that run on them."""
        for connection in list(self._connections):
            connection.terminate()

    def _mark_available(self) -> None:
        """Uses the replica again if its failure is at least _REFRESH_INTERVAL ago."""
        since = self._unavailable_since
        if since is not None and asyncio.get_running_loop().time() - since >= _REFRESH_INTERVAL:
            self._unavailable_since = None
            log.warning("The read replica is available again.")

    async def _refresh_periodically(self) -> None:
        while True:
            await asyncio.sleep(_REFRESH_INTERVAL)
            await self.refresh_position()
