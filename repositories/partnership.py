"""Partners and their referrals."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa

from repositories.aggregates.repository import Repository
from repositories.core.event import Created, Event, Updated
from repositories.sql import types
from repositories.sql.statements import RowFactory, Statement, folded, scalar
from repositories.tables.partnership import Partner, PartnerKind, PartnerStatus, Referral, ReferralStatus

_partners = Partner.__table__
_referrals = Referral.__table__

# events


@dataclass(frozen=True, slots=True)
class PartnerCreated(Created, aggregate="partner"):
    """A partner was created."""

    kind: PartnerKind


@dataclass(frozen=True, slots=True)
class PartnerUpdated(Updated, aggregate="partner"):
    """A partner was changed. After a change of the manager, the new manager owns the event."""


@dataclass(frozen=True, slots=True)
class PartnerStatusChanged(Event, aggregate="partner"):
    """The status of a partnership was changed."""

    before: PartnerStatus
    after: PartnerStatus


@dataclass(frozen=True, slots=True)
class ReferralSubmitted(Created, aggregate="referral"):
    """A partner referred a client."""

    partner_id: UUID


@dataclass(frozen=True, slots=True)
class ReferralQualified(Event, aggregate="referral"):
    """A referral was found worth pursuing."""

    partner_id: UUID


@dataclass(frozen=True, slots=True)
class ReferralClosed(Event, aggregate="referral"):
    """A referral was won or lost. ``value`` and ``commission`` are None if it was lost."""

    partner_id: UUID
    status: ReferralStatus
    value: Decimal | None
    commission: Decimal | None


@dataclass(frozen=True, slots=True)
class ReferralReopened(Event, aggregate="referral"):
    """A closed referral is QUALIFIED again, without a commission."""

    partner_id: UUID


@dataclass(frozen=True, slots=True)
class CommissionPaid(Event, aggregate="referral"):
    """The commission of a won referral was paid to the partner."""

    partner_id: UUID
    commission: Decimal


# money

_CENT = Decimal("0.01")


def commission_of(value: Decimal, rate: Decimal) -> Decimal:
    """A partner's share of a value, rounded half up to cents."""
    return (value * rate).quantize(_CENT, ROUND_HALF_UP)


# partners


class PartnerStanding(NamedTuple):
    """The totals of the won referrals of a partner."""

    partner: Annotated[Partner, "The partner."]
    won_referrals: Annotated[int, "The number of won referrals."]
    won_value: Annotated[Decimal, "The sum of their values."]
    commission: Annotated[Decimal, "The sum of their commissions, paid or not."]


def _standing(values: Sequence[Any]) -> PartnerStanding:
    *partner, won, value, commission = values
    return PartnerStanding(Partner._make(partner), won, value, commission)


_today = sa.bindparam("today", type_=types.Day())
_active: Statement[int] = Statement(
    sa.select(sa.func.count())
    .select_from(_partners)
    .where(
        _partners.c.status == PartnerStatus.ACTIVE,
        _partners.c.deleted_at.is_(None),
        sa.func.coalesce(_partners.c.started_on, _today) <= _today,
        sa.func.coalesce(_partners.c.ended_on, _today) >= _today,
    ),
    scalar(int),
)


def _sum(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return sa.func.sum(column, type_=types.Fixed(30, 2))


def _top_of() -> sa.Executable:
    won = (
        sa.select(
            _referrals.c.partner_id,
            sa.func.count().label("won"),
            _sum(_referrals.c.value).label("value"),
            _sum(_referrals.c.commission).label("commission"),
        )
        .where(_referrals.c.status == ReferralStatus.WON)
        .group_by(_referrals.c.partner_id)
        .subquery("won")
    )
    return (
        sa.select(*_partners.c, won.c.won, won.c.value, won.c.commission)
        .select_from(_partners.join(won, won.c.partner_id == _partners.c.id))
        .where(_partners.c.deleted_at.is_(None))
        .order_by(won.c.value.desc(), folded(_partners.c.name), _partners.c.id)
        .limit(sa.bindparam("limit", type_=sa.Integer()))
    )


_top: Statement[PartnerStanding] = Statement(_top_of(), RowFactory(_standing))


class Partners(Repository[Partner], table=Partner):
    """Companies that refer clients."""

    async def active(self, today: dt.date) -> int:
        """The number of partnerships that are ACTIVE and whose first and last day include today."""
        return await self.connection.one(_active, today=today)

    async def top(self, limit: int) -> list[PartnerStanding]:
        """The partners with the highest value of won referrals, then by name, without those that have none."""
        return await self.connection.rows(_top, limit=limit)


# referrals


class ReferralTally(NamedTuple):
    """The numbers of referrals by status, and the sums over the won referrals."""

    submitted: int
    qualified: int
    won: int
    lost: int
    won_value: Annotated[Decimal, "The sum of the values of all won referrals."]
    commission_due: Annotated[Decimal, "The sum of the commissions that are not paid yet (`payCommission`)."]
    commission_paid: Annotated[Decimal, "The sum of the commissions that are paid."]

    @property
    def conversion_rate(self) -> Decimal:
        """100 × won / all referrals, rounded half up to two decimals. 0 without referrals."""
        total = self.submitted + self.qualified + self.won + self.lost
        return (Decimal(100 * self.won) / max(total, 1)).quantize(_CENT, ROUND_HALF_UP)


def _tallied(values: Sequence[Any]) -> ReferralTally:
    counts, sums = values[: len(ReferralStatus)], values[len(ReferralStatus) :]
    return ReferralTally._make([*counts, *(value or Decimal("0.00") for value in sums)])


_tally: Statement[ReferralTally] = Statement(
    sa.select(
        *(sa.func.count().filter(_referrals.c.status == status) for status in ReferralStatus),
        _sum(_referrals.c.value).filter(_referrals.c.status == ReferralStatus.WON),
        _sum(_referrals.c.commission).filter(_referrals.c.commission_paid_at.is_(None)),
        _sum(_referrals.c.commission).filter(_referrals.c.commission_paid_at.is_not(None)),
    ).select_from(_referrals),
    RowFactory(_tallied),
)


class Referrals(Repository[Referral], table=Referral):
    """Clients that partners refer."""

    async def tally(self) -> ReferralTally:
        return await self.connection.one(_tally)
