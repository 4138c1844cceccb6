"""Queries of products and orders."""

from collections.abc import Sequence
from typing import Any

import orjson

from repositories.commerce.catalog import CategoryBranch, ProductCategories, StockLevels
from repositories.sql.aggregate import aggregates
from repositories.sql.filters import NO_FILTER, Filter, SortKey
from repositories.sql.page import PageRequest
from repositories.tables.commerce import Order, Product
from resolvers.aggregates.row_queries import ListScope, load_list
from resolvers.loading.edges import Connection, one
from resolvers.loading.encrypted import EncryptedField
from resolvers.request.context import Context

stock_of_product = one(StockLevels.by_id, key=Product.id)
_address = EncryptedField(Order.shipping_address)


async def address_of_order(context: Context, order: Order) -> dict[str, Any] | None:
    """The decrypted address of an order."""
    text = await _address.load(context, order)
    return None if text is None else orjson.loads(text)


async def addresses_of_orders(context: Context, orders: Sequence[Order]) -> list[Any]:
    """The addresses of many orders, with the error in the place of one that cannot be decrypted."""
    texts = await _address.load_many(context, orders)
    return [orjson.loads(text) if isinstance(text, str) else text for text in texts]


async def product_category_tree(context: Context) -> list[CategoryBranch]:
    """All categories as a tree in the order in which it is shown: each one is followed by those below it.

    Categories with the same parent are sorted by position, then by name.
    """
    return list((await ProductCategories(context.snapshot).tree()).branches())


async def my_orders(
    context: Context, request: PageRequest, where: Filter = NO_FILTER, order: tuple[SortKey, ...] = ()
) -> Connection[Order]:
    return await load_list(context, aggregates[Order], request, where, order, scope=ListScope.MINE)
