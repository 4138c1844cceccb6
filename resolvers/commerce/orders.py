"""Commands on orders."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID

import orjson
from pydantic import Field, StringConstraints

from repositories.aggregates.derived import event_for
from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.commerce.catalog import Products, StockLevels
from repositories.commerce.events import (
    OrderCanceled,
    OrderCompleted,
    OrderItemAdded,
    OrderItemRemoved,
    OrderItemUpdated,
    OrderPaid,
    OrderPlaced,
    OrderRefundDue,
    OrderReturned,
    OrderShipped,
    OrderStarted,
    OrderUpdated,
)
from repositories.commerce.orders import OrderItems, Orders, copy_product, line_total, new_number, totals_of
from repositories.core.errors import Conflict, InputError, NotFound, ValidationError
from repositories.core.event import Event
from repositories.identity import Users
from repositories.tables.commerce import (
    FREE,
    MAX_ITEMS,
    MAX_QUANTITY,
    ORDER_ACTIONS,
    MovementKind,
    Order,
    OrderItem,
    OrderStatus,
    Product,
)
from resolvers.aggregates.derived_commands import row_command, takes
from resolvers.aggregates.derived_inputs import input_model
from resolvers.aggregates.handlers import lock_row
from resolvers.commerce.catalog import move_stock
from resolvers.validation.command import Command, Visible, changed_fields, matching, raise_all
from resolvers.validation.global_ids import GlobalKey

RESERVED = (OrderStatus.PLACED, OrderStatus.PAID)
"""The states of the orders whose stock is reserved."""


def check_state(order: Order, action: str) -> None:
    """Raises Conflict if the mutation ``action`` is not possible in the state of the order."""
    if order.status in ORDER_ACTIONS[action].before:
        return
    possible = [name for name, each in ORDER_ACTIONS.items() if order.status in each.before]
    rest = f"Possible now: {', '.join(possible)}." if possible else "Nothing can be done with it any more."
    raise Conflict(f"This order is {order.status.name}, so {action} is not possible. {rest}", path=("id",))


# items

_Quantity = Annotated[int, Field(ge=1, le=MAX_QUANTITY)]
_quantity = f"The number of pieces, 1 to {MAX_QUANTITY}."


@takes(
    input_model(
        "AddToOrder",
        "A product to order.",
        {
            "product_id": (Annotated[UUID, GlobalKey("Product")], Field(description="The product.")),
            "quantity": (_Quantity, Field(1, description=_quantity)),
        },
    )
)
async def add_to_order(work: UnitOfWork, command: Any) -> Order:
    """Adds a product to the viewer's DRAFT order, the cart, or starts one. Adds to the quantity if it is in there.

    Possible errors: VALIDATION_ERROR for a quantity above 999 or more than 100 products, NOT_FOUND if the product does
    not exist, CONFLICT if it cannot be ordered now or has another currency than the order.
    """
    await work.repository(Users).hold([work.viewer_id])
    product = (await work.repository(Products).by_id([command.product_id])).get(command.product_id)
    if product is None:
        raise NotFound.of(Products.noun, path=("product_id",))
    if not product.is_active:
        raise Conflict(f"{product.name} cannot be ordered now.", path=("product_id",))
    draft = await work.repository(Orders).draft_of(work.viewer_id)
    items = [] if draft is None else await work.repository(OrderItems).of_order(draft.id)
    order = draft or await _start_order(work, product, command.quantity)
    if items and order.currency != product.price_currency:
        message = f"{product.name} is sold in {product.price_currency}, but this order is in {order.currency}."
        raise Conflict(message, path=("product_id",))
    item = next((each for each in items if each.product_id == product.id), None)
    if item is None:
        await _add_item(work, order, product, command.quantity, count=len(items))
    else:
        await _change_item(work, item, product, item.quantity + command.quantity)
    return await _update_totals(work, order, product.price_currency)


async def _start_order(work: UnitOfWork, product: Product, quantity: int) -> Order:
    """A new draft of the viewer, with the amounts that it has when the product is in it."""
    total, subtotal = line_total(product.price_amount, quantity, product.tax_rate), product.price_amount * quantity
    amounts = {"subtotal": subtotal, "tax": total - subtotal, "total": total, "currency": product.price_currency}
    return await work.add(Order, OrderStarted, number=new_number(), user_id=work.viewer_id, **amounts)


async def _add_item(work: UnitOfWork, order: Order, product: Product, quantity: int, *, count: int) -> None:
    if count >= MAX_ITEMS:
        raise ValidationError(f"An order has at most {MAX_ITEMS} products.", path=("product_id",))
    values = {"order_id": order.id, "user_id": order.user_id, "product_id": product.id}
    await work.add(OrderItem, OrderItemAdded, **values, **copy_product(product, quantity))


async def _change_item(work: UnitOfWork, item: OrderItem, product: Product, quantity: int) -> None:
    if quantity > MAX_QUANTITY:
        message = f"An order has at most {MAX_QUANTITY} pieces of a product; this one has {item.quantity}."
        raise ValidationError(message, path=("quantity",))
    if values := changed_fields(work, item, copy_product(product, quantity)):
        await work.change(item, OrderItemUpdated, **values)


async def _update_totals(work: UnitOfWork, order: Order, currency: str | None = None) -> Order:
    """The order with the sums of its items, and with another currency if it is given."""
    totals = totals_of(await work.repository(OrderItems).of_order(order.id))
    values = changed_fields(work, order, {**totals._asdict(), "currency": currency or order.currency})
    return await work.change(order, OrderUpdated, **values) if values else order


async def _lock_draft(work: UnitOfWork, command: Any, action: str) -> tuple[Order, OrderItem]:
    """The item of a command, and its order, locked. Raises Conflict if it is no draft."""
    found = (await work.repository(OrderItems).by_id([command.id])).get(command.id)
    if found is None:
        raise NotFound.of(OrderItems.noun)
    order = await work.repository(Orders).lock(found.order_id)
    check_state(order, action)
    return order, await work.repository(OrderItems).get(command.id)


@row_command(
    OrderItem,
    "The item of a DRAFT order, and its new quantity.",
    {"quantity": (_Quantity, Field(description=_quantity))},
)
async def change_order_item(work: UnitOfWork, command: Any) -> Order:
    """Changes the quantity of an item of a DRAFT order, and copies the current name, price and tax of the product.

    Possible errors: VALIDATION_ERROR, NOT_FOUND if the item or its product does not exist, CONFLICT if the order is no
    DRAFT, or if the product cannot be ordered now or has another currency than the order.
    """
    order, item = await _lock_draft(work, command, "changeOrderItem")
    product = (await work.repository(Products).by_id([item.product_id])).get(item.product_id)
    if product is None:
        raise NotFound.of(Products.noun)
    if problem := _find_problem(item, product, checks_price=False):
        raise Conflict(problem, path=("id",))
    await _change_item(work, item, product, command.quantity)
    return await _update_totals(work, order)


@row_command(OrderItem, "The item to remove from a DRAFT order.")
async def remove_from_order(work: UnitOfWork, command: Any) -> Order:
    """Removes an item from a DRAFT order. The order remains, also without items.

    Possible errors: NOT_FOUND, CONFLICT if the order is no DRAFT.
    """
    order, item = await _lock_draft(work, command, "removeFromOrder")
    await work.load_owners([item])
    await work.repository(OrderItems).purge(item.id)
    work.record(OrderItemRemoved(item.id, item.user_id, item.order_id))
    return await _update_totals(work, order)


# placing


def _text(limit: int) -> Any:
    return Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=limit), Visible]


class ShippingAddress(Command):
    """The address to ship an order to. It is stored encrypted."""

    name: _text(200)  # type: ignore[valid-type]
    """The name of the recipient, 1 to 200 characters."""
    line1: _text(200)  # type: ignore[valid-type]
    """The street and the number, 1 to 200 characters."""
    line2: _text(200) | None = None  # type: ignore[valid-type]
    """A second line, such as the floor, 1 to 200 characters."""
    postal_code: _text(20)  # type: ignore[valid-type]
    """The postal code, 1 to 20 characters."""
    city: _text(100)  # type: ignore[valid-type]
    """The city, 1 to 100 characters."""
    country: Annotated[str, matching("[A-Z]{2}", "A country is a code of two capital letters, such as DE")]
    """The code of the country in ISO 3166, such as DE."""


@row_command(
    Order,
    "The DRAFT order to place.",
    {"shipping_address": (ShippingAddress, Field(description="The address to ship the order to."))},
)
async def place_order(work: UnitOfWork, command: Any) -> Order:
    """Places a DRAFT order and reserves its stock, all of it or nothing. An order of 0 is PAID at once.

    Prices and stock are checked again. Possible errors: VALIDATION_ERROR, also for an order without items, NOT_FOUND,
    STALE_VERSION, CONFLICT if the order is no DRAFT, and for each item that cannot be ordered, whose price or tax has
    changed (`changeOrderItem` accepts the new one), or of which too few pieces are in stock. The message names the
    item.
    """
    order = await lock_row(work, Order, command)
    check_state(order, "placeOrder")
    items = await work.repository(OrderItems).of_order(order.id)
    if not items:
        raise ValidationError("This order has no items.", path=("id",))
    products = await work.repository(Products).by_id([item.product_id for item in items])
    problems = [_find_problem(item, products.get(item.product_id)) for item in items]
    raise_all([*_conflicts(problems), *await _find_shortages(work, items)])
    await _reserve(work, order, items)
    address = orjson.dumps(command.shipping_address.model_dump(exclude_none=True)).decode()
    values = {"status": OrderStatus.PLACED, "placed_at": work.now, "shipping_address": address}
    if order.total > 0:
        return await work.change(order, OrderPlaced, **values)
    paid = await work.change(order, OrderPlaced, **values | {"status": FREE.after, "paid_at": work.now})
    work.record(event_for(OrderPaid, paid, paid.user_id))
    return paid


def _conflicts(messages: Sequence[str]) -> list[InputError]:
    return [Conflict(message, path=("id",)) for message in messages if message]


def _find_problem(item: OrderItem, product: Product | None, *, checks_price: bool = True) -> str:
    """Why an item cannot be ordered as it is; empty if it can."""
    name = f"{item.name} ({item.sku})"
    if product is None or not product.is_active:
        return f"{name} cannot be ordered any more. Remove it from the order."
    if product.price_currency != item.currency:
        return f"{name} is sold in {product.price_currency} now. Remove it from the order."
    if checks_price and (product.price_amount, product.tax_rate) != (item.unit_price, item.tax_rate):
        return f"The price or the tax of {name} has changed. Accept it with changeOrderItem, or remove the item."
    return ""


async def _find_shortages(work: UnitOfWork, items: Sequence[OrderItem]) -> list[InputError]:
    """An error for each item of which too few pieces are available."""
    levels = await work.repository(StockLevels).by_id([item.product_id for item in items])
    return _conflicts(
        [
            f"Only {levels[item.product_id].available} of {item.quantity} pieces of {item.name} ({item.sku}) are "
            "in stock."
            for item in items
            if levels[item.product_id].available < item.quantity
        ]
    )


async def _reserve(work: UnitOfWork, order: Order, items: Sequence[OrderItem]) -> None:
    """Reserves the stock. Another order may have taken it since it was checked: then it is checked again."""
    try:
        async with work.savepoint():
            await move_items(work, order, items, MovementKind.RESERVED)
    except Conflict:
        raise_all(await _find_shortages(work, items))
        raise Conflict("The stock of an item is changing at this moment. Try again.", path=("id",)) from None


async def move_items(work: UnitOfWork, order: Order, items: Sequence[OrderItem], kind: MovementKind) -> None:
    """Appends a movement for each item."""
    sign = -1 if kind in {MovementKind.RELEASED, MovementKind.SHIPPED} else 1
    movements: list[Mapping[str, Any]] = [
        {
            "product_id": item.product_id,
            "quantity": sign * item.quantity,
            "kind": kind,
            "order_item_id": item.id,
        }
        for item in items
    ]
    await move_stock(work, movements, order.user_id)


# what follows


async def _move_all(work: UnitOfWork, order: Order, kind: MovementKind) -> None:
    await move_items(work, order, await work.repository(OrderItems).of_order(order.id), kind)


async def release(work: UnitOfWork, order: Order) -> None:
    """Releases the reserved stock of an order; without reserved stock, it does nothing."""
    if order.status in RESERVED:
        await _move_all(work, order, MovementKind.RELEASED)


async def cancel(work: UnitOfWork, order: Order, event: type[Event]) -> Order:
    """Cancels a locked order, releases its stock, and records that the amount paid must be refunded."""
    await release(work, order)
    record_refund(work, order)
    return await work.change(order, event, status=OrderStatus.CANCELED, canceled_at=work.now)


def record_refund(work: UnitOfWork, order: Order) -> None:
    """Records that the amount paid must be refunded, if the order was paid."""
    if order.paid_at is not None and order.payment_id is not None:
        work.record(OrderRefundDue(order.id, order.user_id, order.payment_id, order.total, order.currency))


@row_command(Order, "The DRAFT, PLACED or PAID order to cancel.")
async def cancel_order(work: UnitOfWork, command: Any) -> Order:
    """Cancels an order that is not shipped: releases its stock, and requests the refund of the amount paid.

    Possible errors: NOT_FOUND, STALE_VERSION, CONFLICT if the order is in another state.
    """
    order = await lock_row(work, Order, command)
    check_state(order, "cancelOrder")
    return await cancel(work, order, OrderCanceled)


@row_command(Order, "The PAID order that was shipped.")
async def ship_order(work: UnitOfWork, command: Any) -> Order:
    """Records that a PAID order was shipped: its pieces leave the stock. For administrators and order managers.

    Possible errors: NOT_FOUND, STALE_VERSION, CONFLICT if the order is in another state.
    """
    order = await lock_row(work, Order, command)
    check_state(order, "shipOrder")
    await _move_all(work, order, MovementKind.SHIPPED)
    return await work.change(order, OrderShipped, status=OrderStatus.SHIPPED, shipped_at=work.now)


@row_command(Order, "The SHIPPED order that has arrived.")
async def complete_order(work: UnitOfWork, command: Any) -> Order:
    """Completes a SHIPPED order. For administrators and order managers.

    Possible errors: NOT_FOUND, STALE_VERSION, CONFLICT if the order is in another state.
    """
    order = await lock_row(work, Order, command)
    check_state(order, "completeOrder")
    return await work.change(order, OrderCompleted, status=OrderStatus.COMPLETED)


@row_command(Order, "The SHIPPED or COMPLETED order whose goods came back.")
async def return_order(work: UnitOfWork, command: Any) -> Order:
    """Records that the goods of an order came back: adds them to the stock, and requests the refund of the amount paid.

    For administrators and order managers. Possible errors: NOT_FOUND, STALE_VERSION, CONFLICT if the order is in
    another state.
    """
    order = await lock_row(work, Order, command)
    check_state(order, "returnOrder")
    await _move_all(work, order, MovementKind.RETURNED)
    record_refund(work, order)
    return await work.change(order, OrderReturned, status=OrderStatus.REFUNDED)
