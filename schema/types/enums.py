"""Publishes the enums of the lower layers in the schema, with a description for each value."""

from enum import StrEnum
from typing import TypeVar

import strawberry

E = TypeVar("E", bound=type[StrEnum])


def describe_enum(enum: E, description: str, *, name: str | None = None, **values: str) -> E:
    """Publishes an enum under its own name or ``name``. ``values`` are the descriptions of all its values."""
    published = strawberry.enum(enum, name=name, description=description)
    definition = published.__strawberry_definition__  # type: ignore[attr-defined]
    for value in definition.values:
        value.description = values.pop(value.name)
    if values:
        message = f"{enum.__name__} has no {', '.join(values)}"
        raise TypeError(message)
    return published
