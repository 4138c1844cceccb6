"""Edges: from a row to what belongs to it, without N+1.

    category = one(Categories.by_id, key=Task.category_id)
    tasks = pages(Tasks, column=Task.category_id, key=Category.id)

An edge is a batch method of a repository and the column that feeds it. All rows of a level are answered by one call of
the batch, through a dataloader that belongs to the request.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar
from uuid import UUID

from repositories.aggregates.batch import Batch
from repositories.aggregates.repository import Repository
from repositories.core.errors import NotFound
from repositories.sql.filters import NO_FILTER, Filter, Order
from repositories.sql.page import Page, PageRequest
from repositories.sql.table import Table
from resolvers.loading.loader import Loader
from resolvers.request.context import Context, await_shared

K = TypeVar("K")
V = TypeVar("V")
R = TypeVar("R", bound=Table)


@dataclass(frozen=True, slots=True)
class Connection(Generic[R]):
    """One page of a list; ``total`` counts the whole list, and only when it is asked for."""

    page: Page[R]
    total: Callable[[], Awaitable[int]]


async def listing(
    context: Context,
    repository: type[Repository[R]],
    request: PageRequest,
    given: Filter = NO_FILTER,
    order: tuple[Order, ...] = (),
) -> Connection[R]:
    """One page of everything in a repository that the viewer may see and the filter lets through."""
    page = await repository(context.snapshot).page(request, given, order)
    return Connection(page, lambda: repository(context.snapshot).count(given))


class Edge(Generic[V]):
    """From a row to one value; ``missing`` makes the value of a key that the batch does not know."""

    def __init__(self, batch: Batch[Any, V], key: Any, missing: Callable[[], V]) -> None:
        self.batch = batch
        self.key: str = key.name
        self.missing = missing

    async def load(self, context: Context, row: Table, **arguments: Any) -> V:
        """The value for one row; rows that ask in the same moment share a statement."""
        key = getattr(row, self.key)
        if key is None:
            return self.missing()
        return await load(context, self.batch, key, self.missing, **arguments)

    async def load_many(self, context: Context, rows: Sequence[Table], **arguments: Any) -> list[V | Exception]:
        """The values for all rows of a level, or the errors in their place."""
        keys = [getattr(row, self.key) for row in rows]
        return await load_many(context, self.batch, keys, self.missing, **arguments)


def _loader(
    context: Context, batch: Batch[K, V], missing: Callable[[], V], arguments: Mapping[str, Any]
) -> Loader[K, V]:
    name = (batch.repository, batch.method, tuple(sorted(arguments.items())) if arguments else ())
    loader: Loader[K, V] | None = context.loaders.get(name)
    if loader is None:
        answer = partial(_answer, context, batch, missing, arguments)
        loader = context.loaders[name] = Loader(answer)
    return loader


async def load(context: Context, batch: Batch[K, V], key: K, missing: Callable[[], V], **arguments: Any) -> V:
    """The value of ``key``, through the request's loader for ``batch`` and ``arguments``."""
    return await await_shared(_loader(context, batch, missing, arguments).load(key))


async def load_many(
    context: Context, batch: Batch[K, V], keys: Sequence[K | None], missing: Callable[[], V], **arguments: Any
) -> list[V | Exception]:
    """The values of ``keys``, or the errors in their place, through the same loader; None has no value."""
    loader = _loader(context, batch, missing, arguments)
    futures = {key: loader.load(key) for key in dict.fromkeys(keys) if key is not None}
    for future in futures.values():
        if not future.done():
            await asyncio.wait((future,))
    values = {key: _outcome(future) for key, future in futures.items()}
    return [missing() if key is None else values[key] for key in keys]


def _outcome(future: asyncio.Future[Any]) -> Any:
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, Exception):
        return error
    raise error


def _none() -> None:
    """What is there for a key without a row."""


async def get(context: Context, repository: type[Repository[R]], key: UUID) -> R:
    """The row of an id, through the request's loader, or NotFound if there is none that the viewer may see."""
    row: R | None = await load(context, repository.by_id, key, _none)
    if row is None:
        raise NotFound.of(repository.noun)
    return row


async def _answer(
    context: Context, batch: Batch[K, V], missing: Callable[[], V], arguments: Mapping[str, Any], keys: list[K]
) -> list[V]:
    values = await batch(context.snapshot, keys, **arguments)
    return [values[key] if key in values else missing() for key in keys]


def one(batch: Batch[Any, V], *, key: Any) -> Edge[V | None]:
    """The edge to at most one row, None if there is none or the viewer may not see it."""
    return Edge(batch, key, _none)


class PagesEdge(Generic[R]):
    """From a row to a connection of the rows that refer to it."""

    def __init__(self, repository: type[Repository[R]], column: Any, key: Any) -> None:
        self._pages: Batch[Any, Page[R]] = Batch(repository, partial(_pages_of, column=column.name))
        self._counts: Batch[Any, int] = Batch(repository, partial(_counts_of, column=column.name))
        self.key: str = key.name

    async def load(
        self,
        context: Context,
        row: Table,
        request: PageRequest,
        given: Filter = NO_FILTER,
        order: tuple[Order, ...] = (),
    ) -> Connection[R]:
        """One page of the row's connection."""
        key = getattr(row, self.key)
        page = await load(context, self._pages, key, _no_page, request=request, where=given, order=order)
        return self._connection(context, key, page, given)

    async def load_many(
        self,
        context: Context,
        rows: Sequence[Table],
        request: PageRequest,
        given: Filter = NO_FILTER,
        order: tuple[Order, ...] = (),
    ) -> list[Connection[R] | Exception]:
        """The pages of all rows of a level, or the errors in their place."""
        keys = [getattr(row, self.key) for row in rows]
        found = await load_many(context, self._pages, keys, _no_page, request=request, where=given, order=order)
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
