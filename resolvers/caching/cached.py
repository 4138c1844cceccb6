"""The decorator that caches the result of a resolver.

    @cached(own=(NoteWritten,))
    async def notes_per_day(self) -> list[DayCount]:

It decorates a method of a frozen dataclass that has a ``context``, such as a dashboard, or a function whose first
argument is the context. The cache key consists of the function, the other fields and arguments, and the viewer.
"""

import dataclasses
import datetime as dt
import functools
from collections.abc import Awaitable, Callable, Hashable, Iterable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast, get_type_hints
from zoneinfo import ZoneInfo

from repositories.core.event import Event
from repositories.core.viewer import Viewer
from resolvers.caching.cache import Cache, CacheKey, ResultType
from resolvers.caching.json_values import json_reader, to_json, type_signature
from resolvers.caching.tags import tag

S = TypeVar("S")
P = ParamSpec("P")
T = TypeVar("T")
Events = Iterable[type[Event]]
Method = Callable[Concatenate[S, P], Awaitable[T]]


def cached(
    *,
    own: Events = (),
    all_users: Events = (),
    shared: bool = False,
    valid_until: Callable[[Any], dt.datetime | None] | None = None,
) -> Callable[[Method[S, P, T]], Method[S, P, T]]:
    """Caches the results of a function, if the process has a cache, until an aggregate has changed.

    Name one event of each aggregate that the result depends on: in ``own`` if only the viewer's rows matter, in
    ``all_users`` otherwise. An entry is used only for the same viewer with the same roles, or with ``shared`` for all
    viewers with the same roles. If the result depends on the current time, ``valid_until`` returns the last moment at
    which it is right.

    Without a cache, the function still runs only once per request and arguments.
    """

    def decorate(method: Method[S, P, T]) -> Method[S, P, T]:
        returned = get_type_hints(method)["return"]
        result_type: ResultType[T] = ResultType(json_reader(returned), valid_until)
        name = f"{method.__module__}.{method.__qualname__}"
        signature = type_signature(returned)
        own_aggregates = sorted({event.aggregate for event in own})
        common_tags = sorted({event.aggregate for event in all_users})

        @wraps(method)
        async def get(subject: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
            context: Any = getattr(subject, "context", subject)
            arguments = (*map(_as_json_value, (*_fields(subject), *args)), *sorted(kwargs.items()))
            cache: Cache | None = context.optional_service(Cache)

            async def compute() -> T:
                return await method(subject, *args, **kwargs)

            async def get_or_compute() -> T:
                if cache is None:
                    return await compute()
                tags = (*(tag(aggregate, context.viewer_id) for aggregate in own_aggregates), *common_tags)
                key = to_json((signature, arguments, _scope(context.viewer, shared=shared)))
                return await cache.get_or_compute(context, result_type, CacheKey(name, key, tags), compute)

            result: T = await context.compute_once((name, arguments), get_or_compute)
            return result

        return get

    return decorate


@functools.cache
def _field_names(kind: Any) -> tuple[str, ...]:
    fields = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
    return tuple(field.name for field in fields if field.name != "context")


def _fields(subject: Any) -> tuple[Any, ...]:
    return tuple(getattr(subject, name) for name in _field_names(cast("Hashable", type(subject))))


def _as_json_value(value: Any) -> Any:
    return value.key if isinstance(value, ZoneInfo) else value


def _scope(viewer: Viewer, *, shared: bool) -> tuple[Any, ...]:
    """Everything about the viewer that decides which rows are visible."""
    return (None if shared else viewer.id, sorted(viewer.roles), viewer.is_service, viewer.is_authenticated)
