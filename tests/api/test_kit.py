"""The schema's plumbing where no field of today's contract leads."""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated
from uuid import UUID

import pytest
from graphql import GraphQLError
from pydantic import TypeAdapter, ValidationError

from repositories.core.errors import ServiceUnavailable
from repositories.core.ids import new_id
from repositories.core.viewer import ANONYMOUS
from resolvers.request.context import Context
from resolvers.validation.global_ids import GlobalKey, global_id, parse_global_id
from schema.types.enums import choices
from schema.types.scalars import SCALARS
from tests.api.client import Gateway


def test_a_decimal_is_a_text_or_a_whole_number() -> None:
    """Never a float, which has lost digits already."""
    parse = SCALARS[Decimal].parse_value
    assert parse is not None
    assert [parse(value) for value in ("12.50", "-0.1", 5)] == [Decimal("12.50"), Decimal("-0.1"), Decimal(5)]
    for wrong in (12.5, True, None, "twelve", "NaN", "Infinity", [1]):
        with pytest.raises(GraphQLError, match="A Decimal is a text"):
            parse(wrong)


def test_every_value_of_an_enum_is_described() -> None:
    """A description that is missing, or one too many, is found at once."""

    class Colour(StrEnum):
        RED = "red"

    with pytest.raises(KeyError, match="RED"):
        choices(Colour, "A colour.")
    with pytest.raises(TypeError, match="Colour has no GREEN"):
        choices(Colour, "A colour.", RED="Red.", GREEN="Green.")


def test_a_global_id_is_read_back() -> None:
    key = new_id()
    assert parse_global_id(global_id("Task", key)) == ("Task", key)
    adapter: TypeAdapter[UUID] = TypeAdapter(Annotated[UUID, GlobalKey("Achievement")])
    assert adapter.validate_python(key) == adapter.validate_python(global_id("Achievement", key)) == key
    with pytest.raises(ValidationError, match="This is not the id of an Achievement"):
        adapter.validate_python(global_id("Task", key))


async def test_a_context_that_is_closed_reads_nothing(gateway: Gateway) -> None:
    """Whatever still runs after the answer is told so instead of taking a connection nobody gives back."""
    context = Context(gateway.database, ANONYMOUS, ())
    await context.close()
    with pytest.raises(ServiceUnavailable, match="The request ended before this could be read"):
        _ = context.snapshot
