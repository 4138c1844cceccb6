"""Edges: from a row to what belongs to it, without N+1.

    category = one(Categories.by_id, key=Task.category_id)
    tasks = pages(Tasks, column=Task.category_id, key=Category.id)

An edge is a batch method of a repository and the column that feeds it. All rows of a level are answered by one call of
the batch, through a dataloader that belongs to the request.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, Generic, TypeVar
from uuid import UUID

from repositories.kit.batch import Batch
from repositories.kit.errors import NotFound
from repositories.kit.filters import EVERYTHING, Filter, Order
from repositories.kit.page import Page, PageRequest
from repositories.kit.repository import Repository
from repositories.kit.table import Table
from resolvers.kit.connections import Connection
from resolvers.kit.context import Context, shielded
from resolvers.kit.loader import Loader

K = TypeVar("K")
V = TypeVar("V")
R = TypeVar("R", bound=Table)


class Edge(Generic[V]):
    """From a row to one value; ``missing`` makes the value of a key that the batch does not know."""

    def __init__(self, batch: Batch[Any, V], key: Any, missing: Callable[[], V]) -> None:
        self.batch = batch
        self.key = attrgetter(key.name)
        self.missing = missing

    async def load(self, context: Context, row: Table, **arguments: Any) -> V:
        """The value for one row; rows that ask in the same moment share a statement."""
        key = self.key(row)
        if key is None:
            return self.missing()
        return await load(context, self.batch, key, self.missing, **arguments)

    async def load_many(self, context: Context, rows: Sequence[Table], **arguments: Any) -> list[V | Exception]:
        """The values for all rows of a level, or the errors in their place."""
        return await load_many(context, self.batch, [*map(self.key, rows)], self.missing, **arguments)


def _loader(context: Context, batch: Batch[K, V], arguments: Mapping[str, Any]) -> Loader[K, V]:
    name = (batch.repository, batch.method, tuple(sorted(arguments.items())))
    loader: Loader[K, V] | None = context.loaders.get(name)
    if loader is None:
        loader = context.loaders[name] = Loader(lambda keys: batch(context.snapshot, keys, **arguments))
    return loader


async def load(context: Context, batch: Batch[K, V], key: K, missing: Callable[[], V], **arguments: Any) -> V:
    """The value of ``key``, through the request's loader for ``batch`` and ``arguments``."""
    values = await shielded(_loader(context, batch, arguments).ask(key))
    return values[key] if key in values else missing()


async def load_many(
    context: Context, batch: Batch[K, V], keys: Sequence[K | None], missing: Callable[[], V], **arguments: Any
) -> list[V | Exception]:
    """The values of ``keys``, or the errors in their place, through the same loader; None has no value."""
    loader = _loader(context, batch, arguments)
    asked = {key: loader.ask(key) for key in dict.fromkeys(keys) if key is not None}
    for task in set(asked.values()):
        if not task.done():
            await asyncio.wait((task,))
    values = {key: _value(task, key, missing) for key, task in asked.items()}
    return [missing() if key is None else values[key] for key in keys]


def _value(task: asyncio.Task[Mapping[K, V]], key: K, missing: Callable[[], V]) -> V | Exception:
    error = task.exception()
    if error is None:
        values = task.result()
        return values[key] if key in values else missing()
    if isinstance(error, Exception):
        return error
    raise error


def _none() -> None:
    """What is there for a key without a row."""


async def get(context: Context, repository: type[Repository[R]], key: UUID) -> R:
    """The row of an id, through the request's loader, or NotFound if there is none that the viewer may see."""
    row: R | None = await load(context, repository.by_id, key, _none)
    if row is None:
        raise NotFound.of(repository.what)
    return row


def one(batch: Batch[Any, V], *, key: Any) -> Edge[V | None]:
    """The edge to at most one row, None if there is none or the viewer may not see it."""
    return Edge(batch, key, _none)


class PagesEdge(Generic[R]):
    """From a row to a connection of the rows that refer to it."""

    def __init__(self, repository: type[Repository[R]], column: Any, key: Any) -> None:
        self._pages: Batch[Any, Page[R]] = Batch(repository, partial(_pages_of, column=column.name))
        self._counts: Batch[Any, int] = Batch(repository, partial(_counts_of, column=column.name))
        self.key = attrgetter(key.name)

    async def load(
        self,
        context: Context,
        row: Table,
        request: PageRequest,
        given: Filter = EVERYTHING,
        order: tuple[Order, ...] = (),
    ) -> Connection[R]:
        """One page of the row's connection."""
        key = self.key(row)
        page = await load(context, self._pages, key, _no_page, request=request, given=given, order=order)
        return self._connection(context, key, page, given)

    async def load_many(
        self,
        context: Context,
        rows: Sequence[Table],
        request: PageRequest,
        given: Filter = EVERYTHING,
        order: tuple[Order, ...] = (),
    ) -> list[Connection[R] | Exception]:
        """The pages of all rows of a level, or the errors in their place."""
        keys = [*map(self.key, rows)]
        found = await load_many(context, self._pages, keys, _no_page, request=request, given=given, order=order)
        return [
            page if isinstance(page, Exception) else self._connection(context, key, page, given)
            for key, page in zip(keys, found, strict=True)
        ]

    def _connection(self, context: Context, key: Any, page: Page[R], given: Filter) -> Connection[R]:
        return Connection(page, lambda: load(context, self._counts, key, int, given=given))


def _no_page() -> Page[Any]:
    return Page((), has_next=False, has_previous=False, cursor=str)


async def _pages_of(
    repository: Repository[Any], keys: Sequence[Any], *, column: str, **arguments: Any
) -> Mapping[Any, Any]:
    return await repository.pages_of(keys, column, **arguments)


async def _counts_of(
    repository: Repository[Any], keys: Sequence[Any], *, column: str, given: Filter
) -> Mapping[Any, int]:
    return await repository.counts_of(keys, column, given)


def pages(repository: type[Repository[R]], *, column: Any, key: Any) -> PagesEdge[R]:
    """The edge to the rows whose ``column`` is this row's ``key``, page by page."""
    return PagesEdge(repository, column, key)
