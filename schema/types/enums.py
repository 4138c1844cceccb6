"""Enums of the contract, made of the enums of the floors below and a description for each value."""

from enum import StrEnum
from typing import TypeVar

import strawberry

E = TypeVar("E", bound=type[StrEnum])


def choices(kind: E, description: str, *, name: str | None = None, **values: str) -> E:
    """Publishes an enum, under its own name or ``name``; every value needs its description."""
    made = strawberry.enum(kind, name=name, description=description)
    definition = made.__strawberry_definition__  # type: ignore[attr-defined]
    for value in definition.values:
        value.description = values.pop(value.name)
    if values:
        message = f"{kind.__name__} has no {', '.join(values)}"
        raise TypeError(message)
    return made
