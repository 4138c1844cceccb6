"""Events as they happen."""

import difflib
from collections.abc import Sequence
from typing import Annotated

from repositories.core.errors import ValidationError
from repositories.core.event import all_event_types
from repositories.tables.events import DomainEvent
from resolvers.request.context import Context
from resolvers.streaming.deliveries import Source, stream_events
from resolvers.streaming.feed import ALL_EVENTS, actor_topic


def _known(names: Sequence[str] | None, known: set[str], argument: str) -> Sequence[str] | None:
    """The names, if there is such a thing for each; who misspells one would wait for ever."""
    for index, name in enumerate(names or ()):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            message = f"There is no `{name}`.{f' Did you mean `{near[0]}`?' if near else ''}"
            raise ValidationError(message, path=(argument, index))
    return names


def _known_types(names: Sequence[str] | None) -> Sequence[str] | None:
    return _known(names, {kind.__name__ for kind in all_event_types()}, "types")


def _known_aggregates(names: Sequence[str] | None) -> Sequence[str] | None:
    return _known(names, {kind.aggregate for kind in all_event_types() if kind.aggregate}, "aggregate_types")


Types = Annotated[list[str] | None, "Only events of these types, such as TaskCompleted."]


def my_events(context: Context, types: Types = None) -> Source:
    """The events that the viewer causes, on this or another device."""
    wanted = _known_types(types)
    return stream_events(
        context, [actor_topic(context.viewer_id)], lambda event: wanted is None or event.event_type in wanted
    )


def domain_events(
    context: Context,
    types: Types = None,
    aggregate_types: Annotated[list[str] | None, "Only events about objects of these types, such as task."] = None,
) -> Source:
    """The events of all users. For administrators."""
    kinds, aggregates = _known_types(types), _known_aggregates(aggregate_types)

    def matches(event: DomainEvent) -> bool:
        return (kinds is None or event.event_type in kinds) and (
            aggregates is None or event.aggregate_type in aggregates
        )

    return stream_events(context, [ALL_EVENTS], matches)
