"""What can be done with clients and contacts.

Whoever changes which contacts a client has locks the client first, then the contact, so that two of them never wait for
each other, and a client that is being deleted gets no new contact.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.client_management import (
    ClientCreated,
    ClientDeleted,
    ClientRestored,
    Clients,
    ClientUpdated,
    ContactAdded,
    ContactRemoved,
    ContactRestored,
    Contacts,
    ContactUpdated,
    PrimaryContactSet,
)
from repositories.core.errors import Conflict, InputError, NotFound, ValidationError
from repositories.tables.client_management import Client, Contact
from resolvers.client_management.inputs import (
    AddContact,
    CreateClient,
    DeleteClient,
    NewContact,
    RemoveContact,
    RestoreClient,
    SetPrimaryContact,
    UpdateClient,
    UpdateContact,
)
from resolvers.validation.command import changed_fields, check_version, locate_taken_id, provided_fields, raise_all
from resolvers.validation.valid_parts import reports

_TAKEN = "You already have a contact with this e-mail address."

# clients


async def _errors_of_new_client(work: UnitOfWork, command: CreateClient) -> list[InputError]:
    contacts = command.contacts or []
    return [*_duplicates(contacts), *await _taken(work, work.viewer_id, contacts)]


@reports(_errors_of_new_client)
async def create_client(work: UnitOfWork, command: CreateClient) -> Client:
    """Makes a client of the viewer's with its first contacts, all of it or nothing."""
    raise_all(await _errors_of_new_client(work, command))
    values = command.model_dump(exclude={"contacts", "database_id"})
    with locate_taken_id("database_id"):
        client = await work.repository(Clients).add(
            **values, id=command.database_id, created_by=work.viewer_id, created_at=work.now
        )
    work.record(ClientCreated(client.id, client.created_by, client.status))
    contacts = await _add_contacts(work, client, command.contacts)
    if any(contact.is_primary for contact in contacts):
        (client,) = await work.repository(Clients).link_primaries([client.id])
        work.record(PrimaryContactSet(client.id, client.created_by, client.primary_contact_id))
    return client


def _duplicates(contacts: Sequence[NewContact]) -> list[InputError]:
    """A refusal for every contact with the address or id of one before it, and for every primary one but the first."""
    seen: set[object] = set()
    refusals: list[InputError] = []
    for index, contact in enumerate(contacts):
        keys = {
            "email": (Conflict, contact.email, "This e-mail address is in the list twice."),
            "database_id": (ValidationError, contact.database_id, "This one is in the list twice."),
            "is_primary": (ValidationError, contact.is_primary or None, "Only one contact can be the primary one."),
        }
        for field, (refusal, key, message) in keys.items():
            if (field, key) in seen:
                refusals.append(refusal(message, path=("contacts", index, field)))
            elif key is not None:
                seen.add((field, key))
    return refusals


async def _taken(work: UnitOfWork, owner: UUID, contacts: Sequence[NewContact]) -> list[InputError]:
    """A refusal for every contact whose address another contact of this owner's has; no statement if there are none."""
    emails = [contact.email for contact in contacts if contact.email is not None]
    if not emails:
        return []
    taken = await work.repository(Contacts).taken(owner, emails)
    return [
        Conflict(_TAKEN, path=("contacts", index, "email"))
        for index, contact in enumerate(contacts)
        if contact.email in taken
    ]


async def _add_contacts(work: UnitOfWork, client: Client, contacts: Sequence[NewContact]) -> list[Contact]:
    """Which one of several lost a race for its address or id the database does not tell."""
    if not contacts:
        return []
    try:
        with locate_taken_id("contacts"):
            made = await work.repository(Contacts).add_many([_new_contact(work, client, item) for item in contacts])
    except Conflict as error:
        error.path = ("contacts",)
        raise
    for contact in made:
        work.record(ContactAdded(contact.id, contact.user_id, client.id))
    return made


def _new_contact(work: UnitOfWork, client: Client, command: NewContact) -> dict[str, Any]:
    values = command.model_dump(exclude={"database_id", "client_id"})
    owned = {"id": command.database_id, "client_id": client.id, "user_id": client.created_by}
    return values | owned | {"created_at": work.now}


async def update_client(work: UnitOfWork, command: UpdateClient) -> Client:
    """Changes a client, if it still has the version that was seen."""
    client = check_version(await work.repository(Clients).lock(command.id), command.version)
    wanted = provided_fields(
        command, "company_name", "status", "industry", "website", "annual_revenue", "employee_count"
    )
    values = changed_fields(work, client, wanted)
    if not values:
        return client
    changed = await work.repository(Clients).change(client, **values)
    work.record(ClientUpdated(changed.id, changed.created_by, tuple(sorted(values))))
    return changed


async def delete_client(work: UnitOfWork, command: DeleteClient) -> Client:
    """Puts a client away with its contacts; it can be restored."""
    client = check_version(await work.repository(Clients).lock(command.id), command.version)
    for contact_id in await work.repository(Contacts).remove_all(client.id, work.now):
        work.record(ContactRemoved(contact_id, client.created_by, client.id))
    deleted = await work.repository(Clients).change(client, deleted_at=work.now)
    work.record(ClientDeleted(deleted.id, deleted.created_by))
    return deleted


async def restore_client(work: UnitOfWork, command: RestoreClient) -> Client:
    """Brings a deleted client back, with the contacts it had."""
    client = check_version(await work.repository(Clients).lock_deleted(command.id), command.version)
    assert client.deleted_at is not None  # noqa: S101 (only deleted ones are found)
    try:
        contact_ids = await work.repository(Contacts).restore_all(client.id, client.deleted_at)
    except Conflict:
        message = "The e-mail address of one of its contacts belongs to another contact of yours by now."
        raise Conflict(message, path=("id",)) from None
    for contact_id in contact_ids:
        work.record(ContactRestored(contact_id, client.created_by, client.id))
    restored = await work.repository(Clients).restore(client)
    work.record(ClientRestored(restored.id, restored.created_by))
    return restored


async def set_primary_contact(work: UnitOfWork, command: SetPrimaryContact) -> Client:
    """Makes one of a client's contacts its primary one, instead of another if there is one."""
    client = check_version(await work.repository(Clients).lock(command.id), command.version)
    contact = (await work.repository(Contacts).lock_many([command.contact_id])).get(command.contact_id)
    if contact is None or contact.client_id != client.id:
        raise NotFound.of("contact", path=("contact_id",))
    if client.primary_contact_id == contact.id:
        return client
    await _demote(work, client)
    await work.repository(Contacts).change(contact, is_primary=True)
    work.record(ContactUpdated(contact.id, contact.user_id, client.id, ("is_primary",)))
    return await _set_primary(work, client, contact.id)


async def _demote(work: UnitOfWork, client: Client) -> None:
    """Makes the client's primary contact an ordinary one."""
    for contact_id in await work.repository(Contacts).demote(client.id):
        work.record(ContactUpdated(contact_id, client.created_by, client.id, ("is_primary",)))


async def _set_primary(work: UnitOfWork, client: Client, contact: UUID | None) -> Client:
    changed = await work.repository(Clients).change(client, primary_contact_id=contact)
    work.record(PrimaryContactSet(client.id, client.created_by, contact))
    return changed


# contacts


async def _errors_of_new_contact(work: UnitOfWork, command: AddContact) -> list[InputError]:
    if command.client_id is None:
        return []  # the id is invalid
    client = await _client_of_new_contact(work, command)
    taken = await _taken(work, client.created_by, [command])
    for error in taken:
        error.path = ("email",)
    return taken


async def _client_of_new_contact(work: UnitOfWork, command: AddContact) -> Client:
    try:
        return await work.repository(Clients).lock(command.client_id)
    except NotFound as error:
        error.path = ("client_id",)
        raise


@reports(_errors_of_new_contact)
async def add_contact(work: UnitOfWork, command: AddContact) -> Contact:
    """Adds a contact to a client; a primary one takes the place of the one before."""
    client = await _client_of_new_contact(work, command)
    if command.is_primary and client.primary_contact_id is not None:
        await _demote(work, client)
    with locate_taken_id("database_id"):
        contact = await work.repository(Contacts).add(**_new_contact(work, client, command))
    work.record(ContactAdded(contact.id, contact.user_id, client.id))
    if contact.is_primary:
        await _set_primary(work, client, contact.id)
    return contact


async def update_contact(work: UnitOfWork, command: UpdateContact) -> Contact:
    """Changes a contact."""
    contact = await work.repository(Contacts).lock(command.id)
    wanted = provided_fields(command, "first_name", "last_name", "email", "phone", "position")
    values = changed_fields(work, contact, wanted)
    if not values:
        return contact
    changed = await work.repository(Contacts).change(contact, **values)
    work.record(ContactUpdated(changed.id, changed.user_id, changed.client_id, tuple(sorted(values))))
    return changed


async def remove_contact(work: UnitOfWork, command: RemoveContact) -> Contact:
    """Removes a contact; a client whose primary contact it was has none then."""
    contacts = work.repository(Contacts)
    client = await work.repository(Clients).lock((await contacts.get(command.id)).client_id)
    contact = await contacts.lock(command.id)
    removed = await contacts.change(contact, deleted_at=work.now, is_primary=False)
    work.record(ContactRemoved(removed.id, removed.user_id, client.id))
    if client.primary_contact_id == contact.id:
        await _set_primary(work, client, None)
    return removed
