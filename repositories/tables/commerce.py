"""Products with their categories and stock, and orders with their items."""

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa

from repositories.core.money import MAX_AMOUNT
from repositories.described_enum import DescribedEnum
from repositories.permissions import RoleName
from repositories.sql.aggregate import ACTOR, Commands, aggregate
from repositories.sql.constraints import violation
from repositories.sql.filters import Direction, SortKey
from repositories.sql.policy import everybody, one_of, owner, policy, role
from repositories.sql.table import (
    Column,
    Format,
    Inverse,
    Pattern,
    SoftDeleted,
    Table,
    Versioned,
    Writer,
    column,
)
from repositories.sql.types import BigInteger, Fixed

MAX_DEPTH = 5
"""The levels of categories."""
MAX_PRICE = 1_000_000_000
"""The highest price of a product, in minor units."""
MAX_QUANTITY = 999
"""The most pieces of one product in an order."""
MAX_ITEMS = 100
"""The most products in an order."""
MAX_MOVEMENT = 1_000_000
"""The most pieces of one movement of stock."""

_SLUG = Pattern(
    "(?=.{1,100}$)[a-z0-9]+(?:-[a-z0-9]+)*", "A slug has lower-case letters and digits, and single hyphens between them"
)
_IS_SLUG = (
    "length(slug) BETWEEN 1 AND 100 AND ltrim(slug, 'abcdefghijklmnopqrstuvwxyz0123456789-') = '' "
    "AND '-' || slug || '-' NOT LIKE '%--%'"
)
_IS_SKU = (
    "length(sku) BETWEEN 1 AND 64 "
    "AND ltrim(sku, 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-') = ''"
)
_ALL = role(RoleName.ADMIN)
_CATALOG = _ALL | role(RoleName.CATALOG_MANAGER)
_ORDERS = _ALL | role(RoleName.ORDER_MANAGER)


# the catalogue


class ProductCategory(Table, schema="commerce", name="product_categories"):
    """A category of products. Categories are a tree of at most five levels. Every caller may read them."""

    __slots__ = ()
    name: Column[str] = column(
        "The name.", length=(1, 100), single_line=True, searched=True, filtered=True, sorted=True
    )
    slug: Column[str] = column(
        "The name in addresses, unique: at most 100 lower-case letters, digits and single hyphens.",
        format=_SLUG,
        check=_IS_SLUG,
        unique=True,
        filtered=True,
        sorted=True,
        info=violation("slug", "There is already a category with this slug."),
    )
    parent_id: Column[UUID | None] = column(
        "The category above, which `moveProductCategory` changes. Null for a category of the first level.",
        references="commerce.product_categories.id",
        inverse=Inverse("children", "The categories of the next level in this one."),
        check="parent_id <> id",
        writer=Writer.ON_CREATE,
        filtered=True,
        history=True,
    )
    position: Column[int] = column(
        "The position among the categories with the same parent, the lowest first.",
        range=(0, 10_000),
        default=0,
        filtered=True,
        sorted=True,
        history=True,
    )

    __table_args__ = (
        sa.Index("ix_product_categories_parent_id", "parent_id", "position"),
        sa.Index("ix_product_categories_position", "position", "name"),
    )


class Product(Versioned, SoftDeleted, Table, schema="commerce", name="products"):
    """A product that users can order. Every caller may read the products.

    A trigger adds the stock level of a new product.
    """

    __slots__ = ()
    sku: Column[str] = column(
        "The stock keeping unit, unique: 1 to 64 letters, digits, dots, hyphens and underscores.",
        format=Pattern("[A-Za-z0-9._-]{1,64}", "A SKU has 1 to 64 letters, digits, dots, hyphens and underscores"),
        check=_IS_SKU,
        unique=True,
        searched=True,
        filtered=True,
        sorted=True,
        info=violation("sku", "There is already a product with this SKU; it may be archived."),
    )
    name: Column[str] = column(
        "The name.", length=(1, 255), single_line=True, searched=True, filtered=True, sorted=True
    )
    slug: Column[str] = column(
        "The name in addresses, unique: at most 100 lower-case letters, digits and single hyphens.",
        format=_SLUG,
        check=_IS_SLUG,
        unique=True,
        filtered=True,
        sorted=True,
        info=violation("slug", "There is already a product with this slug; it may be archived."),
    )
    description: Column[str | None] = column("Details.", length=(0, 10_000), searched=True)
    category_id: Column[UUID | None] = column(
        "The category.",
        references="commerce.product_categories.id",
        inverse=Inverse("products", "The products of this category, without those of the categories below it."),
        filtered=True,
        history=True,
    )
    price_amount: Column[int] = column(
        "The price of one piece without tax, in the minor unit of the currency, such as cents.",
        range=(0, MAX_PRICE),
        filtered=True,
        sorted=True,
        history=True,
    )
    price_currency: Column[str] = column(
        "The code of the currency of the price in ISO 4217, such as EUR.", format=Format.CURRENCY, filtered=True
    )
    tax_rate: Column[Decimal] = column(
        "The tax as a share of the price, from 0 to 1 with four decimals: 0.1900 is 19 %.",
        sql_type=Fixed(5, 4),
        range=(0, 1),
        filtered=True,
        history=True,
    )
    is_active: Column[bool] = column("Whether users can order the product.", default=True, filtered=True, history=True)
    attributes: Column[dict[str, Any]] = column(
        "Further properties, such as the size: a JSON object of at most 8 KB.",
        check="substr(CAST(attributes AS TEXT), 1, 1) = '{' AND length(CAST(attributes AS TEXT)) <= 20000",
        default={},
    )

    __table_args__ = (
        sa.Index("ix_products_name", "name", "id"),
        sa.Index("ix_products_category_id", "category_id", "name"),
        sa.Index("ix_products_price_amount", "price_amount", "id"),
        sa.Index("ix_products_updated_at", "updated_at"),
    )


# stock


class StockLevel(Table, schema="commerce", name="stock_levels", timestamps=False):
    """How many pieces of a product there are. Every caller may read it."""

    # ``id`` is that of the product. Triggers add the row with the product, and change it with every movement.
    __slots__ = ()
    on_hand: Column[int] = column("The number of pieces in the warehouse, reserved ones included.", default=0)
    reserved: Column[int] = column("The number of pieces that are reserved for orders.", default=0)
    available: Column[int] = column(
        "The number of pieces that can be ordered: those on hand that are not reserved.",
        check="available = on_hand - reserved",
        index=True,
        default=0,
    )

    __table_args__ = (
        sa.ForeignKeyConstraint(["id"], ["commerce.products.id"], ondelete="CASCADE"),
        sa.CheckConstraint(
            "reserved >= 0 AND reserved <= on_hand",
            name="stock_range",
            info=violation("quantity", "There are not enough pieces of this product in stock."),
        ),
        sa.CheckConstraint(
            "on_hand <= 1000000000",
            name="on_hand_limit",
            info=violation("quantity", "There can be at most 1,000,000,000 pieces of a product."),
        ),
    )


class MovementKind(DescribedEnum):
    """The reason for a movement of stock."""

    RECEIVED = "received", "Pieces arrived in the warehouse."
    RESERVED = "reserved", "An order was placed: its pieces are reserved."
    RELEASED = "released", "An order was canceled: its pieces are not reserved any more."
    SHIPPED = "shipped", "Reserved pieces left the warehouse."
    RETURNED = "returned", "Pieces of an order came back to the warehouse."
    CORRECTED = "corrected", "The count was corrected, for example after an inventory."


class StockEffect(NamedTuple):
    """What the quantity of a movement is added to, and whether it is negative (None: it may be either)."""

    on_hand: bool
    reserved: bool
    is_negative: bool | None


STOCK_EFFECTS: Mapping[MovementKind, StockEffect] = {
    MovementKind.RECEIVED: StockEffect(on_hand=True, reserved=False, is_negative=False),
    MovementKind.RESERVED: StockEffect(on_hand=False, reserved=True, is_negative=False),
    MovementKind.RELEASED: StockEffect(on_hand=False, reserved=True, is_negative=True),
    MovementKind.SHIPPED: StockEffect(on_hand=True, reserved=True, is_negative=True),
    MovementKind.RETURNED: StockEffect(on_hand=True, reserved=False, is_negative=False),
    MovementKind.CORRECTED: StockEffect(on_hand=True, reserved=False, is_negative=None),
}


class StockMovement(Table, schema="commerce", name="stock_movements"):
    """A change of the stock of a product: an entry of the ledger, which is append-only.

    A trigger changes the stock level in the same statement. Each item of an order has at most one movement of each
    kind, so no stock is reserved, released, shipped or returned twice.
    """

    __slots__ = ()
    product_id: Column[UUID] = column(
        "The product.",
        references="commerce.products.id",
        inverse=Inverse("stock_movements", "The changes of the stock that the viewer may see."),
        writer=Writer.GATEWAY,
        filtered=True,
    )
    quantity: Column[int] = column(
        "The number of pieces. It is negative for RELEASED and SHIPPED, and may be for CORRECTED.",
        range=(-MAX_MOVEMENT, MAX_MOVEMENT),
        writer=Writer.GATEWAY,
        filtered=True,
        sorted=True,
    )
    kind: Column[MovementKind] = column("The reason.", writer=Writer.GATEWAY, filtered=True)
    order_item_id: Column[UUID | None] = column(
        "The item of an order.", references="commerce.order_items.id", writer=Writer.GATEWAY, filtered=True
    )
    note: Column[str | None] = column("A note.", length=(0, 1000), writer=Writer.GATEWAY)
    actor_id: Column[UUID | None] = column(
        "The user who caused it. Null if a job did.",
        references="identity.users.id",
        index=True,
        writer=Writer.GATEWAY,
        filtered=True,
    )

    __table_args__ = (
        sa.CheckConstraint(
            "quantity <> 0 AND (kind = 'corrected' OR (kind IN ('released', 'shipped')) = (quantity < 0))",
            name="quantity_shape",
        ),
        sa.CheckConstraint("(kind IN ('received', 'corrected')) = (order_item_id IS NULL)", name="order_item_id_shape"),
        sa.UniqueConstraint("order_item_id", "kind"),
        sa.Index("ix_stock_movements_product_id", "product_id", "created_at", "id"),
        sa.Index("ix_stock_movements_created_at", "created_at", "id"),
        sa.Index("ix_stock_movements_kind", "kind", "created_at"),
    )


# orders


class OrderStatus(DescribedEnum):
    """The status of an order."""

    DRAFT = "draft", "A cart: its items can be changed. Can become PLACED, PAID if it costs nothing, or CANCELED."
    PLACED = (
        "placed",
        "Ordered, and its stock is reserved. Can become PAID, or CANCELED, which it is after 30 minutes unpaid.",
    )
    PAID = "paid", "Paid. Can become SHIPPED, CANCELED or REFUNDED."
    SHIPPED = "shipped", "On its way to the user. Can become COMPLETED or REFUNDED."
    COMPLETED = "completed", "Done. Can become REFUNDED."
    CANCELED = "canceled", "Canceled or expired, and its stock is released. Can become REFUNDED."
    REFUNDED = "refunded", "Returned, or the amount paid was refunded. Cannot change any more."


class OrderAction(NamedTuple):
    """What can be done with orders in some states, and the state of the order after it."""

    before: tuple[OrderStatus, ...]
    after: OrderStatus


_CART = OrderAction((OrderStatus.DRAFT,), OrderStatus.DRAFT)
ORDER_ACTIONS: Mapping[str, OrderAction] = {
    "addToOrder": _CART,
    "changeOrderItem": _CART,
    "removeFromOrder": _CART,
    "placeOrder": OrderAction((OrderStatus.DRAFT,), OrderStatus.PLACED),
    "payOrder": OrderAction((OrderStatus.PLACED,), OrderStatus.PAID),
    "shipOrder": OrderAction((OrderStatus.PAID,), OrderStatus.SHIPPED),
    "completeOrder": OrderAction((OrderStatus.SHIPPED,), OrderStatus.COMPLETED),
    "cancelOrder": OrderAction((OrderStatus.DRAFT, OrderStatus.PLACED, OrderStatus.PAID), OrderStatus.CANCELED),
    "returnOrder": OrderAction((OrderStatus.SHIPPED, OrderStatus.COMPLETED), OrderStatus.REFUNDED),
}
"""The mutations of an order by name. All rules and messages about the states of orders are made from this table."""
FREE = OrderAction((OrderStatus.DRAFT,), OrderStatus.PAID)
"""What placing an order does that costs nothing."""
REFUND = OrderAction(
    (OrderStatus.PAID, OrderStatus.SHIPPED, OrderStatus.COMPLETED, OrderStatus.CANCELED), OrderStatus.REFUNDED
)
"""What a refund of the whole payment does."""
ORDER_TRANSITIONS: Mapping[OrderStatus, tuple[OrderStatus, ...]] = {
    status: tuple(
        after
        for after in OrderStatus
        if after is not status
        and any(status in action.before and action.after is after for action in (*ORDER_ACTIONS.values(), FREE, REFUND))
    )
    for status in OrderStatus
}
SOLD = (OrderStatus.PAID, OrderStatus.SHIPPED, OrderStatus.COMPLETED)
"""The states of the orders that count as revenue."""

_IS_DRAFT = sa.text("status = 'draft'")


def _amount(description: str) -> Any:
    return column(
        description, sql_type=BigInteger(), range=(0, MAX_AMOUNT), default=0, writer=Writer.GATEWAY, sorted=True
    )


def _moment(description: str, check: str) -> Any:
    return column(description, check=check, writer=Writer.GATEWAY, filtered=True, sorted=True, history=True)


class Order(Versioned, Table, schema="commerce", name="orders"):
    """An order of a user. A user has at most one draft, the cart."""

    __slots__ = ()
    number: Column[str] = column(
        "The number for people, such as 7KM3Q-X2HTB. It is unique and has no order.",
        length=(1, 20),
        unique=True,
        writer=Writer.GATEWAY,
        searched=True,
        filtered=True,
    )
    user_id: Column[UUID] = column(
        "The user who orders.", references="identity.users.id", writer=Writer.GATEWAY, filtered=True
    )
    status: Column[OrderStatus] = column(
        "The status.",
        default=OrderStatus.DRAFT,
        transitions=ORDER_TRANSITIONS,
        writer=Writer.GATEWAY,
        filtered=True,
        sorted=True,
        history=True,
    )
    currency: Column[str] = column(
        "The code of the currency of all amounts in ISO 4217, that of the first product.",
        format=Format.CURRENCY,
        writer=Writer.GATEWAY,
        filtered=True,
    )
    subtotal: Column[int] = _amount("The sum of price × quantity of all items, without tax.")
    tax: Column[int] = _amount("The sum of the taxes of all items, each rounded half-even to minor units.")
    total: Column[int] = _amount("What the user pays: the sum of the totals of all items, with tax.")
    shipping_address: Column[str | None] = column(
        "The address to ship to.",
        encrypted=True,
        writer=Writer.GATEWAY,
    )
    placed_at: Column[dt.datetime | None] = _moment(
        "The time when the order was placed. Null before.",
        "status IN ('draft', 'canceled') OR (placed_at IS NOT NULL AND shipping_address IS NOT NULL)",
    )
    paid_at: Column[dt.datetime | None] = _moment(
        "The time when the order was paid. Null before.",
        "status NOT IN ('paid', 'shipped', 'completed', 'refunded') OR paid_at IS NOT NULL",
    )
    shipped_at: Column[dt.datetime | None] = _moment(
        "The time when the order was shipped. Null before.",
        "status NOT IN ('shipped', 'completed') OR shipped_at IS NOT NULL",
    )
    canceled_at: Column[dt.datetime | None] = _moment(
        "The time when the order was canceled or expired. Null if it was not.",
        "status <> 'canceled' OR canceled_at IS NOT NULL",
    )
    payment_id: Column[UUID | None] = column(
        "The `databaseId` of the payment that was started last, or that paid the order. Null without one.",
        index=True,
        writer=Writer.GATEWAY,
        filtered=True,
    )

    __table_args__ = (
        sa.CheckConstraint("total = subtotal + tax", name="total_shape"),
        sa.UniqueConstraint("user_id", "id", name="uq_orders_owner"),
        sa.Index(
            "uq_orders_draft",
            "user_id",
            unique=True,
            postgresql_where=_IS_DRAFT,
            sqlite_where=_IS_DRAFT,
            info=violation("product_id", "Another request has just started an order. Try again."),
        ),
        sa.Index("ix_orders_user_id_created_at", "user_id", "created_at", "id"),
        sa.Index("ix_orders_created_at", "created_at", "id"),
        sa.Index("ix_orders_status_placed_at", "status", "placed_at"),
        sa.Index("ix_orders_paid_at", "paid_at"),
    )


class OrderItem(Table, schema="commerce", name="order_items"):
    """A product in an order. Its values are copies: later changes of the product do not change an order.

    ``user_id`` and ``currency`` are those of the order, copied so that policies and prices need not look it up.
    """

    __slots__ = ()
    order_id: Column[UUID] = column(
        "The order.", inverse=Inverse("items", "The products in the order."), writer=Writer.GATEWAY, filtered=True
    )
    user_id: Column[UUID] = column()
    product_id: Column[UUID] = column(
        "The product.",
        references="commerce.products.id",
        index=True,
        writer=Writer.GATEWAY,
        filtered=True,
    )
    sku: Column[str] = column("The SKU of the product.", length=(1, 64), writer=Writer.GATEWAY, filtered=True)
    name: Column[str] = column(
        "The name of the product.", length=(1, 255), writer=Writer.GATEWAY, searched=True, filtered=True, sorted=True
    )
    currency: Column[str] = column(format=Format.CURRENCY)
    unit_price: Column[int] = column(
        "The price of one piece without tax.", range=(0, MAX_PRICE), writer=Writer.GATEWAY, history=True
    )
    tax_rate: Column[Decimal] = column(
        "The tax as a share of the price, from 0 to 1: 0.1900 is 19 %.",
        sql_type=Fixed(5, 4),
        range=(0, 1),
        writer=Writer.GATEWAY,
        history=True,
    )
    quantity: Column[int] = column(
        f"The number of pieces, 1 to {MAX_QUANTITY}.",
        range=(1, MAX_QUANTITY),
        writer=Writer.GATEWAY,
        history=True,
    )
    line_total: Column[int] = column(
        "Price × quantity with its tax, which is rounded half-even to minor units.",
        sql_type=BigInteger(),
        range=(0, MAX_AMOUNT),
        writer=Writer.GATEWAY,
        history=True,
    )

    __table_args__ = (
        sa.ForeignKeyConstraint(
            ["user_id", "order_id"],
            ["commerce.orders.user_id", "commerce.orders.id"],
            name="fk_order_items_order",
        ),
        sa.UniqueConstraint("order_id", "product_id"),
        sa.Index("ix_order_items_user_id", "user_id", "order_id"),
    )


aggregate(
    ProductCategory,
    read=everybody(),
    write=_CATALOG,
    owner=ACTOR,
    order=(SortKey("position"), SortKey("name")),
    order_text="by position, then by name",
    commands=Commands.CREATE | Commands.UPDATE,
)
aggregate(
    Product,
    read=everybody(),
    write=_CATALOG,
    owner=ACTOR,
    order=(SortKey("name"),),
    order_text="by name",
    verbs={Commands.DELETE: "archive"},
)
policy(StockLevel, read=everybody())
aggregate(
    StockMovement,
    read=owner(StockMovement.actor_id) | _CATALOG | role(RoleName.ORDER_MANAGER),
    write=(owner(StockMovement.actor_id) & one_of(StockMovement.kind, (MovementKind.RESERVED, MovementKind.RELEASED)))
    | _CATALOG
    | role(RoleName.ORDER_MANAGER),
    order=(SortKey("created_at", Direction.DESC), SortKey("id", Direction.DESC)),
    order_text="the newest first",
    commands=Commands.NONE,
)
aggregate(
    Order,
    read=owner(Order.user_id) | _ORDERS,
    write=owner(Order.user_id) | _ORDERS,
    order=(SortKey("created_at", Direction.DESC), SortKey("id", Direction.DESC)),
    order_text="the newest first",
    commands=Commands.NONE,
)
aggregate(
    OrderItem,
    read=owner(OrderItem.user_id) | _ORDERS,
    write=owner(OrderItem.user_id) | _ORDERS,
    order=(SortKey("created_at"), SortKey("id")),
    order_text="in the order in which they were added",
    commands=Commands.NONE,
)
