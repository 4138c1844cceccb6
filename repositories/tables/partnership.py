"""Partners, their referrals, and the commissions for these."""

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from uuid import UUID

import sqlalchemy as sa

from repositories.described_enum import DescribedEnum
from repositories.permissions import RoleName
from repositories.sql.aggregate import Commands, aggregate, through
from repositories.sql.filters import Direction, SortKey
from repositories.sql.policy import role
from repositories.sql.table import Column, Format, Inverse, SoftDeleted, Table, Versioned, Writer, column
from repositories.sql.types import Fixed


class PartnerKind(DescribedEnum):
    """What a partner does."""

    REFERRAL = "referral", "Refers clients."
    RESELLER = "reseller", "Sells on its own account."
    AFFILIATE = "affiliate", "Advertises."
    TECHNOLOGY = "technology", "Builds on the product or integrates with it."


class PartnerStatus(DescribedEnum):
    """The status of a partnership."""

    PROSPECT = "prospect", "In negotiation. Can become ACTIVE or ENDED."
    ACTIVE = "active", "In force. Can become PAUSED or ENDED."
    PAUSED = "paused", "Suspended. Can become ACTIVE or ENDED."
    ENDED = "ended", "Ended. Cannot change any more."


class ReferralStatus(DescribedEnum):
    """The status of a referral. SUBMITTED and QUALIFIED are open, WON and LOST are closed."""

    SUBMITTED = "submitted", "New. Can become QUALIFIED, WON or LOST."
    QUALIFIED = "qualified", "Worth pursuing. Can become WON or LOST."
    WON = "won", "Became a client; the partner has earned a commission. Becomes QUALIFIED if it is reopened."
    LOST = "lost", "Did not become a client. Becomes QUALIFIED if it is reopened."


CLOSED_REFERRALS = (ReferralStatus.WON, ReferralStatus.LOST)

PARTNER_TRANSITIONS: Mapping[PartnerStatus, tuple[PartnerStatus, ...]] = {
    PartnerStatus.PROSPECT: (PartnerStatus.ACTIVE, PartnerStatus.ENDED),
    PartnerStatus.ACTIVE: (PartnerStatus.PAUSED, PartnerStatus.ENDED),
    PartnerStatus.PAUSED: (PartnerStatus.ACTIVE, PartnerStatus.ENDED),
    PartnerStatus.ENDED: (),
}
REFERRAL_TRANSITIONS: Mapping[ReferralStatus, tuple[ReferralStatus, ...]] = {
    ReferralStatus.SUBMITTED: (ReferralStatus.QUALIFIED, *CLOSED_REFERRALS),
    ReferralStatus.QUALIFIED: CLOSED_REFERRALS,
    ReferralStatus.WON: (ReferralStatus.QUALIFIED,),
    ReferralStatus.LOST: (ReferralStatus.QUALIFIED,),
}


class Partner(Versioned, SoftDeleted, Table, schema="partnership", name="partners"):
    """A company that refers clients. Visible to partnership managers and administrators only."""

    __slots__ = ()
    name: Column[str] = column(
        "The name.", length=(1, 255), single_line=True, searched=True, filtered=True, sorted=True
    )
    kind: Column[PartnerKind] = column("What the partner does.", index=True, filtered=True, sorted=True, history=True)
    status: Column[PartnerStatus] = column(
        "The status of the partnership, which `changePartnerStatus` changes.",
        default=PartnerStatus.PROSPECT,
        index=True,
        transitions=PARTNER_TRANSITIONS,
        writer=Writer.GATEWAY,
        filtered=True,
        sorted=True,
        history=True,
    )
    contact_email: Column[str | None] = column(
        "The e-mail address of the contact person.", format=Format.EMAIL, encrypted=True
    )
    website: Column[str | None] = column(
        "The URL of the website, http or https.", length=(1, 255), format=Format.WEB_ADDRESS, searched=True
    )
    commission_rate: Column[Decimal] = column(
        "The commission as a share of the value of won referrals, from 0 to 1 with four decimals: 0.1250 is 12.5 %. "
        "A new rate does not change the commissions of referrals that are closed.",
        sql_type=Fixed(5, 4),
        range=(0, 1),
        index=True,
        filtered=True,
        sorted=True,
        history=True,
    )
    started_on: Column[dt.date | None] = column(
        "The first day of the partnership.", index=True, sorted=True, history=True
    )
    ended_on: Column[dt.date | None] = column(
        "The last day of the partnership, not before the first.", check="ended_on >= started_on", history=True
    )
    notes: Column[str | None] = column("Notes.", length=(0, 10_000), searched=True)
    manager_id: Column[UUID] = column(
        "The user who is responsible for the partner. Only administrators can choose another user than themselves.",
        references="identity.users.id",
        index=True,
        filtered=True,
        history=True,
    )

    __table_args__ = (
        sa.Index("ix_partners_created_at", "created_at"),
        sa.Index("ix_partners_updated_at", "updated_at"),
    )


class Referral(Versioned, Table, schema="partnership", name="referrals"):
    """A client that a partner refers. Visible to partnership managers and administrators only.

    ``commission`` is value × the partner's rate, set exactly when won; ``closed_at`` is set exactly when won or lost.
    ``commission_paid_at`` is set when the partner has got the commission.
    """

    __slots__ = ()
    partner_id: Column[UUID] = column(
        "The partner who refers the client.",
        references="partnership.partners.id",
        inverse=Inverse("referrals", "The clients that the partner refers."),
        writer=Writer.ON_CREATE,
        filtered=True,
    )
    client_name: Column[str] = column(
        "The name of the client.", length=(1, 255), single_line=True, searched=True, filtered=True, sorted=True
    )
    status: Column[ReferralStatus] = column(
        "The status, which `qualifyReferral`, `closeReferral` and `reopenReferral` change.",
        default=ReferralStatus.SUBMITTED,
        transitions=REFERRAL_TRANSITIONS,
        writer=Writer.GATEWAY,
        filtered=True,
        sorted=True,
        history=True,
    )
    value: Column[Decimal | None] = column(
        "The value with at most two decimals. It is final if the referral is won, else an estimate.",
        sql_type=Fixed(15, 2),
        range=(0, None),
        check="status <> 'won' OR value IS NOT NULL",
        index=True,
        filtered=True,
        sorted=True,
        history=True,
    )
    commission: Column[Decimal | None] = column(
        "The commission that the partner earns: value × rate on the day the referral was won, rounded half up to "
        "two decimals. Null unless the status is WON.",
        sql_type=Fixed(15, 2),
        range=(0, None),
        check="(status = 'won') = (commission IS NOT NULL)",
        writer=Writer.GATEWAY,
        history=True,
    )
    commission_paid_at: Column[dt.datetime | None] = column(
        "The time when the commission was paid. Null before.",
        check="commission_paid_at IS NULL OR status = 'won'",
        index=True,
        writer=Writer.GATEWAY,
        filtered=True,
        history=True,
    )
    closed_at: Column[dt.datetime | None] = column(
        "The time when the referral was won or lost. Null unless the status is WON or LOST.",
        check="(status IN ('won', 'lost')) = (closed_at IS NOT NULL)",
        index=True,
        writer=Writer.GATEWAY,
        filtered=True,
        sorted=True,
        history=True,
    )

    __table_args__ = (
        sa.Index("ix_referrals_partner_id", "partner_id", "created_at"),
        sa.Index("ix_referrals_status", "status", "partner_id"),
        sa.Index("ix_referrals_created_at", "created_at"),
    )


_MANAGERS = role(RoleName.ADMIN) | role(RoleName.PARTNERSHIP_MANAGER)

aggregate(
    Partner,
    read=_MANAGERS,
    write=_MANAGERS,
    owner=Partner.manager_id,
    order=(SortKey("name"),),
    order_text="by name",
)
aggregate(
    Referral,
    read=_MANAGERS,
    write=_MANAGERS,
    owner=through(Referral.partner_id),
    order=(SortKey("created_at", Direction.DESC),),
    order_text="the newest first",
    commands=Commands.UPDATE,
)
