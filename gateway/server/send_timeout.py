"""What uvicorn's connections lack: nobody is waited for who does not read, because that may be for ever."""

import asyncio
from abc import abstractmethod
from typing import Any


class SendTimeout(asyncio.Protocol):
    """Comes before a class of uvicorn's. ``patience`` is how many seconds a client may take nothing of what waits."""

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop

    def __init__(self, *arguments: Any, patience: float, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._patience = patience
        self._full: asyncio.TimerHandle | None = None

    @abstractmethod
    def give_up(self, patience: float) -> None:
        """The client has taken nothing for so many seconds."""

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

    def _look_after(self, waiting: int) -> None:
        self._full = self.loop.call_later(self._patience, self._look, waiting)

    def _look(self, waited: int) -> None:
        """Slow is who takes something at least; what is large may take long."""
        waiting = self.transport.get_write_buffer_size()
        if waiting < waited:
            self._look_after(waiting)
        else:
            self.give_up(self._patience)

    def _forget(self) -> None:
        if self._full is not None:
            self._full.cancel()
            self._full = None
