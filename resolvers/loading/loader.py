"""The dataloader of a request: aiodataloader's, but with one task per batch instead of two."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import aiodataloader

K = TypeVar("K")
V = TypeVar("V")


def _identity(key: Any) -> Any:
    return key


class Loader(aiodataloader.DataLoader[K, V]):
    """Loads keys that are requested at the same time in one batch. ``load_batch`` returns the values in their order."""

    def __init__(self, load_batch: Callable[[list[K]], Coroutine[Any, Any, list[V]]]) -> None:
        """Sets what the library's own method sets, without its checks of the arguments."""
        self.loop = asyncio.get_running_loop()
        self.batch_load_fn = load_batch
        self.get_cache_key = _identity
        self._cache = {}
        self._queue = []

    def do_resolve_reject(self, key: K, future: asyncio.Future[V]) -> None:
        """Adds a key to the next batch. The library calls this for a key that has not been loaded yet."""
        self._queue.append(aiodataloader.Loader(key=key, future=future))
        if len(self._queue) == 1:
            self._dispatching = self.loop.create_task(self._dispatch())

    async def _dispatch(self) -> None:
        """Loads all keys that are requested before the second next iteration of the event loop, as the library does.

        Resolvers that run as tasks of tasks request their keys one iteration later.
        """
        await asyncio.sleep(0)
        queue, self._queue = self._queue, []
        await aiodataloader.dispatch_queue_batch(self, queue)
