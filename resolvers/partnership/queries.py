"""Queries of partners and referrals."""

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, NamedTuple

from repositories.partnership import (
    Partners,
    PartnerStanding,
    PartnerUpdated,
    Referrals,
    ReferralSubmitted,
    ReferralTally,
)
from repositories.tables.partnership import ReferralStatus
from resolvers.caching.cached import cached
from resolvers.request.annotations import EachField, First
from resolvers.request.context import Context


class ReferralStatusTotal(NamedTuple):
    """The number of referrals with a status."""

    status: Annotated[ReferralStatus, "The status."]
    total: Annotated[int, "The number of referrals with the status."]


@dataclass(frozen=True, slots=True)
class PartnershipDashboard:
    """Numbers about all partners and referrals. Each field executes one statement, and only if it is selected."""

    context: Context

    async def active_partners(self) -> int:
        """The number of partners whose status is ACTIVE and whose first and last day include today."""
        today, _ = await self.context.today()
        return await self._active_partners(today.date)

    @cached(all_users=(PartnerUpdated,), shared=True)
    async def _active_partners(self, today: dt.date) -> int:
        return await Partners(self.context.snapshot).active(today)

    async def referrals_by_status(self) -> list[ReferralStatusTotal]:
        """The number of referrals for each status, also those without referrals."""
        tally = await self.tally()
        return [ReferralStatusTotal(status, getattr(tally, status.value)) for status in ReferralStatus]

    @cached(all_users=(ReferralSubmitted,), shared=True)
    async def tally(self) -> EachField[ReferralTally]:
        return await Referrals(self.context.snapshot).tally()

    async def conversion_rate(self) -> Decimal:
        """100 × won / all referrals, with two decimals. 0 without referrals."""
        return (await self.tally()).conversion_rate

    @cached(all_users=(PartnerUpdated, ReferralSubmitted), shared=True)
    async def top_partners(self, first: First = 5) -> list[PartnerStanding]:
        """The partners with the highest sum of the values of won referrals, the highest first, then by name.

        Partners without won referrals are left out.
        """
        return await Partners(self.context.snapshot).top(first)


async def partnership_dashboard(context: Context) -> PartnershipDashboard:
    """Numbers about all partners and referrals."""
    return PartnershipDashboard(context)
