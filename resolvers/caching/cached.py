"""How a resolver says that its answer may be kept.

    @cached(own=(TaskUpdated, CategoryUpdated))
    async def category_breakdown(self) -> list[CategoryTotals]:

It is a method of a frozen dataclass that has a ``context``, such as a dashboard, or a function whose first argument is
the context. The key has the function, the other fields and arguments, and whom the answer is for.
"""

import dataclasses
import datetime as dt
from collections.abc import Awaitable, Callable, Hashable, Iterable
from functools import cache, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast, get_type_hints
from zoneinfo import ZoneInfo

from repositories.core.event import Event
from repositories.core.viewer import Viewer
from resolvers.caching.cache import Cache, Kind, Question, tag
from resolvers.caching.json_values import reader, shape, written

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
    until: Callable[[Any], dt.datetime | None] | None = None,
) -> Callable[[Method[S, P, T]], Method[S, P, T]]:
    """Keeps what a function answers, where the process has a cache, until one of its dependencies changes.

    An event stands for all aggregates of its type that an answer depends on: the viewer's ``own``, or ``all_users``.
    It is kept for the viewer with the roles of the moment; ``shared`` says that it is the same for all viewers with the
    same roles. ``until`` tells, of an answer that depends on the moment, the last one at which it is right. Within a
    request it is computed once in any case.
    """

    def declare(method: Method[S, P, T]) -> Method[S, P, T]:
        returned = get_type_hints(method)["return"]
        kind: Kind[T] = Kind(reader(returned), until)
        name = f"{method.__module__}.{method.__qualname__}"
        looks = shape(returned)
        owned = sorted({event.aggregate for event in own})
        common = sorted({event.aggregate for event in all_users})

        @wraps(method)
        async def answer(subject: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
            context: Any = getattr(subject, "context", subject)
            given = (*map(_plain, (*_fields(subject), *args)), *sorted(kwargs.items()))
            store: Cache | None = context.optional_service(Cache)

            async def compute() -> T:
                return await method(subject, *args, **kwargs)

            async def ask() -> T:
                if store is None:
                    return await compute()
                tags = (*(tag(aggregate, context.viewer_id) for aggregate in owned), *common)
                asked = written((looks, given, _scope(context.viewer, shared=shared)))
                return await store.answer(context, kind, Question(name, asked, tags), compute)

            found: T = await context.compute_once((name, given), ask)
            return found

        return answer

    return declare


@cache
def _names(kind: Any) -> tuple[str, ...]:
    fields = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
    return tuple(field.name for field in fields if field.name != "context")


def _fields(subject: Any) -> tuple[Any, ...]:
    return tuple(getattr(subject, name) for name in _names(cast("Hashable", type(subject))))


def _plain(value: Any) -> Any:
    return value.key if isinstance(value, ZoneInfo) else value


def _scope(viewer: Viewer, *, shared: bool) -> tuple[Any, ...]:
    """What decides which rows a viewer may see."""
    return (None if shared else viewer.id, sorted(viewer.roles), viewer.is_service, viewer.is_authenticated)
