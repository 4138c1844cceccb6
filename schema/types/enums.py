"""Publishes the enums of the lower layers in the schema, with a description for each value."""

from enum import StrEnum
from typing import Any, TypeVar

import strawberry
from strawberry.types.enum import has_enum_definition

from repositories.described_enum import DescribedEnum

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


def publish_enum(kind: Any, *, name: str | None = None) -> Any:
    """The enum as a GraphQL type, published at the first call. Enums without descriptions are published already."""
    if not has_enum_definition(kind) and issubclass(kind, DescribedEnum):
        doc = " ".join((kind.__doc__ or "").split())
        describe_enum(kind, doc, name=name, **{member.name: member.description for member in kind})
    return kind
