"""The lock that one process holds while it migrates a database. A killed process releases it too.

On PostgreSQL it is an advisory lock in a transaction of a second connection, because PgBouncer in transaction mode
gives each transaction another session. On SQLite it is an exclusive transaction on an empty file ``….lock`` beside the
database, as for jobs (repositories/engines/sqlite.py).
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import sqlalchemy as sa

_KEY = 0x5150_6D69_6772
"""The advisory lock's key, which other applications are unlikely to use."""

_WITHOUT_TIMEOUTS = (
    "SELECT set_config('idle_in_transaction_session_timeout', '0', true), set_config('statement_timeout', '0', true),"
    " set_config('lock_timeout', '0', true)"
)

_RETRY_INTERVAL = 0.1


@contextmanager
def hold_migration_lock(connection: sa.Connection, on_wait: Callable[[], None]) -> Iterator[None]:
    """Holds the lock for the block. If it is not free, calls ``on_wait`` once and waits for it."""
    if connection.dialect.name == "postgresql":
        lock = _hold_advisory_lock(connection.engine, on_wait)
    else:
        path = Path(str(connection.engine.url.database))
        lock = _hold_file_lock(path.with_name(f"{path.name}-migrate.lock"), on_wait)
    with lock:
        yield


@contextmanager
def _hold_advisory_lock(engine: sa.Engine, on_wait: Callable[[], None]) -> Iterator[None]:
    with engine.connect() as holder:
        holder.exec_driver_sql(_WITHOUT_TIMEOUTS)
        if not holder.exec_driver_sql(f"SELECT pg_try_advisory_xact_lock({_KEY})").scalar():
            on_wait()
            holder.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_KEY})")
        yield


@contextmanager
def _hold_file_lock(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Polls, because a signal cannot interrupt SQLite's own waiting."""
    path.touch(mode=0o600)
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as holder:
        is_waiting = False
        while True:
            try:
                holder.execute("BEGIN EXCLUSIVE")
                break
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                    raise
            if not is_waiting:
                is_waiting = True
                on_wait()
            time.sleep(_RETRY_INTERVAL)
        yield
