"""Commands: what a person asks to be changed, as validated data.

A command is a Pydantic model; the contract publishes it as an input (schema/kit/mutations.py). Its docstring and those
of its fields are what a frontend developer reads. A handler takes ``(work, command)`` and returns the row; it never
commits.
"""

import datetime as dt
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints
from strawberry import Some

from repositories.kit.errors import Conflict


class Command(BaseModel):
    """Base of all commands: immutable, and nothing that is not declared gets in."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def _storable(text: str) -> str:
    if any(character == "\0" or unicodedata.category(character) == "Cs" for character in text):
        message = "Text must not contain NUL or half of a surrogate pair"
        raise ValueError(message)
    return text


def _in_range(moment: dt.datetime) -> dt.datetime:
    if not dt.datetime(1900, 1, 1, tzinfo=dt.UTC) <= moment < dt.datetime(2200, 1, 1, tzinfo=dt.UTC):
        message = "A date must be between the years 1900 and 2200"
        raise ValueError(message)
    return moment.astimezone(dt.UTC)


Storable = AfterValidator(_storable)
"""What every text column can hold, on either engine."""

Line = Annotated[str, StringConstraints(strip_whitespace=True), Storable]
"""A text without white space around it."""

Moment = Annotated[AwareDatetime, AfterValidator(_in_range)]
"""A moment with its offset, between 1900 and 2200, in UTC."""


Version = Annotated[int, Field(ge=1)]
"""The version of a row that was seen."""


@contextmanager
def taken_id_at(place: str) -> Iterator[None]:
    """Names the place in the input of an id that is taken; which of a batch it was, the database does not tell."""
    try:
        yield
    except Conflict as error:
        if error.path == ("id",):
            error.path = (place,)
        raise


def given(command: Command, *names: str) -> Mapping[str, Any]:
    """What the client gave for the ``Maybe`` fields ``names``; null stays, what was left out is not there."""
    return {name: value.value for name in names if isinstance(value := getattr(command, name), Some)}
