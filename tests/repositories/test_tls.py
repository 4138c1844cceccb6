"""Encrypted connections to PostgreSQL, through a TLS proxy, because the server of the wheel has no TLS."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import sqlalchemy as sa

from repositories.engines.database import DatabaseOptions
from repositories.life_lock.tasks import Tasks
from repositories.sql.statements import Statement, scalar
from tests.api.relay import pump
from tests.certificates import create_certificate, server_context
from tests.factories import make_user, viewer_of
from tests.repositories.support import connect_database, open_snapshot

_SLEEP: Statement[int] = Statement(sa.text("SELECT 1 FROM (SELECT pg_sleep(600)) s"), scalar(int))


@asynccontextmanager
async def _start_tls_proxy(options: DatabaseOptions, context: ssl.SSLContext) -> AsyncIterator[DatabaseOptions]:
    """Starts a TLS proxy and yields options that reach the database through it."""
    assert options.url is not None
    parts = urlsplit(options.url)
    pumps: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)  # the SSLRequest message
        writer.write(b"S")
        await writer.start_tls(context)
        from_server, to_server = await asyncio.open_unix_connection(f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.5432")
        for source, target in ((reader, to_server), (from_server, writer)):
            pumps.add(asyncio.ensure_future(pump(source, target)))

    server = await asyncio.start_server(serve, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    try:
        yield replace(options, url=f"postgresql://{parts.username}@127.0.0.1:{port}{parts.path}?sslmode=require")
    finally:
        server.close()
        await asyncio.gather(*pumps)


@pytest.mark.parametrize("pgbouncer", [True, False])
async def test_statements_and_cancellation_over_tls(
    postgres_only: DatabaseOptions, tmp_path: Path, *, pgbouncer: bool
) -> None:
    async with (
        _start_tls_proxy(postgres_only, server_context(create_certificate(tmp_path))) as options,
        connect_database(options, pgbouncer=pgbouncer) as database,
    ):
        ada = await make_user(database)
        for count in range(3):
            async with database.transaction(viewer_of(ada)) as write:
                await Tasks(write).add(user_id=ada.id, title="Encrypted")
            async with open_snapshot(database, viewer_of(ada)) as snapshot:
                assert await Tasks(snapshot).count() == count + 1
        async with open_snapshot(database, viewer_of(ada)) as snapshot:
            running = asyncio.ensure_future(snapshot.rows(_SLEEP))
            await asyncio.wait([running], timeout=0.05)
            running.cancel()
            await asyncio.wait([running])
            assert running.cancelled()
            assert await Tasks(snapshot).count() == 3
