"""The events of products, stock and orders."""

from dataclasses import dataclass
from uuid import UUID

from repositories.core.event import Created, Deleted, Event, Updated
from repositories.tables.commerce import MovementKind


@dataclass(frozen=True, slots=True)
class CategoryMoved(Event, aggregate="product_category"):
    """A category was moved to another parent or position."""


@dataclass(frozen=True, slots=True)
class ProductUpdated(Updated, aggregate="product"):
    """A product was changed."""


@dataclass(frozen=True, slots=True)
class StockMoved(Created, aggregate="stock_movement"):
    """The stock of a product changed."""

    product_id: UUID
    kind: MovementKind
    quantity: int


@dataclass(frozen=True, slots=True)
class OrderItemAdded(Created, aggregate="order_item"):
    """A product was added to an order."""

    order_id: UUID
    product_id: UUID


@dataclass(frozen=True, slots=True)
class OrderItemUpdated(Updated, aggregate="order_item"):
    """The quantity, or the copied values, of an item of an order were changed."""

    order_id: UUID


@dataclass(frozen=True, slots=True)
class OrderItemRemoved(Deleted, aggregate="order_item"):
    """A product was removed from an order."""

    order_id: UUID


@dataclass(frozen=True, slots=True)
class OrderStarted(Created, aggregate="order"):
    """A user put a first product into a new order, the cart."""


@dataclass(frozen=True, slots=True)
class OrderUpdated(Updated, aggregate="order"):
    """The amounts, or the payment, of an order were changed."""


@dataclass(frozen=True, slots=True)
class OrderPlaced(Event, aggregate="order"):
    """An order was placed, and its stock reserved."""

    number: str
    currency: str
    total: int


@dataclass(frozen=True, slots=True)
class OrderPaid(Event, aggregate="order"):
    """An order was paid, or it was placed and costs nothing: then there is no payment."""

    payment_id: UUID | None


@dataclass(frozen=True, slots=True)
class OrderShipped(Event, aggregate="order"):
    """An order was shipped."""


@dataclass(frozen=True, slots=True)
class OrderCompleted(Event, aggregate="order"):
    """An order was completed."""


@dataclass(frozen=True, slots=True)
class OrderCanceled(Event, aggregate="order"):
    """An order was canceled, and its stock released."""


@dataclass(frozen=True, slots=True)
class OrderExpired(Event, aggregate="order"):
    """An order was canceled because it was not paid in time, and its stock released."""


@dataclass(frozen=True, slots=True)
class OrderReturned(Event, aggregate="order"):
    """The goods of an order came back."""


@dataclass(frozen=True, slots=True)
class OrderRefunded(Event, aggregate="order"):
    """The whole payment of an order was refunded."""


@dataclass(frozen=True, slots=True)
class OrderRefundDue(Event, aggregate="order"):
    """The user must get back an amount of a payment: the order was canceled or returned, or paid in vain."""

    payment_id: UUID
    amount: int
    currency: str
