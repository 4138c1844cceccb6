"""Disconnects clients that stop reading. Without this, uvicorn could wait for them forever."""

import asyncio
from abc import abstractmethod
from typing import Any


class SendTimeout(asyncio.Protocol):
    """A mixin that comes before a protocol class of uvicorn.

    Calls :meth:`on_send_timeout` if the write buffer is full and the client reads nothing for ``send_timeout`` seconds.
    """

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop

    def __init__(self, *args: Any, send_timeout: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._send_timeout = send_timeout
        self._send_timer: asyncio.TimerHandle | None = None

    @abstractmethod
    def on_send_timeout(self, timeout: float) -> None: ...

    @property
    def is_write_buffer_full(self) -> bool:
        return self._send_timer is not None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start_timer(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self._cancel_timer()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timer()
        super().connection_lost(exc)

    def _start_timer(self, buffer_size: int) -> None:
        self._send_timer = self.loop.call_later(self._send_timeout, self._check_progress, buffer_size)

    def _check_progress(self, last_size: int) -> None:
        """A client that reads slowly is not disconnected: the timer restarts if the buffer has become smaller."""
        buffer_size = self.transport.get_write_buffer_size()
        if buffer_size < last_size:
            self._start_timer(buffer_size)
        else:
            self.on_send_timeout(self._send_timeout)

    def _cancel_timer(self) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None
