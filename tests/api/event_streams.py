"""A client of server-sent events that reads bytes, and helpers for the feed behind them."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from gateway.server.process import http_protocol
from gateway.settings import Settings
from repositories.tables.identity import User
from resolvers.streaming.feed import Feed
from tests.api.client import Gateway, serve
from tests.api.sockets import feeds
from tests.waiting import until, until_ended

CHANGES = "subscription { taskChanged { eventType task { title } } }"
COMPLETE = b"event: complete\ndata:\n\n"
BEGINNING = b"retry: 1000\n\n"


def without_retry_line(body: bytes) -> bytes:
    """The body of a stream without the retry line at its beginning."""
    assert body.startswith(BEGINNING)
    return body.removeprefix(BEGINNING)


def feed_of(gateway: Gateway) -> Feed:
    return feeds(gateway.database)[-1]


async def create(gateway: Gateway, user: User, *titles: str) -> None:
    """Creates tasks with mutations."""
    for title in titles:
        await gateway.client(user).do("createTask", "task { id }", title=title)


def created(title: str) -> Any:
    """The result of :data:`CHANGES` for a new task."""
    return {"taskChanged": {"eventType": "TaskCreated", "task": {"title": title}}}


@asynccontextmanager
async def run_gateway(gateway: Gateway, **options: Any) -> AsyncIterator[str]:
    """Serves the gateway with its feed. At the end no new subscriber, connection or task may be left."""
    given = {"lifespan": "on", "http": http_protocol(Settings()), **options}
    async with serve(gateway.app, **given) as address:
        async with httpx.AsyncClient(base_url=address) as http:
            assert (await http.get("/health")).status_code == 200
        feed, before = feed_of(gateway), asyncio.all_tasks()
        yield address
        await until(lambda: (feed.subscriber_count, gateway.database.pool_state().used) == (0, 0))
        await until_ended(before)


@dataclass
class EventStream:
    """A response in chunks. Each chunk is one write of the gateway."""

    status: int
    headers: dict[str, str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def chunk(self) -> bytes:
        """The next chunk, empty at the end. Raises IncompleteReadError if the connection is aborted."""
        size = int(await self.reader.readuntil(b"\r\n"), 16)
        data = await self.reader.readexactly(size)
        await self.reader.readexactly(2)
        return data

    async def rest(self) -> bytes:
        return b"".join([chunk async for chunk in self])

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while chunk := await self.chunk():
            yield chunk

    async def next(self) -> tuple[str | None, Any]:
        """The id and the response of the next event."""
        return event_of(await self.chunk())

    async def body(self) -> Any:
        """The body of a response with a content length."""
        return await self.reader.readexactly(int(self.headers["content-length"]))

    def leave(self) -> None:
        """Aborts the connection."""
        self.writer.transport.abort()


def event_of(chunk: bytes) -> tuple[str | None, Any]:
    """The id and the response of a `next` event. Any other event is an AssertionError."""
    first, *lines, empty, nothing = chunk.decode().split("\n")
    assert (first, empty, nothing) == ("event: next", "", "")
    key = lines.pop(0).removeprefix("id: ") if len(lines) == 2 else None
    (data,) = lines
    assert data.startswith("data: ")
    return key, json.loads(data.removeprefix("data: "))


def codes(body: bytes) -> list[str]:
    """The error codes of a stream that has only errors."""
    assert body.endswith(COMPLETE)
    _, response = event_of(body.removesuffix(COMPLETE))
    assert list(response) == ["errors"]
    return [error["extensions"]["code"] for error in response["errors"]]


@asynccontextmanager
async def request_stream(  # noqa: PLR0913 (the parts of a request)
    address: str,
    document: str,
    token: str | None = None,
    *,
    method: str = "POST",
    extensions: Any = None,
    takes_little: bool = False,
    **headers: str,
) -> AsyncIterator[EventStream]:
    """Requests an event stream on a new connection, which is aborted at the end of the block.

    With ``takes_little`` the client has small buffers, so that the gateway soon has to wait for it.
    """
    where = urlsplit(address)
    given = {"query": document} | ({"extensions": extensions} if extensions else {})
    target, body = "/graphql", json.dumps(given)
    if method == "GET":
        target, body = f"/graphql?query={quote(document)}", ""
        target += f"&extensions={quote(json.dumps(extensions))}" if extensions else ""
    named = {"Host": where.netloc, "Accept": "text/event-stream", "Content-Type": "application/json"}
    named |= {"Content-Length": str(len(body))} | ({"Authorization": f"Bearer {token}"} if token else {})
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    made = socket.socket()
    made.settimeout(0)
    if takes_little:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await asyncio.get_running_loop().sock_connect(made, (where.hostname, where.port))
    reader, writer = await asyncio.open_connection(sock=made)
    try:
        writer.write(f"{method} {target} HTTP/1.1\r\n{lines}\r\n{body}".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = (line.partition(": ") for line in head[1:] if line)
        yield EventStream(int(head[0].split()[1]), {name.lower(): text for name, _, text in pairs}, reader, writer)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def open_event_stream(
    gateway: Gateway, address: str, document: str, who: User | str | None, **given: Any
) -> AsyncIterator[EventStream]:
    """A subscription that has started, and therefore misses no event. It ends with the block."""
    feed = feed_of(gateway)
    before = feed.subscriber_count
    token = gateway.token(who) if isinstance(who, User) else who
    async with request_stream(address, document, token, **given) as stream:
        assert (stream.status, await stream.chunk()) == (200, BEGINNING)
        await until(lambda: feed.subscriber_count > before + bool(token))
        yield stream
    await until(lambda: feed.subscriber_count <= before)
