"""WebSockets to the gateway on a real socket, message by message."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from gateway.server.process import websocket_options
from gateway.settings import Settings
from repositories.engines.database import Database
from resolvers.streaming.feed import Feed
from tests.api.client import Gateway, served

PROTOCOL = "graphql-transport-ws"
MY_EVENTS = "subscription { myEvents { eventType } }"
_PATIENCE = 20
"""Seconds after which a test fails that waits for a message that never comes."""


class Peer:
    """A client of one socket."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def say(self, type_: str, **rest: Any) -> None:
        """Sends a message."""
        await self.connection.send(json.dumps({"type": type_, **rest}))

    async def hear(self) -> Any:
        """The next message."""
        async with asyncio.timeout(_PATIENCE):
            return json.loads(await self.connection.recv())

    async def begin(self, token: str | None = None) -> "Peer":
        """Initialises the connection, with a token in the connectionParams."""
        await self.say("connection_init", **({"payload": {"Authorization": f"Bearer {token}"}} if token else {}))
        assert await self.hear() == {"type": "connection_ack"}
        return self

    async def subscribe(self, key: str, query: str, **rest: Any) -> None:
        """Asks for an operation."""
        await self.say("subscribe", id=key, payload={"query": query, **rest})

    async def ask(self, query: str, **rest: Any) -> Any:
        """The response of a query or a mutation, or the errors it was refused with."""
        await self.subscribe("single", query, **rest)
        told = await self.hear()
        if told["type"] == "next":
            assert await self.hear() == {"id": "single", "type": "complete"}
        return told["payload"]

    async def settled(self) -> None:
        """What was asked for has begun, for messages are taken in their order and a subscription begins by a query."""
        assert await self.ask("{ __typename }") == {"data": {"__typename": "Query"}}

    async def closed(self) -> tuple[int | None, str | None]:
        """The code and the reason with which the gateway closes the socket; what it says before is passed over."""
        async with asyncio.timeout(_PATIENCE):
            try:
                while True:
                    await self.connection.recv()
            except ConnectionClosed:
                await self.connection.wait_closed()
        return self.connection.close_code, self.connection.close_reason


@asynccontextmanager
async def connected_to(url: str, token: str) -> AsyncIterator[Peer]:
    """A new socket to a gateway that serves in a process of its own, initialised."""
    address = url.replace("http:", "ws:") + "/graphql"
    async with connect(address, subprotocols=[PROTOCOL], compression=None, ping_interval=None) as connection:  # type: ignore[list-item]
        yield await Peer(connection).begin(token)


class Site:
    """A gateway that takes sockets."""

    def __init__(self, address: str, database: Database) -> None:
        self.address = address.replace("http:", "ws:") + "/graphql"
        self.http = address
        self.feed: Feed = feeds(database)[-1]

    @asynccontextmanager
    async def peer(self, **options: Any) -> AsyncIterator[Peer]:
        """A new socket."""
        given = {"subprotocols": [PROTOCOL], "compression": None, "ping_interval": None, **options}
        async with connect(self.address, **given) as connection:
            yield Peer(connection)

    @asynccontextmanager
    async def begun(self, token: str | None = None) -> AsyncIterator[Peer]:
        """A new socket that is initialised."""
        async with self.peer() as peer:
            yield await peer.begin(token)

    async def is_followed_by(self, count: int) -> None:
        """Waits until so many follow the feed."""
        async with asyncio.timeout(_PATIENCE):
            while self.feed.subscriber_count != count:  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0.01)


def feeds(database: Database) -> list[Feed]:
    """The feeds of the applications over a database."""
    owners = [getattr(listener, "__self__", None) for listener in database.commit_listeners]
    return [owner for owner in owners if isinstance(owner, Feed)]


@asynccontextmanager
async def sockets(gateway: Gateway, settings: Settings | None = None) -> AsyncIterator[Site]:
    """The gateway with WebSockets and its feed. At the end nobody follows any more, and no task is left."""
    before = asyncio.all_tasks()
    async with site_of(gateway, settings) as site:
        yield site
        await site.is_followed_by(0)
    assert {task for task in asyncio.all_tasks() - before if not task.done()} == set()


@asynccontextmanager
async def site_of(gateway: Gateway, settings: Settings | None = None) -> AsyncIterator[Site]:
    """The same, for who is still connected when it ends."""
    async with served(gateway.app, lifespan="on", **websocket_options(settings or Settings())) as address:
        yield Site(address, gateway.database)
