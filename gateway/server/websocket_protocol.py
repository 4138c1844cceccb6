"""uvicorn's WebSocket protocol with a send timeout, a limit on fragments, and a close code that lets clients reconnect.

uvicorn closes a connection after the client has read everything, which may never happen. ASGI has no message for it.
"""

import asyncio
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import orjson
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.http11 import Response
from websockets.server import ServerProtocol

from gateway.server.send_timeout import SendTimeout
from gateway.transport.error_responses import RequestRejected

log = logging.getLogger(__name__)

_CLOSE_TIMEOUT = 1.0
"""Seconds that a client has to read the close frame before the connection is aborted."""
_MESSAGE_TOO_BIG = 1009
_MAX_FRAGMENTS = 1000
"""Per message. Each fragment costs the time and memory of a whole message, however small it is."""
_TRY_AGAIN_LATER = 1013
"""Clients such as graphql-ws reconnect after 1013, but never after 1011, which uvicorn sends."""


class _Handshakes(ServerProtocol):
    """Rejects a handshake that is not valid with the shape of all errors."""

    def reject(self, status: int, text: str) -> Response:
        code = "METHOD_NOT_ALLOWED" if status == HTTPStatus.METHOD_NOT_ALLOWED else "BAD_REQUEST"
        error = RequestRejected(status, code, text.partition("\n")[0]).error
        response = super().reject(status, orjson.dumps({"errors": [error]}).decode())
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = "application/json; charset=utf-8"
        return response


class SocketProtocol(SendTimeout, WebSocketsSansIOProtocol):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = _Handshakes(max_size=self.config.ws_max_size, logger=self.logger)
        self._is_lost = False
        self._abort_timers: list[asyncio.TimerHandle] = []
        self.on_connection_lost: Callable[[], None] | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        for timer in self._abort_timers:
            timer.cancel()  # a timer holds this object and its unread messages
        super().connection_lost(exc)
        if self.on_connection_lost is not None:
            self.on_connection_lost()

    def on_send_timeout(self, timeout: float) -> None:
        log.warning("A WebSocket client read nothing for %g seconds. Its connection was closed.", timeout)
        if self.close_sent or self.transport.is_closing():
            self._abort()
        else:
            self._disconnect(
                "The client read nothing for too long. Reconnect and resume after the last event received."
            )

    async def send(self, message: Any) -> None:
        """Sends a message, and waits until the client has read enough for the next one."""
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True  # otherwise uvicorn logs the rejection as a fault of the application
        await self.writable.wait()

    def handle_cont(self, event: Frame) -> None:
        """Handles the next fragment of a message."""
        if self.close_sent:
            return
        if len(self.frames) < _MAX_FRAGMENTS:
            super().handle_cont(event)
        else:
            self._disconnect(f"A message must not have more than {_MAX_FRAGMENTS} fragments.", _MESSAGE_TOO_BIG)

    def handle_ping(self) -> None:
        """Discards the pong if the write buffer is full, so that a client that never reads cannot fill the memory."""
        if self.is_write_buffer_full:
            self.conn.data_to_send()
        else:
            super().handle_ping()

    def keepalive_timeout(self) -> None:
        if not self.close_sent and not self.transport.is_closing():
            self._disconnect("The client did not answer pings in time.")

    def shutdown(self) -> None:
        super().shutdown()
        self._abort_after(_CLOSE_TIMEOUT)

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """Limits the time of the closing handshake after the application has finished."""
        super().on_task_complete(task)
        self._abort_after(self.close_timeout + _CLOSE_TIMEOUT)

    def _abort_after(self, seconds: float) -> None:
        if not self._is_lost:
            self._abort_timers.append(self.loop.call_later(seconds, self._abort))

    def _abort(self) -> None:
        """Closes the connection and discards what the client has not read."""
        if not self._is_lost:
            self.transport.abort()

    def _disconnect(self, reason: str, code: int = _TRY_AGAIN_LATER) -> None:
        """Ends the connection for the application at once, and leaves the client time to read the close frame."""
        self.stop_keepalive()
        self.conn.fail(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.transport.close()
        self._abort_after(_CLOSE_TIMEOUT)
        self.close_sent = self.disconnected = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.writable.set()
