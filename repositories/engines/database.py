"""The seam to the database: repositories run statements through :class:`ReadConnection` and :class:`WriteConnection`, and nothing else.

What is below (kit/postgresql.py, kit/sqlite.py) may be replaced without touching a domain.

- A **snapshot** serves the reads of one request: one connection, taken at the first statement, in one read-only
  transaction that sees a single state of the database, used by one statement at a time, and given back before the
  answer is encoded.
- A **transaction** serves one unit of work.

Both begin by telling the database who the viewer is, so that its policies apply to every statement.
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
    """Where the database is and how it is used; times are seconds.

    ``url`` is ``postgresql://…``, or None for the SQLite file at ``sqlite_path``. ``service_url`` is the login for
    service work, by default the same. ``read_url`` is a streaming replica, and ``read_wait`` how long a read waits for
    it to have replayed what the client has written. ``pgbouncer`` avoids whatever a transaction-mode pooler cannot
    keep between transactions. ``announces`` says that PostgreSQL tells all processes of new events, by NOTIFY.
    ``encryption_keys`` and ``index_key`` are those of kit/encryption.py; without them encrypted columns cannot be used.
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
    announces: bool = True
    encryption_keys: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    index_key: bytes = field(default=b"", repr=False)


class ReadConnection(ABC):
    """A connection to read with. Values are passed by the names of the statement's parameters."""

    def __init__(self, database: "Database", viewer: Viewer) -> None:
        self.engine = database.engine
        self.cipher = database.cipher
        self.viewer = viewer
        self.scope = scope_of(database.engine, viewer)

    @abstractmethod
    async def fetch(self, compiled: Compiled, arguments: list[Any]) -> Sequence[Any]:
        """The records of one statement; driver errors arrive mapped (kit/errors.py)."""

    async def rows(self, statement: Statement[R], /, **values: Any) -> list[R]:
        """All rows."""
        compiled = statement.compile_for(self.scope)
        values["viewer_id"] = self.viewer.id
        records = await self.fetch(compiled, compiled.bind(values))
        if compiled.checked and not all(record[-1] for record in records):
            raise Forbidden
        return compiled.make(records)

    async def row(self, statement: Statement[R], /, **values: Any) -> R | None:
        """The only row, or None."""
        found = await self.rows(statement, **values)
        return found[0] if found else None

    async def one(self, statement: Statement[R], /, **values: Any) -> R:
        """The row of a statement that always has one, such as a count."""
        return (await self.rows(statement, **values))[0]

    async def later(self, statement: Statement[Any], /, **values: Any) -> None:
        """Runs a statement whose rows nobody needs, at the latest before the next one or the commit.

        That may save a round trip, and then its error is raised there.
        """
        await self.rows(statement, **values)


class WriteConnection(ReadConnection):
    """A connection in a transaction that writes.

    A statement that fails outside of a savepoint makes the whole transaction fail, also if somebody swallows the error.
    """

    async def rows(self, statement: Statement[R], /, **values: Any) -> list[R]:
        """All rows."""
        try:
            return await super().rows(statement, **values)
        except BaseException:
            self._has_failed = True
            raise

    def check(self) -> None:
        """To be called before the commit."""
        if self._has_failed:
            message = "a statement failed outside of a savepoint, so that this transaction cannot be committed"
            raise RuntimeError(message)

    @abstractmethod
    async def command(self, text: str) -> None:
        """Runs a statement without parameters or rows, such as SAVEPOINT."""

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """What fails inside is undone, what came before stays."""
        name, had_failed = f"s{self._depth + 1}", self._has_failed
        await self.command(f"SAVEPOINT {name}")
        self._depth += 1
        try:
            yield
        except BaseException as error:
            try:
                await self.command(f"ROLLBACK TO SAVEPOINT {name}")
                await self.command(f"RELEASE SAVEPOINT {name}")
                self._has_failed = had_failed
            except Exception:  # noqa: BLE001 (the transaction is gone; why is said by the error that led here)
                self._has_failed = True
                raise error from None
            raise
        else:
            await self.command(f"RELEASE SAVEPOINT {name}")
        finally:
            self._depth -= 1

    _depth = 0
    _has_failed = False


class Snapshot(ReadConnection):
    """The reads of one request. Opens itself at the first statement; :meth:`close` ends it for good.

    A statement that fails ends the database's transaction; the next one opens another, so that one failing field does
    not take the others with it. ``opened_at`` is a moment of ``time.monotonic``, before the one that the transaction
    shows; None while there is none.

    ``is_lost`` says that what was read cannot be read on, because its replica has failed. From then on every statement
    is refused: all of it has to be read anew, in another snapshot.
    """

    def __init__(self, database: "Database", viewer: Viewer) -> None:
        super().__init__(database, viewer)
        self.is_lost = False
        self._turn = asyncio.Lock()
        self.opened_at: float | None = None
        self.holds_connection = False
        self._is_closed = False
        self._running: asyncio.Task[Any] | None = None

    async def __aenter__(self) -> Self:
        """For who reads something at once: at the end of the block it is closed."""
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def fetch(self, compiled: Compiled, arguments: list[Any]) -> Sequence[Any]:
        """The records of one statement, when its turn comes."""
        async with self._turn:
            if self._is_closed:
                raise ServiceUnavailable("The request ended before this could be read.")
            self._running = asyncio.current_task()
            try:
                if self.opened_at is None:
                    self.opened_at = time.monotonic()
                    await self.begin()
                    self.holds_connection = True
                return await self.run(compiled.text, arguments)
            except BaseException:
                self.opened_at, self.holds_connection, self._running = None, False, None
                await self.end()
                raise
            finally:
                self._running = None

    async def close(self) -> None:
        """Gives the connection back. A statement that is still running is stopped, for nobody waits for its rows."""
        self._is_closed = True
        if self._running is not None:
            self._running.cancel()
        async with self._turn:
            if self.opened_at is not None:
                self.opened_at, self.holds_connection = None, False
                await self.end()

    @abstractmethod
    async def begin(self) -> None:
        """Takes a connection and opens the transaction."""

    @abstractmethod
    async def run(self, text: str, arguments: list[Any]) -> Sequence[Any]:
        """One statement on the open connection."""

    @abstractmethod
    async def end(self) -> None:
        """Ends the transaction and gives the connection back, also when the request is being cancelled."""


@dataclass(slots=True)
class PoolState:
    """How many connections are open and how many of them are in use."""

    size: int
    used: int


class Database(ABC):
    """An engine with its connections."""

    engine: Engine
    listeners: list[Callable[[str], None]]
    """Called with the text of every statement, for counting and tracing."""
    committed: list[Callable[[Sequence[Event]], Awaitable[None]]]
    """Called with the events of a unit of work once it is committed, before its caller goes on. They must not raise."""

    def __init__(self, options: DatabaseOptions) -> None:
        self.options = options
        self.cipher = Cipher(options.encryption_keys, options.index_key)
        self.listeners = []
        self.committed = []
        self.origin = uuid4().hex
        """The name of this process in announcements of events."""

    @property
    def has_replica(self) -> bool:
        """Whether a snapshot may show another state than the current one."""
        return self.options.read_url is not None

    @property
    def announces(self) -> bool:
        """Whether transactions announce their events to other processes themselves."""
        return self.options.announces and self.engine.is_postgresql

    @abstractmethod
    async def connect(self) -> None:
        """Opens the pool; raises ServiceUnavailable if the database cannot be reached."""

    @abstractmethod
    async def close(self) -> None:
        """Closes all connections, after those in use are given back."""

    @abstractmethod
    def snapshot(self, viewer: Viewer, since: int | None = None) -> Snapshot:
        """A snapshot for one request; nothing is opened yet.

        It shows what is current, or with ``since`` a state that has all there was at that position
        (kit/position.py), which a replica may answer.
        """

    async def position(self) -> int | None:
        """Where the database is now: a snapshot ``since`` then shows all that is committed. None without a replica."""
        return None

    async def replica_answers(self) -> bool | None:
        """Whether the replica can be reached, None without one."""
        return None

    @abstractmethod
    def transaction(self, viewer: Viewer) -> AbstractAsyncContextManager[WriteConnection]:
        """A transaction that commits at the end of the block and rolls back on any error."""

    @abstractmethod
    def exclusively(self, name: str) -> AbstractAsyncContextManager[bool]:
        """Whether ``name`` is ours for the block, and nobody else's in any process that uses this database.

        Nobody waits: who comes second is told False. It ends with the process, however that ends.
        """

    @abstractmethod
    def pool_state(self) -> PoolState:
        """For health and for tests that look for leaks."""

    def notify_listeners(self, text: str) -> None:
        """Tells the listeners of a statement."""
        for listener in self.listeners:
            listener(text)
