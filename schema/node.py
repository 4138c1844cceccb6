"""The root fields that return objects by their global ids."""

from uuid import UUID

import strawberry

from repositories.core.errors import InputError, NotFound, ValidationError
from resolvers.request.context import Context
from resolvers.validation.global_ids import parse_global_id
from schema.types.view import VIEWS, Argument, Fetch, Node, query

_MAX_IDS = 100


def _fetchers() -> dict[str, Fetch]:
    return {kind.__strawberry_definition__.name: view.fetch for kind, view in VIEWS.items() if view.fetch}  # type: ignore[attr-defined]


async def _node(context: Context, id: str) -> object:  # noqa: A002 (the name of the argument in the schema)
    _ = context.viewer_id
    try:
        type_name, key = parse_global_id(id)
    except ValueError as error:
        raise ValidationError(str(error), path=("id",)) from None
    return await _fetch(context, type_name, key)


async def _fetch(context: Context, type_name: str, key: UUID) -> object:
    fetch = _fetchers().get(type_name)
    row = await fetch(context, key) if fetch else None
    if row is None:
        raise NotFound.of("object")
    return row


async def _nodes(context: Context, ids: list[str]) -> list[object]:
    if len(ids) > _MAX_IDS:
        message = f"At most {_MAX_IDS} objects can be requested at once, not {len(ids)}."
        raise ValidationError(message, path=("ids",))
    objects: list[object] = []
    for each in ids:
        try:
            objects.append(await _node(context, each))
        except InputError as error:
            objects.append(error)
    return objects


@strawberry.type
class NodeQueries:
    node: Node | None = query(
        _node,
        "The object with this global id. Null, with the error NOT_FOUND, if it does not exist or the viewer may not "
        "see it.",
        id=Argument(strawberry.ID, "The global id of the object."),
    )
    nodes: list[Node | None] | None = query(
        _nodes,
        "The objects with these global ids, in the order of the ids. Null in the place of an object that does not "
        "exist or that the viewer may not see, with the error NOT_FOUND at this position.",
        size="ids",
        ids=Argument(list[strawberry.ID], f"The global ids of the objects, at most {_MAX_IDS}."),
    )
