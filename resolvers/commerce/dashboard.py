"""The dashboard of the staff who manage orders."""

import datetime as dt
import itertools
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated

from repositories.commerce.dashboard import BestSeller, CommerceNumbers, LowStock, OrderStatusTotal, Revenue
from repositories.commerce.events import OrderUpdated, ProductUpdated, StockMoved
from repositories.core.clock import LocalDay, days, midnight
from repositories.core.errors import ValidationError
from repositories.core.money import Money
from resolvers.caching.cached import cached
from resolvers.request.annotations import First, TimeZone
from resolvers.request.context import Context
from resolvers.request.periods import FirstDay, LastDay, resolve_period

MAX_MONTHS = 60
Months = Annotated[int, f"The number of months, 1 to {MAX_MONTHS}; the last one is the current month."]
Most = Annotated[int, "The most pieces that can be ordered of a product that the list has."]


@dataclass(frozen=True, slots=True)
class CommerceDashboard:
    """Numbers about all orders and the stock. Each field executes one statement, and only if it is selected."""

    context: Context

    @cached(all_users=(OrderUpdated,), shared=True)
    async def orders_by_status(self) -> list[OrderStatusTotal]:
        """The number of orders for each status, also those without orders."""
        return await CommerceNumbers(self.context.snapshot).by_status()

    async def revenue_by_day(
        self, from_: FirstDay = None, to: LastDay = None, time_zone: TimeZone = None
    ) -> list[Revenue]:
        """The revenue by day and currency, the earliest day first. Days without paid orders are left out."""
        period = await resolve_period(self.context, from_, to, time_zone)
        return await self._revenue(days(period.until, (period.until - period.since).days + 1, period.zone))

    async def revenue_by_month(self, months: Months = 12, time_zone: TimeZone = None) -> list[Revenue]:
        """The revenue by month and currency, the earliest month first. Months without paid orders are left out."""
        if not 1 <= months <= MAX_MONTHS:
            message = f"The number of months is 1 to {MAX_MONTHS}."
            raise ValidationError(message, path=("months",))
        today, zone = await self.context.today(time_zone)
        this_month = today.date.year * 12 + today.date.month - 1
        starts = [_month(this_month - back) for back in range(months - 1, -2, -1)]
        periods = [
            LocalDay(start, midnight(start, zone), midnight(end, zone)) for start, end in itertools.pairwise(starts)
        ]
        return await self._revenue(tuple(periods))

    async def _revenue(self, periods: tuple[LocalDay, ...]) -> list[Revenue]:
        return await CommerceNumbers(self.context.snapshot).revenue(periods)

    @cached(all_users=(OrderUpdated,), shared=True)
    async def mean_order_values(self) -> list[Money]:
        """The mean total of the orders that are paid and not refunded, for each currency with such orders."""
        return await CommerceNumbers(self.context.snapshot).mean_order_values()

    @cached(all_users=(OrderUpdated, ProductUpdated), shared=True)
    async def best_sellers(self, first: First = 5) -> list[BestSeller]:
        """The products of which most pieces were sold, then by name. Archived products are left out."""
        return await CommerceNumbers(self.context.snapshot).best_sellers(first)

    @cached(all_users=(StockMoved, ProductUpdated), shared=True)
    async def low_stock(self, most: Most = 5, first: First = 10) -> list[LowStock]:
        """The active products of which at most `most` pieces can be ordered, those with the fewest pieces first."""
        return await CommerceNumbers(self.context.snapshot).low_stock(most, first)

    @cached(all_users=(OrderUpdated,), shared=True)
    async def return_rate(self) -> Decimal:
        """100 × REFUNDED orders / all orders that were paid, with two decimals. 0 without paid orders."""
        return await CommerceNumbers(self.context.snapshot).return_rate()


def _month(number: int) -> dt.date:
    """The first day of a month, which is counted from the year 0."""
    return dt.date(number // 12, number % 12 + 1, 1)


async def commerce_dashboard(context: Context) -> CommerceDashboard:
    """Numbers about all orders and the stock, for administrators and order managers."""
    return CommerceDashboard(context)
