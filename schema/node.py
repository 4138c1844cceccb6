"""Objects by their global id."""

from uuid import UUID

import strawberry

from repositories.core.errors import InputError, NotFound, ValidationError
from resolvers.request.context import Context
from resolvers.validation.global_ids import parse_global_id
from schema.types.view import VIEWS, Argument, Fetch, Node, query

_MOST = 100


def _fetchers() -> dict[str, Fetch]:
    return {view.__strawberry_definition__.name: shown.fetch for view, shown in VIEWS.items() if shown.fetch}  # type: ignore[attr-defined]


async def _node(context: Context, id: str) -> object:  # noqa: A002 (the contract's word)
    _ = context.viewer_id
    try:
        type_name, key = parse_global_id(id)
    except ValueError as error:
        raise ValidationError(str(error), path=("id",)) from None
    return await _found(context, type_name, key)


async def _found(context: Context, type_name: str, key: UUID) -> object:
    fetch = _fetchers().get(type_name)
    row = await fetch(context, key) if fetch else None
    if row is None:
        raise NotFound.of("object")
    return row


async def _nodes(context: Context, ids: list[str]) -> list[object]:
    if len(ids) > _MOST:
        message = f"At most {_MOST} objects can be asked for at once, not {len(ids)}."
        raise ValidationError(message, path=("ids",))
    found: list[object] = []
    for each in ids:
        try:
            found.append(await _node(context, each))
        except InputError as refusal:
            found.append(refusal)
    return found


@strawberry.type
class NodeQueries:
    """Root fields."""

    node: Node | None = query(_node, "The object of an id.", id=Argument(strawberry.ID, "The global id."))
    nodes: list[Node | None] | None = query(
        _nodes,
        "The objects of ids, in their order; null for one that cannot be found, with an error that names its place.",
        size="ids",
        ids=Argument(list[strawberry.ID], f"The global ids, at most {_MOST}."),
    )
