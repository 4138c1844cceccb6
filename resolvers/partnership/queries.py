"""Queries of partners and referrals."""

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from repositories.partnership import (
    Partners,
    PartnerStanding,
    PartnerUpdated,
    Referrals,
    ReferralSubmitted,
    ReferralTally,
)
from repositories.sql.page import PageRequest
from repositories.tables.partnership import ReferralStatus
from resolvers.caching.cached import cached
from resolvers.request.context import Context


class StatusTotal(NamedTuple):
    """The number of referrals with a status."""

    status: ReferralStatus
    total: int


@dataclass(frozen=True, slots=True)
class Dashboard:
    """The numbers about partners and referrals. Each method executes its statement when it is called."""

    context: Context

    @cached(all_users=(ReferralSubmitted,), shared=True)
    async def tally(self) -> ReferralTally:
        """The numbers that one statement counts for several fields."""
        return await Referrals(self.context.snapshot).tally()

    async def active_partners(self) -> int:
        today, _ = await self.context.today()
        return await self._active_partners(today.date)

    @cached(all_users=(PartnerUpdated,), shared=True)
    async def _active_partners(self, today: dt.date) -> int:
        return await Partners(self.context.snapshot).active(today)

    async def referrals_by_status(self) -> list[StatusTotal]:
        tally = await self.tally()
        return [StatusTotal(status, getattr(tally, status.value)) for status in ReferralStatus]

    async def won_value(self) -> Decimal:
        return (await self.tally()).won_value

    async def commission_due(self) -> Decimal:
        return (await self.tally()).commission_due

    async def commission_paid(self) -> Decimal:
        return (await self.tally()).commission_paid

    async def conversion_rate(self) -> Decimal:
        return (await self.tally()).conversion_rate

    @cached(all_users=(PartnerUpdated, ReferralSubmitted), shared=True)
    async def top_partners(self, first: int) -> list[PartnerStanding]:
        limit = PageRequest(first=first).size
        return await Partners(self.context.snapshot).top(limit)


async def dashboard(context: Context) -> Dashboard:
    return Dashboard(context)
