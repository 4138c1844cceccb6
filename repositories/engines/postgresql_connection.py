"""A connection to PostgreSQL that wraps asyncpg's. Its transactions begin and end without extra round trips.

| message                         | is sent                                                                     |
|---------------------------------|-----------------------------------------------------------------------------|
| BEGIN, role and claims          | with the first statement of the transaction                                 |
| that of :meth:`execute_later`   | with the next statement or COMMIT                                           |
| COMMIT of a writer              | alone, and the connection waits for the response                            |
| ROLLBACK of a reader            | with the next BEGIN, or alone if the connection stays idle (pool.py)        |

Role and claims are local to the transaction, so the next transaction does not see them. PgBouncer in transaction mode
does not keep prepared statements between transactions, so pipelining is off with it.
"""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from sys import getsizeof
from typing import Any

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from repositories.core.byte_budget import BoundedCache, bounded_cache
from repositories.core.errors import ResponseTooLarge, SchemaChanged, UnreadableValue
from repositories.core.viewer import Viewer
from repositories.engines.pipeline import (
    SYNC,
    PipelinedTransport,
    PipeliningLoop,
    encode_bind_and_execute,
    encode_parameter,
    encode_simple_query,
)
from repositories.permissions import RoleName
from repositories.sql.policy import claims, database_role
from repositories.sql.types import to_json

BEGIN_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
BEGIN_WRITE = "BEGIN ISOLATION LEVEL READ COMMITTED"
COMMIT = "COMMIT"
ROLLBACK = "ROLLBACK"
SET_VIEWER = (
    "SELECT set_config('role', $1, true), set_config('request.jwt.claims', $2, true),"
    " set_config('plan_cache_mode', $3, true)"
)
_STATEMENT_NAMES = {
    BEGIN_READ: "siso_read",
    BEGIN_WRITE: "siso_write",
    COMMIT: "siso_commit",
    ROLLBACK: "siso_rollback",
    SET_VIEWER: "siso_viewer",
}
"""The statements that each connection prepares when it is opened."""
_ENCODED_COMMANDS = {
    text: encode_bind_and_execute(_STATEMENT_NAMES[text]) for text in (BEGIN_READ, BEGIN_WRITE, ROLLBACK)
}
_ENCODED_ROLLBACK_QUERY = encode_simple_query(ROLLBACK)
_MAX_PREPARED = 1000
"""Prepared statements of one connection. The server keeps their plans in its own memory."""
_ROLLBACK_TIMEOUT = 2.0
"""Seconds that a rollback may take, for example because a cancelled statement does not stop."""
_ROLES_WITH_OWN_ROWS = frozenset({RoleName.USER})
"""The roles that see little more than their own rows."""

_EPOCH = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


def _tolerant(decode: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The decoder, but with an UnreadableValue as the result for infinity and for years that Python does not have."""

    def decode_or_mark(value: Any) -> Any:
        try:
            return decode(value)
        except (ValueError, OverflowError):
            return UnreadableValue("A stored time or date cannot be read, because its year is not between 1 and 9999.")

    return decode_or_mark


_TEXT_CODECS: Mapping[str, Mapping[str, Any]] = {
    "timestamptz": {"encoder": dt.datetime.isoformat, "decoder": dt.datetime.fromisoformat},
    "date": {"encoder": dt.date.isoformat, "decoder": dt.date.fromisoformat},
}
"""Three times as fast as asyncpg's own codecs. They need _SESSION_SETTINGS."""

_TOLERANT_CODECS: Mapping[str, Mapping[str, Any]] = {
    name: {**codec, "decoder": _tolerant(codec["decoder"])} for name, codec in _TEXT_CODECS.items()
}
"""They call a Python function for each value, which takes three times as long."""

_BINARY_CODECS: Mapping[str, Mapping[str, Any]] = {
    "timestamptz": {
        "encoder": lambda value: ((value - _EPOCH) // _MICROSECOND).to_bytes(8, signed=True),
        "decoder": _tolerant(lambda data: _EPOCH + int.from_bytes(data, signed=True) * _MICROSECOND),
        "format": "binary",
    },
    "date": {
        "encoder": lambda value: (value.toordinal() - _EPOCH.toordinal()).to_bytes(4, signed=True),
        "decoder": _tolerant(lambda data: dt.date.fromordinal(_EPOCH.toordinal() + int.from_bytes(data, signed=True))),
        "format": "binary",
    },
}
"""For PgBouncer, behind which the session's settings are unknown: microseconds or days since 2000-01-01."""

_SESSION_SETTINGS = {"application_name": "siso-gateway", "jit": "off", "timezone": "UTC", "datestyle": "ISO, MDY"}
"""With the last two, :meth:`datetime.fromisoformat` can read PostgreSQL's timestamps."""


def _plan_cache_mode(viewer: Viewer) -> str:
    """Returns whether PostgreSQL plans a statement once, or again for new parameter values.

    Users read their own rows. An index finds these for any value, and planning takes longer than reading them. Other
    roles can read the first few of very many rows, and the best plan for this depends on the values.
    """
    sees_own_rows = viewer.roles <= _ROLES_WITH_OWN_ROWS and not viewer.is_service
    return "force_generic_plan" if sees_own_rows else "auto"


def _role_and_claims(viewer: Viewer, begin_text: str) -> tuple[str, str]:
    return database_role(viewer, writes=begin_text == BEGIN_WRITE), to_json(claims(viewer))


@bounded_cache(lambda encoded: 800 + getsizeof(encoded))  # a viewer takes 800 bytes
def _encode_set_viewer(viewer: Viewer, begin_text: str) -> bytes:
    parameters = [value.encode() for value in (*_role_and_claims(viewer, begin_text), _plan_cache_mode(viewer))]
    return encode_bind_and_execute(_STATEMENT_NAMES[SET_VIEWER], parameters)


def _quote_literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


class TimeCodecs:
    """Whether the connections of a database must expect times that cannot be read.

    Nearly no database contains any, so connections are fast until the first one is met. From then on, new connections
    take their place.
    """

    def __init__(self, *, is_tolerant: bool = False) -> None:
        self.is_tolerant = is_tolerant


class PostgresConnection:
    """Serves one transaction at a time, and one statement at a time within it."""

    def __init__(
        self,
        connection: Any,
        transport: PipelinedTransport,
        settings: Mapping[str, str],
        codecs: TimeCodecs,
        *,
        pipelined: bool,
    ) -> None:
        self._asyncpg = connection
        self._transport = transport
        self._pipelined = pipelined
        self._codecs = codecs
        self._is_tolerant = codecs.is_tolerant or not pipelined
        self._set_locally = "".join(
            f", set_config({_quote_literal(name)}, {_quote_literal(value)}, true)" for name, value in settings.items()
        )
        self._named: dict[str, PreparedStatement[Any]] = {}
        self._prepared: BoundedCache[str, PreparedStatement[Any]] = BoundedCache()
        self._schema_version = 0
        self._begin_commands: list[bytes] = []
        self._begin_sql = ""

    @classmethod
    async def open(  # noqa: PLR0913 (the properties of a connection)
        cls,
        url: str,
        *,
        pipelined: bool,
        connect_timeout: float,
        settings: Mapping[str, str],
        codecs: TimeCodecs,
        max_result_bytes: int | None = None,
    ) -> "PostgresConnection":
        """Opens a connection. ``connect_timeout`` is in seconds.

        ``settings`` are those of the session. Behind PgBouncer (not ``pipelined``) each transaction sets them.
        A statement whose rows have more than ``max_result_bytes`` raises ResponseTooLarge and closes the connection.
        """
        loop: Any = PipeliningLoop()
        cache_size = 100 if pipelined else 0
        session = {**_SESSION_SETTINGS, **settings} if pipelined else {}
        driver_connection = await asyncpg.connect(
            url, loop=loop, timeout=connect_timeout, statement_cache_size=cache_size, server_settings=session
        )
        connection = cls(driver_connection, loop.transport, settings, codecs, pipelined=pipelined)
        fast_or_tolerant = _TOLERANT_CODECS if connection._is_tolerant else _TEXT_CODECS
        try:
            for name, codec in (fast_or_tolerant if pipelined else _BINARY_CODECS).items():
                await driver_connection.set_type_codec(name, schema="pg_catalog", **codec)
            if pipelined:
                await connection._prepare_named_statements()
        except BaseException:
            connection.terminate()
            raise
        loop.transport.max_result_bytes = max_result_bytes
        return connection

    async def _prepare_named_statements(self) -> None:
        for text, name in _STATEMENT_NAMES.items():
            self._named[text] = await self._asyncpg.prepare(text, name=name)
        # asyncpg sends no Sync after it prepares a statement, so BEGIN would run inside the implicit transaction.
        self._transport.write_ignoring_response(SYNC)

    def begin(self, begin_text: str, viewer: Viewer) -> None:
        """Begins a transaction for the viewer with the next statement, and ends one that is still open.

        ``begin_text`` is BEGIN_READ or BEGIN_WRITE.
        """
        is_open = self._transport.has_sent_commands
        if self._pipelined:
            commands = self._begin_commands = [_ENCODED_COMMANDS[begin_text], _encode_set_viewer(viewer, begin_text)]
            self._transport.pending_commands = [_ENCODED_COMMANDS[ROLLBACK], *commands] if is_open else [*commands]
            return
        role, claims_json = _role_and_claims(viewer, begin_text)
        self._begin_sql = (
            f"{'ROLLBACK; ' if is_open else ''}{begin_text}; SELECT set_config('role', '{role}', true),"
            f" set_config('request.jwt.claims', {_quote_literal(claims_json)}, true){self._set_locally}"
        )

    def execute_later(self, text: str, arguments: Sequence[Any]) -> bool:
        """Executes a statement whose rows are not needed together with the next one.

        Returns False if the statement is not prepared yet, so that the caller must execute it separately.
        """
        statement = self._prepared.get(text)
        if statement is None:
            return False
        parameters = [encode_parameter(argument) for argument in arguments]
        self._transport.pending_commands.append(encode_bind_and_execute(statement.get_name(), parameters))
        return True

    def forget_statements_before(self, schema_version: int) -> None:
        """Forgets the prepared statements if the schema has another version now."""
        if self._schema_version != schema_version:
            self._schema_version = schema_version
            self._prepared.clear()

    async def fetch(self, text: str, arguments: Sequence[Any] = ()) -> Sequence[Any]:
        """Returns the records of one statement.

        If a table has changed since the statement was prepared, and it is the first one of its transaction, the
        statement is prepared and executed again. SchemaChanged if a time cannot be read, and the connection was not
        prepared for that: another transaction, on another connection, can read the row.
        """
        before = self._transport.pending_commands
        try:
            if not self._pipelined:
                return await self._fetch_unprepared(text, arguments)
            statement = self._prepared.get(text) or self._named.get(text) or await self._prepare(text)
            records: Sequence[Any] = await statement.fetch(*arguments)
        except asyncpg.InvalidCachedStatementError:
            self._prepared.clear()
            if not self._pipelined or before[-2:] != self._begin_commands:
                raise
            await self.rollback()
            self._transport.pending_commands = [*self._begin_commands]
            return await self.fetch(text, arguments)
        except BaseException as error:
            is_unreadable = isinstance(error, ValueError | OverflowError)
            if is_unreadable and not isinstance(error, asyncpg.InterfaceError) and not self._is_tolerant:
                self._codecs.is_tolerant = True
                raise SchemaChanged from error
            limit = self._transport.max_result_bytes
            if limit is not None and self._transport.is_result_too_large:
                raise ResponseTooLarge(limit, "The rows that this reads are larger") from None
            raise
        return records

    async def _fetch_unprepared(self, text: str, arguments: Sequence[Any]) -> Sequence[Any]:
        if self._begin_sql:
            begin_sql, self._begin_sql, self._transport.has_sent_commands = self._begin_sql, "", True
            await self._asyncpg.execute(begin_sql)
        records: Sequence[Any] = await self._asyncpg.fetch(text, *arguments)
        return records

    async def disable_idle_timeout(self) -> None:
        """Keeps the server from ending the open transaction while it is idle.

        This is a simple query, which also releases the snapshot of the last statement. An open snapshot would keep
        VACUUM from removing dead rows.
        """
        await self._asyncpg.execute("SET LOCAL idle_in_transaction_session_timeout = 0")

    async def commit(self) -> None:
        """Commits. Sends nothing if the transaction has executed no statement."""
        transport = self._transport
        if not transport.has_sent_commands and transport.pending_commands == self._begin_commands:
            return
        if self._pipelined:
            await self.fetch(COMMIT)
            status = self._named[COMMIT].get_statusmsg()
        else:
            status = await self._asyncpg.execute(COMMIT)
        transport.has_sent_commands = False
        if status != COMMIT:  # PostgreSQL answers COMMIT with ROLLBACK after an error
            message = "The transaction was rolled back, because one of its statements had failed."
            raise asyncpg.InFailedSQLTransactionError(message)

    def on_idle(self) -> None:
        """Ends the transaction of a reader that returns to the pool, without waiting for the response."""
        self._discard_pending()
        if self._transport.has_sent_commands and not self.is_closed():
            self._transport.write_ignoring_response(_ENCODED_ROLLBACK_QUERY)
        self._transport.has_sent_commands = False

    async def rollback(self) -> None:
        """Ends a failed transaction. Closes the connection if this fails too."""
        self._discard_pending()
        if not self._transport.has_sent_commands:
            return
        try:
            await self._asyncpg.execute(ROLLBACK, timeout=_ROLLBACK_TIMEOUT)
            self._transport.has_sent_commands = False
        except BaseException:
            self.terminate()
            raise

    def _discard_pending(self) -> None:
        self._transport.pending_commands, self._begin_sql = [], ""

    async def _prepare(self, text: str) -> "PreparedStatement[Any]":
        statement: PreparedStatement[Any] = await self._asyncpg.prepare(text)
        if len(self._prepared) >= _MAX_PREPARED:
            self._prepared.pop_oldest()
        return self._prepared.put(text, statement, 1500 + 350 * len(statement.get_attributes()))

    def is_closed(self) -> bool:
        """Whether it must not be used again."""
        is_closed: bool = self._asyncpg.is_closed()
        return is_closed or (self._codecs.is_tolerant and not self._is_tolerant)

    def terminate(self) -> None:
        self._prepared.clear()
        self._asyncpg.terminate()

    async def close(self) -> None:
        self._prepared.clear()
        await self._asyncpg.close()
