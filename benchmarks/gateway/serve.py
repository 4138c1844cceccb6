"""Serves as `siso serve` does, at the moment around which the rig's data is set."""

import datetime as dt
import socket
import sys

from gateway.server.process import AppFactory, serve
from gateway.settings import load_settings

NOW = dt.datetime(2026, 6, 15, 12, tzinfo=dt.UTC)


def _at_that_moment() -> dt.datetime:
    return NOW


def main(port: int, pool_size: int) -> None:
    """Until it is told to stop."""
    settings = load_settings().model_copy(update={"database_pool_size": pool_size})
    with socket.create_server(("127.0.0.1", port), backlog=2048) as listener:
        serve(AppFactory(settings, clock=_at_that_moment), listener, lambda: None)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
