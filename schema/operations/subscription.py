"""Subscriptions: root fields that are answered again and again.

    task_changed: TaskChange = subscription(subscriptions.task_changed, "Whenever …", requires=Permission.TASK_READ)

The source gets the context and the arguments, and yields occasions (resolvers/streaming/deliveries.py).
"""

from collections.abc import Callable
from typing import Any

import strawberry

from repositories.permissions import Permission
from resolvers.request.context import Context
from resolvers.streaming.deliveries import Source
from schema.types.costs import costs
from schema.types.view import Argument, resolver

GOES_ON = (
    " Each answer has an id in `extensions.id`; after an interruption, subscribe with that of the last one as "
    "`extensions: {lastEventId}` to get first what has happened since."
)
"""For descriptions of subscriptions whose occasions have ids."""


def subscription(
    source: Callable[..., Source],
    description: str,
    *,
    requires: Permission | None = None,
    weight: int = 0,
    **arguments: Argument,
) -> Any:
    """A root field of Subscription; ``weight`` is what each answer costs beyond its objects."""

    async def begin(context: Context, _: Any, **given: Any) -> Source:
        return source(context, **given)

    return strawberry.field(
        resolver=resolver(begin, arguments, requires=requires),
        description=description,
        directives=costs(arguments, size=None, weight=weight),
        is_subscription=True,
    )
