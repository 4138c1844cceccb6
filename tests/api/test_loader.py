"""Loaders: one statement for all who ask in the same moment, and nobody's error or haste is another's."""

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
    """Doubles numbers, is slow until told to go on, and notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.was_asked = asyncio.Event()
        self.go_on = asyncio.Event()

    async def answer(self, keys: list[int]) -> list[int]:
        """For a loader."""
        self.asked.append(keys)
        self.was_asked.set()
        await self.go_on.wait()
        if 13 in keys:
            message = "not this one"
            raise ValueError(message)
        return [2 * key for key in keys]


async def test_one_batch_for_a_moment_and_each_key_once() -> None:
    """Also for who comes while a batch is on its way."""
    doubles = Doubles()
    loader: Loader[int, int] = Loader(doubles.answer)
    first, second, again = loader.load(1), loader.load(2), loader.load(1)
    assert first is again
    await doubles.was_asked.wait()
    later = loader.load(3)
    assert loader.load(2) is second
    doubles.go_on.set()
    assert [await first, await second, await later] == [2, 4, 6]
    assert loader.load(1) is first
    assert doubles.asked == [[1, 2], [3]]


async def test_a_step_behind_is_the_same_moment() -> None:
    """Resolvers are tasks within tasks."""
    doubles = Doubles()
    doubles.go_on.set()
    loader: Loader[int, int] = Loader(doubles.answer)

    async def asks(key: int) -> int:
        return await loader.load(key)

    async def asks_in_a_task(key: int) -> int:
        return await asyncio.create_task(asks(key))

    assert [*await asyncio.gather(asks(1), asks_in_a_task(2))] == [2, 4]
    assert doubles.asked == [[1, 2]]


async def test_who_leaves_takes_nothing_from_others() -> None:
    """A cancelled field does not cancel the batch that it shares."""
    doubles = Doubles()
    loader: Loader[int, int] = Loader(doubles.answer)
    leaving, staying = (asyncio.create_task(await_shared(loader.load(key))) for key in (1, 2))
    await doubles.was_asked.wait()
    leaving.cancel()
    doubles.go_on.set()
    assert await staying == 4
    assert leaving.cancelled()


async def test_the_keys_of_a_failed_batch_can_be_asked_for_again() -> None:
    """The error is everybody's who asked with it, and nobody's afterwards."""
    doubles = Doubles()
    doubles.go_on.set()
    loader: Loader[int, int] = Loader(doubles.answer)
    for asked in [loader.load(7), loader.load(13)]:
        with pytest.raises(ValueError, match="not this one"):
            await await_shared(asked)
    assert await loader.load(7) == 14


async def test_a_row_and_a_level_share_a_statement(database: Database, statements: list[str]) -> None:
    """The values stand where their rows stand; a row without a key costs nothing, and nothing is read twice."""
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


async def test_an_error_stands_in_the_place_of_each_value_that_it_cost(database: Database) -> None:
    """What needs no value has none."""
    ada = await make_user(database)
    work = await make_category(database, ada)
    tasks = [await make_task(database, ada, category_id=key) for key in (work.id, None)]
    context = Context(database, viewer_of(ada), ())
    await context.close()
    refused, nothing = await one(Categories.by_id, key=Task.category_id).load_many(context, tasks)
    assert isinstance(refused, ServiceUnavailable)
    assert nothing is None
