"""A state machine of products and orders: the ledger, the stock levels and a model agree after every command."""

from collections import Counter
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from repositories.commerce.catalog import StockLevels
from repositories.core.viewer import SERVICE
from repositories.engines.database import DatabaseOptions
from repositories.sql.statements import RowFactory, Statement
from repositories.tables.commerce import STOCK_EFFECTS, Order, Product, StockMovement
from repositories.tables.identity import User, UserRole
from tests.api.client import Gateway, gid
from tests.api.test_commerce import ADDRESS
from tests.factories import make_order, make_paid, make_product, make_user
from tests.repositories.support import SharedDatabase

_LEDGER: Statement[tuple[UUID, Any, int]] = Statement(
    sa.select(StockMovement.product_id, StockMovement.kind, StockMovement.quantity), RowFactory(tuple)
)
picks = st.integers(0, 100)
_FROM = {
    "placeOrder": {"DRAFT"},
    "cancelOrder": {"DRAFT", "PLACED", "PAID"},
    "shipOrder": {"PAID"},
    "returnOrder": {"SHIPPED"},
}
_TO = {"placeOrder": "PLACED", "cancelOrder": "CANCELED", "shipOrder": "SHIPPED", "returnOrder": "REFUNDED"}


class Stock(RuleBasedStateMachine):
    """Runs random commands on two products. The model has the pieces on hand, and the orders with their state."""

    shared: SharedDatabase

    @initialize()
    def begin(self) -> None:
        self.gateway = Gateway(self.shared.database)
        self.orders: list[tuple[Order, Counter[UUID]]] = []
        self.states: list[str] = []
        self.on_hand: Counter[UUID] = Counter()

        async def make() -> tuple[User, list[Product]]:
            database = self.shared.database
            products = [await make_product(database) for _ in range(2)]
            return await make_user(database, role=UserRole.ADMIN), products

        self.admin, self.products = self.shared.run(make())
        self.client = self.gateway.client(self.admin)

    def _do(self, mutation: str, selection: str, **given: Any) -> list[str]:
        payload = self.shared.run(self.client.do(mutation, selection, **given))
        return [error["code"] for error in payload["userErrors"]]

    def _reserved(self) -> Counter[UUID]:
        found: Counter[UUID] = Counter()
        for (_, items), state in zip(self.orders, self.states, strict=True):
            if state in {"PLACED", "PAID"}:
                found += items
        return found

    @rule(product=st.integers(0, 1), quantity=st.integers(1, 6))
    def receive(self, product: int, quantity: int) -> None:
        key = self.products[product].id
        given = {"productId": gid("Product", key), "quantity": quantity}
        assert self._do("receiveStock", "stockMovement { id }", **given) == []
        self.on_hand[key] += quantity

    @rule(product=st.integers(0, 1), quantity=st.integers(-6, 2).filter(bool))
    def correct(self, product: int, quantity: int) -> None:
        key = self.products[product].id
        is_possible = self.on_hand[key] + quantity >= self._reserved()[key]
        given = {"productId": gid("Product", key), "quantity": quantity}
        assert self._do("correctStock", "stockMovement { id }", **given) == ([] if is_possible else ["CONFLICT"])
        if is_possible:
            self.on_hand[key] += quantity

    @rule(quantity=st.integers(1, 4), products=st.sampled_from([(0,), (1,), (0, 1)]))
    def order(self, quantity: int, products: tuple[int, ...]) -> None:
        chosen = [self.products[index] for index in products]

        async def make() -> Order:
            user = await make_user(self.shared.database)
            return await make_order(self.shared.database, user, *chosen, quantity=quantity)

        self.orders.append((self.shared.run(make()), Counter({each.id: quantity for each in chosen})))
        self.states.append("DRAFT")

    @rule(pick=picks)
    def pay(self, pick: int) -> None:
        placed = [index for index, state in enumerate(self.states) if state == "PLACED"]
        if placed:
            index = placed[pick % len(placed)]
            self.shared.run(make_paid(self.shared.database, self.orders[index][0].id))
            self.states[index] = "PAID"

    @rule(mutation=st.sampled_from(sorted(_FROM)), pick=picks)
    def change(self, mutation: str, pick: int) -> None:
        if not self.orders:
            return
        index = pick % len(self.orders)
        order, items = self.orders[index]
        reserved = self._reserved()
        is_possible = self.states[index] in _FROM[mutation]
        if mutation == "placeOrder":
            is_possible &= all(self.on_hand[key] - reserved[key] >= count for key, count in items.items())
        more = {"shippingAddress": ADDRESS} if mutation == "placeOrder" else {}
        codes = self._do(mutation, "order { id }", id=gid("Order", order), **more)
        assert set(codes) == (set() if is_possible else {"CONFLICT"}), (mutation, self.states[index])
        if is_possible:
            self.states[index] = _TO[mutation]
            if mutation == "shipOrder":
                self.on_hand -= items
            elif mutation == "returnOrder":
                self.on_hand += items

    @invariant()
    def levels_are_the_sums_of_the_ledger(self) -> None:
        if not hasattr(self, "products"):
            return

        async def read() -> tuple[Any, list[tuple[UUID, Any, int]]]:
            async with self.shared.database.snapshot(SERVICE) as snapshot:
                levels = await StockLevels(snapshot).by_id([product.id for product in self.products])
                return levels, await snapshot.rows(_LEDGER)

        levels, ledger = self.shared.run(read())
        reserved = self._reserved()
        for key, level in levels.items():
            moved = [(STOCK_EFFECTS[kind], quantity) for product, kind, quantity in ledger if product == key]
            assert level.on_hand == self.on_hand[key] == sum(count for effect, count in moved if effect.on_hand)
            assert level.reserved == reserved[key] == sum(count for effect, count in moved if effect.reserved)
            assert 0 <= level.reserved <= level.on_hand
            assert level.available == level.on_hand - level.reserved
            assert all(effect.is_negative in {None, count < 0} for effect, count in moved)

    def teardown(self) -> None:
        if hasattr(self, "gateway"):
            self.shared.run(self.gateway.http.aclose())


def test_the_stock_is_the_sum_of_its_movements_for_any_commands(options: DatabaseOptions) -> None:
    shared = SharedDatabase(options)
    machine = type("SharedStock", (Stock,), {"shared": shared})
    try:
        run_state_machine_as_test(
            machine, settings=settings(max_examples=15, stateful_step_count=30, deadline=None, derandomize=True)
        )
    finally:
        shared.close()
