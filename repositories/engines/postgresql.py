"""PostgreSQL below the seam: asyncpg, with text and arguments that are ready.

Viewers' snapshots may be answered by a replica (kit/replica.py), all else is by the primary. A transaction begins with
the viewer's role and claims, which row-level security reads, local to it (kit/connection.py); nothing of a viewer is
set on the session, so connections need no reset and PgBouncer's transaction mode works.
"""

import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import asyncpg

from repositories.core.errors import (
    Conflict,
    DatabaseFault,
    Forbidden,
    GatewayError,
    ServiceUnavailable,
    Timeout,
    ValidationError,
)
from repositories.core.viewer import ANONYMOUS, SERVICE, Viewer
from repositories.engines.database import Database, DatabaseOptions, PoolState, Snapshot, WriteConnection
from repositories.engines.pool import Pool
from repositories.engines.postgresql_connection import COMMIT, READ, TIME_SETTINGS, VIEWER, WRITE, PostgresConnection
from repositories.engines.replica import Replica, position
from repositories.sql.constraints import error_of_constraint
from repositories.sql.statements import Compiled, Engine, Statement

_SERVICE_CONNECTIONS = 8
"""For the feed, sign-ins and jobs, all of which may run at once; a long job must not keep the others from working."""

_UNREACHABLE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a statement after the server said good-bye and before the socket is closed
)

_LOCK = "SELECT pg_try_advisory_xact_lock($1)"


def _lock_number(name: str) -> int:
    """Advisory locks have numbers: one that is the same in every process, and nobody else's by accident."""
    return int.from_bytes(hashlib.sha256(f"siso-gateway {name}".encode()).digest()[:8], signed=True)


def mapped(error: Exception) -> GatewayError | None:
    """The driver's error in our tree, or None for what is our own mistake."""
    match error:
        case asyncpg.NotNullViolationError():
            return None
        case asyncpg.DataError() if isinstance(error.__cause__, UnicodeError):
            return ValidationError.for_unstorable_text()
        case asyncpg.IntegrityConstraintViolationError():
            return error_of_constraint(error.constraint_name)
        case asyncpg.InsufficientPrivilegeError():
            return Forbidden()
        case asyncpg.QueryCanceledError() | asyncpg.LockNotAvailableError():
            return Timeout()
        case asyncpg.SerializationError() | asyncpg.DeadlockDetectedError():
            return Conflict("Somebody else was changing the same thing at the same moment. Try again.")
        case asyncpg.UntranslatableCharacterError() | asyncpg.CharacterNotInRepertoireError():
            return ValidationError.for_unstorable_text()
        case asyncpg.TooManyConnectionsError() | asyncpg.CannotConnectNowError() | asyncpg.AdminShutdownError():
            return ServiceUnavailable()
        case _ if isinstance(error, _UNREACHABLE):
            return ServiceUnavailable()
    return None


class PostgresDatabase(Database):
    """A pool for viewers, one for the service with a login of its own, and the replica, if there is one."""

    engine = Engine.POSTGRESQL

    def __init__(self, options: DatabaseOptions) -> None:
        super().__init__(options)
        self._pool: Pool[PostgresConnection] | None = None
        self._service_pool: Pool[PostgresConnection] | None = None
        self._milliseconds = int(options.statement_timeout * 1000)
        self.replica = (
            Replica(self._connector(options.read_url), self.call_driver, options) if options.read_url else None
        )

    async def _open(self, url: str) -> PostgresConnection:
        options = self.options
        settings = {"application_name": "siso-gateway", "jit": "off", "statement_timeout": str(self._milliseconds)}
        settings |= TIME_SETTINGS
        try:
            return await PostgresConnection.open(
                re.sub(r"^postgresql\+asyncpg:", "postgresql:", url),
                pipelines=not options.pgbouncer,
                within=options.connect_timeout,
                settings={} if options.pgbouncer else settings,
            )
        except (asyncpg.PostgresError, *_UNREACHABLE) as error:
            raise ServiceUnavailable from error

    def _connector(self, url: str) -> Callable[[], Awaitable[PostgresConnection]]:
        return partial(self._open, url)

    def _make_pool(self, url: str, size: int) -> Pool[PostgresConnection]:
        return Pool(self._connector(url), size, self.options.pool_timeout)

    async def connect(self) -> None:
        """Opens the viewers' pool, with a first connection; a replica may be out of reach."""
        assert self.options.url is not None  # noqa: S101 (open_database decides by it)
        pool = self._make_pool(self.options.url, self.options.pool_size)
        pool.release(await pool.acquire())
        self._pool = pool
        if self.replica is not None:
            await self.replica.start(await self._written())

    async def close(self) -> None:
        """Closes all pools."""
        if self.replica is not None:
            await self.replica.close()
        for pool in (self._pool, self._service_pool):
            if pool is not None:
                await pool.close()

    def pool_for(self, viewer: Viewer) -> Pool[PostgresConnection]:
        """The viewers' pool, or for the service its own, which is made when first needed."""
        if not viewer.is_service:
            if self._pool is None:
                raise ServiceUnavailable
            return self._pool
        if self._service_pool is None:
            self._service_pool = self._make_pool(self._service_url, _SERVICE_CONNECTIONS)
        return self._service_pool

    @property
    def _service_url(self) -> str:
        url = self.options.service_url or self.options.url
        assert url is not None  # noqa: S101 (open_database decides by it)
        return url

    def snapshot(self, viewer: Viewer, since: int | None = None) -> Snapshot:
        """A REPEATABLE READ, READ ONLY transaction."""
        return _PostgresSnapshot(self, viewer, since)

    async def fetch_position(self) -> int | None:
        """Up to where the primary has written."""
        return await self._written() if self.replica is not None else None

    async def _written(self) -> int:
        return await position(self.pool_for(ANONYMOUS), self.call_driver, self.options.connect_timeout)

    async def check_replica(self) -> bool | None:
        """Asks the replica, unless it is known to be out."""
        if self.replica is None:
            return None
        if not self.replica.is_out:
            await self.replica.ask()
        return not self.replica.is_out

    @asynccontextmanager
    async def transaction(self, viewer: Viewer) -> AsyncIterator[WriteConnection]:
        """A READ COMMITTED transaction; versions and row locks guard against lost updates."""
        pool = self.pool_for(viewer)
        connection = await pool.acquire()
        try:
            try:
                self.begin(connection, WRITE, viewer)
                write = _PostgresWrite(self, viewer, connection)
                yield write
                write.ensure_committable()
                await self.call_driver(connection.commit)
            except BaseException:
                await _roll_back(connection)
                raise
        finally:
            pool.release(connection)

    @asynccontextmanager
    async def try_lock(self, name: str) -> AsyncIterator[bool]:
        """An advisory lock of a transaction, which holds behind PgBouncer too, on a connection beside the pools.

        The transaction is idle meanwhile.
        """
        connection = await self._open(self._service_url)
        try:
            self.begin(connection, WRITE, SERVICE)
            ((is_ours,),) = await self.call_driver(connection.fetch, _LOCK, [_lock_number(name)])
            await self.call_driver(connection.idle)
            yield is_ours
            await self.call_driver(connection.commit)
        finally:
            await _roll_back(connection)
            await connection.close()

    def begin(self, connection: PostgresConnection, kind: str, viewer: Viewer) -> None:
        """Opens a transaction with the viewer's role and claims."""
        self.notify_statement_listeners(f"{kind}; {VIEWER}")
        connection.begin(kind, viewer, self._milliseconds)

    async def call_driver(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Calls the driver and maps what it raises, which it does at the call itself once the connection is lost."""
        try:
            return await call(*arguments)
        except Exception as error:
            known = mapped(error)
            if known is not None:
                raise known from error
            if isinstance(error, asyncpg.PostgresError):
                text = arguments[0] if arguments else COMMIT
                raise DatabaseFault(f"{type(error).__name__} ({error.sqlstate}) in: {text}") from None
            raise

    def pool_state(self) -> PoolState:
        """Of the viewers' pool."""
        return PoolState(self._pool.size, self._pool.used) if self._pool else PoolState(0, 0)


async def _roll_back(connection: PostgresConnection) -> None:
    """For clean-up on the way out of another error: a lost connection has nothing left to clean."""
    try:
        await connection.roll_back()
    except (asyncpg.PostgresError, *_UNREACHABLE):
        return


class _PostgresSnapshot(Snapshot):
    """Where ``since`` allows it, its first transaction is on the replica, and what follows on the primary.

    A replica that fails the first statement leaves it to the primary; once it has answered, what it has shown is lost
    with it, and the whole snapshot is.
    """

    def __init__(self, database: PostgresDatabase, viewer: Viewer, since: int | None) -> None:
        super().__init__(database, viewer)
        self.database = database
        self._since = since or 0
        self._replica = None if since is None or viewer.is_service else database.replica
        self._pool = database.pool_for(viewer)
        self._connection: Any = None
        self._has_answered = False
        self._has_failed = False

    async def begin(self) -> None:
        if self.needs_retry:
            raise ServiceUnavailable
        if self._replica is not None:
            self._connection = await self._replica.connection(self._since)
        if self._connection is None:
            self._replica = None
            self._connection = await self._pool.acquire()
        self.database.begin(self._connection, READ, self.viewer)

    async def run(self, text: str, arguments: list[Any]) -> Sequence[Any]:
        self.database.notify_statement_listeners(text)
        try:
            records: Sequence[Any] = await self.database.call_driver(self._connection.fetch, text, arguments)
        except (ServiceUnavailable, Conflict) as error:
            self._has_failed = True
            if self._replica is None:
                raise
            self._replica.leave(error)
            if self._has_answered:
                self.needs_retry = True
                raise
        except BaseException:
            self._has_failed = True
            raise
        else:
            self._has_answered = True
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
