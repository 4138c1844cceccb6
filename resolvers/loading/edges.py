"""Edges: from a row to related rows, without N+1 queries.

    author = one(Users.by_id, key=Note.user_id)
    notes = pages(Notes, column=Note.user_id, key=User.id)

An edge consists of a batch method of a repository and the column with its keys. All rows of a level are loaded by one
call of the batch method, through a dataloader of the request.
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
from repositories.sql.filters import NO_FILTER, Filter, Scoped, SortKey
from repositories.sql.page import Page, PageRequest
from repositories.sql.table import Table
from resolvers.loading.loader import Loader
from resolvers.request.context import Context, await_shared

K = TypeVar("K")
V = TypeVar("V")
R = TypeVar("R", bound=Table)


@dataclass(frozen=True, slots=True)
class Connection(Generic[R]):
    """One page of a list.

    ``total`` counts the whole list, and ``has_rows_behind`` tells what the page itself does not know (None in its
    ``has_next`` or ``has_previous``). ``groups`` counts the rows of the whole list by the values of a column. Each is a
    statement, which is executed only if the field is requested.
    """

    page: Page[R]
    total: Callable[[], Awaitable[int]]
    has_rows_behind: Callable[[], Awaitable[bool]]
    groups: Callable[[str], Awaitable[list[tuple[Any, int]]]]


async def load_connection(  # noqa: PLR0913 (the parts of one list)
    context: Context,
    repository: type[Repository[R]],
    request: PageRequest,
    where: Filter = NO_FILTER,
    order: tuple[SortKey, ...] = (),
    *,
    within: Filter = NO_FILTER,
) -> Connection[R]:
    """One page of the rows of a repository that the viewer may see and that pass the filter.

    ``within`` is a condition that the client does not choose, so that its cursors do not depend on it.
    """
    page = await repository(context.snapshot).page(request, where, order, within)
    both = where if within is NO_FILTER else Scoped((within, where))
    return Connection(
        page,
        lambda: repository(context.snapshot).count(both),
        lambda: repository(context.snapshot).has_rows_behind(request, where, order, within),
        lambda by: repository(context.snapshot).groups(by, both),
    )


class Edge(Generic[V]):
    """From a row to one value. ``default_factory`` makes the value of a key for which the batch has none."""

    def __init__(self, batch: Batch[Any, V], key: Any, default_factory: Callable[[], V]) -> None:
        self.batch = batch
        self.key: str = key.name
        self.default_factory = default_factory

    async def load(self, context: Context, row: Table, **arguments: Any) -> V:
        """The value for one row. Rows that are loaded at the same time share a statement."""
        key = getattr(row, self.key)
        if key is None:
            return self.default_factory()
        return await load(context, self.batch, key, self.default_factory, **arguments)

    async def load_many(self, context: Context, rows: Sequence[Table], **arguments: Any) -> list[V | Exception]:
        """The values for all rows of a level, with errors in the place of values that could not be loaded."""
        keys = [getattr(row, self.key) for row in rows]
        return await load_many(context, self.batch, keys, self.default_factory, **arguments)


def _loader(
    context: Context, batch: Batch[K, V], default_factory: Callable[[], V], arguments: Mapping[str, Any]
) -> Loader[K, V]:
    name = (batch.repository, batch.method, tuple(sorted(arguments.items())) if arguments else ())
    loader: Loader[K, V] | None = context.loaders.get(name)
    if loader is None:
        loader = context.loaders[name] = Loader(partial(_load_batch, context, batch, default_factory, arguments))
    return loader


async def load(context: Context, batch: Batch[K, V], key: K, default_factory: Callable[[], V], **arguments: Any) -> V:
    """The value of ``key``, through the request's loader for ``batch`` and ``arguments``."""
    return await await_shared(_loader(context, batch, default_factory, arguments).load(key))


async def load_many(
    context: Context, batch: Batch[K, V], keys: Sequence[K | None], default_factory: Callable[[], V], **arguments: Any
) -> list[V | Exception]:
    """The values of ``keys``, or errors in their place, through the same loader. The default for the key None."""
    loader = _loader(context, batch, default_factory, arguments)
    futures = {key: loader.load(key) for key in dict.fromkeys(keys) if key is not None}
    for future in futures.values():
        if not future.done():
            await asyncio.wait((future,))
    values = {key: _result_or_error(future) for key, future in futures.items()}
    return [default_factory() if key is None else values[key] for key in keys]


def _result_or_error(future: asyncio.Future[Any]) -> Any:
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, Exception):
        return error
    raise error


def _no_row() -> None: ...


async def get(context: Context, repository: type[Repository[R]], key: UUID) -> R:
    """The row with an id, through the request's loader. Raises NotFound if the viewer may not see such a row."""
    row: R | None = await load(context, repository.by_id, key, _no_row)
    if row is None:
        raise NotFound.of(repository.noun)
    return row


async def _load_batch(
    context: Context, batch: Batch[K, V], default_factory: Callable[[], V], arguments: Mapping[str, Any], keys: list[K]
) -> list[V]:
    values = await batch(context.snapshot, keys, **arguments)
    return [values[key] if key in values else default_factory() for key in keys]


def one(batch: Batch[Any, V], *, key: Any) -> Edge[V | None]:
    """The edge to one row, or to None if there is no such row that the viewer may see."""
    return Edge(batch, key, _no_row)


class PagesEdge(Generic[R]):
    """From a row to a connection of the rows that refer to it."""

    def __init__(self, repository: type[Repository[R]], column: Any, key: Any) -> None:
        self._pages: Batch[Any, Page[R]] = Batch(repository, partial(_pages_of, column=column.name))
        self._counts: Batch[Any, int] = Batch(repository, partial(_counts_of, column=column.name))
        self._behind: Batch[Any, bool] = Batch(repository, partial(_have_rows_behind, column=column.name))
        self._groups: Batch[Any, list[tuple[Any, int]]] = Batch(repository, partial(_groups_of, column=column.name))
        self.key: str = key.name

    async def load(
        self,
        context: Context,
        row: Table,
        request: PageRequest,
        where: Filter = NO_FILTER,
        order: tuple[SortKey, ...] = (),
    ) -> Connection[R]:
        key, asked = getattr(row, self.key), {"request": request, "where": where, "order": order}
        page = await load(context, self._pages, key, _no_page, **asked)
        return self._connection(context, key, page, asked)

    async def load_many(
        self,
        context: Context,
        rows: Sequence[Table],
        request: PageRequest,
        where: Filter = NO_FILTER,
        order: tuple[SortKey, ...] = (),
    ) -> list[Connection[R] | Exception]:
        """The connections of all rows of a level, with errors in the place of those that could not be loaded."""
        keys, asked = [getattr(row, self.key) for row in rows], {"request": request, "where": where, "order": order}
        pages = await load_many(context, self._pages, keys, _no_page, **asked)
        return [
            page if isinstance(page, Exception) else self._connection(context, key, page, asked)
            for key, page in zip(keys, pages, strict=True)
        ]

    def _connection(self, context: Context, key: Any, page: Page[R], asked: Mapping[str, Any]) -> Connection[R]:
        return Connection(
            page,
            lambda: load(context, self._counts, key, int, where=asked["where"]),
            lambda: load(context, self._behind, key, bool, **asked),
            lambda by: load(context, self._groups, key, list, by=by, where=asked["where"]),
        )


def _no_page() -> Page[Any]:
    return Page((), has_next=False, has_previous=False, cursor=str)


async def _pages_of(
    repository: Repository[Any], keys: Sequence[Any], *, column: str, **arguments: Any
) -> Mapping[Any, Any]:
    return await repository.pages_of(keys, column, **arguments)


async def _have_rows_behind(
    repository: Repository[Any], keys: Sequence[Any], *, column: str, **arguments: Any
) -> Mapping[Any, bool]:
    return await repository.have_rows_behind(keys, column, **arguments)


async def _counts_of(
    repository: Repository[Any], keys: Sequence[Any], *, column: str, where: Filter
) -> Mapping[Any, int]:
    return await repository.counts_of(keys, column, where)


async def _groups_of(
    repository: Repository[Any], keys: Sequence[Any], *, column: str, by: str, where: Filter
) -> Mapping[Any, Any]:
    return await repository.groups_of(keys, column, by, where)


def pages(repository: type[Repository[R]], *, column: Any, key: Any) -> PagesEdge[R]:
    """The edge to the rows whose ``column`` equals this row's ``key``, as a connection."""
    return PagesEdge(repository, column, key)
