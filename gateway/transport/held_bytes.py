"""Limits the bytes of responses that one viewer's clients have not read yet, over all connections to this process."""

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from repositories.core.errors import RateLimited
from repositories.core.viewer import Viewer

WRITE_BUFFER = 64 * 1024
"""Bytes that the server writes to a connection before it waits for the client. Smaller responses are not counted,
because the number of connections limits them."""

_UNCOUNTED = nullcontext()


class HeldBytes:
    """Counts each large response from when it is encoded until the client has read it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: Counter[Hashable] = Counter()

    def of(self, key: Hashable) -> int:
        """The bytes that a viewer's clients have not read."""
        return self._held[key]

    def hold(self, viewer: Viewer, size: int) -> AbstractContextManager[None]:
        """Counts ``size`` bytes while the block sends them; RateLimited if the viewer holds too many others."""
        return _UNCOUNTED if size <= WRITE_BUFFER else self._count(viewer, size)

    @contextmanager
    def _count(self, viewer: Viewer, size: int) -> Iterator[None]:
        key, held = viewer.key, self._held[viewer.key]
        if held and held + size > self._limit:
            message = (
                f"The operation was carried out, but its response was dropped: {held:,} bytes of your responses wait "
                f"to be read, and the limit is {self._limit:,}. Read them first."
            )
            raise RateLimited(1, message)
        self._held[key] += size
        try:
            yield
        finally:
            self._held[key] -= size
            if not self._held[key]:
                del self._held[key]
