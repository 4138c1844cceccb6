"""Subscription fields.

    note_changed: NoteChange = subscription(subscriptions.note_changed, "…", requires=Permission.NOTE_READ)

The source gets the context and the arguments, and yields deliveries (resolvers/streaming/deliveries.py).
"""

from collections.abc import Callable
from typing import Any

import strawberry

from repositories.permissions import Requirement
from resolvers.request.context import Context
from resolvers.streaming.deliveries import Source
from schema.types.costs import cost_directives
from schema.types.view import Argument, resolver

RESUMABLE = (
    " Each result has an id in `extensions.id`. After an interruption, subscribe with the id of the last result as "
    "`extensions: {lastEventId}` to receive the events since then first."
)
"""The end of the description of a subscription whose deliveries have ids."""


def subscription(
    source: Callable[..., Source],
    description: str,
    *,
    requires: Requirement | None = None,
    weight: int = 0,
    kind: Any = None,
    **arguments: Argument,
) -> Any:
    """A field of Subscription; ``weight`` is the cost of each result in addition to its objects.

    ``kind`` is the type of the results if the field has no annotation.
    """

    async def open_source(context: Context, _: Any, **values: Any) -> Source:
        return source(context, **values)

    return strawberry.field(
        resolver=resolver(open_source, arguments, requires=requires),
        description=description,
        graphql_type=kind,
        directives=cost_directives(arguments, size=None, weight=weight),
        is_subscription=True,
    )
