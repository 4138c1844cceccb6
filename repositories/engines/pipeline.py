"""Commands sent to PostgreSQL ahead of a statement, in its round trip.

asyncpg waits for the answer to everything it sends. What nobody needs the answer of (BEGIN, the viewer's role and
claims, a statement whose rows are of no interest) is therefore written as messages of the protocol right before those
of asyncpg, and the answers to it are taken out before asyncpg sees the rest. There is no Sync between them: as the
protocol has it, the server skips everything after an error, and asyncpg is given the error as its statement's own.

https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-PIPELINING
"""

import asyncio
import datetime as dt
from collections.abc import Callable, Sequence
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


class PipelinedTransport(asyncio.Protocol):
    """One connection's socket, shared with asyncpg: its transport towards asyncpg, its protocol towards the loop."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._transport: Any = None
        self._beginning = b""
        self._syncs = 0
        self._commands = 0
        self.ahead: list[bytes] = []
        """The commands that go with the next message of asyncpg's."""
        self.has_sent = False
        """Whether something was sent ahead; whoever asks may take it back."""

    def write(self, data: Any) -> None:
        """Sends a message of asyncpg's, and what is to go ahead of it."""
        if self.ahead:
            self._commands += len(self.ahead)
            data, self.ahead, self.has_sent = b"".join((*self.ahead, data)), [], True
        self._transport.write(data)

    def write_aside(self, message: bytes) -> None:
        """Sends what ends with a Sync, or is a simple query; nobody hears the answer."""
        self._syncs += 1
        self._transport.write(message)

    def set_protocol(self, protocol: Any) -> None:
        """Once the connection is encrypted, asyncpg goes on with another protocol."""
        self._protocol = protocol

    async def start_tls(self, loop: asyncio.AbstractEventLoop, context: Any, **options: Any) -> None:
        """Encrypts the connection."""
        self._transport = await loop.start_tls(self._transport, self, context, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def connection_made(self, transport: Any) -> None:
        """The socket is connected."""
        self._transport = transport
        self._protocol.connection_made(self)

    def data_received(self, data: bytes) -> None:
        """Messages, the last one maybe cut off."""
        if not self._commands and not self._syncs:
            self._protocol.data_received(data)
            return
        if self._beginning:
            data = self._beginning + data
        start, size = 0, len(data)
        while self._commands or self._syncs:
            end = start + 1 + int.from_bytes(data[start + 1 : start + _HEADER]) if start + _HEADER <= size else size + 1
            if end > size:
                self._beginning = data[start:]
                return
            if not self._takes(data[start]):
                break
            if data[start] in _ASYNCHRONOUS:
                self._protocol.data_received(data[start:end])
            start = end
        self._beginning = b""
        if start < size:
            self._protocol.data_received(data[start:])

    def _takes(self, kind: int) -> bool:
        """Counts an answer; False for the error that asyncpg is to see."""
        if self._syncs:
            self._syncs -= kind == _READY
        elif kind == _COMMAND_COMPLETE:
            self._commands -= 1
        elif kind == _ERROR:
            self._commands = 0
            return False
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody answers any more."""
        self._commands = self._syncs = 0
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        """The server reads too slowly."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._protocol.resume_writing()


class PipeliningLoop:
    """The event loop as asyncpg is given it: what it connects is a :class:`PipelinedTransport`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.line: PipelinedTransport
        """The last one."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    async def create_connection(
        self, factory: Callable[[], Any], *args: Any, **options: Any
    ) -> tuple[PipelinedTransport, Any]:
        """Over TCP."""
        _, self.line = await self._loop.create_connection(lambda: PipelinedTransport(factory()), *args, **options)
        return self.line, self.line._protocol  # noqa: SLF001 (the two are one)

    async def create_unix_connection(
        self, factory: Callable[[], Any], *args: Any, **options: Any
    ) -> tuple[PipelinedTransport, Any]:
        """Over a socket of this machine."""
        _, self.line = await self._loop.create_unix_connection(lambda: PipelinedTransport(factory()), *args, **options)
        return self.line, self.line._protocol  # noqa: SLF001 (the two are one)

    async def start_tls(
        self, line: PipelinedTransport, _protocol: Any, context: Any, **options: Any
    ) -> PipelinedTransport:
        """Over TCP, encrypted."""
        await line.start_tls(self._loop, context, **options)
        return line
