"""Annotations of arguments and results that become part of the GraphQL schema (schema/types/derived_types.py).

A parameter whose annotation has a description is an argument of the field:

    async def notes(context: Context, color: Annotated[NoteColor, "The colour of the notes."]) -> list[Note]:

A function in the annotation converts the value, and an InputError of it has the path within the value.
"""

from typing import Annotated, TypeVar

from repositories.sql.page import MAX_SIZE, check_size

T = TypeVar("T")


First = Annotated[int, check_size, f"Maximum number of items, 1 to {MAX_SIZE}."]
"""The size of a list that has no pages."""

TimeZone = Annotated[
    str | None,
    "The IANA time zone in which days begin and end, such as Europe/Vienna. By default the viewer's time zone.",
]
"""The time zone of fields that count by days."""

EACH_FIELD = object()
EachField = Annotated[T, EACH_FIELD]
"""The result of a dashboard's method whose described fields are fields of the dashboard: one computation for all."""
