"""Sends commands to PostgreSQL together with the next statement, in one round trip.

asyncpg waits for the response to each command. Some responses are not needed: those to BEGIN, to the statement that
sets the viewer's role and claims, and to statements whose rows are not used. These commands are therefore written as
protocol messages directly before the messages of asyncpg, and their responses are removed before asyncpg sees the rest.
There is no Sync message between them, so the server skips everything after an error, and asyncpg receives the error as
that of its own statement.

https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-PIPELINING
"""

import asyncio
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from asyncpg.pgproto import pgproto

SYNC = b"S\0\0\0\4"

_COMMAND_COMPLETE = ord("C")
_ERROR_RESPONSE = ord("E")
_READY_FOR_QUERY = ord("Z")
_ASYNCHRONOUS = b"NSA"
"""Notices, parameter changes and notifications. The server can send them between any two responses."""

_HEADER_SIZE = 5
"""Bytes of a message's type and length."""


def encode_bind_and_execute(statement: str, parameters: Sequence[bytes | None] = ()) -> bytes:
    """Encodes the Bind and Execute messages of a prepared statement. Parameters are in their text format."""
    values = b"".join(b"\xff\xff\xff\xff" if value is None else len(value).to_bytes(4) + value for value in parameters)
    bind = b"\0" + statement.encode() + b"\0\0\0" + len(parameters).to_bytes(2) + values + b"\0\0"
    return b"B" + (len(bind) + 4).to_bytes(4) + bind + b"E\0\0\0\x09\0\0\0\0\0"


def encode_simple_query(text: str) -> bytes:
    """Encodes a Query message, which the server answers with its own ReadyForQuery."""
    body = text.encode() + b"\0"
    return b"Q" + (len(body) + 4).to_bytes(4) + body


def encode_parameter(value: Any) -> bytes | None:
    """Encodes a parameter in its text format. Raises TypeError for other types than those of pipelined statements."""
    encode = _ENCODERS.get(value.__class__)  # a table, because it is faster than the comparisons below
    if encode is not None:
        return encode(value)
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
    message = f"A pipelined statement cannot have a parameter of type {type(value).__name__}."
    raise TypeError(message)


_ENCODERS: Mapping[type, Callable[[Any], bytes]] = {
    str: str.encode,
    int: lambda number: b"%d" % number,
    **dict.fromkeys((UUID, pgproto.UUID), lambda key: str(key).encode()),
    dt.datetime: lambda time: time.isoformat().encode(),
}


class PipelinedTransport(asyncio.Protocol):
    """Sits between the socket of one connection and asyncpg.

    It is asyncpg's transport and the protocol of the socket's transport.
    """

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._transport: Any = None
        self._partial_message = b""
        self._ignored_queries = 0
        self._ignored_commands = 0
        self._received = 0
        self.max_result_bytes: int | None = None
        """The most bytes of the responses to what is sent at once. Beyond it, the connection is closed."""
        self.pending_commands: list[bytes] = []
        """Commands to send together with the next message of asyncpg."""
        self.has_sent_commands = False
        """Whether commands were sent since the connection last reset this flag, so that a transaction may be open."""

    def write(self, data: Any) -> None:
        """Sends the pending commands and a message of asyncpg."""
        self._received = 0
        if self.pending_commands:
            self._ignored_commands += len(self.pending_commands)
            data, self.pending_commands = b"".join((*self.pending_commands, data)), []
            self.has_sent_commands = True
        self._transport.write(data)

    def write_ignoring_response(self, message: bytes) -> None:
        """Sends a Sync or a simple query immediately, and removes the response up to its ReadyForQuery."""
        self._ignored_queries += 1
        self._transport.write(message)

    def set_protocol(self, protocol: Any) -> None:
        """Asyncpg calls this after TLS is set up, because it then uses another protocol object."""
        self._protocol = protocol

    async def start_tls(self, loop: asyncio.AbstractEventLoop, context: Any, **options: Any) -> None:
        self._transport = await loop.start_tls(self._transport, self, context, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._protocol.connection_made(self)

    def data_received(self, data: bytes) -> None:
        """Removes the responses to ignored commands. The last message in ``data`` can be incomplete."""
        self._received += len(data)
        if self.is_result_too_large:
            self._transport.abort()
            return
        if not self._ignored_commands and not self._ignored_queries:
            self._protocol.data_received(data)
            return
        if self._partial_message:
            data = self._partial_message + data
        start, size = 0, len(data)
        while self._ignored_commands or self._ignored_queries:
            has_header = start + _HEADER_SIZE <= size
            end = start + 1 + int.from_bytes(data[start + 1 : start + _HEADER_SIZE]) if has_header else size + 1
            if end > size:
                self._partial_message = data[start:]
                return
            if not self._ignore(data[start]):
                break
            if data[start] in _ASYNCHRONOUS:
                self._protocol.data_received(data[start:end])
            start = end
        self._partial_message = b""
        if start < size:
            self._protocol.data_received(data[start:])

    @property
    def is_result_too_large(self) -> bool:
        """Whether the connection was closed because of ``max_result_bytes``."""
        return self.max_result_bytes is not None and self._received > self.max_result_bytes

    def _ignore(self, message_type: int) -> bool:
        """Counts a message that is removed. Returns False for the error that asyncpg must receive."""
        if self._ignored_queries:
            self._ignored_queries -= message_type == _READY_FOR_QUERY
        elif message_type == _COMMAND_COMPLETE:
            self._ignored_commands -= 1
        elif message_type == _ERROR_RESPONSE:
            self._ignored_commands = 0
            return False
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._ignored_commands = self._ignored_queries = 0
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()


class PipeliningLoop:
    """Wraps the event loop for asyncpg, so that its connections use a :class:`PipelinedTransport`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.transport: PipelinedTransport
        """The transport of the last connection."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    async def create_connection(
        self, factory: Callable[[], Any], *args: Any, **options: Any
    ) -> tuple[PipelinedTransport, Any]:
        """Connects over TCP."""
        _, self.transport = await self._loop.create_connection(lambda: PipelinedTransport(factory()), *args, **options)
        return self.transport, self.transport._protocol  # noqa: SLF001 (both classes are in this module)

    async def create_unix_connection(
        self, factory: Callable[[], Any], *args: Any, **options: Any
    ) -> tuple[PipelinedTransport, Any]:
        _, self.transport = await self._loop.create_unix_connection(
            lambda: PipelinedTransport(factory()), *args, **options
        )
        return self.transport, self.transport._protocol  # noqa: SLF001 (as above)

    async def start_tls(
        self, transport: PipelinedTransport, _protocol: Any, context: Any, **options: Any
    ) -> PipelinedTransport:
        await transport.start_tls(self._loop, context, **options)
        return transport
