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
from repositories.identity import Users
from repositories.sql.filters import NO_FILTER, Filter, Order
from repositories.sql.page import PageRequest
from repositories.tables.client_management import Client, Contact
from resolvers.caching.cached import cached
from resolvers.loading.edges import Connection, get, load_connection, one, pages
from resolvers.request.context import Context

client_of_contact = one(Clients.by_id, key=Contact.client_id)
contacts_of_client = pages(Contacts, column=Contact.client_id, key=Client.id)
creator_of_client = one(Users.by_id, key=Client.created_by)
primary_contact_of_client = one(Contacts.by_id, key=Client.primary_contact_id)


async def client(context: Context, id: UUID) -> Client:  # noqa: A002 (the contract's word)
    """A client the viewer may see, or NotFound."""
    return await get(context, Clients, id)


async def contact(context: Context, id: UUID) -> Contact:  # noqa: A002 (the contract's word)
    """A contact the viewer may see, or NotFound."""
    return await get(context, Contacts, id)


async def clients(
    context: Context, request: PageRequest, where: Filter = NO_FILTER, order: tuple[Order, ...] = ()
) -> Connection[Client]:
    """The clients the viewer may see; by default by name."""
    return await load_connection(context, Clients, request, where, order)


async def contacts(context: Context, email: str, first: int) -> list[Contact]:
    """The contacts with an e-mail address that the viewer may see."""
    limit = PageRequest(first=first).size
    return await Contacts(context.snapshot).of_email(email, limit=limit)


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
