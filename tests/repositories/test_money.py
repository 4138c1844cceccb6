"""Amounts of money, against plain Decimal."""

from decimal import ROUND_HALF_EVEN, Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from repositories.commerce.orders import line_total, totals_of
from repositories.core.errors import ValidationError
from repositories.core.money import currency_digits, money
from repositories.tables.commerce import MAX_ITEMS, MAX_PRICE, MAX_QUANTITY

DIGITS = {"JPY": 0, "EUR": 2, "KWD": 3}
LINES = st.lists(
    st.tuples(st.integers(0, MAX_PRICE), st.integers(1, MAX_QUANTITY), st.decimals(0, 1, places=4)),
    max_size=MAX_ITEMS,
)


@pytest.mark.parametrize(("currency", "digits"), DIGITS.items())
def test_a_currency_has_its_digits(currency: str, digits: int) -> None:
    assert currency_digits(currency) == digits
    assert str(money(1234, currency).decimal) == {0: "1234", 2: "12.34", 3: "1.234"}[digits]


@pytest.mark.parametrize("code", ["", "eur", "XXZ", "XAU", "EURO", "E"])
def test_an_unknown_currency_is_a_validation_error(code: str) -> None:
    with pytest.raises(ValidationError) as raised:
        currency_digits(code)
    assert raised.value.path == ("currency",)


@given(currency=st.sampled_from(sorted(DIGITS)), lines=LINES)
@example(currency="EUR", lines=[(5, 1, Decimal("0.5")), (15, 1, Decimal("0.5")), (25, 1, Decimal("0.1"))])
def test_totals_equal_those_of_plain_decimals(currency: str, lines: list[tuple[int, int, Decimal]]) -> None:
    """Computed in the currency itself, each tax rounded half-even to its last digit."""
    unit = Decimal(1).scaleb(-DIGITS[currency])
    subtotal = tax = Decimal(0)
    items: list[Any] = []
    for price, quantity, rate in lines:
        net = Decimal(price) * unit * quantity
        subtotal += net
        tax += (net * rate).quantize(unit, ROUND_HALF_EVEN)
        total = line_total(price, quantity, rate)
        items.append(SimpleNamespace(unit_price=price, quantity=quantity, line_total=total))
    found = [money(amount, currency).decimal for amount in totals_of(items)]
    assert found == [subtotal, tax, subtotal + tax]
