"""Partners, what they bring in, and what they are owed for it."""

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

import sqlalchemy as sa

from repositories.permissions import RoleName
from repositories.sql.policy import policy, role
from repositories.sql.table import Column, SoftDeleted, Table, Versioned, column, is_web_address_sql
from repositories.sql.types import Fixed


class PartnerKind(StrEnum):
    """What a partner does."""

    REFERRAL = "referral"
    RESELLER = "reseller"
    AFFILIATE = "affiliate"
    TECHNOLOGY = "technology"


class PartnerStatus(StrEnum):
    """Where a partnership stands."""

    PROSPECT = "prospect"
    ACTIVE = "active"
    PAUSED = "paused"
    ENDED = "ended"


class ReferralStatus(StrEnum):
    """Where a referral stands. WON and LOST are closed, the others open."""

    SUBMITTED = "submitted"
    QUALIFIED = "qualified"
    WON = "won"
    LOST = "lost"


PARTNER_TRANSITIONS: Mapping[PartnerStatus, tuple[PartnerStatus, ...]] = {
    PartnerStatus.PROSPECT: (PartnerStatus.ACTIVE, PartnerStatus.ENDED),
    PartnerStatus.ACTIVE: (PartnerStatus.PAUSED, PartnerStatus.ENDED),
    PartnerStatus.PAUSED: (PartnerStatus.ACTIVE, PartnerStatus.ENDED),
    PartnerStatus.ENDED: (),
}
REFERRAL_TRANSITIONS: Mapping[ReferralStatus, tuple[ReferralStatus, ...]] = {
    ReferralStatus.SUBMITTED: (ReferralStatus.QUALIFIED, ReferralStatus.WON, ReferralStatus.LOST),
    ReferralStatus.QUALIFIED: (ReferralStatus.WON, ReferralStatus.LOST),
    ReferralStatus.WON: (),
    ReferralStatus.LOST: (),
}


class Partner(Versioned, SoftDeleted, Table, schema="partnership", name="partners"):
    """A company that works with ours. ``commission_rate`` is a share: 0.125 is 12.5 %."""

    __slots__ = ()
    name: Column[str] = column(length=(1, 255), single_line=True)
    kind: Column[PartnerKind] = column(index=True)
    status: Column[PartnerStatus] = column(default=PartnerStatus.PROSPECT, index=True, transitions=PARTNER_TRANSITIONS)
    contact_email: Column[str | None] = column(encrypted=True)
    website: Column[str | None] = column(length=(1, 255), check=is_web_address_sql("website"))
    commission_rate: Column[Decimal] = column(sql_type=Fixed(5, 4), range=(0, 1), index=True)
    started_on: Column[dt.date | None] = column(index=True)
    ended_on: Column[dt.date | None] = column(check="ended_on >= started_on")
    notes: Column[str | None] = column(length=(0, 10_000))
    manager_id: Column[UUID] = column(references="identity.users.id", index=True)

    __table_args__ = (
        sa.Index("ix_partners_created_at", "created_at"),
        sa.Index("ix_partners_updated_at", "updated_at"),
    )


class Referral(Versioned, Table, schema="partnership", name="referrals"):
    """A client that a partner brings.

    ``commission`` is value × the partner's rate, set exactly when won; ``closed_at`` is set exactly when won or lost.
    ``commission_paid_at`` is set when the partner has got the commission.
    """

    __slots__ = ()
    partner_id: Column[UUID] = column(references="partnership.partners.id")
    client_name: Column[str] = column(length=(1, 255), single_line=True)
    status: Column[ReferralStatus] = column(default=ReferralStatus.SUBMITTED, transitions=REFERRAL_TRANSITIONS)
    value: Column[Decimal | None] = column(
        sql_type=Fixed(15, 2), range=(0, None), check="status <> 'won' OR value IS NOT NULL", index=True
    )
    commission: Column[Decimal | None] = column(
        sql_type=Fixed(15, 2), range=(0, None), check="(status = 'won') = (commission IS NOT NULL)"
    )
    commission_paid_at: Column[dt.datetime | None] = column(
        check="commission_paid_at IS NULL OR status = 'won'", index=True
    )
    closed_at: Column[dt.datetime | None] = column(
        check="(status IN ('won', 'lost')) = (closed_at IS NOT NULL)", index=True
    )

    __table_args__ = (
        sa.Index("ix_referrals_partner_id", "partner_id", "created_at"),
        sa.Index("ix_referrals_status", "status", "partner_id"),
        sa.Index("ix_referrals_created_at", "created_at"),
    )


for _table in (Partner, Referral):
    policy(
        _table,
        read=role(RoleName.ADMIN) | role(RoleName.PARTNERSHIP_MANAGER),
        write=role(RoleName.ADMIN) | role(RoleName.PARTNERSHIP_MANAGER),
    )
