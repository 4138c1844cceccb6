"""uvicorn's HTTP protocol with a send timeout, and with a signal that ends event streams when the server stops."""

import logging

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.server.send_timeout import SendTimeout

log = logging.getLogger(__name__)

STOP = "stop"
"""The key in the lifespan state for a function that the protocol calls when the server stops."""


class HTTPProtocol(SendTimeout, HttpToolsProtocol):
    def on_send_timeout(self, timeout: float) -> None:
        log.warning("An HTTP client read none of its response for %g seconds. Its connection was closed.", timeout)
        self.transport.abort()

    def shutdown(self) -> None:
        """Finishes the current response. An event stream would never finish, so the application must end it."""
        super().shutdown()
        self.app_state.get(STOP, _do_nothing)()


def _do_nothing() -> None:
    pass
