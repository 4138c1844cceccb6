"""Amounts of money: integers in the minor unit of a currency, such as cents."""

from decimal import ROUND_HALF_EVEN, Decimal
from functools import cache
from typing import Annotated, NamedTuple, NewType

from iso4217 import Currency

from repositories.core.errors import ValidationError

BigInt = NewType("BigInt", int)
"""An integer of the GraphQL scalar with this name."""

MAX_AMOUNT = 2**53 - 1
"""The largest amount: the largest integer up to which every JavaScript number is exact."""


@cache
def currency_digits(code: str) -> int:
    """The number of digits after the decimal point by ISO 4217: JPY 0, EUR 2, KWD 3.

    Raises ValidationError for unknown codes, and for units without digits, such as gold.
    """
    found = next((each for each in Currency if each.code == code), None)
    if found is None or found.exponent is None:
        message = "This is not a currency; use a code of ISO 4217 such as EUR."
        raise ValidationError(message, path=("currency",))
    return found.exponent


class Money(NamedTuple):
    """An amount of money."""

    amount: Annotated[BigInt, "The amount in the minor unit of the currency, such as cents: 1250 is EUR 12.50."]
    currency: Annotated[str, "The code of the currency in ISO 4217, such as EUR."]
    decimal: Annotated[
        Decimal,
        'The amount in the currency itself, with all its digits: "12.50" for 1250 cents. JPY has no digits after the '
        "decimal point, KWD has three.",
    ]


def money(amount: int, currency: str) -> Money:
    """An amount in the minor unit of a currency. Raises ValidationError for an unknown currency."""
    return Money(BigInt(amount), currency, Decimal(amount).scaleb(-currency_digits(currency)))


def share_of(amount: int, rate: Decimal) -> int:
    """A share of an amount, such as a tax, rounded half-even to minor units."""
    return int((Decimal(amount) * rate).quantize(Decimal(1), ROUND_HALF_EVEN))
