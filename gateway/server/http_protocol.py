"""uvicorn's HTTP, except that nobody is waited for who does not read, and that answers without an end learn of it."""

import logging

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.server.send_timeout import SendTimeout

log = logging.getLogger(__name__)

STOP = "stop"
"""Under this name the application's lifespan hands over what is to be called when the server is told to stop."""


class HTTPProtocol(SendTimeout, HttpToolsProtocol):
    """One connection. Sending to who does not read would wait for ever, and closing the connection as long."""

    def give_up(self, patience: float) -> None:
        """What is left of the answer is thrown away."""
        log.warning("A client read nothing of its answer for %g seconds and was cut off.", patience)
        self.transport.abort()

    def shutdown(self) -> None:
        """The server was told to stop: this connection has its last answer, which may have to be ended."""
        super().shutdown()
        self.app_state.get(STOP, _nothing)()


def _nothing() -> None:
    """Where nobody wants to know."""
