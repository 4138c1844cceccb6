"""One connection to PostgreSQL: asyncpg's, whose transactions begin and end without a round trip of their own.

| message                      | goes                                                                  |
|------------------------------|-----------------------------------------------------------------------|
| BEGIN, role and claims       | ahead of the transaction's first statement                            |
| what :meth:`execute_later` was given | ahead of the next statement, or of COMMIT                             |
| COMMIT of a writer           | by itself; its answer is waited for                                   |
| ROLLBACK of a reader         | after the fact, or ahead of the next BEGIN if somebody waits for that |

Role and claims are local to the transaction, so that whoever comes next finds nothing of them. Behind PgBouncer, which
cannot keep prepared statements between transactions, nothing goes ahead.
"""

import datetime as dt
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from repositories.core.viewer import Viewer
from repositories.engines.pipeline import SYNC, PipelinedTransport, PipeliningLoop, command, simple_query, text_form
from repositories.permissions import RoleName
from repositories.sql.policy import claims
from repositories.sql.types import to_json

READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
WRITE = "BEGIN ISOLATION LEVEL READ COMMITTED"
COMMIT = "COMMIT"
ROLLBACK = "ROLLBACK"
_OF_PEOPLE = frozenset({RoleName.USER})

VIEWER = (
    "SELECT set_config('role', $1, true), set_config('request.jwt.claims', $2, true),"
    " set_config('plan_cache_mode', $3, true)"
)
_NAMES = {
    READ: "siso_read",
    WRITE: "siso_write",
    COMMIT: "siso_commit",
    ROLLBACK: "siso_rollback",
    VIEWER: "siso_viewer",
}
_AHEAD = {text: command(_NAMES[text]) for text in (READ, WRITE, ROLLBACK)}
_END = simple_query(ROLLBACK)
_KEPT = 1000
_PATIENCE = 2.0
"""Seconds after which a connection whose statement was cancelled, and is not stopped, is given up."""

TIME_SETTINGS = {"timezone": "UTC", "datestyle": "ISO, MDY"}
"""What makes PostgreSQL write moments as :meth:`datetime.fromisoformat` reads them."""


@lru_cache(maxsize=10_000)
def _plans(viewer: Viewer) -> str:
    """Whether a statement is planned once or for each of its values.

    People see little more than their own rows, which an index finds whatever the values are, and planning takes longer
    than reading them. Who sees everybody's rows may ask for the first few of very many, for which values count.
    """
    return "force_generic_plan" if viewer.roles <= _OF_PEOPLE and not viewer.is_service else "auto"


def _claims(viewer: Viewer) -> tuple[str, str]:
    return viewer.database_role, to_json(claims(viewer))


@lru_cache(maxsize=10_000)
def _introduction(viewer: Viewer) -> bytes:
    return command(_NAMES[VIEWER], [value.encode() for value in (*_claims(viewer), _plans(viewer))])


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


class PostgresConnection:
    """Used by one transaction at a time, and by one statement at a time within it."""

    def __init__(self, connection: Any, line: PipelinedTransport, *, pipelines: bool) -> None:
        self._asyncpg = connection
        self._line = line
        self._pipelines = pipelines
        self._prepared: OrderedDict[str, PreparedStatement[Any]] = OrderedDict()
        self._opening: list[bytes] = []
        self._begin = ""

    @classmethod
    async def open(cls, url: str, *, pipelines: bool, within: float, settings: dict[str, str]) -> "PostgresConnection":
        """A new connection, ``within`` so many seconds."""
        loop: Any = PipeliningLoop()
        cached = 100 if pipelines else 0
        opened = await asyncpg.connect(
            url, loop=loop, timeout=within, statement_cache_size=cached, server_settings=settings
        )
        made = cls(opened, loop.line, pipelines=pipelines)
        try:
            if pipelines:
                await made._prepare_all()
        except BaseException:
            made.terminate()
            raise
        return made

    async def _prepare_all(self) -> None:
        await self._asyncpg.set_type_codec(  # four times as fast as the driver's own, which adds up seconds
            "timestamptz", schema="pg_catalog", encoder=dt.datetime.isoformat, decoder=dt.datetime.fromisoformat
        )
        for text, name in _NAMES.items():
            self._prepared[text] = await self._asyncpg.prepare(text, name=name)
        self._line.write_aside(SYNC)  # asyncpg leaves that out, and BEGIN would be in a transaction that has read

    def begin(self, kind: str, viewer: Viewer, milliseconds: int) -> None:
        """Opens a transaction for the viewer, with the next statement; one that is still open ends before.

        ``milliseconds`` is the limit of a statement, where the session cannot have it.
        """
        if self._pipelines:
            self._opening = [_AHEAD[kind], _introduction(viewer)]
            self._line.ahead = [_AHEAD[ROLLBACK], *self._opening] if self._line.has_sent else [*self._opening]
            return
        role, text = _claims(viewer)
        self._begin = (
            f"{'ROLLBACK; ' if self._line.has_sent else ''}{kind}; SELECT set_config('role', '{role}', true),"
            f" set_config('request.jwt.claims', {_quoted(text)}, true),"
            f" set_config('statement_timeout', '{milliseconds}', true)"
        )

    def execute_later(self, text: str, arguments: Sequence[Any]) -> bool:
        """Runs a statement whose rows nobody needs, with the next one; False if it has to be run by itself."""
        statement = self._prepared.get(text)
        if statement is None:
            return False
        self._line.ahead.append(command(statement.get_name(), [text_form(argument) for argument in arguments]))
        return True

    async def fetch(self, text: str, arguments: Sequence[Any] = ()) -> Sequence[Any]:
        """The records of one statement.

        If the tables have changed since it was prepared and nothing else was done in the transaction, it is run again.
        """
        if not self._pipelines:
            return await self._fetch_unprepared(text, arguments)
        is_first = self._line.ahead[-2:] == self._opening
        try:
            statement = self._prepared.get(text) or await self._prepare(text)
            records: Sequence[Any] = await statement.fetch(*arguments)
        except asyncpg.InvalidCachedStatementError:
            self._prepared = OrderedDict((known, self._prepared[known]) for known in _NAMES)
            if not is_first:
                raise
            await self.roll_back()
            self._line.ahead = [*self._opening]
            records = await self.fetch(text, arguments)
        return records

    async def _fetch_unprepared(self, text: str, arguments: Sequence[Any]) -> Sequence[Any]:
        if self._begin:
            begin, self._begin, self._line.has_sent = self._begin, "", True
            await self._asyncpg.execute(begin)
        records: Sequence[Any] = await self._asyncpg.fetch(text, *arguments)
        return records

    async def idle(self) -> None:
        """For a transaction that stays open without doing anything: the server shall neither end it nor mind it.

        A simple query ends the last statement, whose snapshot would keep the server from cleaning up its tables.
        """
        await self._asyncpg.execute("SET LOCAL idle_in_transaction_session_timeout = 0")

    async def commit(self) -> None:
        """Ends a transaction that writes; one that has done nothing is forgotten."""
        if not self._line.has_sent and self._line.ahead == self._opening:
            return
        if self._pipelines:
            await self.fetch(COMMIT)
            status = self._prepared[COMMIT].get_statusmsg()
        else:
            status = await self._asyncpg.execute(COMMIT)
        self._line.has_sent = False
        if status != COMMIT:
            message = "the transaction had failed before"
            raise asyncpg.InFailedSQLTransactionError(message)

    def rest(self) -> None:
        """Called when nobody needs the connection: ends a transaction that read, without waiting for the answer."""
        self._forget()
        if self._line.has_sent and not self.is_closed():
            self._line.write_aside(_END)
        self._line.has_sent = False

    async def roll_back(self) -> None:
        """Ends a transaction in which something failed; if that fails too, the connection is closed."""
        self._forget()
        if not self._line.has_sent:
            return
        try:
            await self._asyncpg.execute(ROLLBACK, timeout=_PATIENCE)
            self._line.has_sent = False
        except BaseException:
            self.terminate()
            raise

    def _forget(self) -> None:
        """What was to be sent, and was not."""
        self._line.ahead, self._begin = [], ""

    async def _prepare(self, text: str) -> "PreparedStatement[Any]":
        statement = self._prepared[text] = await self._asyncpg.prepare(text)
        if len(self._prepared) > _KEPT + len(_NAMES):
            del self._prepared[next(known for known in self._prepared if known not in _NAMES)]
        return statement

    def is_closed(self) -> bool:
        """Whether the connection is lost."""
        closed: bool = self._asyncpg.is_closed()
        return closed

    def terminate(self) -> None:
        """Closes it at once."""
        self._asyncpg.terminate()

    async def close(self) -> None:
        """Closes it in good order."""
        await self._asyncpg.close()
