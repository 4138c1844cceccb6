"""Numbers about all orders and the stock."""

import datetime as dt
from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from typing import Annotated, Any, NamedTuple

import sqlalchemy as sa

from repositories.core.clock import LocalDay
from repositories.core.money import Money, money
from repositories.engines.database import ReadConnection
from repositories.sql import types
from repositories.sql.statements import Engine, RowFactory, Statement, folded, records, records_parameter
from repositories.tables.commerce import SOLD, Order, OrderItem, OrderStatus, Product, StockLevel

_orders, _items = Order.__table__, OrderItem.__table__
_products, _levels = Product.__table__, StockLevel.__table__
_is_sold = _orders.c.status.in_([sa.literal_column(f"'{status.value}'") for status in SOLD])
_total = sa.func.sum(_orders.c.total, type_=sa.BigInteger())
_limit = sa.bindparam("limit", type_=sa.Integer())


class OrderStatusTotal(NamedTuple):
    """The number of orders with a status."""

    status: Annotated[OrderStatus, "The status."]
    total: Annotated[int, "The number of orders with the status."]


class Revenue(NamedTuple):
    """The revenue of a day or a month in one currency."""

    date: Annotated[dt.date, "The day, or the first day of the month."]
    revenue: Annotated[Money, "The sum of the totals, with tax, of the orders that were paid then and not refunded."]
    orders: Annotated[int, "The number of these orders."]


class BestSeller(NamedTuple):
    """How many pieces of a product were sold."""

    product: Annotated[Product, "The product."]
    quantity: Annotated[int, "The number of pieces in orders that are paid and not refunded."]


class LowStock(NamedTuple):
    """A product of which few pieces can be ordered."""

    product: Annotated[Product, "The product."]
    available: Annotated[int, "The number of pieces that can be ordered."]


_PERIOD: list[sa.Column[Any]] = [
    sa.Column("date", types.Day()),
    sa.Column("starts", types.Timestamp()),
    sa.Column("ends", types.Timestamp()),
]


def _revenue_of(engine: Engine) -> sa.Executable:
    period = records(engine, "periods", _PERIOD)
    is_in = sa.and_(_orders.c.paid_at >= period.c.starts, _orders.c.paid_at < period.c.ends, _is_sold)
    return (
        sa.select(period.c.date, _orders.c.currency, _total, sa.func.count())
        .select_from(_orders.join(period, is_in))
        .group_by(period.c.date, _orders.c.currency)
        .order_by(period.c.date, _orders.c.currency)
    )


_by_status: Statement[tuple[OrderStatus, int]] = Statement(
    sa.select(_orders.c.status, sa.func.count()).group_by(_orders.c.status), RowFactory(tuple)
)
_revenue: Statement[Revenue] = Statement(
    _revenue_of, RowFactory(lambda values: Revenue(values[0], money(int(values[2]), values[1]), values[3]))
)
_by_currency: Statement[tuple[str, int, int]] = Statement(
    sa.select(_orders.c.currency, _total, sa.func.count())
    .where(_is_sold)
    .group_by(_orders.c.currency)
    .order_by(_orders.c.currency),
    RowFactory(tuple),
)
_returned: Statement[tuple[int, int]] = Statement(
    sa.select(
        sa.func.count().filter(_orders.c.status == OrderStatus.REFUNDED),
        sa.func.count(),
    ).where(_orders.c.paid_at.is_not(None)),
    RowFactory(tuple),
)


def _best_of() -> sa.Executable:
    sold = (
        sa.select(_items.c.product_id, sa.func.sum(_items.c.quantity).label("quantity"))
        .select_from(_items.join(_orders, _orders.c.id == _items.c.order_id))
        .where(_is_sold)
        .group_by(_items.c.product_id)
        .subquery("sold")
    )
    return (
        sa.select(*_products.c, sold.c.quantity)
        .select_from(_products.join(sold, sold.c.product_id == _products.c.id))
        .where(_products.c.deleted_at.is_(None))
        .order_by(sold.c.quantity.desc(), folded(_products.c.name), _products.c.id)
        .limit(_limit)
    )


def _best_seller(values: Sequence[Any]) -> BestSeller:
    return BestSeller(Product._make(values[:-1]), int(values[-1]))


_best: Statement[BestSeller] = Statement(_best_of(), RowFactory(_best_seller))
_low: Statement[LowStock] = Statement(
    sa.select(*_products.c, _levels.c.available)
    .select_from(_products.join(_levels, _levels.c.id == _products.c.id))
    .where(
        _products.c.deleted_at.is_(None),
        _products.c.is_active,
        _levels.c.available <= sa.bindparam("most", type_=sa.Integer()),
    )
    .order_by(_levels.c.available, folded(_products.c.name), _products.c.id)
    .limit(_limit),
    RowFactory(lambda values: LowStock(Product._make(values[:-1]), values[-1])),
)


class CommerceNumbers:
    """Each method executes one statement."""

    def __init__(self, connection: ReadConnection) -> None:
        self.connection = connection

    async def by_status(self) -> list[OrderStatusTotal]:
        """The number of orders for each status."""
        found = dict(await self.connection.rows(_by_status))
        return [OrderStatusTotal(status, found.get(status, 0)) for status in OrderStatus]

    async def revenue(self, periods: Sequence[LocalDay]) -> list[Revenue]:
        """The revenue of each period and currency with orders, the earliest first."""
        rows = [{"date": each.date, "starts": each.start, "ends": each.end} for each in periods]
        return await self.connection.rows(_revenue, periods=records_parameter(self.connection.engine, _PERIOD, rows))

    async def mean_order_values(self) -> list[Money]:
        """The mean total of the sold orders of each currency, rounded half-even to minor units."""
        found = await self.connection.rows(_by_currency)
        return [
            money(int((Decimal(int(total)) / count).quantize(Decimal(1), ROUND_HALF_EVEN)), currency)
            for currency, total, count in found
        ]

    async def best_sellers(self, limit: int) -> list[BestSeller]:
        return await self.connection.rows(_best, limit=limit)

    async def low_stock(self, most: int, limit: int) -> list[LowStock]:
        return await self.connection.rows(_low, most=most, limit=limit)

    async def return_rate(self) -> Decimal:
        """100 × REFUNDED / all paid orders, rounded half up to two decimals. 0 without paid orders."""
        returned, paid = await self.connection.one(_returned)
        return (Decimal(100 * returned) / max(paid, 1)).quantize(Decimal("0.01"), ROUND_HALF_UP)
