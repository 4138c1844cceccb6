"""The mutation that starts the payment of an order: the payment service is another one, which the tests provide."""

from typing import Any
from uuid import UUID

import pytest

from repositories.commerce.orders import Orders
from repositories.core.errors import ServiceUnavailable
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.tables.commerce import Order
from repositories.tables.identity import User
from resolvers.request.context import Context
from resolvers.request.payment_starter import PaymentStarter
from tests.api.client import Client, Gateway, gid, user_error
from tests.api.test_commerce import MANAGER, place
from tests.factories import make_order, make_product

SELECTION = "orderPayment { order { id paymentId } clientSecret }"


class Payments:
    """Starts one payment for each order, and returns it again. Notes what it was asked, and the pool's connections."""

    def __init__(self) -> None:
        self.asked: list[tuple[UUID, int, str]] = []
        self.used: list[int] = []
        self.started: dict[UUID, UUID] = {}
        self.is_available = True

    async def start(self, context: Context, order: UUID, amount: int, currency: str) -> tuple[UUID, str]:
        self.asked.append((order, amount, currency))
        self.used.append(context.database.pool_state().used)
        if not self.is_available:
            raise ServiceUnavailable("Payments are not available right now.")
        payment = self.started.setdefault(order, new_id())
        return payment, f"secret of {payment}"


async def _placed(gateway: Gateway, user: User) -> Order:
    order = await make_order(gateway.database, user, await make_product(gateway.database, stock=1))
    await place(gateway.client(user), order)
    return order


async def _stored(database: Database, order: Order) -> Order:
    async with database.snapshot(SERVICE) as snapshot:
        return await Orders(snapshot).get(order.id)


async def _pay(client: Client, order: Order, **headers: str) -> tuple[Any, bool]:
    document = f"mutation($i: PayOrderInput!) {{ payOrder(input: $i) {{ {SELECTION} userErrors {{ code }} }} }}"
    body = {"query": document, "variables": {"i": {"id": gid("Order", order)}}}
    response = await client.http.post("/graphql", json=body, headers={**client.headers, **headers})
    return response.json()["data"]["payOrder"], response.headers.get("Idempotency-Replayed") == "true"


async def test_a_payment_is_started_once_without_holding_a_connection(database: Database, ada: User) -> None:
    payments = Payments()
    gateway = Gateway(database, payments=PaymentStarter(payments.start))
    order = await _placed(gateway, ada)
    key = {"Idempotency-Key": "pay"}
    first, is_replayed = await _pay(gateway.client(ada), order, **key)
    payment = payments.started[order.id]
    shown = {"order": {"id": gid("Order", order), "paymentId": str(payment)}, "clientSecret": f"secret of {payment}"}
    assert (first, is_replayed) == ({"orderPayment": shown, "userErrors": []}, False)
    before = await _stored(database, order)
    assert await _pay(gateway.client(ada), order, **key) == (first, True)
    assert await _pay(gateway.client(ada), order) == (first, False)
    assert await _stored(database, order) == before
    assert payments.asked == [(order.id, 1190, "EUR")] * 3
    assert payments.used == [0, 0, 0]


@pytest.mark.parametrize("has_service", [True, False])
async def test_without_the_payment_service_nothing_changes(database: Database, ada: User, *, has_service: bool) -> None:
    payments = Payments()
    payments.is_available = False
    gateway = Gateway(database, payments=PaymentStarter(payments.start) if has_service else None)
    order = await _placed(gateway, ada)
    before = await _stored(database, order)
    document = f"mutation($i: PayOrderInput!) {{ payOrder(input: $i) {{ {SELECTION} }} }}"
    answer = await gateway.client(ada).ask(document, i={"id": gid("Order", order)})
    assert answer.codes == ["SERVICE_UNAVAILABLE"]
    assert await _stored(database, order) == before


async def test_only_the_owner_pays_and_only_a_placed_order(database: Database, ada: User, bob: User) -> None:
    payments = Payments()
    gateway = Gateway(database, payments=PaymentStarter(payments.start))
    order = await _placed(gateway, ada)
    for client in (gateway.client(bob), gateway.client(bob, MANAGER)):
        payload = await client.do("payOrder", SELECTION, id=gid("Order", order))
        assert payload["userErrors"] == [user_error("NOT_FOUND", "There is no such order.", "id")]
    await gateway.client(ada).do("cancelOrder", "order { id }", id=gid("Order", order))
    payload = await gateway.client(ada).do("payOrder", SELECTION, id=gid("Order", order))
    message = "This order is CANCELED, so payOrder is not possible. Nothing can be done with it any more."
    assert payload == {"orderPayment": None, "userErrors": [user_error("CONFLICT", message, "id")]}
    assert payments.asked == []
