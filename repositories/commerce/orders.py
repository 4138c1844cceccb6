"""Orders and their items."""

import datetime as dt
import secrets
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from repositories.aggregates.repository import Repository
from repositories.core.money import share_of
from repositories.sql.filters import And, Compare, Op, SortKey
from repositories.tables.commerce import MAX_ITEMS, Order, OrderItem, OrderStatus, Product

_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""The letters of order numbers: those of Crockford's Base32, which people do not confuse."""


def new_number() -> str:
    """A number of an order, such as 7KM3Q-X2HTB: 50 random bits."""
    letters = "".join(secrets.choice(_LETTERS) for _ in range(10))
    return f"{letters[:5]}-{letters[5:]}"


def line_total(unit_price: int, quantity: int, tax_rate: Decimal) -> int:
    """The total of an item: price × quantity, and its tax rounded half-even to minor units."""
    return unit_price * quantity + share_of(unit_price * quantity, tax_rate)


def copy_product(product: Product, quantity: int) -> dict[str, Any]:
    """The values of an item with so many pieces of a product, which are copied from the product."""
    return {
        "sku": product.sku,
        "name": product.name,
        "currency": product.price_currency,
        "unit_price": product.price_amount,
        "tax_rate": product.tax_rate,
        "quantity": quantity,
        "line_total": line_total(product.price_amount, quantity, product.tax_rate),
    }


class OrderTotals(NamedTuple):
    """The amounts of an order."""

    subtotal: int
    tax: int
    total: int


def totals_of(items: Sequence[OrderItem]) -> OrderTotals:
    """The amounts of an order with these items: the sums over the items."""
    subtotal = sum(item.unit_price * item.quantity for item in items)
    total = sum(item.line_total for item in items)
    return OrderTotals(subtotal, total - subtotal, total)


class Orders(Repository[Order], table=Order):
    """Orders of users."""

    async def draft_of(self, user: UUID) -> Order | None:
        """The draft of a user."""
        return await self.first(And((Compare("user_id", Op.EQ, user), Compare("status", Op.EQ, OrderStatus.DRAFT))))

    async def unpaid_since(self, moment: dt.datetime, limit: int) -> list[Order]:
        """PLACED orders that were placed before a moment, the oldest first."""
        placed = And((Compare("status", Op.EQ, OrderStatus.PLACED), Compare("placed_at", Op.LTE, moment)))
        return await self.find(placed, (SortKey("placed_at"), SortKey("id")), limit=limit)


class OrderItems(Repository[OrderItem], table=OrderItem):
    """Items of orders."""

    async def of_order(self, order: UUID) -> list[OrderItem]:
        """All items of an order, sorted by product so that every transaction locks the stock in the same order."""
        items = await self.find(Compare("order_id", Op.EQ, order), limit=MAX_ITEMS)
        return sorted(items, key=lambda item: item.product_id)
