"""Products, stock and orders on both engines."""

import asyncio
import datetime as dt
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from repositories.aggregates.unit_of_work import open_unit_of_work
from repositories.commerce.catalog import StockLevels
from repositories.commerce.orders import OrderItems, Orders
from repositories.core.clock import now
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.permissions import RoleName
from repositories.sql.statements import RowFactory, Statement
from repositories.tables.commerce import Order, OrderStatus, Product, StockMovement
from repositories.tables.events import DomainEvent
from repositories.tables.identity import User
from resolvers.commerce import payments
from resolvers.commerce.jobs import expire_orders
from resolvers.reactions import REACTIONS
from resolvers.services.job import JobContext
from tests.api.client import Client, Gateway, gid, user_error
from tests.api.test_statements import summarize_statements
from tests.factories import make_order, make_product, make_product_category, make_user

ADDRESS = {"name": "Ada Byron", "line1": "Main Street 1", "postalCode": "10115", "city": "Berlin", "country": "DE"}
MANAGER, CATALOG = RoleName.ORDER_MANAGER, RoleName.CATALOG_MANAGER


async def stock_of(database: Database, product: Product) -> tuple[int, int, int]:
    """On hand, reserved and available."""
    async with database.snapshot(SERVICE) as snapshot:
        level = await StockLevels(snapshot).get(product.id)
    return level.on_hand, level.reserved, level.available


async def status_of(database: Database, order: Any) -> OrderStatus:
    key = order.id if isinstance(order, Order) else order
    async with database.snapshot(SERVICE) as snapshot:
        return (await Orders(snapshot).get(key)).status


_LEDGER: Statement[tuple[str, int]] = Statement(
    sa.select(StockMovement.kind, StockMovement.quantity).order_by(StockMovement.created_at, StockMovement.id),
    RowFactory(lambda values: (values[0].value, values[1])),
)
_EVENTS: Statement[str] = Statement(
    sa.select(DomainEvent.event_type).order_by(DomainEvent.sequence), RowFactory(lambda values: values[0])
)
_DUE: Statement[dict[str, Any]] = Statement(
    sa.select(DomainEvent.event_data).where(DomainEvent.event_type == "OrderRefundDue"),
    RowFactory(lambda values: values[0]),
)


async def read_all(database: Database, statement: Statement[Any]) -> list[Any]:
    async with database.snapshot(SERVICE) as snapshot:
        return await snapshot.rows(statement)


async def place(client: Client, order: Order) -> Any:
    return await client.do("placeOrder", "order { status }", id=gid("Order", order), shippingAddress=ADDRESS)


# the catalogue


PAGE = """{ products(first: 20) { nodes { name price { amount currency decimal } category { name }
    stock { onHand reserved available } } } }"""


async def test_a_product_page_executes_three_statements_also_for_anonymous_callers(
    gateway: Gateway, statements: list[str]
) -> None:
    for index in range(20):
        category = await make_product_category(gateway.database, name=f"Category {index % 5}")
        await make_product(gateway.database, name=f"Tea {index:02}", stock=index, category_id=category.id)
    statements.clear()
    nodes = (await gateway.client().data(PAGE))["products"]["nodes"]
    assert summarize_statements(statements) == ["SELECT products", "SELECT product_categories", "SELECT stock_levels"]
    assert nodes[3] == {
        "name": "Tea 03",
        "price": {"amount": 1000, "currency": "EUR", "decimal": "10.00"},
        "category": {"name": "Category 3"},
        "stock": {"onHand": 3, "reserved": 0, "available": 3},
    }
    assert len(nodes) == 20


async def test_an_order_list_executes_three_statements(gateway: Gateway, ada: User, statements: list[str]) -> None:
    products = [await make_product(gateway.database, name=f"Tea {index}") for index in range(5)]
    for _ in range(20):
        values: Any = {"status": OrderStatus.CANCELED, "canceled_at": now()}
        await make_order(gateway.database, ada, *products, **values)
    statements.clear()
    document = """{ orders(first: 20) { nodes { number total { decimal }
        items(first: 5) { nodes { name product { sku } } } } } }"""
    nodes = (await gateway.client(ada).data(document))["orders"]["nodes"]
    assert summarize_statements(statements) == ["SELECT orders", "SELECT order_items", "SELECT products"]
    assert len(nodes) == 20
    assert [item["product"]["sku"] for item in nodes[0]["items"]["nodes"]] == [product.sku for product in products]
    assert nodes[0]["total"] == {"decimal": "59.50"}


async def test_products_are_found_by_category_with_descendants_price_stock_and_words(gateway: Gateway) -> None:
    database = gateway.database
    food = await make_product_category(database, name="Food")
    drinks = await make_product_category(database, name="Drinks", parent_id=food.id)
    tea = await make_product_category(database, name="Tea", parent_id=drinks.id)
    await make_product(database, name="Bread", price_amount=300, category_id=food.id)
    await make_product(database, name="Milk", price_amount=200, category_id=drinks.id, stock=1)
    await make_product(database, name="Green tea", price_amount=900, category_id=tea.id, stock=5)
    await make_product(database, name="Pen", price_amount=100, stock=5)
    document = "query($f: ProductFilter) { products(filter: $f) { nodes { name } } }"
    for where, expected in (
        ({"withinCategory": {"eq": gid("ProductCategory", food)}}, ["Bread", "Green tea", "Milk"]),
        ({"withinCategory": {"eq": gid("ProductCategory", drinks)}}, ["Green tea", "Milk"]),
        ({"withinCategory": {"ne": gid("ProductCategory", drinks)}}, ["Bread", "Pen"]),
        ({"withinCategory": {"isNull": True}}, ["Pen"]),
        ({"inStock": {"eq": True}}, ["Green tea", "Milk", "Pen"]),
        ({"inStock": {"eq": False}}, ["Bread"]),
        ({"inStock": {"isNull": True}}, []),
        ({"inStock": {"isNull": False}}, ["Bread", "Green tea", "Milk", "Pen"]),
        ({"priceAmount": {"gte": 200, "lte": 300}}, ["Bread", "Milk"]),
        ({"search": "TEA green"}, ["Green tea"]),
    ):
        nodes = (await gateway.client().data(document, f=where))["products"]["nodes"]
        assert [node["name"] for node in nodes] == expected, where


async def test_categories_are_a_tree_of_at_most_five_levels_without_cycles(gateway: Gateway, admin: User) -> None:
    client = gateway.client(admin)
    path: list[str] = []
    for level in range(6):
        given = {"name": f"Level {level}", "slug": f"level-{level}", "parentId": path[-1] if path else None}
        payload = await client.do("createProductCategory", "productCategory { id }", **given)
        if level == 5:
            message = "Categories have at most 5 levels."
            assert payload["userErrors"] == [user_error("VALIDATION_ERROR", message, "parentId")]
        else:
            path.append(payload["productCategory"]["id"])
    inner = "VALIDATION_ERROR", "A category cannot be in itself, or in a category below it.", "parentId"
    for parent in (path[0], path[4]):
        payload = await client.do("moveProductCategory", "productCategory { id }", id=path[0], parentId=parent)
        assert payload == {"productCategory": None, "userErrors": [user_error(*inner)]}
    other = {"name": "Other", "slug": "other"}
    other_id = (await client.do("createProductCategory", "productCategory { id }", **other))["productCategory"]["id"]
    payload = await client.do("moveProductCategory", "productCategory { id }", id=path[0], parentId=other_id)
    deep = user_error("VALIDATION_ERROR", "Categories have at most 5 levels.", "parentId")
    assert payload == {"productCategory": None, "userErrors": [deep]}
    moved = await client.do("moveProductCategory", "productCategory { id }", id=path[1], parentId=None, position=3)
    assert moved["userErrors"] == []
    moved = await client.do("moveProductCategory", "productCategory { id }", id=path[0], parentId=path[4])
    assert moved["userErrors"] == []
    document = "{ productCategoryTree { depth parentId category { name databaseId } } }"
    tree = (await gateway.client().data(document))["productCategoryTree"]
    names = {branch["category"]["databaseId"]: branch["category"]["name"] for branch in tree}
    assert [(each["depth"], each["category"]["name"], names.get(each["parentId"])) for each in tree] == [
        (1, "Other", None),
        (1, "Level 1", None),
        (2, "Level 2", "Level 1"),
        (3, "Level 3", "Level 2"),
        (4, "Level 4", "Level 3"),
        (5, "Level 0", "Level 4"),
    ]
    document = """{ productCategories(filter: {parentId: {isNull: true}}) { nodes { name
        children(first: 2) { nodes { name } } } } }"""
    assert (await gateway.client().data(document))["productCategories"]["nodes"] == [
        {"name": "Other", "children": {"nodes": []}},
        {"name": "Level 1", "children": {"nodes": [{"name": "Level 2"}]}},
    ]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"priceAmount": -1}, "priceAmount"),
        ({"priceAmount": 1_000_000_001}, "priceAmount"),
        ({"priceCurrency": "EURO"}, "priceCurrency"),
        ({"priceCurrency": "XXZ"}, "priceCurrency"),
        ({"priceCurrency": "XAU"}, "priceCurrency"),
        ({"taxRate": "1.1"}, "taxRate"),
        ({"slug": "Not a slug"}, "slug"),
        ({"attributes": [1]}, "attributes"),
        ({"attributes": {"text": "x" * 9000}}, "attributes"),
    ],
)
async def test_invalid_values_of_products_are_rejected(
    gateway: Gateway, admin: User, values: dict[str, Any], field: str
) -> None:
    given = {"sku": "A", "name": "A", "slug": "a", "priceAmount": 1, "priceCurrency": "EUR", "taxRate": "0"}
    payload = await gateway.client(admin).do("createProduct", "product { id }", **given | values)
    assert [(error["code"], error["field"]) for error in payload["userErrors"]] == [("VALIDATION_ERROR", [field])]
    assert (await gateway.client().data("{ products { totalCount } }"))["products"] == {"totalCount": 0}


async def test_an_archived_product_is_not_in_the_catalogue_and_keeps_its_names(gateway: Gateway, ada: User) -> None:
    client = gateway.client(ada, CATALOG)
    given = {"sku": "A", "name": "A", "slug": "a", "priceAmount": 1, "priceCurrency": "EUR", "taxRate": "0"}
    more = {"attributes": {"size": [1, {"x": None}]}}
    product = (await client.do("createProduct", "product { id attributes }", **given, **more))["product"]
    assert product["attributes"] == more["attributes"]
    assert (await client.do("archiveProduct", "product { deletedAt }", id=product["id"]))["userErrors"] == []
    document = "{ products { totalCount } }"
    assert await gateway.client().data(document) == {"products": {"totalCount": 0}}
    taken = await client.do("createProduct", "product { id }", **given | {"slug": "b"})
    message = "There is already a product with this SKU; it may be archived."
    assert taken["userErrors"] == [user_error("CONFLICT", message, "sku")]
    assert (await client.do("restoreProduct", "product { id }", id=product["id"]))["userErrors"] == []
    assert await gateway.client().data(document) == {"products": {"totalCount": 1}}


# stock


async def test_stock_is_received_and_corrected_but_never_below_what_is_reserved(gateway: Gateway, ada: User) -> None:
    database = gateway.database
    product = await make_product(database)
    key = gid("Product", product)
    client = gateway.client(ada, CATALOG)
    assert (await client.do("receiveStock", "stockMovement { quantity }", productId=key, quantity=5, note="Box"))[
        "stockMovement"
    ] == {"quantity": 5}
    await place(gateway.client(ada), await make_order(database, ada, product, quantity=3))
    assert await stock_of(database, product) == (5, 3, 2)
    payload = await client.do("correctStock", "stockMovement { id }", productId=key, quantity=-3)
    message = "There are not enough pieces of this product in stock."
    assert payload == {"stockMovement": None, "userErrors": [user_error("CONFLICT", message, "quantity")]}
    assert (await client.do("correctStock", "stockMovement { id }", productId=key, quantity=-2))["userErrors"] == []
    zero = await client.do("correctStock", "stockMovement { id }", productId=key, quantity=0)
    assert [error["code"] for error in zero["userErrors"]] == ["VALIDATION_ERROR"]
    assert await stock_of(database, product) == (3, 3, 0)
    assert await read_all(database, _LEDGER) == [("received", 5), ("reserved", 3), ("corrected", -2)]


# orders


async def test_the_story_of_an_order(gateway: Gateway, ada: User, bob: User) -> None:
    database = gateway.database
    tea = await make_product(database, name="Tea", price_amount=1050, stock=10)
    milk = await make_product(database, name="Milk", price_amount=199, stock=10)
    client, staff = gateway.client(ada), gateway.client(bob, MANAGER)
    selection = "order { id version status subtotal { amount } tax { amount } total { amount decimal } }"
    await client.do("addToOrder", selection, productId=gid("Product", tea), quantity=2)
    await client.do("addToOrder", selection, productId=gid("Product", milk))
    order = (await client.do("addToOrder", selection, productId=gid("Product", milk)))["order"]
    amounts = {"subtotal": {"amount": 2498}, "tax": {"amount": 475}, "total": {"amount": 2973, "decimal": "29.73"}}
    assert order == {"id": order["id"], "version": 3, "status": "DRAFT", **amounts}
    document = "{ myOrders { nodes { items { nodes { id quantity lineTotal { amount } product { name } } } } } }"
    (found,) = (await client.data(document))["myOrders"]["nodes"]
    lines = [
        (each["product"]["name"], each["quantity"], each["lineTotal"]["amount"]) for each in found["items"]["nodes"]
    ]
    assert lines == [("Tea", 2, 2499), ("Milk", 2, 474)]
    tea_item, milk_item = (each["id"] for each in found["items"]["nodes"])
    changed = await client.do("changeOrderItem", "order { total { amount } }", id=tea_item, quantity=1)
    assert changed["order"] == {"total": {"amount": 1250 + 474}}
    removed = await client.do("removeFromOrder", "order { total { amount } }", id=milk_item)
    assert removed["order"] == {"total": {"amount": 1250}}
    placed = await client.do("placeOrder", "order { status placedAt }", id=order["id"], shippingAddress=ADDRESS)
    assert placed["order"]["status"] == "PLACED"
    assert await stock_of(database, tea) == (10, 1, 9)
    assert await stock_of(database, milk) == (10, 0, 10)
    shown = "query($id: ID!) { order(id: $id) { shippingAddress { name line1 line2 postalCode city country } } }"
    stored = (await client.data(shown, id=order["id"]))["order"]
    assert stored == {"shippingAddress": {**ADDRESS, "line2": None}}
    (row,) = await read_all(database, Statement(sa.select(*Order.__table__.c), Order))
    assert "Main Street" not in (row.shipping_address or "")
    await succeed(database, row)
    for mutation, status in (("shipOrder", "SHIPPED"), ("completeOrder", "COMPLETED"), ("returnOrder", "REFUNDED")):
        assert (await staff.do(mutation, "order { status }", id=order["id"]))["order"] == {"status": status}
        if mutation == "shipOrder":
            assert await stock_of(database, tea) == (9, 0, 9)
    assert await stock_of(database, tea) == (10, 0, 10)
    moved = await read_all(database, _LEDGER)
    assert moved[2:] == [("reserved", 1), ("shipped", -1), ("returned", 1)]


@dataclass(frozen=True)
class PaymentEvent:
    """An event of a payment, as another domain records it."""

    aggregate_id: UUID
    order_id: UUID | None
    amount: int
    currency: str
    owner_id: UUID


async def handle(database: Database, reaction: Any, *events: PaymentEvent) -> None:
    async with open_unit_of_work(database, SERVICE, REACTIONS) as work:
        await reaction(work, list(events))


def event_of(order: Order, **values: Any) -> PaymentEvent:
    defaults = {"aggregate_id": new_id(), "order_id": order.id, "amount": order.total, "currency": order.currency}
    return PaymentEvent(**{**defaults, "owner_id": order.user_id, **values})


async def succeed(database: Database, order: Order) -> UUID:
    """Pays an order. Returns the id of the payment."""
    event = event_of(order)
    await handle(database, payments.advance_paid_orders, event)
    return event.aggregate_id


async def test_messages_name_the_state_and_the_possible_actions(gateway: Gateway, ada: User, admin: User) -> None:
    product = await make_product(gateway.database, stock=1)
    order = await make_order(gateway.database, ada, product)
    payload = await gateway.client(admin).do("shipOrder", "order { id }", id=gid("Order", order))
    message = (
        "This order is DRAFT, so shipOrder is not possible. Possible now: addToOrder, changeOrderItem, "
        "removeFromOrder, placeOrder, cancelOrder."
    )
    assert payload == {"order": None, "userErrors": [user_error("CONFLICT", message, "id")]}
    await place(gateway.client(ada), order)
    again = await place(gateway.client(ada), order)
    message = "This order is PLACED, so placeOrder is not possible. Possible now: payOrder, cancelOrder."
    assert again == {"order": None, "userErrors": [user_error("CONFLICT", message, "id")]}
    assert await stock_of(gateway.database, product) == (1, 1, 0)


async def test_placing_checks_prices_and_stock_and_reserves_nothing_if_an_item_is_wrong(
    gateway: Gateway, ada: User, admin: User
) -> None:
    database = gateway.database
    tea = await make_product(database, name="Tea", sku="T", stock=5)
    milk = await make_product(database, name="Milk", sku="M", stock=1)
    pen = await make_product(database, name="Pen", sku="P", stock=5)
    old = await make_product(database, name="Old", sku="O", stock=5)
    order = await make_order(database, ada, tea, milk, pen, old, quantity=2)
    client = gateway.client(admin)
    await client.do("updateProduct", "product { id }", id=gid("Product", pen), version=1, priceAmount=1001)
    await client.do("archiveProduct", "product { id }", id=gid("Product", old))
    before = await read_all(database, _EVENTS)
    payload = await place(gateway.client(ada), order)
    messages = {error["message"] for error in payload["userErrors"]}
    assert messages == {
        "The price or the tax of Pen (P) has changed. Accept it with changeOrderItem, or remove the item.",
        "Old (O) cannot be ordered any more. Remove it from the order.",
        "Only 1 of 2 pieces of Milk (M) are in stock.",
    }
    assert [await stock_of(database, each) for each in (tea, milk)] == [(5, 0, 5), (1, 0, 1)]
    assert await read_all(database, _EVENTS) == before
    async with database.snapshot(SERVICE) as snapshot:
        items = {item.sku: item for item in await OrderItems(snapshot).of_order(order.id)}
    for sku, quantity in (("P", 2), ("M", 1)):
        given = {"id": gid("OrderItem", items[sku]), "quantity": quantity}
        assert (await gateway.client(ada).do("changeOrderItem", "order { id }", **given))["userErrors"] == []
    await gateway.client(ada).do("removeFromOrder", "order { id }", id=gid("OrderItem", items["O"]))
    assert (await place(gateway.client(ada), order))["order"] == {"status": "PLACED"}


async def test_fifty_concurrent_orders_of_the_last_ten_pieces(gateway: Gateway, ada: User) -> None:
    product = await make_product(gateway.database, name="Tea", sku="T", stock=10)
    users = [await make_user(gateway.database) for _ in range(50)]
    orders = [await make_order(gateway.database, user, product) for user in users]
    payloads = await asyncio.gather(
        *(place(gateway.client(user), order) for user, order in zip(users, orders, strict=True))
    )
    assert sum(payload["order"] == {"status": "PLACED"} for payload in payloads) == 10
    message = "Only 0 of 1 pieces of Tea (T) are in stock."
    assert [each["userErrors"] for each in payloads if each["order"] is None] == [
        [user_error("CONFLICT", message, "id")]
    ] * 40
    assert await stock_of(gateway.database, product) == (10, 10, 0)
    assert len(await read_all(gateway.database, _LEDGER)) == 11


async def test_concurrent_cancellations_and_the_job_release_the_stock_once(gateway: Gateway, ada: User) -> None:
    database = gateway.database
    product = await make_product(database, stock=3)
    orders = []
    for user in [ada, await make_user(database), await make_user(database)]:
        orders.append(await make_order(database, user, product))
        await place(gateway.at(now() - dt.timedelta(minutes=31)).client(user), orders[-1])
    assert await stock_of(database, product) == (3, 3, 0)
    job = expire_orders(REACTIONS)
    cancel = gateway.client(ada).do("cancelOrder", "order { status }", id=gid("Order", orders[0]))
    again = gateway.client(ada).do("cancelOrder", "order { status }", id=gid("Order", orders[0]))
    await asyncio.gather(cancel, again, job(JobContext(database, now())), job(JobContext(database, now())))
    assert [await status_of(database, order) for order in orders] == [OrderStatus.CANCELED] * 3
    assert await stock_of(database, product) == (3, 0, 3)
    assert [kind for kind, _ in await read_all(database, _LEDGER)].count("released") == 3


async def test_the_job_cancels_only_orders_that_are_unpaid_for_thirty_minutes(gateway: Gateway, ada: User) -> None:
    database = gateway.database
    product = await make_product(database, stock=3)
    start = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)
    orders = []
    for _ in range(3):
        user = await make_user(database)
        orders.append(await make_order(database, user, product))
        await place(gateway.at(start).client(user), orders[-1])
    await succeed(database, orders[2])
    job = expire_orders(REACTIONS)
    assert await job(JobContext(database, start + dt.timedelta(minutes=29, seconds=59))) == 0
    assert await job(JobContext(database, start + dt.timedelta(minutes=30))) == 2
    assert await job(JobContext(database, start + dt.timedelta(minutes=60))) == 0
    statuses = [await status_of(database, order) for order in orders]
    assert statuses == [OrderStatus.CANCELED, OrderStatus.CANCELED, OrderStatus.PAID]
    assert await stock_of(database, product) == (3, 1, 2)


# payments


async def test_payments_advance_orders_and_money_in_vain_is_refunded(gateway: Gateway, ada: User) -> None:
    database = gateway.database
    product = await make_product(database, stock=9)
    order = await make_order(database, ada, product)
    await place(gateway.client(ada), order)
    wrong = [event_of(order, amount=order.total - 1), event_of(order, currency="USD"), event_of(order, order_id=None)]
    await handle(database, payments.advance_paid_orders, *wrong)
    assert await status_of(database, order) is OrderStatus.PLACED
    event = event_of(order)
    await handle(database, payments.advance_paid_orders, event, event)
    await handle(database, payments.advance_paid_orders, event)
    assert await status_of(database, order) is OrderStatus.PAID
    second = event_of(order)
    await handle(database, payments.advance_paid_orders, second)
    due = [(each["payment_id"], each["amount"], each["currency"]) for each in await read_all(database, _DUE)]
    assert due == [
        (str(wrong[0].aggregate_id), 1189, "EUR"),
        (str(wrong[1].aggregate_id), 1190, "USD"),
        (str(second.aggregate_id), 1190, "EUR"),
    ]
    canceled = await gateway.client(ada).do("cancelOrder", "order { status }", id=gid("Order", order))
    assert canceled["order"] == {"status": "CANCELED"}
    assert (await read_all(database, _DUE))[3:] == [
        {"owner_id": str(ada.id), "payment_id": str(event.aggregate_id), "amount": 1190, "currency": "EUR"}
    ]
    assert await stock_of(database, product) == (9, 0, 9)
    part = event_of(order, aggregate_id=event.aggregate_id, amount=1189)
    await handle(database, payments.mark_refunded_orders, part, event_of(order))
    assert await status_of(database, order) is OrderStatus.CANCELED
    await handle(database, payments.mark_refunded_orders, event)
    await handle(database, payments.mark_refunded_orders, event)
    assert await status_of(database, order) is OrderStatus.REFUNDED
    assert await stock_of(database, product) == (9, 0, 9)


async def test_a_payment_of_a_canceled_order_must_be_refunded_once(gateway: Gateway, ada: User) -> None:
    database = gateway.database
    order = await make_order(database, ada, await make_product(database, stock=1))
    await place(gateway.client(ada), order)
    await gateway.client(ada).do("cancelOrder", "order { id }", id=gid("Order", order))
    event = event_of(order)
    await handle(database, payments.advance_paid_orders, event)
    await handle(database, payments.advance_paid_orders, event)
    assert len(await read_all(database, _DUE)) == 1
    assert await status_of(database, order) is OrderStatus.CANCELED


async def test_a_refund_of_a_paid_order_releases_its_stock(gateway: Gateway, ada: User) -> None:
    database = gateway.database
    product = await make_product(database, stock=1)
    order = await make_order(database, ada, product)
    await place(gateway.client(ada), order)
    payment = await succeed(database, order)
    await handle(database, payments.mark_refunded_orders, event_of(order, aggregate_id=payment))
    assert await status_of(database, order) is OrderStatus.REFUNDED
    assert await stock_of(database, product) == (1, 0, 1)


# the dashboard

_TILES = (
    "ordersByStatus { status total }",
    'revenueByDay(from: "2026-06-01", to: "2026-06-30", timeZone: "Europe/Berlin") { date orders revenue { amount } }',
    'revenueByMonth(months: 2, timeZone: "Europe/Berlin") { date orders revenue { amount currency } }',
    "meanOrderValues { amount currency }",
    "bestSellers(first: 2) { quantity product { name } }",
    "lowStock(most: 1) { available product { name } }",
    "returnRate",
)


async def test_the_dashboard_equals_the_orders_and_executes_one_statement_per_tile(
    gateway: Gateway, ada: User, statements: list[str]
) -> None:
    database = gateway.database
    tea = await make_product(database, name="Tea", stock=2)
    pen = await make_product(database, name="Pen", price_amount=101, price_currency="JPY")
    await make_product(database, name="Cup", stock=1)
    paid_at = [
        dt.datetime(2026, 5, 31, 21, 59, 59, tzinfo=dt.UTC),
        dt.datetime(2026, 5, 31, 22, tzinfo=dt.UTC),
        dt.datetime(2026, 6, 1, 21, 59, tzinfo=dt.UTC),
        dt.datetime(2026, 6, 2, 12, tzinfo=dt.UTC),
    ]
    for quantity, at in enumerate(paid_at, start=1):
        times: Any = {"placed_at": at, "paid_at": at, "shipping_address": "{}"}
        status = OrderStatus.REFUNDED if quantity == 4 else OrderStatus.PAID
        await make_order(database, await make_user(database), tea, quantity=quantity, status=status, **times)
    times = {"placed_at": paid_at[1], "paid_at": paid_at[1], "shipping_address": "{}", "status": OrderStatus.PAID}
    await make_order(database, await make_user(database), pen, currency="JPY", **times)
    await make_order(database, ada, tea)
    client = gateway.at(dt.datetime(2026, 6, 30, 12, tzinfo=dt.UTC)).client(ada, MANAGER)
    for tiles in (*([tile] for tile in _TILES), _TILES):
        statements.clear()
        found = (await client.data(f"{{ commerceDashboard {{ {' '.join(tiles)} }} }}"))["commerceDashboard"]
        assert len(summarize_statements(statements)) == len(tiles)
    counts = {"DRAFT": 1, "PAID": 4, "REFUNDED": 1}
    assert found == {
        "ordersByStatus": [{"status": each.name, "total": counts.get(each.name, 0)} for each in OrderStatus],
        "revenueByDay": [
            {"date": "2026-06-01", "orders": 2, "revenue": {"amount": 1190 * 5}},
            {"date": "2026-06-01", "orders": 1, "revenue": {"amount": 120}},
        ],
        "revenueByMonth": [
            {"date": "2026-05-01", "orders": 1, "revenue": {"amount": 1190, "currency": "EUR"}},
            {"date": "2026-06-01", "orders": 2, "revenue": {"amount": 5950, "currency": "EUR"}},
            {"date": "2026-06-01", "orders": 1, "revenue": {"amount": 120, "currency": "JPY"}},
        ],
        "meanOrderValues": [{"amount": 2380, "currency": "EUR"}, {"amount": 120, "currency": "JPY"}],
        "bestSellers": [{"quantity": 6, "product": {"name": "Tea"}}, {"quantity": 1, "product": {"name": "Pen"}}],
        "lowStock": [{"available": 0, "product": {"name": "Pen"}}, {"available": 1, "product": {"name": "Cup"}}],
        "returnRate": "20.00",
    }
    for other in (gateway.client(ada), gateway.client(ada, CATALOG)):
        assert (await other.ask("{ commerceDashboard { returnRate } }")).codes == ["FORBIDDEN"]


# who may


async def test_only_managers_write_the_catalogue_and_stock(gateway: Gateway, ada: User) -> None:
    product = await make_product(gateway.database)
    before = await read_all(gateway.database, _EVENTS)
    given = {"sku": "A", "name": "A", "slug": "a", "priceAmount": 1, "priceCurrency": "EUR", "taxRate": "0"}
    key = gid("Product", product)
    for client in (gateway.client(ada), gateway.client(ada, MANAGER)):
        for name, field, values in (
            ("CreateProduct", "product", given),
            ("ArchiveProduct", "product", {"id": key}),
            ("ReceiveStock", "stockMovement", {"productId": key, "quantity": 1}),
            ("CorrectStock", "stockMovement", {"productId": key, "quantity": 1}),
        ):
            mutation = name[0].lower() + name[1:]
            document = f"mutation($i: {name}Input!) {{ {mutation}(input: $i) {{ {field} {{ id }} }} }}"
            assert (await client.ask(document, i=values)).codes == ["FORBIDDEN"], name
    assert await read_all(gateway.database, _EVENTS) == before
    assert await stock_of(gateway.database, product) == (0, 0, 0)
    assert (await gateway.client().data("{ products { totalCount } }"))["products"] == {"totalCount": 1}


async def test_users_neither_see_nor_change_the_orders_of_others(gateway: Gateway, ada: User, bob: User) -> None:
    product = await make_product(gateway.database, stock=1)
    order = await make_order(gateway.database, ada, product)
    async with gateway.database.snapshot(SERVICE) as snapshot:
        (item,) = await OrderItems(snapshot).of_order(order.id)
    stranger = gateway.client(bob, CATALOG)
    assert (await stranger.data("{ orders { totalCount } orderItems { totalCount } }")) == {
        "orders": {"totalCount": 0},
        "orderItems": {"totalCount": 0},
    }
    missing = [user_error("NOT_FOUND", "There is no such order.", "id")]
    assert (await place(stranger, order))["userErrors"] == missing
    assert (await stranger.do("cancelOrder", "order { id }", id=gid("Order", order)))["userErrors"] == missing
    for mutation, values in (("changeOrderItem", {"quantity": 2}), ("removeFromOrder", {})):
        payload = await stranger.do(mutation, "order { id }", id=gid("OrderItem", item), **values)
        assert payload["userErrors"] == [user_error("NOT_FOUND", "There is no such order item.", "id")]
    for name in ("ShipOrder", "CompleteOrder", "ReturnOrder"):
        mutation = name[0].lower() + name[1:]
        document = f"mutation($i: {name}Input!) {{ {mutation}(input: $i) {{ order {{ id }} }} }}"
        assert (await gateway.client(ada).ask(document, i={"id": gid("Order", order)})).codes == ["FORBIDDEN"]
    assert await status_of(gateway.database, order) is OrderStatus.DRAFT
    assert await stock_of(gateway.database, product) == (1, 0, 1)
    manager = gateway.client(bob, MANAGER)
    assert (await manager.data("{ orders { totalCount } }")) == {"orders": {"totalCount": 1}}


# idempotency keys


async def _send(client: Client, key: str, mutation: str, selection: str, values: Any) -> tuple[Any, bool]:
    name = mutation[0].upper() + mutation[1:]
    document = f"mutation($i: {name}Input!) {{ {mutation}(input: $i) {{ {selection} userErrors {{ code }} }} }}"
    headers = {"Idempotency-Key": key, **client.headers}
    body = {"query": document, "variables": {"i": values}}
    response = await client.http.post("/graphql", json=body, headers=headers)
    return response.json()["data"][mutation], response.headers.get("Idempotency-Replayed") == "true"


async def test_every_command_that_is_repeated_with_a_key_has_one_effect(gateway: Gateway, admin: User) -> None:
    database, client = gateway.database, gateway.client(admin)
    product = await make_product(database)
    key = gid("Product", product)
    category = await make_product_category(database)

    async def twice(mutation: str, selection: str, **values: Any) -> Any:
        first, is_first_replayed = await _send(client, mutation, mutation, selection, values)
        events = await read_all(database, _EVENTS)
        second, is_replayed = await _send(client, mutation, mutation, selection, values)
        assert first["userErrors"] == []
        assert (second, is_first_replayed, is_replayed) == (first, False, True), mutation
        assert await read_all(database, _EVENTS) == events
        return first

    await twice("moveProductCategory", "productCategory { id }", id=gid("ProductCategory", category), position=4)
    await twice("receiveStock", "stockMovement { id }", productId=key, quantity=9)
    await twice("correctStock", "stockMovement { id }", productId=key, quantity=-1)
    order = (await twice("addToOrder", "order { id total { amount } }", productId=key, quantity=2))["order"]
    assert order["total"] == {"amount": 2380}
    async with database.snapshot(SERVICE) as snapshot:
        (item,) = await OrderItems(snapshot).find(limit=2)
    await twice("changeOrderItem", "order { id }", id=gid("OrderItem", item), quantity=3)
    await twice("placeOrder", "order { status }", id=order["id"], shippingAddress=ADDRESS)
    assert await stock_of(database, product) == (8, 3, 5)
    async with database.snapshot(SERVICE) as snapshot:
        placed = await Orders(snapshot).get(item.order_id)
    await succeed(database, placed)
    await twice("shipOrder", "order { status }", id=order["id"])
    assert await stock_of(database, product) == (5, 0, 5)
    await twice("completeOrder", "order { status }", id=order["id"])
    await twice("returnOrder", "order { status }", id=order["id"])
    assert await stock_of(database, product) == (8, 0, 8)
    second = await make_order(database, admin, product)
    async with database.snapshot(SERVICE) as snapshot:
        (item,) = await OrderItems(snapshot).of_order(second.id)
    await twice("removeFromOrder", "order { id }", id=gid("OrderItem", item))
    await twice("cancelOrder", "order { status }", id=gid("Order", second))
