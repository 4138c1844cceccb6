"""Connections, as Relay specifies them, and the fields that lead to them."""

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import strawberry

from repositories.permissions import Permission
from repositories.sql.filters import NO_FILTER
from repositories.sql.page import DEFAULT_SIZE, MAX_PAGE, MAX_SIZE, PageRequest
from resolvers.loading.edges import Connection, PagesEdge
from schema.types.costs import AGGREGATE, FREE, PAGED, cost
from schema.types.filter_inputs import to_filter, to_order
from schema.types.view import Argument, resolver

T = TypeVar("T")


class _Edge(NamedTuple):
    cursor: str
    node: Any


@strawberry.type(description="Where a page stands in its list.", directives=[FREE])
class PageInfo:
    """Relay's PageInfo, answered from a page."""

    has_next_page: bool = strawberry.field(
        resolver=lambda root: root.page.has_next, description="Whether there are rows after this page."
    )
    has_previous_page: bool = strawberry.field(
        resolver=lambda root: root.page.has_previous, description="Whether there are rows before this page."
    )
    start_cursor: str | None = strawberry.field(
        resolver=lambda root: root.page.cursor(root.page.rows[0]) if root.page.rows else None,
        description="The place of the first row, for `before`; null on an empty page.",
    )
    end_cursor: str | None = strawberry.field(
        resolver=lambda root: root.page.cursor(root.page.rows[-1]) if root.page.rows else None,
        description="The place of the last row, for `after`; null on an empty page.",
    )


@strawberry.type(name="Edge", description="A row and its place in the list.", directives=[FREE])
class EdgeView(Generic[T]):
    """Relay's Edge."""

    node: T = strawberry.field(description="The row.")
    cursor: str = strawberry.field(description="Its place, for `after` and `before`.")


def _edges(root: Connection[Any]) -> Any:
    return [_Edge(root.page.cursor(row), row) for row in root.page.rows]


def _rows(root: Connection[Any]) -> Any:
    return root.page.rows


async def _total(root: Connection[Any]) -> int:
    return await root.total()


@strawberry.type(name="Connection", description="One page of a list.")
class ConnectionView(Generic[T]):
    """Relay's Connection."""

    edges: list[EdgeView[T]] = strawberry.field(resolver=_edges, description="The rows with their places.")
    nodes: list[T] = strawberry.field(resolver=_rows, description="The rows.")
    page_info: PageInfo = strawberry.field(
        resolver=lambda root: root, description="Where this page stands in the list."
    )
    total_count: int = strawberry.field(
        resolver=_total,
        description="How many rows the whole list has. Counted only when asked for.",
        directives=[cost(AGGREGATE)],
    )


_PAGE = {
    "first": Argument(
        int | None,
        f"How many rows from the start, or after `after`; 1 to {MAX_SIZE}, by default {DEFAULT_SIZE}.",
        strawberry.UNSET,
    ),
    "after": Argument(str | None, "The place after which to start: a cursor of this list.", strawberry.UNSET),
    "last": Argument(int | None, f"How many rows from the end, or before `before`; 1 to {MAX_SIZE}.", strawberry.UNSET),
    "before": Argument(str | None, "The place before which to end: a cursor of this list.", strawberry.UNSET),
    "page": Argument(
        int | None, f"The number of the page of `first` rows, instead of a cursor; 1 to {MAX_PAGE}.", strawberry.UNSET
    ),
}


def _request(given: dict[str, Any]) -> PageRequest:
    return PageRequest(**{name: given.pop(name, None) for name in _PAGE})


def _list_arguments(filtered: Any, ordered: Any) -> dict[str, Argument]:
    arguments = dict(_PAGE)
    if filtered is not None:
        arguments["filter"] = Argument(filtered | None, "Which rows; by default all.", strawberry.UNSET, to_filter)
    if ordered is not None:
        text = "In which order; later keys decide among equals."
        arguments["order"] = Argument(list[ordered] | None, text, strawberry.UNSET, to_order)
    return arguments


def _selection(given: dict[str, Any]) -> dict[str, Any]:
    return {"where": given.get("filter") or NO_FILTER, "order": given.get("order") or ()}


def connection(
    answer: Callable[..., Any],
    description: str,
    *,
    requires: Permission,
    filter: Any = None,  # noqa: A002 (the contract's word)
    order: Any = None,
) -> Any:
    """A root field that is a list: ``answer(context, request, where, order)``."""

    async def listed(context: Any, _: Any, **given: Any) -> Any:
        request = _request(given)
        return await answer(context, request, **(_selection(given) if filter is not None else {}))

    made = resolver(listed, _list_arguments(filter, order), requires=requires)
    return strawberry.field(resolver=made, description=description, directives=[PAGED])


def pages(followed: PagesEdge[Any], description: str, *, filter: Any, order: Any) -> Any:  # noqa: A002
    """The rows at the other end of an edge, page by page."""

    async def listed(context: Any, root: Any, **given: Any) -> Any:
        return await followed.load(context, root, _request(given), **_selection(given))

    async def listed_many(context: Any, roots: Any, **given: Any) -> Any:
        return await followed.load_many(context, roots, _request(given), **_selection(given))

    made = resolver(listed, _list_arguments(filter, order), many=listed_many)
    return strawberry.field(resolver=made, description=description, directives=[PAGED])
