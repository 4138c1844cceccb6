"""PostgreSQL below the seam: asyncpg, with text and arguments that are ready.

A transaction begins with the viewer's role and claims, which row-level security reads, local to it (kit/connection.py);
nothing of a viewer is set on the session, so connections need no reset and PgBouncer's transaction mode works.
"""

import hashlib
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from repositories.kit.connection import COMMIT, READ, TIME_SETTINGS, VIEWER, WRITE, Connection
from repositories.kit.constraints import refusal_of
from repositories.kit.database import Database, DatabaseOptions, PoolState, Snapshot, Write
from repositories.kit.errors import (
    Conflict,
    DatabaseFault,
    Forbidden,
    GatewayError,
    ServiceUnavailable,
    Timeout,
    ValidationError,
)
from repositories.kit.pool import Pool
from repositories.kit.statements import Compiled, Engine, Statement
from repositories.kit.viewer import SERVICE, Viewer

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
            return ValidationError.unstorable()
        case asyncpg.IntegrityConstraintViolationError():
            return refusal_of(error.constraint_name)
        case asyncpg.InsufficientPrivilegeError():
            return Forbidden()
        case asyncpg.QueryCanceledError() | asyncpg.LockNotAvailableError():
            return Timeout()
        case asyncpg.SerializationError() | asyncpg.DeadlockDetectedError():
            return Conflict("Somebody else was changing the same thing at the same moment. Try again.")
        case asyncpg.UntranslatableCharacterError() | asyncpg.CharacterNotInRepertoireError():
            return ValidationError.unstorable()
        case asyncpg.TooManyConnectionsError() | asyncpg.CannotConnectNowError() | asyncpg.AdminShutdownError():
            return ServiceUnavailable()
        case _ if isinstance(error, _UNREACHABLE):
            return ServiceUnavailable()
    return None


class PostgresDatabase(Database):
    """A pool for viewers and, with a login of its own, one for the service."""

    engine = Engine.POSTGRESQL

    def __init__(self, options: DatabaseOptions) -> None:
        super().__init__(options)
        self._pool: Pool[Connection] | None = None
        self._service_pool: Pool[Connection] | None = None
        self._milliseconds = int(options.statement_timeout * 1000)

    async def _open(self, url: str) -> Connection:
        options = self.options
        settings = {"application_name": "siso-gateway", "jit": "off", "statement_timeout": str(self._milliseconds)}
        settings |= TIME_SETTINGS
        try:
            return await Connection.open(
                re.sub(r"^postgresql\+asyncpg:", "postgresql:", url),
                pipelines=not options.pgbouncer,
                within=options.connect_timeout,
                settings={} if options.pgbouncer else settings,
            )
        except (asyncpg.PostgresError, *_UNREACHABLE) as error:
            raise ServiceUnavailable from error

    def _make_pool(self, url: str, size: int) -> Pool[Connection]:
        return Pool(lambda: self._open(url), size, self.options.pool_timeout)

    async def connect(self) -> None:
        """Opens the viewers' pool, with a first connection."""
        assert self.options.url is not None  # noqa: S101 (open_database decides by it)
        pool = self._make_pool(self.options.url, self.options.pool_size)
        pool.release(await pool.acquire())
        self._pool = pool

    async def close(self) -> None:
        """Closes both pools."""
        for pool in (self._pool, self._service_pool):
            if pool is not None:
                await pool.close()

    def pool_for(self, viewer: Viewer) -> Pool[Connection]:
        """The viewers' pool, or for the service its own, which is made when first needed."""
        if not viewer.is_service:
            if self._pool is None:
                raise ServiceUnavailable
            return self._pool
        if self._service_pool is None:
            self._service_pool = self._make_pool(self._service_url, 2)
        return self._service_pool

    @property
    def _service_url(self) -> str:
        url = self.options.service_url or self.options.url
        assert url is not None  # noqa: S101 (open_database decides by it)
        return url

    def snapshot(self, viewer: Viewer) -> Snapshot:
        """A REPEATABLE READ, READ ONLY transaction."""
        return _PostgresSnapshot(self, viewer)

    @asynccontextmanager
    async def transaction(self, viewer: Viewer) -> AsyncIterator[Write]:
        """A READ COMMITTED transaction; versions and row locks guard against lost updates."""
        pool = self.pool_for(viewer)
        connection = await pool.acquire()
        try:
            try:
                self.begin(connection, WRITE, viewer)
                write = _PostgresWrite(self, viewer, connection)
                yield write
                write.check()
                await self.talk(connection.commit)
            except BaseException:
                await _roll_back(connection)
                raise
        finally:
            pool.release(connection)

    @asynccontextmanager
    async def exclusively(self, name: str) -> AsyncIterator[bool]:
        """An advisory lock of a transaction, which holds behind PgBouncer too, on a connection beside the pools.

        The transaction is idle meanwhile.
        """
        connection = await self._open(self._service_url)
        try:
            self.begin(connection, WRITE, SERVICE)
            ((is_ours,),) = await self.talk(connection.fetch, _LOCK, [_lock_number(name)])
            await self.talk(connection.idle)
            yield is_ours
            await self.talk(connection.commit)
        finally:
            await _roll_back(connection)
            await connection.close()

    def begin(self, connection: Connection, kind: str, viewer: Viewer) -> None:
        """Opens a transaction with the viewer's role and claims."""
        self.said(f"{kind}; {VIEWER}")
        connection.begin(kind, viewer, self._milliseconds)

    async def talk(self, call: Callable[..., Any], *arguments: Any) -> Any:
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


async def _roll_back(connection: Connection) -> None:
    """For clean-up on the way out of another error: a lost connection has nothing left to clean."""
    try:
        await connection.roll_back()
    except (asyncpg.PostgresError, *_UNREACHABLE):
        return


class _PostgresSnapshot(Snapshot):
    def __init__(self, database: PostgresDatabase, viewer: Viewer) -> None:
        super().__init__(database, viewer)
        self.database = database
        self._pool = database.pool_for(viewer)
        self._connection: Any = None
        self._has_failed = False

    async def begin(self) -> None:
        self._connection = await self._pool.acquire()
        self.database.begin(self._connection, READ, self.viewer)

    async def run(self, text: str, arguments: list[Any]) -> Sequence[Any]:
        self.database.said(text)
        try:
            records: Sequence[Any] = await self.database.talk(self._connection.fetch, text, arguments)
        except BaseException:
            self._has_failed = True
            raise
        return records

    async def end(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                if self._has_failed:
                    self._has_failed = False
                    await _roll_back(connection)
            finally:
                self._pool.release(connection)


class _PostgresWrite(Write):
    def __init__(self, database: PostgresDatabase, viewer: Viewer, connection: Connection) -> None:
        super().__init__(database, viewer)
        self.database = database
        self._connection = connection

    async def fetch(self, compiled: Compiled, arguments: list[Any]) -> Sequence[Any]:
        self.database.said(compiled.text)
        records: Sequence[Any] = await self.database.talk(self._connection.fetch, compiled.text, arguments)
        return records

    async def later(self, statement: Statement[Any], /, **values: Any) -> None:
        compiled = statement.compiled(self.scope)
        arguments = compiled.bind(values | {"viewer_id": self.viewer.id})
        if self._depth or not self._connection.later(compiled.text, arguments):
            await self.rows(statement, **values)
        else:
            self.database.said(compiled.text)

    async def command(self, text: str) -> None:
        self.database.said(text)
        await self.database.talk(self._connection.fetch, text)
