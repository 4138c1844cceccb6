"""The GraphQL fields of partners and referrals."""

import strawberry

from repositories.permissions import Permission
from resolvers.partnership import commands, queries
from schema.operations.mutation import mutation
from schema.types.derived_types import query

_READ, _WRITE = Permission.PARTNERSHIP_READ, Permission.PARTNERSHIP_WRITE


@strawberry.type
class PartnershipQueries:
    partnership_dashboard = query(queries.partnership_dashboard, requires=_READ)


@strawberry.type
class PartnershipMutations:
    change_partner_status = mutation(commands.change_partner_status, requires=_WRITE)
    submit_referral = mutation(commands.submit_referral, requires=_WRITE)
    qualify_referral = mutation(commands.qualify_referral, requires=_WRITE)
    close_referral = mutation(commands.close_referral, requires=_WRITE)
    reopen_referral = mutation(commands.reopen_referral, requires=_WRITE)
    pay_commission = mutation(commands.pay_commission, requires=_WRITE)
