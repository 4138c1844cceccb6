"""Batch methods: repository methods that load the values of many keys at once. Edges are built from them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar, cast, overload

from repositories.engines.database import ReadConnection

K = TypeVar("K")
V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)


class Batch(Generic[K, V_co]):
    """A batch method together with its repository class."""

    def __init__(
        self, repository: Callable[[ReadConnection], Any], method: Callable[..., Awaitable[Mapping[K, V_co]]]
    ) -> None:
        self.repository = repository
        self.method = method

    async def __call__(self, connection: ReadConnection, keys: Sequence[K], **arguments: Any) -> Mapping[K, V_co]:
        """The values by key, without the keys that have no value."""
        return await self.method(self.repository(connection), keys, **arguments)


class _BatchMethod(Protocol[K, V_co]):
    async def __call__(self, keys: Sequence[K], /, **arguments: Any) -> Mapping[K, V_co]: ...


class batch(Generic[K, V]):  # noqa: N801 (used as a decorator)
    """Decorator of batch methods. On the class the attribute is a :class:`Batch`, on an instance it is the method."""

    def __init__(self, method: Callable[..., Awaitable[Mapping[K, V]]]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, instance: None, owner: Any) -> Batch[K, V]: ...
    @overload
    def __get__(self, instance: object, owner: Any) -> _BatchMethod[K, V]: ...
    def __get__(self, instance: object | None, owner: Any) -> Batch[K, V] | _BatchMethod[K, V]:
        if instance is None:
            return Batch(owner, self._method)
        return cast("_BatchMethod[K, V]", self._method.__get__(instance, owner))
