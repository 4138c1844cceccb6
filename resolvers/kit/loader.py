"""A dataloader: all keys that are asked for in the same moment are answered by one statement."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Loader(Generic[K, V]):
    """Answers keys in batches, and each key once; if a batch fails, its keys may be asked for again.

    A batch is one task with one result, however many keys it has, which is what makes this faster than a library with a
    future for each key. Nobody cancels it by leaving, because others may wait for it too.
    """

    def __init__(self, answer: Callable[[list[K]], Awaitable[Mapping[K, V]]]) -> None:
        self._answer = answer
        self._batches: dict[K, asyncio.Task[Mapping[K, V]]] = {}
        self._next: asyncio.Task[Mapping[K, V]] | None = None
        self._keys: list[K] = []

    def ask(self, key: K) -> asyncio.Task[Mapping[K, V]]:
        """The batch that answers the key, among others; to be awaited shielded."""
        batch = self._batches.get(key)
        if batch is None:
            if self._next is None:
                self._next = asyncio.create_task(self._run())
            batch = self._batches[key] = self._next
            self._keys.append(key)
        return batch

    async def _run(self) -> Mapping[K, V]:
        await asyncio.sleep(0)  # not all that starts together asks in the same turn of the loop
        keys, self._keys, self._next = self._keys, [], None
        try:
            return await self._answer(keys)
        except BaseException:
            for key in keys:
                del self._batches[key]
            raise
