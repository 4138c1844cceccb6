"""The GraphQL types and fields of products, stock and orders."""

from typing import Any

import strawberry

from repositories.commerce.catalog import in_stock, within_category
from repositories.core.money import Money, money
from repositories.permissions import Permission
from repositories.sql.aggregate import aggregates
from repositories.sql.table import declared
from repositories.tables import commerce as rows
from resolvers.commerce import catalog, dashboard, orders, payments, queries
from schema.aggregates.list_inputs import add_condition, filter_of, order_of
from schema.aggregates.objects import aggregate_view, connection_type
from schema.operations.mutation import context_mutation, mutation
from schema.types.connections import connection
from schema.types.derived_types import query, row_type
from schema.types.filter_inputs import BooleanFilter, IdFilter, where
from schema.types.view import Node, edge, resolver

add_condition(
    rows.Product, "in_stock", BooleanFilter, where("Whether pieces of the product can be ordered.", rewrite=in_stock)
)
add_condition(
    rows.Product,
    "within_category",
    IdFilter,
    where(
        "The category of the product, or a category above it: the products of a category with all categories below it.",
        key="ProductCategory",
        rewrite=within_category,
    ),
)


@aggregate_view(rows.Product)
class Product(Node):
    price = strawberry.field(
        resolver=lambda root: money(root.price_amount, root.price_currency),
        graphql_type=row_type(Money),
        description="The price of one piece without tax.",
    )
    stock: Any = edge(queries.stock_of_product, "How many pieces there are.", kind=row_type(rows.StockLevel) | None)


def _amount(column: Any) -> Any:
    """A field with an amount of a column, in the currency of the row."""
    return strawberry.field(
        resolver=lambda root: money(getattr(root, column.name), root.currency),
        graphql_type=row_type(Money),
        description=declared(column).description,
    )


@strawberry.type(description="An address to which an order is shipped.")
class ShippingAddress:
    name: str = strawberry.field(description="The name of the recipient.")
    line1: str = strawberry.field(description="The street and the number.")
    line2: str | None = strawberry.field(description="A second line. Null if there is none.")
    postal_code: str = strawberry.field(description="The postal code.")
    city: str = strawberry.field(description="The city.")
    country: str = strawberry.field(description="The code of the country in ISO 3166, such as DE.")


def _address(stored: Any) -> Any:
    return ShippingAddress(**{"line2": None, **stored}) if isinstance(stored, dict) else stored


async def _load_address(context: Any, order: Any) -> Any:
    return _address(await queries.address_of_order(context, order))


async def _load_addresses(context: Any, found: Any) -> Any:
    return [_address(stored) for stored in await queries.addresses_of_orders(context, found)]


@aggregate_view(rows.Order)
class Order(Node):
    subtotal = _amount(rows.Order.subtotal)
    tax = _amount(rows.Order.tax)
    total = _amount(rows.Order.total)
    shipping_address: ShippingAddress | None = strawberry.field(
        resolver=resolver(_load_address, {}, resolve_many=_load_addresses),
        graphql_type=ShippingAddress | None,
        description="The address to ship to. It is stored encrypted. Null before the order is placed, and with an "
        "error if it cannot be decrypted.",
    )


@aggregate_view(rows.OrderItem)
class OrderItem(Node):
    unit_price = _amount(rows.OrderItem.unit_price)
    line_total = _amount(rows.OrderItem.line_total)


_ORDER = aggregates[rows.Order]
_CATALOG, _WRITE, _MANAGE = Permission.CATALOG_WRITE, Permission.ORDER_WRITE, Permission.ORDER_MANAGE


@strawberry.type
class CommerceQueries:
    commerce_dashboard = query(dashboard.commerce_dashboard, requires=Permission.COMMERCE_READ)
    product_category_tree = query(queries.product_category_tree, size=500)
    my_orders = connection(
        queries.my_orders,
        description="The viewer's own orders, also for administrators and order managers. By default "
        f"{_ORDER.order_text}.",
        requires=_WRITE,
        filter=filter_of(_ORDER),
        order=order_of(_ORDER),
        kind=connection_type(_ORDER),
    )


@strawberry.type
class CommerceMutations:
    move_product_category = mutation(catalog.move_product_category, requires=_CATALOG)
    receive_stock = mutation(catalog.receive_stock, requires=_CATALOG)
    correct_stock = mutation(catalog.correct_stock, requires=_CATALOG)
    add_to_order = mutation(orders.add_to_order, requires=_WRITE)
    change_order_item = mutation(orders.change_order_item, requires=_WRITE)
    remove_from_order = mutation(orders.remove_from_order, requires=_WRITE)
    place_order = mutation(orders.place_order, requires=_WRITE)
    pay_order = context_mutation(
        payments.pay_order, name="order_payment", requires=_WRITE, repeat=payments.repeat_payment
    )
    cancel_order = mutation(orders.cancel_order, requires=_WRITE)
    ship_order = mutation(orders.ship_order, requires=_MANAGE)
    complete_order = mutation(orders.complete_order, requires=_MANAGE)
    return_order = mutation(orders.return_order, requires=_MANAGE)
