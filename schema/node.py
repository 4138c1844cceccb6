"""The root fields that return objects by their global ids."""

import asyncio
from collections.abc import Mapping

import strawberry

from repositories.core.errors import InputError, NotFound, Path, ValidationError
from resolvers.request.context import Context
from resolvers.validation.global_ids import parse_global_id
from schema.types.view import MAX_IDS, VIEWS, Argument, Fetch, Node, root_field


def _fetchers() -> dict[str, Fetch]:
    return {kind.__strawberry_definition__.name: view.fetch for kind, view in VIEWS.items() if view.fetch}  # type: ignore[attr-defined]


async def _node(context: Context, id: str) -> object:  # noqa: A002 (the name of the argument in the schema)
    _ = context.viewer_id
    return await _find(context, _fetchers(), id, ("id",))


async def _find(context: Context, fetchers: Mapping[str, Fetch], text: str, path: Path) -> object:
    """The object with a global id. ``path`` is the place of the id in the arguments."""
    try:
        type_name, key = parse_global_id(text)
    except ValueError as error:
        raise ValidationError(str(error), path=path) from None
    fetch = fetchers.get(type_name)
    try:
        row = await fetch(context, key) if fetch else None
    except InputError as error:
        error.path = path
        raise
    if row is None:
        raise NotFound.of("object", path=path)
    return row


async def _nodes(context: Context, ids: list[str]) -> list[object]:
    """The objects, with errors in the place of those that cannot be found.

    They are requested at the same time, so that the loaders read all objects of a type with one statement.
    """
    _ = context.viewer_id
    if len(ids) > MAX_IDS:
        message = f"At most {MAX_IDS} objects can be requested at once, not {len(ids)}."
        raise ValidationError(message, path=("ids",))
    fetchers = _fetchers()
    finds = (_find(context, fetchers, text, ("ids", index)) for index, text in enumerate(ids))
    found = await asyncio.gather(*finds, return_exceptions=True)
    for each in found:
        if isinstance(each, BaseException) and not isinstance(each, InputError):
            raise each
    return found


@strawberry.type
class NodeQueries:
    node = root_field(
        _node,
        "The object with this global id. Null, with the error NOT_FOUND, if it does not exist or the viewer may not "
        "see it.",
        Node | None,
        {"id": Argument(strawberry.ID, "The global id of the object.")},
    )
    nodes = root_field(
        _nodes,
        "The objects with these global ids, in the order of the ids. Null in the place of an object that does not "
        "exist or that the viewer may not see, with the error NOT_FOUND at this position.",
        list[Node | None] | None,
        {"ids": Argument(list[strawberry.ID], f"The global ids of the objects, at most {MAX_IDS}.")},
        size="ids",
    )
