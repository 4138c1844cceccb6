"""Lists as clients page through them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from repositories.kit.filters import EVERYTHING, Filter, Order
from repositories.kit.page import Page, PageRequest
from repositories.kit.repository import Repository
from repositories.kit.table import Table
from resolvers.kit.context import Context

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
    given: Filter = EVERYTHING,
    order: tuple[Order, ...] = (),
) -> Connection[R]:
    """One page of everything in a repository that the viewer may see and the filter lets through."""
    page = await repository(context.snapshot).page(request, given, order)
    return Connection(page, lambda: repository(context.snapshot).count(given))
