"""The job that cancels unpaid orders."""

import datetime as dt
from collections.abc import Awaitable, Callable, Sequence

from repositories.aggregates.unit_of_work import Reaction, open_unit_of_work
from repositories.commerce.events import OrderExpired
from repositories.commerce.orders import Orders
from repositories.core.viewer import SERVICE
from repositories.tables.commerce import OrderStatus
from resolvers.commerce.orders import cancel
from resolvers.services.job import JobContext

TIME_TO_PAY = dt.timedelta(minutes=30)
_BATCH = 100


def expire_orders(reactions: Sequence[Reaction]) -> Callable[[JobContext], Awaitable[int]]:
    """The job that cancels orders that were placed 30 minutes ago and are not paid. It returns their number.

    Each order has a unit of work of its own. An order that was paid or canceled meanwhile stays as it is.
    """

    async def run(context: JobContext) -> int:
        expired = 0
        while True:
            async with context.database.snapshot(SERVICE) as snapshot:
                orders = await Orders(snapshot).unpaid_since(context.started_at - TIME_TO_PAY, _BATCH)
            for found in orders:
                async with open_unit_of_work(context.database, SERVICE, reactions) as work:
                    order = await work.repository(Orders).lock(found.id)
                    if order.status is OrderStatus.PLACED:
                        await cancel(work, order, OrderExpired)
                        expired += 1
            context.progress(expired)
            if len(orders) < _BATCH:
                return expired

    return run
