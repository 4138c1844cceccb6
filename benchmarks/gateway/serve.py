"""Serves like `siso serve`, but with a clock that is fixed at the time of the rig's data."""

import datetime as dt
import socket
import sys

from gateway.server.process import AppFactory, serve
from gateway.settings import load_settings

NOW = dt.datetime(2026, 6, 15, 12, tzinfo=dt.UTC)


def _fixed_clock() -> dt.datetime:
    return NOW


def main(port: int, pool_size: int) -> None:
    settings = load_settings().model_copy(update={"database_pool_size": pool_size})
    with socket.create_server(("127.0.0.1", port), backlog=2048) as listener:
        serve(AppFactory(settings, clock=_fixed_clock), listener, lambda: None)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
