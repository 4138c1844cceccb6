"""References to types that do not exist yet: they are derived when the schema is built, or refer to each other."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from strawberry.types.lazy_type import LazyType


@dataclass(frozen=True)
class DerivedType(LazyType[Any, Any]):
    """A type that ``find`` makes or looks up when Strawberry needs it. ``type_name`` is its name in the schema."""

    find: Callable[[], Any] = field(default=lambda: None, compare=False)

    def resolve_type(self) -> Any:
        return self.find()


def later(name: str, find: Callable[[], Any]) -> Any:
    """A reference to the type with this name."""
    return DerivedType(name, __name__, find=find)
