"""Queries of clients and contacts."""

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from repositories.client_management import (
    ClientIndustryTotal,
    Clients,
    ClientStatusTotal,
    ClientUpdated,
    Contacts,
    RevenueSummary,
)
from repositories.sql.aggregate import aggregates
from repositories.sql.filters import NO_FILTER, And, Compare, Filter, Op, SortKey
from repositories.sql.page import PageRequest
from repositories.tables.client_management import Client, Contact
from resolvers.aggregates.row_queries import ListScope, Trash, load_list
from resolvers.caching.cached import cached
from resolvers.loading.edges import Connection
from resolvers.request.annotations import EachField, First
from resolvers.request.context import Context


async def contacts(  # noqa: PLR0913 (the arguments of the field)
    context: Context,
    request: PageRequest,
    where: Filter = NO_FILTER,
    order: tuple[SortKey, ...] = (),
    *,
    email: Annotated[
        str | None,
        "A whole e-mail address in any spelling: the list has only the contacts with this address, at most one of each "
        "owner. By default it has contacts with any address.",
    ] = None,
    scope: ListScope | None = None,
    deleted: Trash = Trash.EXCLUDE,
) -> Connection[Contact]:
    if email is not None:
        index = Contacts(context.snapshot).index_of(email)
        where = And((Compare("email_index", Op.EQ, index), where))
    return await load_list(context, aggregates[Contact], request, where, order, scope=scope, deleted=deleted)


@dataclass(frozen=True, slots=True)
class ClientDashboard:
    """Statistics of the viewer's clients. Each field executes one statement, and only if it is selected."""

    context: Context
    user: UUID

    @cached(own=(ClientUpdated,))
    async def by_status(self) -> list[ClientStatusTotal]:
        """The number of clients with each status, also of statuses that no client has."""
        return await Clients(self.context.snapshot).by_status(self.user)

    @cached(own=(ClientUpdated,))
    async def by_industry(self) -> list[ClientIndustryTotal]:
        """The number of clients in each industry, the most frequent first, and those without one last."""
        return await Clients(self.context.snapshot).by_industry(self.user)

    @cached(own=(ClientUpdated,))
    async def revenue(self) -> EachField[RevenueSummary]:
        return await Clients(self.context.snapshot).revenue(self.user)

    @cached(own=(ClientUpdated,))
    async def newest(self, first: First = 5) -> list[Client]:
        """The clients that were created last, the newest first."""
        return await Clients(self.context.snapshot).newest(self.user, limit=first)


async def client_dashboard(context: Context) -> ClientDashboard:
    """Statistics of the viewer's clients."""
    return ClientDashboard(context, context.viewer_id)
