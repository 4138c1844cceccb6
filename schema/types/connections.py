"""Connections, as Relay specifies them, and the fields that return them."""

from collections.abc import Awaitable, Callable, Generator
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, get_args, get_type_hints

import strawberry

from repositories.permissions import Requirement
from repositories.sql.filters import NO_FILTER
from repositories.sql.page import DEFAULT_SIZE, MAX_PAGE, MAX_SIZE, PageRequest
from resolvers.loading.edges import Connection, PagesEdge
from resolvers.request.context import Context
from schema.types.costs import AGGREGATE, CONNECTION_SIZE, NO_COST, cost
from schema.types.derived_types import arguments_of, docstring_of, graphql_type
from schema.types.filter_inputs import convert_filter, convert_order
from schema.types.view import Argument, resolver

T = TypeVar("T")


class _Edge(NamedTuple):
    cursor: str
    node: Any


class _Later:
    """An awaitable that starts when it is awaited.

    The compiled executor expects a value from a resolver that is not async. If it gets an awaitable, it discards it,
    and graphql-core calls the resolver again and awaits the result.
    """

    def __init__(self, start: Callable[[], Awaitable[Any]]) -> None:
        self._start = start

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._start().__await__()


def _known_or_later(flag: bool | None, root: Connection[Any]) -> Any:  # noqa: FBT001 (the value of a field)
    return _Later(root.has_rows_behind) if flag is None else flag


@strawberry.type(
    description="The cursors of a page, and whether there are rows before and after it.", directives=[NO_COST]
)
class PageInfo:
    """Relay's PageInfo, made from a :class:`Connection`."""

    has_next_page: bool = strawberry.field(
        resolver=lambda root: _known_or_later(root.page.has_next, root),
        description="Whether there are rows after this page.",
    )
    has_previous_page: bool = strawberry.field(
        resolver=lambda root: _known_or_later(root.page.has_previous, root),
        description="Whether there are rows before this page.",
    )
    start_cursor: str | None = strawberry.field(
        resolver=lambda root: root.page.cursor(root.page.rows[0]) if root.page.rows else None,
        description="The cursor of the first row, for `before`. Null if the page is empty.",
    )
    end_cursor: str | None = strawberry.field(
        resolver=lambda root: root.page.cursor(root.page.rows[-1]) if root.page.rows else None,
        description="The cursor of the last row, for `after`. Null if the page is empty.",
    )


@strawberry.type(name="Edge", description="A row of a connection, with its cursor.", directives=[NO_COST])
class EdgeView(Generic[T]):
    node: T = strawberry.field(description="The row.")
    cursor: str = strawberry.field(
        description="The row's position in the list, for `after` and `before`. Valid with the same filter and order."
    )


def _edges(root: Connection[Any]) -> Any:
    return [_Edge(root.page.cursor(row), row) for row in root.page.rows]


def _rows(root: Connection[Any]) -> Any:
    return root.page.rows


async def _total(root: Connection[Any]) -> int:
    return await root.total()


@strawberry.type(name="Connection", description="One page of a list.")
class ConnectionView(Generic[T]):
    edges: list[EdgeView[T]] = strawberry.field(
        resolver=_edges, description="The rows of this page with their cursors."
    )
    nodes: list[T] = strawberry.field(resolver=_rows, description="The rows of this page.")
    page_info: PageInfo = strawberry.field(
        resolver=lambda root: root,
        description="The cursors of this page, and whether there are rows before and after it.",
    )
    total_count: int = strawberry.field(
        resolver=_total,
        description="The number of rows on all pages together. Counted only if it is selected.",
        directives=[cost(AGGREGATE)],
    )


_PAGE_ARGUMENTS = {
    "first": Argument(
        int | None,
        f"Number of rows from the start of the list or after `after`, 1 to {MAX_SIZE}. By default {DEFAULT_SIZE}, "
        "unless `last` is given.",
        strawberry.UNSET,
    ),
    "after": Argument(str | None, "A cursor of this list: the page starts after its row.", strawberry.UNSET),
    "last": Argument(
        int | None, f"Number of rows from the end of the list or before `before`, 1 to {MAX_SIZE}.", strawberry.UNSET
    ),
    "before": Argument(str | None, "A cursor of this list: the page ends before its row.", strawberry.UNSET),
    "page": Argument(
        int | None, f"Page number, 1 to {MAX_PAGE}, instead of a cursor. Pages have `first` rows.", strawberry.UNSET
    ),
}


def _pop_page_request(arguments: dict[str, Any]) -> PageRequest:
    return PageRequest(**{name: arguments.pop(name, None) for name in _PAGE_ARGUMENTS})


def _list_arguments(filter_type: Any, order_type: Any) -> dict[str, Argument]:
    arguments = dict(_PAGE_ARGUMENTS)
    if filter_type is not None:
        description = "Conditions that the rows must meet. If it is left out or null, all rows are returned."
        arguments["filter"] = Argument(filter_type | None, description, strawberry.UNSET, convert_filter)
    if order_type is not None:
        description = "Sort keys. A key orders the rows that are equal in all keys before it."
        arguments["order"] = Argument(list[order_type] | None, description, strawberry.UNSET, convert_order)
    return arguments


def _filter_and_order(arguments: dict[str, Any]) -> dict[str, Any]:
    return {"where": arguments.get("filter") or NO_FILTER, "order": arguments.get("order") or ()}


def connection(  # noqa: PLR0913 (the properties of a field)
    resolve: Callable[..., Any],
    *,
    requires: Requirement | None,
    description: str = "",
    filter: Any = None,  # noqa: A002 (the name of the argument in the schema)
    order: Any = None,
    kind: Any = None,
    **more: Argument,
) -> Any:
    """A nullable root field that is a connection: ``resolve(context, request, where, order)``.

    ``where`` and ``order`` are passed only if the field has a filter. By default the docstring of the function is the
    description, its parameters with a description are arguments in addition to ``more``, and the type of the rows is
    that of its result.
    """
    more |= arguments_of(resolve)

    async def resolve_connection(context: Any, _: Any, **arguments: Any) -> Any:
        request = _pop_page_request(arguments)
        given = {name: arguments[name] for name in more if name in arguments}
        return await resolve(context, request, **(_filter_and_order(arguments) if filter is not None else {}), **given)

    return strawberry.field(
        resolver=resolver(resolve_connection, _list_arguments(filter, order) | more, requires=requires),
        graphql_type=(kind or _connection_of(resolve)) | None,
        description=description or docstring_of(resolve),
        directives=[CONNECTION_SIZE],
    )


def _connection_of(resolve: Callable[..., Any]) -> Any:
    (row,) = get_args(get_type_hints(resolve)["return"])
    view: Any = ConnectionView
    return view[graphql_type(row)]


class _LoadsPages(Protocol):
    """From rows to connections that clients cannot filter or sort."""

    async def load(self, context: Context, row: Any, request: PageRequest) -> Any: ...
    async def load_many(self, context: Context, rows: Any, request: PageRequest) -> Any: ...


def history_connection(history: _LoadsPages, description: str) -> Any:
    """A field of a row that is a connection in a fixed order, without filter."""

    async def resolve_one(context: Any, root: Any, **arguments: Any) -> Any:
        return await history.load(context, root, _pop_page_request(arguments))

    async def resolve_many(context: Any, roots: Any, **arguments: Any) -> Any:
        return await history.load_many(context, roots, _pop_page_request(arguments))

    return strawberry.field(
        resolver=resolver(resolve_one, _PAGE_ARGUMENTS, resolve_many=resolve_many),
        description=description,
        directives=[CONNECTION_SIZE],
    )


def pages(edge: PagesEdge[Any], description: str, *, filter: Any, order: Any) -> Any:  # noqa: A002
    """A field of a row that is a connection of the rows at the other end of an edge."""

    async def resolve_one(context: Any, root: Any, **arguments: Any) -> Any:
        return await edge.load(context, root, _pop_page_request(arguments), **_filter_and_order(arguments))

    async def resolve_many(context: Any, roots: Any, **arguments: Any) -> Any:
        return await edge.load_many(context, roots, _pop_page_request(arguments), **_filter_and_order(arguments))

    return strawberry.field(
        resolver=resolver(resolve_one, _list_arguments(filter, order), resolve_many=resolve_many),
        description=description,
        directives=[CONNECTION_SIZE],
    )
