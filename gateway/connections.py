"""uvicorn's HTTP, except that nobody is waited for who does not read, and that answers without an end learn of it."""

import asyncio
import logging
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

log = logging.getLogger("gateway.connections")

STOP = "stop"
"""Under this name the application's lifespan hands over what is to be called when the server is told to stop."""


class HTTPProtocol(HttpToolsProtocol):
    """One connection. ``patience`` is how many seconds its client may take nothing of what is waiting for it.

    Without that, sending to who does not read would wait for ever, and closing the connection as long.
    """

    def __init__(self, *arguments: Any, patience: float, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._patience = patience
        self._full: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        """So much is waiting to be read that whoever sends more has to wait."""
        super().pause_writing()
        self._look_after(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """The client reads."""
        self._forget()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._forget()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The server was told to stop: this connection has its last answer, which may have to be ended."""
        super().shutdown()
        self.app_state.get(STOP, _nothing)()

    def _look_after(self, waiting: int) -> None:
        self._full = self.loop.call_later(self._patience, self._look, waiting)

    def _look(self, waited: int) -> None:
        """Slow is who takes something at least; a large answer may take long."""
        waiting = self.transport.get_write_buffer_size()
        if waiting < waited:
            self._look_after(waiting)
            return
        log.warning("A client read nothing of its answer for %g seconds and was cut off.", self._patience)
        self.transport.abort()

    def _forget(self) -> None:
        if self._full is not None:
            self._full.cancel()
            self._full = None


def _nothing() -> None:
    """Where nobody wants to know."""
