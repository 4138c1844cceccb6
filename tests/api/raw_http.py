"""Sends bytes over a socket and reads HTTP responses, for requests that no HTTP client would send."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from gateway.server.process import http_protocol, websocket_options
from gateway.settings import Settings
from tests.api.client import serve

_TIMEOUT = 30
"""Seconds after which a test fails if an expected response does not arrive."""

HOST = b"Host: gateway\r\n"
HANDSHAKE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n"
)


@dataclass
class RawResponse:
    """A response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> tuple[int, str]:
        """The status and the code of an error response that closes the connection."""
        assert self.headers["content-type"] == "application/json; charset=utf-8"
        assert self.headers["connection"] == "close"
        (error,) = json.loads(self.body)["errors"]
        assert error["message"].endswith(".")
        return self.status, error["extensions"]["code"]


class RawConnection:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def send_until_answered(self, data: bytes, *, most: int) -> int:
        """Sends the bytes again and again until a response arrives; returns how many bytes were sent."""
        sent = 0
        while not self.reader._buffer and not self.reader.at_eof():  # type: ignore[attr-defined]
            assert sent < most, "the gateway does not respond"
            await self.send(data)
            sent += len(data)
            await asyncio.sleep(0)
        return sent

    async def response(self) -> RawResponse:
        async with asyncio.timeout(_TIMEOUT):
            status, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return RawResponse(int(status.split(" ")[1]), headers, body)

    async def is_closed(self) -> bool:
        """Waits for the end of the stream, and asserts that nothing precedes it.

        The operating system resets the connection if the gateway closes it before it has read everything.
        """
        async with asyncio.timeout(_TIMEOUT):
            try:
                return await self.reader.read() == b""
            except ConnectionResetError:
                return True

    async def rejection(self) -> tuple[int, str]:
        """The status and the code of the next response, after which the gateway closes the connection."""
        error = (await self.response()).error
        assert await self.is_closed()
        return error


@asynccontextmanager
async def connect(address: str, *, source: str | None = None) -> AsyncIterator[RawConnection]:
    """A connection, from another local address if ``source`` is given."""
    where = urlsplit(address)
    local = None if source is None else (source, 0)
    reader, writer = await asyncio.open_connection(where.hostname, where.port, local_addr=local)
    try:
        yield RawConnection(reader, writer)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def serve_as_process(app: Any, *, keep_alive: int = 75, **values: Any) -> AsyncIterator[str]:
    """Serves an application with the protocols of ``siso serve`` and these settings."""
    settings = Settings(**values)
    options = {"http": http_protocol(settings), **websocket_options(settings), "timeout_keep_alive": keep_alive}
    async with serve(app, **options) as address:
        yield address


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """An application that responds with its scope and the body; ``/slow`` first waits for 0.1 seconds."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        return
    body, message = b"", {"more_body": True}
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
    if scope["path"] == "/slow":
        await asyncio.sleep(0.1)
    headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
    text = {"path": scope["path"], "headers": headers, "client": scope["client"][0], "body": body.decode()}
    content = json.dumps(text).encode()
    length = [(b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    await send({"type": "http.response.body", "body": content})


def request(path: bytes = b"/", headers: bytes = b"", body: bytes = b"") -> bytes:
    """A valid request: a POST if it has a body."""
    if not body:
        return b"GET %b HTTP/1.1\r\n%b%b\r\n" % (path, HOST, headers)
    return b"POST %b HTTP/1.1\r\n%b%bContent-Length: %d\r\n\r\n%b" % (path, HOST, headers, len(body), body)
