"""What can be asked about clients."""

from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from repositories.client_management import (
    Clients,
    ClientUpdated,
    Contacts,
    IndustryTotal,
    RevenueSummary,
    StatusTotal,
)
from repositories.sql.aggregate import aggregates
from repositories.sql.filters import NO_FILTER, And, Compare, Filter, Op, Order
from repositories.sql.page import PageRequest
from repositories.tables.client_management import Client, Contact
from resolvers.aggregates.row_queries import ListScope, Trash, load_list
from resolvers.caching.cached import cached
from resolvers.loading.edges import Connection
from resolvers.request.context import Context


async def contacts(  # noqa: PLR0913 (the arguments of the field)
    context: Context,
    request: PageRequest,
    where: Filter = NO_FILTER,
    order: tuple[Order, ...] = (),
    *,
    email: str | None = None,
    scope: ListScope | None = None,
    deleted: Trash = Trash.EXCLUDE,
) -> Connection[Contact]:
    """The contacts of all clients that the viewer may see, or those with an e-mail address."""
    if email is not None:
        index = Contacts(context.snapshot).index_of(email)
        where = And((Compare("email_index", Op.EQ, index), where))
    return await load_list(context, aggregates[Contact], request, where, order, scope=scope, deleted=deleted)


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Whose dashboard; every tile is computed when it is asked for."""

    context: Context
    user: UUID

    @cached(own=(ClientUpdated,))
    async def by_status(self) -> list[StatusTotal]:
        """Clients by status."""
        return await Clients(self.context.snapshot).by_status(self.user)

    @cached(own=(ClientUpdated,))
    async def by_industry(self) -> list[IndustryTotal]:
        """Clients by industry."""
        return await Clients(self.context.snapshot).by_industry(self.user)

    @cached(own=(ClientUpdated,))
    async def revenue(self) -> RevenueSummary:
        """Total, mean and count, one statement for all of them."""
        return await Clients(self.context.snapshot).revenue(self.user)

    async def total_revenue(self) -> Decimal:
        """The sum."""
        return (await self.revenue()).total

    async def mean_revenue(self) -> Decimal | None:
        """The mean, None if no revenue is known."""
        return (await self.revenue()).mean

    async def clients_with_revenue(self) -> int:
        """Those for which it is known."""
        return (await self.revenue()).known

    @cached(own=(ClientUpdated,))
    async def newest(self, first: int) -> list[Client]:
        """The clients that were made last."""
        limit = PageRequest(first=first).size
        return await Clients(self.context.snapshot).newest(self.user, limit=limit)


async def dashboard(context: Context) -> Dashboard:
    """The viewer's dashboard."""
    return Dashboard(context, context.viewer_id)
