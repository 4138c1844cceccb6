"""What clients see of partners and referrals."""

import datetime as dt
from decimal import Decimal
from typing import Annotated

import strawberry

from repositories import partnership as data
from repositories.permissions import Permission
from repositories.tables import partnership as rows
from resolvers.partnership import commands, queries
from schema.identity import User
from schema.operations.mutation import mutation
from schema.types.connections import ConnectionView, connection, pages
from schema.types.enums import describe_enum
from schema.types.filter_inputs import (
    ChoiceFilter,
    DateTimeFilter,
    DecimalFilter,
    IdFilter,
    TextFilter,
    filter_input,
    order_input,
    where,
)
from schema.types.view import Argument, Node, column, computed, edge, encrypted, id_argument, query, view

describe_enum(
    rows.PartnerKind,
    "What a partner does.",
    REFERRAL="Brings clients.",
    RESELLER="Sells on its own account.",
    AFFILIATE="Advertises.",
    TECHNOLOGY="Builds on or beside the product.",
)
describe_enum(
    rows.PartnerStatus,
    "Where a partnership stands.",
    PROSPECT="Is being talked about. May become ACTIVE or ENDED.",
    ACTIVE="Is in force. May become PAUSED or ENDED.",
    PAUSED="Rests. May become ACTIVE or ENDED.",
    ENDED="Is over for good.",
)
describe_enum(
    rows.ReferralStatus,
    "Where a referral stands. SUBMITTED and QUALIFIED are open, the others closed.",
    SUBMITTED="Entered. May become QUALIFIED, WON or LOST.",
    QUALIFIED="Worth pursuing. May become WON or LOST.",
    WON="Became a client; the partner has earned a commission.",
    LOST="Did not become a client.",
)
describe_enum(
    commands.ReferralOutcome, "How a referral ends.", WON="It became a client.", LOST="It did not become a client."
)


@filter_input(rows.Partner, searched=("name", "website", "notes"))
class PartnerFilter:
    """Which partners; all conditions that are given must hold."""

    id: IdFilter | None = where("The partner's id.", key="Partner")
    name: TextFilter | None = where("Its name.")
    kind: ChoiceFilter[rows.PartnerKind] | None = where("What it does.")
    status: ChoiceFilter[rows.PartnerStatus] | None = where("Where the partnership stands.")
    commission_rate: DecimalFilter | None = where("Its share of what it brings in, 0 to 1.")
    manager_id: IdFilter | None = where("Who looks after it.", key="User")
    created_at: DateTimeFilter | None = where("When it was entered.")
    updated_at: DateTimeFilter | None = where("When it was last changed.")


PartnerOrder = order_input(
    rows.Partner,
    name="By name, whatever its case.",
    kind="What it does, by name.",
    status="The status by name.",
    commission_rate="Its share of what it brings in.",
    started_on="The first day of the partnership.",
    created_at="When it was entered.",
    updated_at="When it was last changed.",
)


@filter_input(rows.Referral, searched=("client_name",))
class ReferralFilter:
    """Which referrals; all conditions that are given must hold."""

    id: IdFilter | None = where("The referral's id.", key="Referral")
    client_name: TextFilter | None = where("Who the client is.")
    status: ChoiceFilter[rows.ReferralStatus] | None = where("Where it stands.")
    value: DecimalFilter | None = where("What it is worth.")
    commission_paid_at: DateTimeFilter | None = where("When the commission was paid.")
    closed_at: DateTimeFilter | None = where("When it was won or lost.")
    created_at: DateTimeFilter | None = where("When it was entered.")


ReferralOrder = order_input(
    rows.Referral,
    client_name="Who the client is, whatever the case.",
    status="The status by name.",
    value="What it is worth.",
    closed_at="When it was won or lost.",
    created_at="When it was entered.",
)


@view(rows.Partner, node=queries.partner)
class Partner(Node):
    """A company that works with ours. Visible to partnership managers and admins only."""

    name: str = column("Its name.")
    kind: rows.PartnerKind = column("What it does.")
    status: rows.PartnerStatus = column("Where the partnership stands.")
    contact_email: str | None = encrypted(
        rows.Partner.contact_email, "Where to write to; stored encrypted. Null with an error if it cannot be decrypted."
    )
    website: str | None = column("Its address on the web.")
    commission_rate: Decimal = column("Its share of what it brings in, from 0 to 1: 0.1250 is 12.5 %.")
    started_on: dt.date | None = column("The first day of the partnership.")
    ended_on: dt.date | None = column("The last day of the partnership.")
    notes: str | None = column("What else is to be known.")
    manager: User | None = edge(
        queries.manager_of_partner, "The user who looks after it; null for viewers who may not see that account."
    )
    referrals: ConnectionView[Annotated["Referral", strawberry.lazy("schema.partnership")]] = pages(
        queries.referrals_of_partner,
        "The clients it brings; by default the newest first.",
        filter=ReferralFilter,
        order=ReferralOrder,
    )
    version: int = column("Grows with every change; `updatePartner` wants the one that was seen.")
    created_at: dt.datetime = column("When it was entered.")
    updated_at: dt.datetime = column("When it was last changed.")


@view(rows.Referral, node=queries.referral)
class Referral(Node):
    """A client that a partner brings. Visible to partnership managers and admins only."""

    client_name: str = column("Who the client is.")
    status: rows.ReferralStatus = column("Where it stands.")
    value: Decimal | None = column("What it is worth: an estimate while it is open or if it was lost.")
    commission: Decimal | None = column("What the partner earns: value × rate on the day it was won; null before.")
    commission_paid_at: dt.datetime | None = column("When the commission was paid; null before.")
    closed_at: dt.datetime | None = column("When it was won or lost.")
    partner: Partner | None = edge(queries.partner_of_referral, "Who brings it; null if that partner was deleted.")
    version: int = column("Grows with every change.")
    created_at: dt.datetime = column("When it was entered.")
    updated_at: dt.datetime = column("When it was last changed.")


@view(queries.StatusTotal)
class ReferralStatusTotal:
    """How many referrals have a status."""

    status: rows.ReferralStatus = column("The status.")
    total: int = column("How many referrals have it.")


@view(data.PartnerStanding)
class PartnerStanding:
    """What a partner has brought in."""

    partner: Partner = column("The partner.")
    won_referrals: int = column("How many of its referrals were won.")
    won_value: Decimal = column("What those are worth.")
    commission: Decimal = column("What it earned by them.")


@strawberry.type(
    description="All partnerships at a glance. Each tile is one statement; a tile that is not asked for costs nothing."
)
class PartnershipDashboard:
    """Tiles. What is counted in one pass over the referrals counts as one tile."""

    active_partners: int = computed(
        queries.Dashboard.active_partners,
        "How many partnerships are ACTIVE today, by their status and dates.",
    )
    referrals_by_status: list[ReferralStatusTotal] = computed(
        queries.Dashboard.referrals_by_status, "How many referrals stand where; every status, also with 0."
    )
    won_value: Decimal = computed(queries.Dashboard.won_value, "What all won referrals are worth.")
    commission_due: Decimal = computed(
        queries.Dashboard.commission_due, "The sum of the commissions that were not paid yet (`payCommission`)."
    )
    commission_paid: Decimal = computed(queries.Dashboard.commission_paid, "The sum of the commissions that were paid.")
    conversion_rate: Decimal = computed(
        queries.Dashboard.conversion_rate, "100 × won / all referrals, with two decimals; 0 without referrals."
    )
    top_partners: list[PartnerStanding] = computed(
        queries.Dashboard.top_partners,
        "The partners that brought in most, by the value of their won referrals, then by name.",
        first=Argument(int, "How many at most, 1 to 500.", 5),
    )


_READ, _WRITE = Permission.PARTNERSHIP_READ, Permission.PARTNERSHIP_WRITE


@strawberry.type
class PartnershipQueries:
    """Root fields."""

    partner: Partner | None = query(
        queries.partner, "The partner of an id.", requires=_READ, id=id_argument("Partner", "The partner's id.")
    )
    partners: ConnectionView[Partner] | None = connection(
        queries.partners, "All partners; by default by name.", requires=_READ, filter=PartnerFilter, order=PartnerOrder
    )
    partnership_dashboard: PartnershipDashboard | None = query(
        queries.dashboard, "All partnerships at a glance.", requires=_READ
    )


@strawberry.type
class PartnershipMutations:
    """Root fields."""

    create_partner = mutation(commands.create_partner, returns=Partner, requires=_WRITE)
    update_partner = mutation(commands.update_partner, returns=Partner, requires=_WRITE)
    change_partner_status = mutation(commands.change_partner_status, returns=Partner, requires=_WRITE)
    submit_referral = mutation(commands.submit_referral, returns=Referral, requires=_WRITE)
    qualify_referral = mutation(commands.qualify_referral, returns=Referral, requires=_WRITE)
    close_referral = mutation(commands.close_referral, returns=Referral, requires=_WRITE)
    pay_commission = mutation(commands.pay_commission, returns=Referral, requires=_WRITE)
