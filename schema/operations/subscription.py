"""Subscription fields.

    note_changed = subscription(subscriptions.note_changed, NoteChange, requires=Permission.NOTE_READ)

The source gets the context and the arguments, and yields deliveries (resolvers/streaming/deliveries.py).
"""

from collections.abc import Callable
from typing import Any

import strawberry

from repositories.permissions import Requirement
from resolvers.request.context import Context
from resolvers.streaming.deliveries import Source
from schema.types.costs import cost_directives
from schema.types.derived_types import arguments_of, docstring_of
from schema.types.view import Argument, resolver

_RESUMABLE = (
    " Each result has an id in `extensions.id`. After an interruption, subscribe with the id of the last result as "
    "`extensions: {lastEventId}` to receive the events since then first."
)
"""The end of the description of a subscription whose deliveries have ids."""


def subscription(  # noqa: PLR0913 (the properties of a field)
    source: Callable[..., Source],
    kind: Any,
    *,
    description: str = "",
    resumable: bool = False,
    requires: Requirement | None = None,
    weight: int = 0,
    **arguments: Argument,
) -> Any:
    """A field of Subscription with results of type ``kind``; ``weight`` is their cost in addition to the objects.

    By default the docstring of the source is the description. Its parameters with a description are arguments in
    addition to ``arguments``. The deliveries of a ``resumable`` source have ids.
    """
    arguments |= arguments_of(source)

    async def open_source(context: Context, _: Any, **values: Any) -> Source:
        return source(context, **values)

    return strawberry.field(
        resolver=resolver(open_source, arguments, requires=requires),
        description=(description or docstring_of(source)) + _RESUMABLE * resumable,
        graphql_type=kind,
        directives=cost_directives(arguments, size=None, weight=weight),
        is_subscription=True,
    )
