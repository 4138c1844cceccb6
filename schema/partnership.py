"""The GraphQL types and fields of partners and referrals."""

from decimal import Decimal

import strawberry

from repositories import partnership as data
from repositories.permissions import Permission
from repositories.tables import partnership as rows
from resolvers.partnership import commands, queries
from schema.aggregates.objects import aggregate_view, type_of
from schema.aggregates.published_enums import publish_enum
from schema.operations.mutation import mutation
from schema.types.view import Argument, Node, column, computed, query, view

publish_enum(commands.ReferralOutcome)
publish_enum(rows.ReferralStatus)
Referral = type_of(rows.Referral)


@aggregate_view(rows.Partner)
class Partner(Node):
    __slots__ = ()


@view(queries.StatusTotal)
class ReferralStatusTotal:
    """The number of referrals with a status."""

    status: rows.ReferralStatus = column("The status.")
    total: int = column("The number of referrals with the status.")


@view(data.PartnerStanding)
class PartnerStanding:
    """The totals of the won referrals of a partner."""

    partner: Partner = column("The partner.")
    won_referrals: int = column("The number of won referrals.")
    won_value: Decimal = column("The sum of their values.")
    commission: Decimal = column("The sum of their commissions, paid or not.")


@strawberry.type(
    description="Numbers about all partners and referrals. Each field executes one statement, and a field that is not "
    "selected none."
)
class PartnershipDashboard:
    """All numbers about referrals come from the same statement."""

    active_partners: int = computed(
        queries.Dashboard.active_partners,
        "The number of partners whose status is ACTIVE and whose first and last day include today.",
    )
    referrals_by_status: list[ReferralStatusTotal] = computed(
        queries.Dashboard.referrals_by_status, "The number of referrals for each status, also those without referrals."
    )
    won_value: Decimal = computed(queries.Dashboard.won_value, "The sum of the values of all won referrals.")
    commission_due: Decimal = computed(
        queries.Dashboard.commission_due, "The sum of the commissions that are not paid yet (`payCommission`)."
    )
    commission_paid: Decimal = computed(queries.Dashboard.commission_paid, "The sum of the commissions that are paid.")
    conversion_rate: Decimal = computed(
        queries.Dashboard.conversion_rate, "100 × won / all referrals, with two decimals. 0 without referrals."
    )
    top_partners: list[PartnerStanding] = computed(
        queries.Dashboard.top_partners,
        "The partners with the highest sum of the values of won referrals, the highest first, then by name. Partners "
        "without won referrals are left out.",
        first=Argument(int, "The number of partners, 1 to 500.", 5),
    )


_READ, _WRITE = Permission.PARTNERSHIP_READ, Permission.PARTNERSHIP_WRITE


@strawberry.type
class PartnershipQueries:
    partnership_dashboard: PartnershipDashboard | None = query(
        queries.dashboard, "Numbers about all partners and referrals.", requires=_READ
    )


@strawberry.type
class PartnershipMutations:
    change_partner_status = mutation(commands.change_partner_status, returns=Partner, requires=_WRITE)
    submit_referral = mutation(commands.submit_referral, returns=Referral, requires=_WRITE)
    qualify_referral = mutation(commands.qualify_referral, returns=Referral, requires=_WRITE)
    close_referral = mutation(commands.close_referral, returns=Referral, requires=_WRITE)
    reopen_referral = mutation(commands.reopen_referral, returns=Referral, requires=_WRITE)
    pay_commission = mutation(commands.pay_commission, returns=Referral, requires=_WRITE)
