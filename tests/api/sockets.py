"""A client for GraphQL over WebSocket that sends and receives single messages, and the gateway on a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from gateway.server.process import http_protocol, websocket_options
from gateway.settings import Settings
from repositories.engines.database import Database
from resolvers.streaming.feed import Feed
from tests.api.client import Gateway, serve
from tests.waiting import until, until_ended

PROTOCOL = "graphql-transport-ws"
MY_EVENTS = "subscription { myEvents { eventType } }"
_TIMEOUT = 20
"""Seconds after which a test fails if an expected message does not arrive."""


class Peer:
    """The client of one socket."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, type_: str, **rest: Any) -> None:
        await self.connection.send(json.dumps({"type": type_, **rest}))

    async def receive(self) -> Any:
        async with asyncio.timeout(_TIMEOUT):
            return json.loads(await self.connection.recv())

    async def initialise(self, token: str | None = None) -> "Peer":
        """Sends connection_init, with the token in its payload, and waits for connection_ack."""
        await self.send("connection_init", **({"payload": {"Authorization": f"Bearer {token}"}} if token else {}))
        assert await self.receive() == {"type": "connection_ack"}
        return self

    async def subscribe(self, key: str, query: str, **rest: Any) -> None:
        """Starts an operation with the id ``key``."""
        await self.send("subscribe", id=key, payload={"query": query, **rest})

    async def ask(self, query: str, **rest: Any) -> Any:
        """Runs a query or a mutation, and returns its response or, if it is rejected, its errors."""
        await self.subscribe("single", query, **rest)
        message = await self.receive()
        if message["type"] == "next":
            assert await self.receive() == {"id": "single", "type": "complete"}
        return message["payload"]

    async def wait_until_started(self) -> None:
        """Waits until all operations have started, and asserts that the socket is open.

        The gateway handles the next message after an operation has started, so a query is enough.
        """
        assert await self.ask("{ __typename }") == {"data": {"__typename": "Query"}}

    async def wait_closed(self) -> tuple[int | None, str | None]:
        """Waits until the gateway closes the socket, and returns code and reason. Ignores earlier messages."""
        async with asyncio.timeout(_TIMEOUT):
            try:
                while True:
                    await self.connection.recv()
            except ConnectionClosed:
                await self.connection.wait_closed()
        return self.connection.close_code, self.connection.close_reason


@asynccontextmanager
async def connect_socket(url: str, token: str) -> AsyncIterator[Peer]:
    """An initialised socket to a gateway that runs in another process."""
    address = url.replace("http:", "ws:") + "/graphql"
    async with connect(address, subprotocols=[PROTOCOL], compression=None, ping_interval=None) as connection:  # type: ignore[list-item]
        yield await Peer(connection).initialise(token)


class SocketServer:
    """A gateway that accepts WebSockets."""

    def __init__(self, address: str, database: Database) -> None:
        self.address = address.replace("http:", "ws:") + "/graphql"
        self.http = address
        self.feed: Feed = feeds(database)[-1]

    @asynccontextmanager
    async def peer(self, **options: Any) -> AsyncIterator[Peer]:
        """A socket that is not initialised."""
        given = {"subprotocols": [PROTOCOL], "compression": None, "ping_interval": None, **options}
        async with connect(self.address, **given) as connection:
            yield Peer(connection)

    @asynccontextmanager
    async def initialised_peer(self, token: str | None = None) -> AsyncIterator[Peer]:
        """An initialised socket."""
        async with self.peer() as peer:
            yield await peer.initialise(token)

    async def wait_for_subscribers(self, count: int) -> None:
        """Waits until the feed has ``count`` subscribers."""
        await until(lambda: self.feed.subscriber_count == count)


def feeds(database: Database) -> list[Feed]:
    """The feeds of all applications over a database."""
    owners = [getattr(listener, "__self__", None) for listener in database.commit_listeners]
    return [owner for owner in owners if isinstance(owner, Feed)]


@asynccontextmanager
async def serve_sockets(gateway: Gateway, settings: Settings | None = None) -> AsyncIterator[SocketServer]:
    """Serves the gateway with WebSockets. Neither subscribers nor tasks may be left at the end."""
    before = asyncio.all_tasks()
    async with serve_sockets_unchecked(gateway, settings) as site:
        yield site
        await site.wait_for_subscribers(0)
    await until_ended(before)


@asynccontextmanager
async def serve_sockets_unchecked(gateway: Gateway, settings: Settings | None = None) -> AsyncIterator[SocketServer]:
    """Like :func:`serve_sockets`, for tests whose clients are still connected at the end."""
    settings = settings or Settings()
    options: Any = {"http": http_protocol(settings), **websocket_options(settings)}
    async with serve(gateway.app, lifespan="on", **options) as address:
        yield SocketServer(address, gateway.database)
