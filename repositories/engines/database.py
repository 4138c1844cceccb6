"""The database interface: repositories run all statements through :class:`ReadConnection` and :class:`WriteConnection`.

The engines that implement it (postgresql.py, sqlite.py) can be replaced without changing a domain.

- A **snapshot** serves the reads of one request. It takes one connection at the first statement and reads in one
  read-only transaction, which shows a single state of the database. It runs one statement at a time. The request
  returns the connection before it encodes the response.
- A **transaction** serves one unit of work.

Both begin by setting the viewer's role and claims, so that the database applies its policies to every statement.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar
from uuid import uuid4

from repositories.core.encryption import Cipher
from repositories.core.errors import Forbidden, ServiceUnavailable
from repositories.core.event import Event
from repositories.core.viewer import Viewer
from repositories.sql.statements import Compiled, Engine, Statement, scope_of

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class DatabaseOptions:
    """The location of the database and how the gateway uses it. All times are in seconds.

    - ``url``: ``postgresql://…``, or None for the SQLite file at ``sqlite_path``.
    - ``service_url``: the login for service work. The default is ``url``.
    - ``read_url``: a streaming replica.
    - ``read_wait``: how long a read waits until the replica has replayed the client's last write.
    - ``pgbouncer``: uses no feature that a pooler in transaction mode does not support, such as prepared statements.
    - ``announces_events``: PostgreSQL notifies all processes of new events, with NOTIFY.
    - ``max_result_bytes``: the most bytes that PostgreSQL may return for one statement of a viewer.
    - ``account_rows``, ``account_bytes``: what an account may store (``AccountUsage``). Service work may add more.
    - ``encryption_keys``, ``index_key``: see repositories/core/encryption.py. Encrypted columns need them.
    """

    url: str | None = None
    service_url: str | None = None
    read_url: str | None = None
    sqlite_path: Path = Path("var/siso.sqlite3")
    pool_size: int = 10
    pool_timeout: float = 10.0
    connect_timeout: float = 5.0
    statement_timeout: float = 15.0
    read_wait: float = 0.1
    pgbouncer: bool = False
    announces_events: bool = True
    max_result_bytes: int | None = None
    account_rows: int | None = None
    account_bytes: int | None = None
    encryption_keys: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    index_key: bytes = field(default=b"", repr=False)


class ReadConnection(ABC):
    """A connection for reading. Values are keyword arguments with the names of the statement's parameters."""

    def __init__(self, database: "Database", viewer: Viewer) -> None:
        self.engine = database.engine
        self.cipher = database.cipher
        self.viewer = viewer
        self.scope = scope_of(database.engine, viewer)

    @abstractmethod
    async def fetch(self, compiled: Compiled, arguments: list[Any]) -> Sequence[Any]:
        """Returns the records of one statement. Raises driver errors as those of repositories/core/errors.py."""

    async def rows(self, statement: Statement[R], /, **values: Any) -> list[R]:
        compiled = statement.compile_for(self.scope)
        values["viewer_id"] = self.viewer.id
        records = await self.fetch(compiled, compiled.bind(values))
        if compiled.checks_policy and not all(record[-1] for record in records):
            raise Forbidden
        return compiled.make(records)

    async def row(self, statement: Statement[R], /, **values: Any) -> R | None:
        """Returns the first row, or None if there is no row."""
        rows = await self.rows(statement, **values)
        return rows[0] if rows else None

    async def one(self, statement: Statement[R], /, **values: Any) -> R:
        """Returns the row of a statement that always returns one row, such as a count."""
        return (await self.rows(statement, **values))[0]

    async def execute_later(self, statement: Statement[Any], /, **values: Any) -> None:
        """Executes a statement whose rows are not needed, at the latest before the next statement or the commit.

        An engine can send it together with the next statement, which saves a round trip. The next statement or the
        commit then raises its error.
        """
        await self.rows(statement, **values)


class WriteConnection(ReadConnection):
    """A connection inside a read-write transaction.

    A statement that fails outside a savepoint makes the whole transaction fail, even if the caller catches the error.
    """

    async def rows(self, statement: Statement[R], /, **values: Any) -> list[R]:
        try:
            return await super().rows(statement, **values)
        except BaseException:
            self._has_failed = True
            raise

    def ensure_committable(self) -> None:
        """Raises RuntimeError if a statement has failed outside a savepoint. Engines call it before each commit."""
        if self._has_failed:
            message = "This transaction cannot be committed, because a statement failed outside a savepoint."
            raise RuntimeError(message)

    @abstractmethod
    async def execute_sql(self, text: str) -> None:
        """Executes SQL without parameters and rows, such as SAVEPOINT."""

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Rolls back to the start of the block if an error leaves it, and raises the error again."""
        name, had_failed = f"s{self._depth + 1}", self._has_failed
        await self.execute_sql(f"SAVEPOINT {name}")
        self._depth += 1
        try:
            yield
        except BaseException as error:
            try:
                await self.execute_sql(f"ROLLBACK TO SAVEPOINT {name}")
                await self.execute_sql(f"RELEASE SAVEPOINT {name}")
                self._has_failed = had_failed
            except Exception:  # noqa: BLE001 (the transaction has ended; the first error explains why)
                self._has_failed = True
                raise error from None
            raise
        else:
            await self.execute_sql(f"RELEASE SAVEPOINT {name}")
        finally:
            self._depth -= 1

    _depth = 0
    _has_failed = False


class Snapshot(ReadConnection):
    """The reads of one request. The first statement opens the transaction, and :meth:`close` ends it for good.

    A failed statement ends the transaction. The next statement opens another one, so that one failing field does not
    make the other fields fail.

    ``opened_at`` is the time (``time.monotonic``) just before the transaction began, or None if none is open.
    ``connection_time`` is the number of seconds for which the snapshot held a connection.
    ``needs_retry`` is true if the replica failed after it had answered a statement, or if a table changed. All later
    statements then raise ServiceUnavailable, and the request must run again with another snapshot.
    """

    def __init__(self, database: "Database", viewer: Viewer) -> None:
        super().__init__(database, viewer)
        self.needs_retry = False
        self._lock = asyncio.Lock()
        self.opened_at: float | None = None
        self.connection_time = 0.0
        self._connected_at: float | None = None
        self._is_closed = False
        self._running_task: asyncio.Task[Any] | None = None

    @property
    def holds_connection(self) -> bool:
        return self._connected_at is not None

    def _count_time(self) -> None:
        """Called before the connection is returned."""
        if self._connected_at is not None:
            self.connection_time += time.monotonic() - self._connected_at
        self.opened_at = self._connected_at = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def fetch(self, compiled: Compiled, arguments: list[Any]) -> Sequence[Any]:
        """Waits for the statements before it, because the connection runs one statement at a time."""
        async with self._lock:
            if self._is_closed:
                raise ServiceUnavailable("The request ended before this could be read.")
            self._running_task = asyncio.current_task()
            try:
                if self.opened_at is None:
                    self.opened_at = time.monotonic()
                    await self.begin()
                    self._connected_at = time.monotonic()
                return await self.run(compiled.text, arguments)
            except BaseException:
                self._count_time()
                self._running_task = None
                await self.end()
                raise
            finally:
                self._running_task = None

    async def close(self) -> None:
        """Cancels the running statement, if there is one, and returns the connection to the pool."""
        self._is_closed = True
        if self._running_task is not None:
            self._running_task.cancel()
        async with self._lock:
            if self.opened_at is not None:
                self._count_time()
                await self.end()

    @abstractmethod
    async def begin(self) -> None:
        """Takes a connection and begins the transaction."""

    @abstractmethod
    async def run(self, text: str, arguments: list[Any]) -> Sequence[Any]:
        """Returns the records of one statement on the open connection."""

    @abstractmethod
    async def end(self) -> None:
        """Ends the transaction and returns the connection. It must also do so while the request is being cancelled."""


@dataclass(slots=True)
class PoolState:
    """``size`` is the number of open connections. ``used`` of them are in use."""

    size: int
    used: int


class Database(ABC):
    """An engine with its connections."""

    engine: Engine
    statement_listeners: list[Callable[[str], None]]
    """Called with the text of every statement, for counting and tracing."""
    commit_listeners: list[Callable[[Sequence[Event]], Awaitable[None]]]
    """Called with the events of a committed unit of work, before control returns to its caller. They must not raise."""

    def __init__(self, options: DatabaseOptions) -> None:
        self.options = options
        self.cipher = Cipher(options.encryption_keys, options.index_key)
        self.statement_listeners = []
        self.commit_listeners = []
        self.process_id = uuid4().hex
        """A random id of this process (not the PID), which its event announcements carry."""

    @property
    def has_replica(self) -> bool:
        """Whether a snapshot can show an older state than the current one."""
        return self.options.read_url is not None

    @property
    def announces_events(self) -> bool:
        """Whether transactions themselves announce their events to other processes."""
        return self.options.announces_events and self.engine.is_postgresql

    @abstractmethod
    async def connect(self) -> None:
        """Opens the connection pool. Raises ServiceUnavailable if the database cannot be reached."""

    @abstractmethod
    async def close(self) -> None:
        """Waits until all connections are returned, then closes them."""

    @abstractmethod
    def snapshot(self, viewer: Viewer, since: int | None = None) -> Snapshot:
        """Returns a snapshot for one request, which opens nothing yet.

        It shows the current state. With ``since`` it can be read from a replica that has replayed at least that
        position (position.py).
        """

    async def fetch_position(self) -> int | None:
        """Returns the primary's WAL position, or None without a replica.

        A snapshot ``since`` this position shows everything that is committed now.
        """
        return None

    async def check_replica(self) -> bool | None:
        """Returns whether the replica can be reached, or None without a replica."""
        return None

    @abstractmethod
    def transaction(self, viewer: Viewer) -> AbstractAsyncContextManager[WriteConnection]:
        """A transaction that commits at the end of the block and rolls back on any error."""

    @abstractmethod
    def try_lock(self, name: str) -> AbstractAsyncContextManager[bool]:
        """Tries to take the lock ``name`` for the block, without waiting. Yields whether it was free.

        The lock is exclusive among all processes that use this database. It is released when its process ends, even
        if the process crashes.
        """

    @abstractmethod
    def pool_state(self) -> PoolState:
        """For health checks, and for tests that look for leaked connections."""

    def notify_statement_listeners(self, text: str) -> None:
        for listener in self.statement_listeners:
            listener(text)
