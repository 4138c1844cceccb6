"""Scalars and enums, beyond what the fields of the schema use."""

from decimal import Decimal
from enum import StrEnum

import pytest
from graphql import GraphQLError

from schema.types.enums import describe_enum
from schema.types.scalars import SCALARS


def test_a_decimal_is_a_string_or_an_integer() -> None:
    """Never a float, which may have lost digits."""
    parse = SCALARS[Decimal].parse_value
    assert parse is not None
    assert [parse(value) for value in ("12.50", "-0.1", 5)] == [Decimal("12.50"), Decimal("-0.1"), Decimal(5)]
    for wrong in (12.5, True, None, "twelve", "NaN", "Infinity", [1]):
        with pytest.raises(GraphQLError, match="A Decimal must be a string"):
            parse(wrong)


def test_every_value_of_an_enum_is_described() -> None:
    """A missing or surplus description raises an error at import."""

    class Colour(StrEnum):
        RED = "red"

    with pytest.raises(KeyError, match="RED"):
        describe_enum(Colour, "A colour.")
    with pytest.raises(TypeError, match="Colour has no GREEN"):
        describe_enum(Colour, "A colour.", RED="Red.", GREEN="Green.")
