"""A database that is read-only or full: changes get SERVICE_UNAVAILABLE, the log has the reason, and reads go on."""

import asyncio
import os
import resource
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import sqlalchemy as sa

from repositories.core.errors import ServiceUnavailable
from repositories.core.viewer import SERVICE
from repositories.engines.database import DatabaseOptions
from repositories.engines.sqlite import SqliteDatabase
from repositories.sql.statements import Statement, scalar
from repositories.tables.identity import User
from tests.api.client import Client, Gateway, connect_database
from tests.api.relay import open_relay
from tests.databases import KEYS, Server, Standby, copy_sqlite, database_of
from tests.factories import make_user
from tests.repositories.test_driver_errors import REACH, STORE

_NOBODY = 65534
_COUNT = "{ tasks { totalCount } }"


async def _check_rejected(client: Client, message: str, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    """Sends mutations of viewers and of anonymous callers. Each is rejected with the reason in the log."""
    sign_up = 'email: "grace@example.com", password: "a long phrase of Grace", firstName: "Grace", lastName: "Hopper"'
    for mutation in ('createTask(input: {title: "Lost"})', f"signUp(input: {{{sign_up}}})"):
        caplog.clear()
        answer = await client.ask(f"mutation {{ {mutation} {{ __typename }} }}")
        assert answer.codes == ["SERVICE_UNAVAILABLE"], answer.body
        assert f"ServiceUnavailable: {answer.errors[0]['message']}" == message
        assert reason in caplog.text
        assert "Lost" not in caplog.text
        assert "grace" not in caplog.text


@pytest.mark.usefixtures("cheap_passwords")
async def test_a_standby_reads_and_rejects_changes(
    replicated: DatabaseOptions, standby: Standby, caplog: pytest.LogCaptureFixture
) -> None:
    name = database_of(replicated)
    async with connect_database(replicated, read_url=None) as primary:
        ada = await make_user(primary, first_name="Ada")
    await standby.catch_up()
    url, service_url = standby.login("gateway", name), standby.login("service", name)
    async with connect_database(replicated, url=url, service_url=service_url, read_url=None) as database:
        client = Gateway(database).client(ada)
        for _ in range(2):
            await _check_rejected(client, STORE, "ReadOnlySQLTransactionError", caplog)
            assert await client.data("{ viewer { firstName } tasks { totalCount } }") == {
                "viewer": {"firstName": "Ada"},
                "tasks": {"totalCount": 0},
            }
        assert database.pool_state().used == 0


async def test_changes_reach_the_new_primary_after_a_failover(replicated: DatabaseOptions, standby: Standby) -> None:
    """Connections to the server that has become a standby are closed, also those that are idle."""
    async with open_relay(replace(replicated, read_url=None)) as (relay, options):
        primary = relay.socket
        async with connect_database(options) as database:
            ada = await make_user(database)
            await standby.catch_up()
            relay.socket = f"{parse_qs(urlsplit(standby.url).query)['host'][0]}/.s.PGSQL.5432"
            await relay.stop()
            await relay.start()
            client = Gateway(database).client(ada)
            await asyncio.gather(*(client.data(_COUNT) for _ in range(5)))
            assert database.pool_state().size > 1
            relay.socket = primary
            answer = await client.ask('mutation { createTask(input: {title: "Lost"}) { task { id } } }')
            assert answer.codes == ["SERVICE_UNAVAILABLE"]
            assert database.pool_state().size == 0
            await client.do("createTask", "task { id }", title="Kept")
            assert await client.data("{ tasks { nodes { title } } }") == {"tasks": {"nodes": [{"title": "Kept"}]}}


@pytest.mark.usefixtures("cheap_passwords")
async def test_a_database_under_maintenance(
    cloned_postgres: DatabaseOptions, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    name = database_of(cloned_postgres)
    async with connect_database(cloned_postgres) as database:
        ada = await make_user(database)
    read_only = f"ALTER DATABASE {name} SET default_transaction_read_only = on"
    await asyncio.to_thread(server.sql, read_only)
    async with connect_database(cloned_postgres) as database:
        client = Gateway(database).client(ada)
        await _check_rejected(client, STORE, "ReadOnlySQLTransactionError", caplog)
        assert await client.data(_COUNT) == {"tasks": {"totalCount": 0}}
        await asyncio.to_thread(server.sql, f"ALTER DATABASE {name} RESET default_transaction_read_only")
        await client.ask('mutation { createTask(input: {title: "Lost"}) { task { id } } }')
        await client.do("createTask", "task { id }", title="Kept")
        assert await client.data(_COUNT) == {"tasks": {"totalCount": 1}}


async def test_a_server_without_space_for_temporary_files(cloned_postgres: DatabaseOptions, server: Server) -> None:
    for setting in ("temp_file_limit = '64kB'", "work_mem = '64kB'"):
        await asyncio.to_thread(server.sql, f"ALTER DATABASE {database_of(cloned_postgres)} SET {setting}")
    large = sa.text("SELECT count(*) FROM (SELECT n FROM generate_series(1, 200000) n ORDER BY n DESC OFFSET 0) s")
    async with connect_database(cloned_postgres) as database, database.snapshot(SERVICE) as snapshot:
        with pytest.raises(ServiceUnavailable) as raised:
            await snapshot.one(Statement(large, scalar(int)))
        assert f"ServiceUnavailable: {raised.value}" == REACH
        assert "ConfigurationLimitExceededError" in repr(raised.value.__cause__)
        assert await snapshot.one(Statement(sa.text("SELECT 1"), scalar(int))) == 1


async def _open_sqlite(options: DatabaseOptions) -> tuple[SqliteDatabase, User]:
    database = SqliteDatabase(options)
    await database.connect()
    return database, await make_user(database, first_name="Ada")


async def test_a_full_sqlite_file(sqlite_only: DatabaseOptions, caplog: pytest.LogCaptureFixture) -> None:
    """SQLite reports the largest allowed number of pages as it reports a full disk."""
    database, ada = await _open_sqlite(sqlite_only)
    assert database._writer is not None
    ((pages,),) = await database._writer.execute_fetchall("PRAGMA page_count")
    client = Gateway(database).client(ada)
    await database._writer.execute_fetchall(f"PRAGMA max_page_count = {pages}")
    while (await client.ask('mutation { createTask(input: {title: "Kept"}) { task { id } } }')).codes == []:
        pass
    count = (await client.data(_COUNT))["tasks"]["totalCount"]
    large = await client.ask(
        'mutation($d: String) { createTask(input: {title: "Lost", description: $d}) { task { id } } }', d="x" * 9_000
    )
    assert (large.data, large.codes) == ({"createTask": None}, ["SERVICE_UNAVAILABLE"])
    assert f"ServiceUnavailable: {large.errors[0]['message']}" == STORE
    assert "database or disk is full" in caplog.text
    assert await client.data(_COUNT) == {"tasks": {"totalCount": count}}
    await database._writer.execute_fetchall(f"PRAGMA max_page_count = {pages + 1000}")
    await client.do("createTask", "task { id }", title="Kept")
    assert await client.data(_COUNT) == {"tasks": {"totalCount": count + 1}}
    await database.close()


@contextmanager
def _limit(kind: int, value: int) -> Iterator[None]:
    """Lowers a limit of the operating system for this process."""
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (value, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


def _size_of_wal(options: DatabaseOptions) -> int:
    return Path(f"{options.sqlite_path}-wal").stat().st_size


@pytest.mark.usefixtures("cheap_passwords")
async def test_an_error_of_the_disk_under_sqlite(
    sqlite_only: DatabaseOptions, caplog: pytest.LogCaptureFixture
) -> None:
    """The operating system rejects writes beyond a size of the file."""
    database, ada = await _open_sqlite(sqlite_only)
    client = Gateway(database).client(ada)
    assert await client.data(_COUNT) == {"tasks": {"totalCount": 0}}
    with _limit(resource.RLIMIT_FSIZE, _size_of_wal(sqlite_only)):
        await _check_rejected(client, REACH, "disk I/O error", caplog)
        assert await client.data(_COUNT) == {"tasks": {"totalCount": 0}}
    await client.do("createTask", "task { id }", title="Kept")
    assert await client.data(_COUNT) == {"tasks": {"totalCount": 1}}
    await database.close()


async def test_no_file_can_be_opened_for_a_reader(
    sqlite_only: DatabaseOptions, caplog: pytest.LogCaptureFixture
) -> None:
    database, ada = await _open_sqlite(sqlite_only)
    client = Gateway(database).client(ada)
    assert await client.data("{ __typename }") == {"__typename": "Query"}  # the client imports what it needs
    with _limit(resource.RLIMIT_NOFILE, 3):
        answer = await client.ask("{ viewer { firstName } }")
    assert answer.codes == ["SERVICE_UNAVAILABLE"]
    assert "unable to open database file" in caplog.text
    assert database.pool_state().used == 0
    assert await client.data("{ viewer { firstName } }") == {"viewer": {"firstName": "Ada"}}
    await database.close()


def test_a_read_only_sqlite_file(sqlite_template: Path) -> None:
    """The gateway says at startup that it cannot use the file."""
    folder = Path(tempfile.mkdtemp())
    path = copy_sqlite(sqlite_template, folder)
    path.chmod(0o444)
    folder.chmod(0o555)
    user = os.geteuid()
    try:
        os.seteuid(_NOBODY if user == 0 else user)  # the superuser may write any file
        database = SqliteDatabase(DatabaseOptions(sqlite_path=path, **KEYS))
        with pytest.raises(ServiceUnavailable) as raised:
            asyncio.run(database.connect())
        assert isinstance(raised.value.__cause__, sqlite3.OperationalError)
    finally:
        os.seteuid(user)
        folder.chmod(0o755)
        shutil.rmtree(folder)
