"""The dataloader of a request: aiodataloader's, with one task for a batch where it takes three turns and two tasks."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import aiodataloader

K = TypeVar("K")
V = TypeVar("V")


def _same(key: Any) -> Any:
    return key


class Loader(aiodataloader.DataLoader[K, V]):
    """All keys that are asked for in the same moment are answered by one batch."""

    def __init__(self, answer: Callable[[list[K]], Coroutine[Any, Any, list[V]]]) -> None:
        """Sets what the library's own sets, without looking at what is known here."""
        self.loop = asyncio.get_running_loop()
        self.batch_load_fn = answer
        self.get_cache_key = _same
        self._cache = {}
        self._queue = []

    def do_resolve_reject(self, key: K, future: asyncio.Future[V]) -> None:
        """Puts a key into the next batch; the library calls this for a key that is not known."""
        self._queue.append(aiodataloader.Loader(key=key, future=future))
        if len(self._queue) == 1:
            self._dispatching = self.loop.create_task(self._dispatch())

    async def _dispatch(self) -> None:
        """Answers the keys that were asked for until the next turn of the loop but one, as the library would."""
        await asyncio.sleep(0)
        queue, self._queue = self._queue, []
        await aiodataloader.dispatch_queue_batch(self, queue)
