"""The PostgreSQL engine. It passes the compiled text and its arguments to asyncpg.

A replica can serve the snapshots of viewers (replica.py). The primary serves everything else.

Each transaction begins by setting the viewer's role and claims, which row-level security reads, for this transaction
only (postgresql_connection.py). The session's settings never depend on a viewer, so a returned connection needs no
reset, and PgBouncer in transaction mode works.
"""

import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import asyncpg

from repositories.core.errors import Conflict, DatabaseFault, SchemaChanged, ServiceUnavailable
from repositories.core.viewer import ANONYMOUS, SERVICE, Viewer
from repositories.engines.database import Database, DatabaseOptions, PoolState, Snapshot, WriteConnection
from repositories.engines.pool import Pool
from repositories.engines.postgresql_connection import (
    BEGIN_READ,
    BEGIN_WRITE,
    COMMIT,
    SET_VIEWER,
    PostgresConnection,
    TimeCodecs,
)
from repositories.engines.postgresql_errors import CONNECTION_ERRORS, map_postgresql_error
from repositories.engines.replica import Replica, fetch_position
from repositories.sql.statements import Compiled, Engine, Statement

_SERVICE_CONNECTIONS = 8
"""The size of the service pool. The event feed, jobs and requests use it at the same time, and a job can be long."""

_IDLE_DELAY = 0.01
"""Seconds after which a reader's transaction is ended if no other caller uses its connection meanwhile, which saves one
message and its response."""

_TRY_LOCK = "SELECT pg_try_advisory_xact_lock($1)"


def _advisory_lock_key(name: str) -> int:
    """Returns the advisory lock's number: the same in each process, and unlikely to be another application's."""
    return int.from_bytes(hashlib.sha256(f"siso-gateway {name}".encode()).digest()[:8], signed=True)


class PostgresDatabase(Database):
    """A connection pool for viewers, one for the service with a separate login, and the replica, if there is one."""

    engine = Engine.POSTGRESQL

    def __init__(self, options: DatabaseOptions) -> None:
        super().__init__(options)
        self._pool: Pool[PostgresConnection] | None = None
        self._service_pool: Pool[PostgresConnection] | None = None
        self._codecs = TimeCodecs()
        self._schema_version = 0
        """The number of changes of tables that statements have met."""
        self.replica = (
            Replica(self._connector(options.read_url), self.call_driver, options) if options.read_url else None
        )

    async def _open(
        self, url: str, *, quota: str = "", max_result_bytes: int | None = None, codecs: TimeCodecs | None = None
    ) -> PostgresConnection:
        """Opens a connection; ``quota`` is the setting that the triggers of revision 0033 read.

        Without ``codecs``, it reads all times, for the gateway's own work, which is not repeated.
        """
        options = self.options
        settings = {"statement_timeout": str(int(options.statement_timeout * 1000)), "siso.quota": quota}
        try:
            return await PostgresConnection.open(
                re.sub(r"^postgresql\+asyncpg:", "postgresql:", url),
                pipelined=not options.pgbouncer,
                connect_timeout=options.connect_timeout,
                settings=settings,
                codecs=codecs or TimeCodecs(is_tolerant=True),
                max_result_bytes=max_result_bytes,
            )
        except (asyncpg.PostgresError, *CONNECTION_ERRORS) as error:
            raise ServiceUnavailable from error

    def _connector(self, url: str) -> Callable[[], Awaitable[PostgresConnection]]:
        """Opens connections for viewers."""
        options = self.options
        quota = f"{options.account_rows or ''},{options.account_bytes or ''}"
        return partial(self._open, url, quota=quota, max_result_bytes=options.max_result_bytes, codecs=self._codecs)

    def _create_pool(self, connect: Callable[[], Awaitable[PostgresConnection]], size: int) -> Pool[PostgresConnection]:
        """A pool whose transactions end late, except with PgBouncer, which lends its own connection until the end."""
        return Pool(connect, size, self.options.pool_timeout, idle_delay=0.0 if self.options.pgbouncer else _IDLE_DELAY)

    async def connect(self) -> None:
        """Opens the viewers' pool with a first connection. It also succeeds if the replica cannot be reached."""
        assert self.options.url is not None  # noqa: S101 (open_database decides by it)
        pool = self._create_pool(self._connector(self.options.url), self.options.pool_size)
        pool.release(await pool.acquire())
        self._pool = pool
        if self.replica is not None:
            await self.replica.start(await self._fetch_primary_position())

    async def close(self) -> None:
        if self.replica is not None:
            await self.replica.close()
        for pool in (self._pool, self._service_pool):
            if pool is not None:
                await pool.close()

    def pool_for(self, viewer: Viewer) -> Pool[PostgresConnection]:
        """Returns the viewers' pool, or the service pool, which is created when it is first needed."""
        if not viewer.is_service:
            if self._pool is None:
                raise ServiceUnavailable
            return self._pool
        if self._service_pool is None:
            open_connection = partial(self._open, self._service_url)
            self._service_pool = self._create_pool(open_connection, _SERVICE_CONNECTIONS)
        return self._service_pool

    @property
    def _service_url(self) -> str:
        url = self.options.service_url or self.options.url
        assert url is not None  # noqa: S101 (open_database decides by it)
        return url

    def snapshot(self, viewer: Viewer, since: int | None = None) -> Snapshot:
        """Returns a snapshot that is a REPEATABLE READ, READ ONLY transaction."""
        return _PostgresSnapshot(self, viewer, since)

    async def fetch_position(self) -> int | None:
        return await self._fetch_primary_position() if self.replica is not None else None

    async def _fetch_primary_position(self) -> int:
        return await fetch_position(self.pool_for(ANONYMOUS), self.call_driver, self.options.connect_timeout)

    async def check_replica(self) -> bool | None:
        """Queries the replica, unless it is already known to be unavailable."""
        if self.replica is None:
            return None
        if not self.replica.is_unavailable:
            await self.replica.refresh_position()
        return not self.replica.is_unavailable

    @asynccontextmanager
    async def transaction(self, viewer: Viewer) -> AsyncIterator[WriteConnection]:
        """A READ COMMITTED transaction. Versions and row locks prevent lost updates."""
        pool = self.pool_for(viewer)
        connection = await pool.acquire(viewer.key)
        try:
            try:
                self.begin(connection, BEGIN_WRITE, viewer)
                write = _PostgresWrite(self, viewer, connection)
                yield write
                write.ensure_committable()
                await self.call_driver(connection.commit)
            except BaseException as error:
                if isinstance(error.__cause__, asyncpg.ReadOnlySQLTransactionError):
                    connection.terminate()  # after a failover, a new connection may reach the new primary
                    pool.discard_idle()
                await _roll_back(connection)
                raise
        finally:
            pool.release(connection)

    @asynccontextmanager
    async def try_lock(self, name: str) -> AsyncIterator[bool]:
        """Takes an advisory lock in a transaction, which works behind PgBouncer too.

        It uses a connection outside the pools. Its transaction stays open and idle for the block.
        """
        connection = await self._open(self._service_url)
        try:
            self.begin(connection, BEGIN_WRITE, SERVICE)
            ((is_locked,),) = await self.call_driver(connection.fetch, _TRY_LOCK, [_advisory_lock_key(name)])
            await self.call_driver(connection.disable_idle_timeout)
            yield is_locked
            await self.call_driver(connection.commit)
        finally:
            await _roll_back(connection)
            await connection.close()

    def begin(self, connection: PostgresConnection, begin_text: str, viewer: Viewer) -> None:
        """Begins a transaction with the viewer's role and claims.

        Statements that were prepared before a table changed are prepared again.
        """
        connection.forget_statements_before(self._schema_version)
        self.notify_statement_listeners(f"{begin_text}; {SET_VIEWER}")
        connection.begin(begin_text, viewer)

    async def call_driver(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Calls the driver and maps its errors.

        It takes a function instead of an awaitable, because asyncpg raises some errors at the call itself.
        """
        try:
            return await call(*arguments)
        except Exception as error:
            gateway_error = map_postgresql_error(error)
            if isinstance(gateway_error, SchemaChanged):
                self._schema_version += 1
            if gateway_error is not None:
                raise gateway_error from error
            if isinstance(error, asyncpg.PostgresError):
                text = arguments[0] if arguments else COMMIT
                raise DatabaseFault(f"{type(error).__name__} ({error.sqlstate}) in: {text}") from None
            raise

    def pool_state(self) -> PoolState:
        return PoolState(self._pool.size, self._pool.used) if self._pool else PoolState(0, 0)


async def _roll_back(connection: PostgresConnection) -> None:
    """Rolls back after another error. Ignores that the connection is lost, because the transaction is then lost too."""
    try:
        await connection.rollback()
    except (asyncpg.PostgresError, *CONNECTION_ERRORS):
        return


class _PostgresSnapshot(Snapshot):
    """Uses the replica for the first transaction if ``since`` allows it, and the primary for all later ones.

    If the replica fails at the first statement, the primary executes the statement. If it fails later, the primary
    cannot continue, because it shows another state. ``needs_retry`` is then set. It is also set if a table has changed
    since a statement was prepared.
    """

    def __init__(self, database: PostgresDatabase, viewer: Viewer, since: int | None) -> None:
        super().__init__(database, viewer)
        self.database = database
        self._since = since or 0
        self._replica = None if since is None or viewer.is_service else database.replica
        self._pool = database.pool_for(viewer)
        self._connection: Any = None
        self._has_returned_rows = False
        self._has_failed = False

    async def begin(self) -> None:
        if self.needs_retry:
            raise ServiceUnavailable
        if self._replica is not None:
            self._connection = await self._replica.acquire(self._since, self.viewer.key)
        if self._connection is None:
            self._replica = None
            self._connection = await self._pool.acquire(self.viewer.key)
        self.database.begin(self._connection, BEGIN_READ, self.viewer)

    async def run(self, text: str, arguments: list[Any]) -> Sequence[Any]:
        self.database.notify_statement_listeners(text)
        try:
            records: Sequence[Any] = await self.database.call_driver(self._connection.fetch, text, arguments)
        except SchemaChanged:
            self._has_failed = self.needs_retry = True
            raise
        except (ServiceUnavailable, Conflict) as error:
            self._has_failed = True
            if self._replica is None:
                raise
            self._replica.mark_unavailable(error)
            if self._has_returned_rows:
                self.needs_retry = True
                raise
        except BaseException:
            self._has_failed = True
            raise
        else:
            self._has_returned_rows = True
            return records
        await self.end()
        await self.begin()
        return await self.run(text, arguments)

    async def end(self) -> None:
        connection, self._connection = self._connection, None
        pool = self._replica.pool if self._replica is not None else self._pool
        self._replica = None
        if connection is not None:
            try:
                if self._has_failed:
                    self._has_failed = False
                    await _roll_back(connection)
            finally:
                pool.release(connection)


class _PostgresWrite(WriteConnection):
    def __init__(self, database: PostgresDatabase, viewer: Viewer, connection: PostgresConnection) -> None:
        super().__init__(database, viewer)
        self.database = database
        self._connection = connection

    async def fetch(self, compiled: Compiled, arguments: list[Any]) -> Sequence[Any]:
        self.database.notify_statement_listeners(compiled.text)
        records: Sequence[Any] = await self.database.call_driver(self._connection.fetch, compiled.text, arguments)
        return records

    async def execute_later(self, statement: Statement[Any], /, **values: Any) -> None:
        compiled = statement.compile_for(self.scope)
        arguments = compiled.bind(values | {"viewer_id": self.viewer.id})
        if self._depth or not self._connection.execute_later(compiled.text, arguments):
            await self.rows(statement, **values)
        else:
            self.database.notify_statement_listeners(compiled.text)

    async def execute_sql(self, text: str) -> None:
        self.database.notify_statement_listeners(text)
        await self.database.call_driver(self._connection.fetch, text)
