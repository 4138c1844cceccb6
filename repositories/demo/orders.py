"""The catalogue of the demo data, its stock, and the orders of the users."""

import datetime as dt
from collections.abc import Iterator, Sequence
from decimal import Decimal
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from repositories.commerce.orders import line_total
from repositories.demo.tasks import Rows
from repositories.demo.users import EPOCH, demo_id
from repositories.tables.commerce import MovementKind, OrderStatus

_TREE = {"Books": None, "Novels": "Books", "Science": "Books", "Kitchen": None, "Tea": "Kitchen", "Cups": "Kitchen"}
_PRODUCTS = (
    ("Notes on the Analytical Engine", "Science", 2490, "0.07"),
    ("A Room of One's Own", "Novels", 1190, "0.07"),
    ("The Left Hand of Darkness", "Novels", 1290, "0.07"),
    ("Green tea", "Tea", 890, "0.07"),
    ("Black tea", "Tea", 790, "0.07"),
    ("Tea cup", "Cups", 1450, "0.19"),
    ("Tea pot", "Kitchen", 3900, "0.19"),
    ("Milk jug", "Kitchen", 2200, "0.19"),
)
"""The last one is new: there are few pieces of it, and no orders."""
_MOVED = {
    OrderStatus.PAID: (MovementKind.RESERVED,),
    OrderStatus.SHIPPED: (MovementKind.RESERVED, MovementKind.SHIPPED),
    OrderStatus.COMPLETED: (MovementKind.RESERVED, MovementKind.SHIPPED),
    OrderStatus.REFUNDED: (MovementKind.RESERVED, MovementKind.SHIPPED, MovementKind.RETURNED),
}
"""The movements of the stock of the orders with each status."""
_ADDRESS = {"line1": "Main Street 1", "postal_code": "10115", "city": "Berlin", "country": "DE"}
_RECEIVED = 10_000


class Shop(NamedTuple):
    """The rows of each table, in an order in which they can be inserted."""

    categories: Rows
    products: Rows
    received: Rows
    orders: Rows
    items: Rows
    movements: Rows


def generate_shop(users: Sequence[dict[str, Any]], day: dt.date) -> Shop:
    """Returns the catalogue, its stock, and some orders of each user before the start of ``day`` (UTC)."""
    source = Random("shop")  # noqa: S311 (the data must be reproducible)
    now = dt.datetime.combine(day, dt.time(), dt.UTC)
    ids = {name: demo_id(source, EPOCH) for name in _TREE}
    categories = [
        {"id": ids[name], "name": name, "slug": name.lower(), "parent_id": parent and ids[parent], "position": position}
        for position, (name, parent) in enumerate(_TREE.items())
    ]
    products = [_product(source, number, each, ids) for number, each in enumerate(_PRODUCTS, start=1)]
    received = [
        _movement(source, MovementKind.RECEIVED, EPOCH, product_id=product["id"], quantity=_RECEIVED)
        for product in products[:-1]
    ]
    received.append(_movement(source, MovementKind.RECEIVED, EPOCH, product_id=products[-1]["id"], quantity=3))
    shop = Shop([each | _times(EPOCH) for each in categories], products, received, [], [], [])
    for user in users:
        for _ in range(source.randint(1, 4)):
            _add_order(source, shop, user, now - dt.timedelta(days=source.randint(1, 120)))
    return shop


def _times(at: dt.datetime) -> dict[str, Any]:
    return {"created_at": at, "updated_at": at}


def _product(source: Random, number: int, values: tuple[str, str, int, str], categories: dict[str, UUID]) -> Any:
    name, category, price, tax = values
    return {
        "id": demo_id(source, EPOCH),
        "sku": f"SKU-{number:03}",
        "name": name,
        "slug": name.lower().replace(" ", "-").replace("'", ""),
        "category_id": categories[category],
        "price_amount": price,
        "price_currency": "EUR",
        "tax_rate": Decimal(tax),
        **_times(EPOCH),
    }


def _movement(source: Random, kind: MovementKind, at: dt.datetime, **values: Any) -> dict[str, Any]:
    common = {"order_item_id": None, "note": None, "actor_id": None}
    return {"id": demo_id(source, at), "kind": kind, **common, **values, **_times(at)}


def _add_order(source: Random, shop: Shop, user: dict[str, Any], at: dt.datetime) -> None:
    status = source.choices(list(_MOVED), (1, 2, 6, 1))[0]
    order = demo_id(source, at)
    items = list(_items(source, shop, order, user["id"], at))
    subtotal = sum(item["unit_price"] * item["quantity"] for item in items)
    total = sum(item["line_total"] for item in items)
    name = f"{user['first_name']} {user['last_name']}"
    shop.orders.append(
        {
            "id": order,
            "number": f"DEMO-{len(shop.orders) + 1:05}",
            "user_id": user["id"],
            "status": status,
            "currency": "EUR",
            "subtotal": subtotal,
            "tax": total - subtotal,
            "total": total,
            "shipping_address": orjson.dumps({"name": name, **_ADDRESS}).decode(),
            "placed_at": at,
            "paid_at": at + dt.timedelta(minutes=5),
            "shipped_at": None if status is OrderStatus.PAID else at + dt.timedelta(hours=20),
            **_times(at),
        }
    )
    shop.items.extend(items)
    for kind in _MOVED[status]:
        sign = -1 if kind is MovementKind.SHIPPED else 1
        for item in items:
            moved = {"product_id": item["product_id"], "quantity": sign * item["quantity"]}
            shop.movements.append(_movement(source, kind, at, order_item_id=item["id"], **moved))


def _items(source: Random, shop: Shop, order: UUID, user: UUID, at: dt.datetime) -> Iterator[dict[str, Any]]:
    for product in source.sample(shop.products[:-1], source.randint(1, 3)):
        quantity, price, tax = source.randint(1, 3), product["price_amount"], product["tax_rate"]
        yield {
            "id": demo_id(source, at),
            "order_id": order,
            "user_id": user,
            "product_id": product["id"],
            "sku": product["sku"],
            "name": product["name"],
            "currency": "EUR",
            "unit_price": price,
            "tax_rate": tax,
            "quantity": quantity,
            "line_total": line_total(price, quantity, tax),
            **_times(at),
        }
