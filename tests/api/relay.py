"""A TCP relay to PostgreSQL, which a test stops and starts to make the database unavailable."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

from repositories.engines.database import DatabaseOptions


class Relay:
    """Forwards bytes between TCP connections and the server's Unix socket."""

    def __init__(self, socket: str) -> None:
        self.socket = socket
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Accepts connections, always on the same port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuses new connections and aborts the existing ones."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(self.socket)
        self._writers |= {writer, to_server}
        for source, target in ((reader, to_server), (from_server, writer)):
            task = asyncio.ensure_future(pump(source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Forwards bytes in one direction until the source is closed."""
    try:
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    except ConnectionError:
        pass
    finally:
        target.close()


@asynccontextmanager
async def open_relay(options: DatabaseOptions) -> AsyncIterator[tuple[Relay, DatabaseOptions]]:
    """A relay to the database of ``options``, and options that connect through it."""
    assert options.url is not None
    parts = urlsplit(options.url)
    relay = Relay(f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.5432")
    await relay.start()
    try:
        yield relay, replace(options, url=f"postgresql://{parts.username}@127.0.0.1:{relay.port}{parts.path}")
    finally:
        await relay.stop()
