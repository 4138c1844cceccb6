"""Enums of columns, published with the descriptions of their values."""

from enum import StrEnum
from typing import Any, TypeVar

from strawberry.types.enum import has_enum_definition

from repositories.described_enum import DescribedEnum
from resolvers.aggregates.row_queries import ListScope, Trash
from schema.types.enums import describe_enum

E = TypeVar("E", bound=type[StrEnum])


def publish_enum(kind: Any) -> Any:
    """The enum as a GraphQL type, published at the first call. Enums without descriptions are published already."""
    if not has_enum_definition(kind) and issubclass(kind, DescribedEnum):
        doc = " ".join((kind.__doc__ or "").split())
        describe_enum(kind, doc, **{member.name: member.description for member in kind})
    return kind


describe_enum(
    ListScope,
    "Whose objects a list has.",
    MINE="Those that belong to the viewer.",
    ASSIGNED="Those that are assigned to the viewer. A VALIDATION_ERROR in lists of objects that have no assignee.",
    ALL="All that the viewer may see. For users these are their own and those that are assigned to them, for "
    "administrators those of all users.",
    name="Scope",
)
describe_enum(
    Trash,
    "Whether a list has deleted objects.",
    EXCLUDE="It has the objects that are not deleted.",
    INCLUDE="It has all objects, deleted ones too.",
    ONLY="It has deleted objects only.",
)
