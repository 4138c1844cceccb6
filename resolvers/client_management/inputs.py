"""What is said to change clients and contacts."""

from decimal import Decimal
from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints
from strawberry import Maybe

from repositories.tables.client_management import ClientStatus
from resolvers.validation.command import Command, Email, Phone, Version, Visible, WebAddress
from resolvers.validation.global_ids import GlobalKey

ClientKey = Annotated[UUID, GlobalKey("Client")]
ContactKey = Annotated[UUID, GlobalKey("Contact")]
CompanyName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255), Visible]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), Visible]
Revenue = Annotated[Decimal, Field(ge=0, max_digits=15, decimal_places=2)]
Count = Annotated[int, Field(ge=0)]

MAX_CONTACTS = 100


class NewContact(Command):
    """A person at a client."""

    first_name: Name
    """The first name, 1 to 100 characters."""
    last_name: Name
    """The last name, 1 to 100 characters."""
    email: Email
    """The e-mail address, unique among the contacts of all clients of the client's owner, whatever its case."""
    phone: Phone | None = None
    """The phone number with + and the code of its country; it is kept in E.164."""
    position: Name | None = None
    """What the person does there, 1 to 100 characters."""
    is_primary: bool = False
    """Whether this is the person to talk to first; a client has at most one."""
    database_id: UUID | None = None
    """A UUID for the new contact, for clients that make ids themselves; by default the gateway makes one."""


class CreateClient(Command):
    """A new client, with its first contacts."""

    company_name: CompanyName
    """What the company is called, 1 to 255 characters."""
    status: ClientStatus = ClientStatus.ACTIVE
    """How the business relation stands."""
    industry: Name | None = None
    """What the company does, 1 to 100 characters."""
    website: WebAddress | None = None
    """The address of its website, http or https, at most 255 characters."""
    annual_revenue: Revenue | None = None
    """What it turns over in a year, 0 or more, at most 13 digits before the point and 2 after it."""
    employee_count: Count | None = None
    """How many people work there, 0 or more."""
    contacts: Annotated[list[NewContact], Field(max_length=MAX_CONTACTS)] = []  # noqa: RUF012 (Pydantic copies it)
    """Its first contacts, at most 100, made together with it or not at all."""
    database_id: UUID | None = None
    """A UUID for the new client, for clients that make ids themselves; by default the gateway makes one."""


class UpdateClient(Command):
    """Changes of a client; what is left out stays as it is."""

    id: ClientKey
    """The client."""
    version: Version
    """The version that was seen; if the client has another by now, nothing is changed."""
    company_name: Maybe[CompanyName]
    """What the company is called, 1 to 255 characters."""
    status: Maybe[ClientStatus]
    """How the business relation stands."""
    industry: Maybe[Name | None]
    """What the company does, 1 to 100 characters; null removes it."""
    website: Maybe[WebAddress | None]
    """The address of its website, http or https, at most 255 characters; null removes it."""
    annual_revenue: Maybe[Revenue | None]
    """What it turns over in a year, 0 or more; null for unknown."""
    employee_count: Maybe[Count | None]
    """How many people work there, 0 or more; null for unknown."""


class ChangeClient(Command):
    """A client whose state is to be changed."""

    id: ClientKey
    """The client."""
    version: Version | None = None
    """The version that was seen; if given and the client has another by now, nothing is changed."""


class DeleteClient(ChangeClient):
    """The client to put away, with its contacts."""


class RestoreClient(ChangeClient):
    """The deleted client to bring back, with the contacts it had."""


class SetPrimaryContact(ChangeClient):
    """The client, and which of its contacts is to be the primary one."""

    contact_id: ContactKey
    """The contact, one of this client's."""


class AddContact(NewContact):
    """A new contact of a client."""

    client_id: ClientKey
    """The client."""


class UpdateContact(Command):
    """Changes of a contact; what is left out stays as it is."""

    id: ContactKey
    """The contact."""
    first_name: Maybe[Name]
    """The first name, 1 to 100 characters."""
    last_name: Maybe[Name]
    """The last name, 1 to 100 characters."""
    email: Maybe[Email]
    """The e-mail address, unique among the contacts of all clients of the client's owner, whatever its case."""
    phone: Maybe[Phone | None]
    """The phone number with + and the code of its country; null removes it."""
    position: Maybe[Name | None]
    """What the person does there, 1 to 100 characters; null removes it."""


class RemoveContact(Command):
    """The contact to remove."""

    id: ContactKey
    """The contact."""
