"""PostgreSQL below the seam: asyncpg, with text and arguments that are ready.

A transaction is opened in one round trip that also sets the role and the claims row-level security reads, local to the
transaction; nothing is set on the session, so connections need no reset and PgBouncer's transaction mode works.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

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
from repositories.kit.policy import claims
from repositories.kit.statements import Compiled, Engine
from repositories.kit.types import to_json
from repositories.kit.viewer import Viewer

_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_WRITE = "BEGIN ISOLATION LEVEL READ COMMITTED"
_UNREACHABLE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a statement after the server said good-bye and before the socket is closed
)


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


async def _no_reset(connection: Any) -> None:
    """Nothing is ever set on a session, so there is nothing to reset and no round trip to pay for it."""


class PostgresDatabase(Database):
    """A pool for viewers and, with a login of its own, one for the service."""

    engine = Engine.POSTGRESQL

    def __init__(self, options: DatabaseOptions) -> None:
        super().__init__(options)
        self._pool: asyncpg.Pool[Any] | None = None
        self._service_pool: asyncpg.Pool[Any] | None = None
        self._service_turn = asyncio.Lock()

    async def _create_pool(self, url: str, size: int) -> "asyncpg.Pool[Any]":
        options = self.options
        try:
            return await asyncpg.create_pool(
                re.sub(r"^postgresql\+asyncpg:", "postgresql:", url),
                min_size=1,
                max_size=size,
                timeout=options.connect_timeout,
                statement_cache_size=0 if options.pgbouncer else 1000,
                max_cached_statement_lifetime=0,
                reset=_no_reset,
                server_settings={} if options.pgbouncer else {"application_name": "siso-gateway", "jit": "off"},
            )
        except (asyncpg.PostgresError, *_UNREACHABLE) as error:
            raise ServiceUnavailable from error

    async def connect(self) -> None:
        """Opens the viewers' pool."""
        assert self.options.url is not None  # noqa: S101 (open_database decides by it)
        self._pool = await self._create_pool(self.options.url, self.options.pool_size)

    async def close(self) -> None:
        """Closes both pools."""
        for pool in (self._pool, self._service_pool):
            if pool is not None:
                await pool.close()

    async def pool_for(self, viewer: Viewer) -> "asyncpg.Pool[Any]":
        """The viewers' pool, or for the service its own, which is opened when first needed."""
        if not viewer.is_service:
            if self._pool is None:
                raise ServiceUnavailable
            return self._pool
        async with self._service_turn:
            if self._service_pool is None:
                url = self.options.service_url or self.options.url
                assert url is not None  # noqa: S101
                self._service_pool = await self._create_pool(url, 2)
            return self._service_pool

    def snapshot(self, viewer: Viewer) -> Snapshot:
        """A REPEATABLE READ, READ ONLY transaction."""
        return _PostgresSnapshot(self, viewer)

    @asynccontextmanager
    async def transaction(self, viewer: Viewer) -> AsyncIterator[Write]:
        """A READ COMMITTED transaction; versions and row locks guard against lost updates."""
        pool = await self.pool_for(viewer)
        connection = await self.acquire(pool)
        try:
            try:
                await self.begin(connection, _WRITE, viewer)
                write = _PostgresWrite(self, viewer, connection)
                yield write
                write.check()
                await self.talk(connection.execute, "COMMIT")
            except BaseException:
                await _roll_back(connection)
                raise
        finally:
            await _give_back(pool, connection)

    async def acquire(self, pool: "asyncpg.Pool[Any]") -> Any:
        """A connection, or ServiceUnavailable when none comes free in time."""
        try:
            return await pool.acquire(timeout=self.options.pool_timeout)
        except (asyncpg.PostgresError, *_UNREACHABLE) as error:
            raise ServiceUnavailable from error

    async def begin(self, connection: Any, begin: str, viewer: Viewer) -> None:
        """Opens a transaction with the viewer's role and claims and the time limit, in one round trip."""
        milliseconds = int(self.options.statement_timeout * 1000)
        text = (
            f"{begin}; SELECT set_config('role', '{viewer.database_role}', true),"
            f" set_config('request.jwt.claims', {_quoted(to_json(claims(viewer)))}, true),"
            f" set_config('statement_timeout', '{milliseconds}', true)"
        )
        self.said(text)
        await self.talk(connection.execute, text)

    async def talk(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Calls the driver and maps what it raises, which it does at the call itself once the connection is lost."""
        try:
            return await call(*arguments)
        except Exception as error:
            known = mapped(error)
            if known is not None:
                raise known from error
            if isinstance(error, asyncpg.PostgresError):
                raise DatabaseFault(f"{type(error).__name__} ({error.sqlstate}) in: {arguments[0]}") from None
            raise

    def pool_state(self) -> PoolState:
        """Of the viewers' pool."""
        if self._pool is None:
            return PoolState(0, 0)
        size = self._pool.get_size()
        return PoolState(size, size - self._pool.get_idle_size())


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


async def _roll_back(connection: Any) -> None:
    """For clean-up on the way out of another error: a lost connection has nothing left to clean."""
    try:
        await connection.execute("ROLLBACK")
    except (asyncpg.PostgresError, *_UNREACHABLE):
        return


async def _give_back(pool: "asyncpg.Pool[Any]", connection: Any) -> None:
    """Releases a connection; one that is lost has been closed by the pool by the time it complains."""
    try:
        await pool.release(connection)
    except (asyncpg.PostgresError, *_UNREACHABLE):
        return


class _PostgresSnapshot(Snapshot):
    def __init__(self, database: PostgresDatabase, viewer: Viewer) -> None:
        super().__init__(database, viewer)
        self.database = database
        self._pool: asyncpg.Pool[Any] | None = None
        self._connection: Any = None

    async def begin(self) -> None:
        self._pool = await self.database.pool_for(self.viewer)
        self._connection = await self.database.acquire(self._pool)
        await self.database.begin(self._connection, _READ, self.viewer)

    async def run(self, text: str, arguments: list[Any]) -> Sequence[Any]:
        self.database.said(text)
        records: Sequence[Any] = await self.database.talk(self._connection.fetch, text, *arguments)
        return records

    async def end(self) -> None:
        connection, self._connection = self._connection, None
        if self._pool is not None and connection is not None:
            try:
                await _roll_back(connection)
            finally:
                await _give_back(self._pool, connection)


class _PostgresWrite(Write):
    def __init__(self, database: PostgresDatabase, viewer: Viewer, connection: Any) -> None:
        super().__init__(database, viewer)
        self.database = database
        self._connection = connection

    async def fetch(self, compiled: Compiled, arguments: list[Any]) -> Sequence[Any]:
        self.database.said(compiled.text)
        records: Sequence[Any] = await self.database.talk(self._connection.fetch, compiled.text, *arguments)
        return records

    async def command(self, text: str) -> None:
        self.database.said(text)
        await self.database.talk(self._connection.execute, text)
