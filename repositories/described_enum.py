"""Enums whose values have descriptions, which clients see in the GraphQL schema."""

from enum import StrEnum
from typing import Self


class DescribedEnum(StrEnum):
    """Base of enums that columns contain. A member is declared with its stored value and its description.

    class NoteStatus(DescribedEnum):
        DRAFT = "draft", "Only the author can see the note."
    """

    description: str

    def __new__(cls, value: str, description: str = "") -> Self:
        """The description has a default only because mypy checks look-ups, such as NoteStatus("draft"), against it."""
        if not description:
            message = f"{cls.__name__}: the value {value!r} needs a description"
            raise TypeError(message)
        member = str.__new__(cls, value)
        member._value_ = value
        member.description = description
        return member
