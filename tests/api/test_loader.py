"""Loaders: one statement for all keys that are requested together; cancellations and errors stay isolated."""

import asyncio

import pytest

from repositories.core.errors import ServiceUnavailable
from repositories.engines.database import Database
from repositories.life_lock.categories import Categories
from repositories.tables.life_lock import Task
from resolvers.loading.edges import one
from resolvers.loading.loader import Loader
from resolvers.request.context import Context, await_shared
from tests.factories import make_category, make_task, make_user, viewer_of


class Doubles:
    """A batch function that doubles numbers, waits for ``go_on``, and records its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.has_started = asyncio.Event()
        self.go_on = asyncio.Event()

    async def load_batch(self, keys: list[int]) -> list[int]:
        self.batches.append(keys)
        self.has_started.set()
        await self.go_on.wait()
        if 13 in keys:
            message = "not this one"
            raise ValueError(message)
        return [2 * key for key in keys]


async def test_concurrent_keys_are_one_batch_and_each_key_is_loaded_once() -> None:
    """A key that is requested while its batch is being loaded is not loaded again."""
    doubles = Doubles()
    loader: Loader[int, int] = Loader(doubles.load_batch)
    first, second, again = loader.load(1), loader.load(2), loader.load(1)
    assert first is again
    await doubles.has_started.wait()
    later = loader.load(3)
    assert loader.load(2) is second
    doubles.go_on.set()
    assert [await first, await second, await later] == [2, 4, 6]
    assert loader.load(1) is first
    assert doubles.batches == [[1, 2], [3]]


async def test_keys_of_nested_tasks_join_the_batch() -> None:
    """Resolvers may run as tasks of tasks."""
    doubles = Doubles()
    doubles.go_on.set()
    loader: Loader[int, int] = Loader(doubles.load_batch)

    async def request(key: int) -> int:
        return await loader.load(key)

    async def request_in_a_task(key: int) -> int:
        return await asyncio.create_task(request(key))

    assert [*await asyncio.gather(request(1), request_in_a_task(2))] == [2, 4]
    assert doubles.batches == [[1, 2]]


async def test_a_cancelled_request_does_not_affect_others() -> None:
    """A cancelled field does not cancel the batch that it shares with others."""
    doubles = Doubles()
    loader: Loader[int, int] = Loader(doubles.load_batch)
    cancelled, other = (asyncio.create_task(await_shared(loader.load(key))) for key in (1, 2))
    await doubles.has_started.wait()
    cancelled.cancel()
    doubles.go_on.set()
    assert await other == 4
    assert cancelled.cancelled()


async def test_the_keys_of_a_failed_batch_can_be_loaded_again() -> None:
    """All keys of the batch get the error, and a later request loads them again."""
    doubles = Doubles()
    doubles.go_on.set()
    loader: Loader[int, int] = Loader(doubles.load_batch)
    for future in [loader.load(7), loader.load(13)]:
        with pytest.raises(ValueError, match="not this one"):
            await await_shared(future)
    assert await loader.load(7) == 14


async def test_load_and_load_many_share_a_statement(database: Database, statements: list[str]) -> None:
    """Values are in the order of the rows. A row without a key causes no query, and no key is read twice."""
    ada = await make_user(database)
    home, work = await make_category(database, ada), await make_category(database, ada)
    tasks = [await make_task(database, ada, category_id=key) for key in (work.id, None, home.id, work.id)]
    category = one(Categories.by_id, key=Task.category_id)
    context = Context(database, viewer_of(ada), ())
    statements.clear()
    try:
        single, level = await asyncio.gather(category.load(context, tasks[2]), category.load_many(context, tasks))
        again = await category.load_many(context, tasks)
        nothing = await category.load(context, tasks[1])
    finally:
        await context.close()
    assert (single, nothing) == (home, None)
    assert level == again == [work, None, home, work]
    assert len([text for text in statements if text.startswith("SELECT categories")]) == 1


async def test_load_many_returns_errors_in_the_place_of_values(database: Database) -> None:
    """A row without a key has the default value."""
    ada = await make_user(database)
    work = await make_category(database, ada)
    tasks = [await make_task(database, ada, category_id=key) for key in (work.id, None)]
    context = Context(database, viewer_of(ada), ())
    await context.close()
    error, default = await one(Categories.by_id, key=Task.category_id).load_many(context, tasks)
    assert isinstance(error, ServiceUnavailable)
    assert default is None
