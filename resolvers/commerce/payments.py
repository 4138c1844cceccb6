"""Payments of orders: the mutation that starts one, and the reactions to the events of payments.

The events belong to another domain, so the reactions use only ``aggregate_id`` (the payment), ``order_id`` (None if the
payment is for something else), ``amount``, ``currency`` and ``owner_id``. They may arrive in any order and after the
order has changed. A reaction that finds its effect changes nothing.
"""

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple
from uuid import UUID

from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.commerce.events import OrderPaid, OrderRefundDue, OrderRefunded, OrderUpdated
from repositories.commerce.orders import Orders
from repositories.core.errors import NotFound, ServiceUnavailable
from repositories.tables.commerce import REFUND, Order, OrderStatus
from resolvers.aggregates.derived_commands import row_command
from resolvers.commerce.orders import check_state, release
from resolvers.request.context import Context
from resolvers.request.payment_starter import PaymentStarter
from resolvers.validation.command import check_version


class OrderPayment(NamedTuple):
    """A payment of an order that was started."""

    order: Annotated[Order, "The order, with the `paymentId`."]
    client_secret: Annotated[
        str | None, "The secret with which the client lets the user pay, such as by Stripe's Payment Element."
    ]


async def _start(context: Context, order: Order) -> tuple[UUID, str]:
    starter = context.optional_service(PaymentStarter)
    if starter is None:
        raise ServiceUnavailable("Payments are not available right now. Try again later.")
    await context.discard_reads()  # no connection is held while the other service is called
    return await starter.start(context, order.id, order.total, order.currency)


@row_command(Order, "The viewer's PLACED order to pay.")
async def pay_order(context: Context, command: Any) -> Annotated[OrderPayment, "The payment."]:
    """Starts a payment of a PLACED order of the viewer, or returns the one that was started.

    The order becomes PAID when the payment succeeds. The secret is not stored: a repetition loads it again, and starts
    no second payment. Possible errors: NOT_FOUND, STALE_VERSION, CONFLICT if the order is in another state. The field
    fails with SERVICE_UNAVAILABLE if payments are not possible now; nothing has changed then.
    """
    order = (await Orders(context.snapshot).by_id([command.id])).get(command.id)
    if order is None or order.user_id != context.viewer_id:
        raise NotFound.of(Orders.noun)
    check_state(check_version(order, command.version), "payOrder")
    payment, secret = await _start(context, order)
    async with context.unit_of_work() as work:
        order = await work.repository(Orders).lock(command.id)
        check_state(order, "payOrder")
        if order.payment_id != payment:
            order = await work.change(order, OrderUpdated, payment_id=payment)
        work.outcome = order
    return OrderPayment(order, secret)


async def repeat_payment(context: Context, _: Any, order: Order) -> OrderPayment:
    """The result of a repetition: the secret is loaded again, as long as the order can be paid."""
    if order.status is not OrderStatus.PLACED:
        return OrderPayment(order, None)
    _, secret = await _start(context, order)
    return OrderPayment(order, secret)


async def _lock_orders(work: UnitOfWork, events: Sequence[Any]) -> dict[UUID, Order]:
    keys = {event.order_id for event in events if event.order_id is not None}
    return dict(await work.repository(Orders).lock_many(sorted(keys))) if keys else {}


async def advance_paid_orders(work: UnitOfWork, events: list[Any]) -> None:
    """PaymentSucceeded: a PLACED order becomes PAID.

    Money that pays no order exactly must be refunded: the order was canceled or paid before, or its total is another.
    """
    orders = await _lock_orders(work, events)
    for event in events:
        order = orders.get(event.order_id)
        if order is None or (order.paid_at is not None and order.payment_id == event.aggregate_id):
            continue
        is_exact = (event.amount, event.currency) == (order.total, order.currency)
        if order.status is OrderStatus.PLACED and is_exact:
            values = {"status": OrderStatus.PAID, "paid_at": work.now, "payment_id": event.aggregate_id}
            orders[order.id] = await work.change(order, OrderPaid, **values)
            continue
        work.record(OrderRefundDue(order.id, order.user_id, event.aggregate_id, event.amount, event.currency))
        if order.status is OrderStatus.CANCELED and order.paid_at is None:
            values = {"paid_at": work.now, "payment_id": event.aggregate_id}
            orders[order.id] = await work.change(order, OrderUpdated, **values)


async def release_failed_payments(work: UnitOfWork, events: list[Any]) -> None:
    """PaymentFailed: the order stays PLACED, so that the user can pay in another way."""
    orders = await _lock_orders(work, events)
    for event in events:
        order = orders.get(event.order_id)
        if order is not None and order.status is OrderStatus.PLACED and order.payment_id == event.aggregate_id:
            orders[order.id] = await work.change(order, OrderUpdated, payment_id=None)


async def mark_refunded_orders(work: UnitOfWork, events: list[Any]) -> None:
    """PaymentRefunded: an order whose whole payment was refunded becomes REFUNDED.

    ``amount`` is the sum of all refunds of the payment. Stock that is still reserved is released. Goods that were
    shipped stay with the user: `returnOrder` adds goods to the stock that came back.
    """
    orders = await _lock_orders(work, events)
    for event in events:
        order = orders.get(event.order_id)
        if order is None or order.payment_id != event.aggregate_id or order.paid_at is None:
            continue
        if order.status in REFUND.before and event.amount >= order.total:
            await release(work, order)
            orders[order.id] = await work.change(order, OrderRefunded, status=REFUND.after)
