"""Clients and their contacts."""

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa

from repositories.aggregates.repository import Repository
from repositories.core.clock import now
from repositories.core.email_address import normalize_email
from repositories.core.errors import ValidationError
from repositories.core.event import Created, Deleted, Event, Purged, Restored, Updated
from repositories.sql import types
from repositories.sql.filters import Compare, Direction, Op, SortKey
from repositories.sql.statements import Engine, RowFactory, Statement, fold, in_list, scalar
from repositories.tables.client_management import Client, ClientStatus, Contact

_clients = Client.__table__
_contacts = Contact.__table__

# events


@dataclass(frozen=True, slots=True)
class ClientCreated(Created, aggregate="client"):
    """A client was created."""

    status: ClientStatus


@dataclass(frozen=True, slots=True)
class ClientUpdated(Updated, aggregate="client"):
    """A client was changed."""


@dataclass(frozen=True, slots=True)
class PrimaryContactSet(Event, aggregate="client"):
    """A client has another primary contact, or none any more."""

    contact_id: UUID | None


@dataclass(frozen=True, slots=True)
class ClientTransferred(Event, aggregate="client"):
    """A client was given to another user. The former owner owns this event."""

    to_user_id: UUID


@dataclass(frozen=True, slots=True)
class ClientReceived(Event, aggregate="client"):
    """A client was received from another user. The new owner owns this event, which follows ClientTransferred."""

    from_user_id: UUID


@dataclass(frozen=True, slots=True)
class ContactAdded(Created, aggregate="contact"):
    """A client has one more contact."""

    client_id: UUID


@dataclass(frozen=True, slots=True)
class ContactUpdated(Updated, aggregate="contact"):
    """A contact was changed."""

    client_id: UUID


@dataclass(frozen=True, slots=True)
class ContactRemoved(Deleted, aggregate="contact"):
    """A contact was deleted, alone or together with its client."""

    client_id: UUID


@dataclass(frozen=True, slots=True)
class ContactRestored(Restored, aggregate="contact"):
    """A contact was restored, alone or together with its client."""

    client_id: UUID


@dataclass(frozen=True, slots=True)
class ContactPurged(Purged, aggregate="contact"):
    """A deleted contact was deleted permanently, alone or together with its client."""

    client_id: UUID


# clients


class ClientStatusTotal(NamedTuple):
    """The number of clients with a status."""

    status: Annotated[ClientStatus, "The status."]
    total: Annotated[int, "The number of clients with this status, 0 included."]


class ClientIndustryTotal(NamedTuple):
    """The number of clients in an industry."""

    industry: Annotated[str | None, "The industry. Null stands for the clients whose industry is unknown."]
    total: Annotated[int, "The number of clients in this industry."]


class RevenueSummary(NamedTuple):
    """The known annual revenues of a user's clients."""

    total_revenue: Annotated[Decimal, "The sum of the annual revenues that are known, 0 if none is known."]
    mean_revenue: Annotated[Decimal | None, "The mean of the annual revenues that are known. Null if none is known."]
    clients_with_revenue: Annotated[int, "The number of clients whose annual revenue is known."]


_user = sa.bindparam("user", type_=types.Id())
_now = sa.bindparam("now", type_=types.Timestamp())
_moment = sa.bindparam("moment", type_=types.Timestamp())
_client = sa.bindparam("client", type_=types.Id())
_of_client = _contacts.c.client_id == _client
_of_clients = in_list(_contacts.c.client_id, "clients")
_alive = (_clients.c.created_by == _user, _clients.c.deleted_at.is_(None))
_HUNDREDTH = Decimal("0.01")

_by_status: Statement[ClientStatusTotal] = Statement(
    sa.select(_clients.c.status, sa.func.count()).where(*_alive).group_by(_clients.c.status),
    RowFactory(ClientStatusTotal._make),
)

_by_industry: Statement[ClientIndustryTotal] = Statement(
    sa.select(_clients.c.industry, sa.func.count()).where(*_alive).group_by(_clients.c.industry),
    RowFactory(ClientIndustryTotal._make),
)


def _summary(values: Sequence[Any]) -> RevenueSummary:
    total, known = values
    if not known:
        return RevenueSummary(Decimal("0.00"), None, 0)
    return RevenueSummary(total, (total / known).quantize(_HUNDREDTH, ROUND_HALF_UP), known)


_revenue: Statement[RevenueSummary] = Statement(
    sa.select(
        sa.func.sum(_clients.c.annual_revenue, type_=types.Fixed(20, 2)), sa.func.count(_clients.c.annual_revenue)
    ).where(*_alive),
    RowFactory(_summary),
)

_link_primaries: Statement[Client] = Statement(
    sa.update(_clients)
    .where(_clients.c.id == _contacts.c.client_id, _contacts.c.is_primary, in_list(_clients.c.id, "clients"))
    .values(primary_contact_id=_contacts.c.id)
    .returning(*_clients.c),
    Client,
)


_forget_primaries: Statement[Client] = Statement(
    sa.update(_clients)
    .where(in_list(_clients.c.primary_contact_id, "contacts"))
    .values(primary_contact_id=None, version=_clients.c.version + 1, updated_at=_now)
    .returning(*_clients.c),
    Client,
)


def _transfer_contacts_of(engine: Engine) -> sa.Executable:
    """PostgreSQL checks the foreign key from contacts to clients after the statement, so one must change both."""
    contacts = sa.update(_contacts).where(_of_client).values(user_id=_user, updated_at=_now).returning(*_contacts.c)
    if not engine.is_postgresql:
        return contacts
    client = (
        sa.update(_clients)
        .where(_clients.c.id == _client)
        .values(created_by=_user, version=_clients.c.version + 1, updated_at=_now)
    )
    return contacts.add_cte(client.cte("transferred"))


_transfer: Statement[Contact] = Statement(_transfer_contacts_of, Contact)
_defer_foreign_keys: Statement[int] = Statement(sa.text("PRAGMA defer_foreign_keys = ON"), scalar(int))
_check_foreign_keys: Statement[int] = Statement(sa.text("PRAGMA defer_foreign_keys = OFF"), scalar(int))


class Clients(Repository[Client], table=Client):
    """Companies."""

    async def by_status(self, user: UUID) -> list[ClientStatusTotal]:
        """How many clients of a person have each status, in the order of the statuses."""
        found = {row.status: row for row in await self.connection.rows(_by_status, user=user)}
        return [found.get(status, ClientStatusTotal(status, 0)) for status in ClientStatus]

    async def by_industry(self, user: UUID) -> list[ClientIndustryTotal]:
        """A person's clients by industry, the most frequent first; those without one come last."""
        found = await self.connection.rows(_by_industry, user=user)
        return sorted(found, key=lambda row: (row.industry is None, -row.total, fold(row.industry), row.industry))

    async def revenue(self, user: UUID) -> RevenueSummary:
        """What is known of the annual revenue of a person's clients."""
        return await self.connection.one(_revenue, user=user)

    async def newest(self, user: UUID, *, limit: int) -> list[Client]:
        """A person's clients, the latest first."""
        newest = (SortKey("created_at", Direction.DESC), SortKey("id", Direction.DESC))
        return await self.find(Compare("created_by", Op.EQ, user), newest, limit=limit)

    async def link_primaries(self, keys: Collection[UUID]) -> list[Client]:
        """Makes the primary contacts of new clients known to them; the clients that have one."""
        return await self.connection.rows(_link_primaries, clients=list(keys))

    async def forget_primaries(self, contacts: Collection[UUID]) -> list[Client]:
        """Makes clients, deleted ones included, have none of these primary contacts. Returns the clients."""
        return await self.connection.rows(_forget_primaries, contacts=list(contacts), now=now())

    async def transfer(self, client: Client, user: UUID) -> list[Contact]:
        """Gives a client with all its contacts, deleted ones included, to another user. Returns the contacts.

        On SQLite, which cannot change two tables with one statement, the foreign keys are checked after both changes.
        """
        if self.connection.engine.is_postgresql:
            return await self.connection.rows(_transfer, client=client.id, user=user, now=now())
        await self.connection.rows(_defer_foreign_keys)
        await self.change(client, created_by=user)
        contacts = await self.connection.rows(_transfer, client=client.id, user=user, now=now())
        await self.connection.rows(_check_foreign_keys)
        return contacts


# contacts

_taken: Statement[str] = Statement(
    sa.select(_contacts.c.email_index).where(
        _contacts.c.user_id == _user, in_list(_contacts.c.email_index, "indexes"), _contacts.c.deleted_at.is_(None)
    ),
    scalar(str),
)

_demote: Statement[Contact] = Statement(
    sa.update(_contacts)
    .where(_of_clients, _contacts.c.is_primary)
    .values(is_primary=False, updated_at=_now)
    .returning(*_contacts.c),
    Contact,
)

_remove_all: Statement[Contact] = Statement(
    sa.update(_contacts)
    .where(_of_clients, _contacts.c.deleted_at.is_(None))
    .values(deleted_at=_moment, updated_at=_now)
    .returning(*_contacts.c),
    Contact,
)

_restore_all: Statement[Contact] = Statement(
    sa.update(_contacts)
    .where(_of_clients, _clients.c.id == _contacts.c.client_id, _contacts.c.deleted_at == _clients.c.deleted_at)
    .values(deleted_at=None, updated_at=_now)
    .returning(*_contacts.c),
    Contact,
)

_purge_all: Statement[Contact] = Statement(sa.delete(_contacts).where(_of_clients).returning(*_contacts.c), Contact)


class Contacts(Repository[Contact], table=Contact):
    """People to talk to. E-mail addresses are found by their blind index."""

    def index_of(self, email: str) -> str:
        """The blind index of an address, the same for every spelling that means the same."""
        try:
            return self.connection.cipher.blind_index(Contact.email, normalize_email(email))
        except UnicodeEncodeError:
            raise ValidationError.for_unstorable_text() from None

    async def taken(self, user: UUID, emails: Sequence[str]) -> set[str]:
        """Those of the addresses that a contact of this person's clients has; nobody else's count."""
        indexes = {self.index_of(email): email for email in emails}
        return {indexes[index] for index in await self.connection.rows(_taken, user=user, indexes=list(indexes))}

    async def demote(self, clients: Sequence[UUID]) -> list[Contact]:
        """Makes the primary contacts of clients ordinary ones. Returns the contacts that changed."""
        return await self.connection.rows(_demote, clients=list(clients), now=now())

    async def remove_all(self, clients: Sequence[UUID], at: dt.datetime) -> list[Contact]:
        """Soft-deletes the contacts of clients and returns them.

        They get the ``deleted_at`` of the clients, which distinguishes them from contacts that were deleted before.
        """
        return await self.connection.rows(_remove_all, clients=list(clients), moment=at, now=now())

    async def restore_all(self, clients: Sequence[UUID]) -> list[Contact]:
        """Restores the contacts that have the ``deleted_at`` of their clients, and returns them."""
        return await self.connection.rows(_restore_all, clients=list(clients), now=now())

    async def purge_all(self, clients: Sequence[UUID]) -> list[Contact]:
        """Deletes the contacts of clients permanently, and returns them. The clients must have no primary contact."""
        return await self.connection.rows(_purge_all, clients=list(clients))
