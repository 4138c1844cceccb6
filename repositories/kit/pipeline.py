"""Commands sent to PostgreSQL ahead of a statement, in its round trip.

asyncpg waits for the answer to everything it sends. What nobody needs the answer of (BEGIN, the viewer's role and
claims, a statement whose rows are of no interest) is therefore written here as messages of the protocol, right before
those of asyncpg, and the answers to it are taken out before asyncpg sees the rest. There is no Sync between them: as
the protocol has it, the server skips everything after an error, and asyncpg is given the error as its statement's own.

https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-PIPELINING
"""

import asyncio
import datetime as dt
from collections.abc import Sequence
from typing import Any
from uuid import UUID

SYNC = b"S\0\0\0\4"

_COMMAND_COMPLETE = ord("C")
_ERROR = ord("E")
_READY = ord("Z")
_ASYNCHRONOUS = b"NSA"
"""Notices, changes of parameters and notifications, which may arrive between any two answers."""

_HEADER = 5


def command(statement: str, parameters: Sequence[bytes | None] = ()) -> bytes:
    """Bind and Execute of a prepared statement, with its parameters in their text form."""
    values = b"".join(b"\xff\xff\xff\xff" if value is None else len(value).to_bytes(4) + value for value in parameters)
    bind = b"\0" + statement.encode() + b"\0\0\0" + len(parameters).to_bytes(2) + values + b"\0\0"
    return b"B" + (len(bind) + 4).to_bytes(4) + bind + b"E\0\0\0\x09\0\0\0\0\0"


def simple_query(text: str) -> bytes:
    """A text without parameters, which the server answers with a ReadyForQuery of its own."""
    body = text.encode() + b"\0"
    return b"Q" + (len(body) + 4).to_bytes(4) + body


def text_form(value: Any) -> bytes | None:
    """A parameter as text; TypeError for a type that nothing is sent ahead with."""
    match value:
        case None:
            return None
        case str():
            return value.encode()
        case int() | UUID():
            return str(value).encode()
        case dt.datetime():
            return value.isoformat().encode()
        case [*items] if all(isinstance(item, UUID) for item in items):
            return ("{" + ",".join(map(str, items)) + "}").encode()
    message = f"{type(value).__name__} cannot be sent ahead"
    raise TypeError(message)


class Answers(asyncio.Protocol):
    """Between the socket and asyncpg: takes out the answers to what was sent past it."""

    def __init__(self, asyncpg_protocol: asyncio.Protocol) -> None:
        self._to = asyncpg_protocol
        self._beginning = b""
        self._syncs = 0
        self.commands = 0
        """How many commands are still to be answered before asyncpg's statement is."""

    def expect_sync(self) -> None:
        """Everything up to one more ReadyForQuery is not asyncpg's, whatever it says."""
        self.commands = 0
        self._syncs += 1

    def data_received(self, data: bytes) -> None:
        """Messages, the last one maybe cut off."""
        if not self.commands and not self._syncs:
            self._to.data_received(data)
            return
        if self._beginning:
            data = self._beginning + data
        start, size = 0, len(data)
        while self.commands or self._syncs:
            end = start + 1 + int.from_bytes(data[start + 1 : start + _HEADER]) if start + _HEADER <= size else size + 1
            if end > size:
                self._beginning = data[start:]
                return
            if not self._takes(data[start]):
                break
            if data[start] in _ASYNCHRONOUS:
                self._to.data_received(data[start:end])
            start = end
        self._beginning = b""
        if start < size:
            self._to.data_received(data[start:])

    def _takes(self, kind: int) -> bool:
        """Counts an answer; False for the error that asyncpg is to see."""
        if self._syncs:
            self._syncs -= kind == _READY
        elif kind == _COMMAND_COMPLETE:
            self.commands -= 1
        elif kind == _ERROR:
            self.commands = 0
            return False
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody answers any more."""
        self.commands = self._syncs = 0
        self._to.connection_lost(exc)

    def pause_writing(self) -> None:
        """The server reads too slowly."""
        self._to.pause_writing()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._to.resume_writing()
