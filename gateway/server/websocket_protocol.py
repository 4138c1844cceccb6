"""uvicorn's WebSockets, except that nobody is waited for who does not read: ASGI has no word for that.

uvicorn closes a connection when all that was written to it has been read, which may be never.
"""

import asyncio
import logging
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from gateway.server.send_timeout import SendTimeout

log = logging.getLogger(__name__)

_MOMENT = 1.0
"""Seconds for who was cut off to read why, and for the last frames at the end of the process."""
_TOO_LARGE = 1009
_MOST_FRAGMENTS = 1000
"""Of a message; each costs the time and memory of a message, however small it is."""
_TRY_AGAIN_LATER = 1013
"""After 1011, which uvicorn sends, clients such as graphql-ws never come back."""


class SocketProtocol(SendTimeout, WebSocketsSansIOProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._is_lost = False

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._is_lost = True
        super().connection_lost(exc)

    def give_up(self, patience: float) -> None:
        """The application is told at once."""
        log.warning("A WebSocket client read nothing for %g seconds and was cut off.", patience)
        if self.close_sent or self.transport.is_closing():
            self._abort()
        else:
            self._cut_off("You have not read for too long. Connect anew, and go on from the last event that arrived.")

    def handle_cont(self, event: Frame) -> None:
        """The next part of a message."""
        if self.close_sent:
            return
        if len(self.frames) < _MOST_FRAGMENTS:
            super().handle_cont(event)
        else:
            self._cut_off(f"A message may have {_MOST_FRAGMENTS} fragments at most.", _TOO_LARGE)

    def handle_ping(self) -> None:
        """A pong, unless so many are waiting to be read already; one for many pings is enough."""
        if self._full is None:
            super().handle_ping()
        else:
            self.conn.data_to_send()

    def keepalive_timeout(self) -> None:
        """No pong came in time."""
        if not self.close_sent and not self.transport.is_closing():
            self._cut_off("Pings were not answered in time.")

    def shutdown(self) -> None:
        """The process ends."""
        super().shutdown()
        self.loop.call_later(_MOMENT, self._abort)

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """The application is done with it; what is left is a handshake."""
        super().on_task_complete(task)
        if not self._is_lost:
            self.loop.call_later(self.close_timeout + _MOMENT, self._abort)

    def _abort(self) -> None:
        """Whatever was not read by now is thrown away."""
        if not self._is_lost:
            self.transport.abort()

    def _cut_off(self, reason: str, code: int = _TRY_AGAIN_LATER) -> None:
        """Ends it for the application at once; who reads on within a moment learns why."""
        self.stop_keepalive()
        self.conn.fail(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.transport.close()
        self.loop.call_later(_MOMENT, self._abort)
        self.close_sent = self.disconnected = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.writable.set()
