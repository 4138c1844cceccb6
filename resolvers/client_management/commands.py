"""Commands on clients and contacts beyond the derived ones.

A command that changes which contacts a client has locks the client first, then the contact. Two such commands therefore
never wait for each other, and a client that is being deleted gets no new contact.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from repositories.aggregates.derived import change_of
from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.client_management import ClientReceived, Clients, ClientTransferred, Contacts, PrimaryContactSet
from repositories.core.errors import Conflict, InputError, NotFound, Path
from repositories.identity import Users
from repositories.tables.client_management import Client, Contact
from repositories.tables.identity import UserStatus
from resolvers.aggregates.derived_commands import row_command, takes
from resolvers.aggregates.handlers import find_duplicates, find_row, find_unique_duplicates, lock_row
from resolvers.aggregates.rules import Rules, add_rules
from resolvers.client_management.inputs import AddContact, CreateClient
from resolvers.validation.command import locate_taken_id, raise_all
from resolvers.validation.global_ids import GlobalKey
from resolvers.validation.valid_parts import reports

_TAKEN = "You already have a contact with this e-mail address."

# clients


async def _errors_of_new_client(work: UnitOfWork, command: Any) -> list[InputError]:
    contacts = command.contacts or []
    return [*_duplicates(work, contacts), *await _taken(work, work.viewer_id, contacts)]


@reports(_errors_of_new_client)
@takes(CreateClient)
async def create_client(work: UnitOfWork, command: Any) -> Client:
    """Creates a client of the viewer together with its first contacts.

    Possible errors: VALIDATION_ERROR, CONFLICT if the viewer already has a contact with one of the e-mail addresses or
    if a `databaseId` is taken, QUOTA_EXCEEDED.
    """
    raise_all(await _errors_of_new_client(work, command))
    (client,) = await _create_clients(work, [command])
    return client


async def _create_clients(work: UnitOfWork, commands: Sequence[Any]) -> list[Client]:
    with locate_taken_id("database_id"):
        clients = await work.repository(Clients).add_many([_new_client(work, command) for command in commands])
    work.record_added(clients)
    people = [
        _new_contact(work, client, contact)
        for client, command in zip(clients, commands, strict=True)
        for contact in command.contacts
    ]
    contacts = await _insert_contacts(work, people)
    keys = [contact.client_id for contact in contacts if contact.is_primary]
    linked = {client.id: client for client in await work.repository(Clients).link_primaries(keys)} if keys else {}
    for client in clients:
        if client.id in linked:
            _record_primary(work, client, linked[client.id])
    return [linked.get(client.id, client) for client in clients]


def _new_client(work: UnitOfWork, command: Any) -> dict[str, Any]:
    values: dict[str, Any] = command.model_dump(exclude={"contacts", "database_id"})
    owned = {"id": command.database_id, "created_by": work.viewer_id}
    return values | owned | {"created_at": work.now, "updated_at": work.now}


def _duplicates(work: UnitOfWork, contacts: Sequence[Any]) -> list[InputError]:
    """An error for every contact with the address or id of one before it, and for every primary one but the first."""
    places: list[Path] = [("contacts", index) for index in range(len(contacts))]
    of_client = {"user_id": work.viewer_id, "client_id": "the new client"}
    return [
        *find_unique_duplicates(Contact, [dict(contact) | of_client for contact in contacts], places),
        *find_duplicates([(*place, "database_id") for place in places], [each.database_id for each in contacts]),
    ]


async def _equal_addresses(work: UnitOfWork, commands: Sequence[Any]) -> list[InputError]:
    """The addresses that contacts of several new clients have."""
    contacts: dict[Path, Any] = {
        (index, "contacts", number): contact
        for index, command in enumerate(commands)
        for number, contact in enumerate(command.contacts or [])
    }
    rows = [{"user_id": work.viewer_id, "email": contact.email} for contact in contacts.values()]
    return find_unique_duplicates(Contact, rows, list(contacts))


async def _taken(work: UnitOfWork, owner: UUID, contacts: Sequence[Any]) -> list[InputError]:
    """An error for every contact whose address another contact of the owner has. No statement without addresses."""
    emails = [contact.email for contact in contacts if contact.email is not None]
    if not emails:
        return []
    taken = await work.repository(Contacts).taken(owner, emails)
    return [
        Conflict(_TAKEN, path=("contacts", index, "email"))
        for index, contact in enumerate(contacts)
        if contact.email in taken
    ]


async def _insert_contacts(work: UnitOfWork, rows: Sequence[Mapping[str, Any]]) -> list[Contact]:
    """The database does not tell which of several contacts has an address or id that was taken at the same time."""
    if not rows:
        return []
    try:
        with locate_taken_id("contacts"):
            added = await work.repository(Contacts).add_many(rows)
    except Conflict as error:
        error.path = ("contacts",)
        raise
    work.record_added(added)
    return added


def _new_contact(work: UnitOfWork, client: Client, command: Any) -> dict[str, Any]:
    values: dict[str, Any] = command.model_dump(exclude={"database_id", "client_id"})
    owned = {"id": command.database_id, "client_id": client.id, "user_id": client.created_by}
    return values | owned | {"created_at": work.now, "updated_at": work.now}


async def _remove_contacts(work: UnitOfWork, rows: Sequence[Client]) -> None:
    """Its contacts are deleted with it."""
    for contact in await work.repository(Contacts).remove_all([row.id for row in rows], work.now):
        work.record_deleted(contact)


async def _restore_contacts(work: UnitOfWork, rows: Sequence[Client]) -> None:
    """The contacts that were deleted with it are restored too.

    Returns the error CONFLICT if another contact has the e-mail address of one of them by now.
    """
    try:
        contacts = await work.repository(Contacts).restore_all([row.id for row in rows])
    except Conflict:
        message = "The e-mail address of one of its contacts belongs to another contact of yours by now."
        raise Conflict(message, path=("id",)) from None
    for contact in contacts:
        work.record_restored(contact)


async def _purge_contacts(work: UnitOfWork, rows: Sequence[Client]) -> None:
    """Its contacts are deleted permanently too."""
    primaries = [row.primary_contact_id for row in rows if row.primary_contact_id is not None]
    if primaries:
        await work.repository(Clients).forget_primaries(primaries)
    for contact in await work.repository(Contacts).purge_all([row.id for row in rows]):
        work.record_purged(contact)


_client_rules: Rules[Client] = Rules(
    delete=_remove_contacts,
    restore=_restore_contacts,
    purge=_purge_contacts,
    create=_create_clients,
    duplicates=_equal_addresses,
)
add_rules(Client, _client_rules)


async def _errors_of_new_owner(work: UnitOfWork, client: Client | None, command: Any) -> list[InputError]:
    if command.user_id is None:
        return []  # the id is invalid
    user = (await work.repository(Users).by_id([command.user_id])).get(command.user_id)
    if user is None:
        return [NotFound.of("user", path=("user_id",))]
    if user.status is not UserStatus.ACTIVE:
        return [Conflict("The account of this user is not active.", path=("user_id",))]
    return []


_new_owner = "The new owner of the client and its contacts."


@row_command(
    Client,
    "The client, and its new owner.",
    {"user_id": (Annotated[UUID, GlobalKey("User")], Field(description=_new_owner))},
    check=_errors_of_new_owner,
)
async def transfer_client(work: UnitOfWork, command: Any) -> Client:
    """Gives a client with its contacts, deleted ones included, to another user. For administrators.

    A client that belongs to the user already stays as it is. Possible errors: NOT_FOUND, STALE_VERSION, CONFLICT if the
    account of the user is not active or if the user already has a contact with one of the e-mail addresses,
    QUOTA_EXCEEDED.
    """
    client = await lock_row(work, Client, command, _errors_of_new_owner)
    if client.created_by == command.user_id:
        return client
    try:
        contacts = await work.repository(Clients).transfer(client, command.user_id)
    except Conflict:
        message = "The user already has a contact with the e-mail address of one of the client's contacts."
        raise Conflict(message, path=("user_id",)) from None
    transferred = await work.repository(Clients).get(client.id)
    change = change_of(client, transferred)
    former, new = client.created_by, transferred.created_by
    work.record(ClientTransferred(client.id, former, new, change=change))
    work.record(ClientReceived(client.id, new, former, change=change))
    for contact in contacts:
        work.record_changed(contact.replace(user_id=client.created_by), contact)
    return transferred


# primary contacts


async def _errors_of_primary(work: UnitOfWork, command: Any) -> list[InputError]:
    return (await _find_contact(work, command))[2]


async def _find_contact(work: UnitOfWork, command: Any) -> tuple[Client | None, Contact | None, list[InputError]]:
    """The client and its contact, both locked, and the errors of both."""
    client, errors = await find_row(work, Client, command)
    if command.contact_id is None:
        return client, None, errors  # the id is invalid
    contact = (await work.repository(Contacts).lock_many([command.contact_id])).get(command.contact_id)
    if contact is None or contact.client_id != (command.id or contact.client_id):
        errors.append(NotFound.of("contact", path=("contact_id",)))
    return client, contact, errors


@row_command(
    Client,
    "The client, and its new primary contact.",
    {"contact_id": (Annotated[UUID, GlobalKey("Contact")], Field(description="The contact, one of this client's."))},
)
@reports(_errors_of_primary)
async def set_primary_contact(work: UnitOfWork, command: Any) -> Client:
    """Makes one of a client's contacts its primary contact, instead of another if there is one.

    Possible errors: NOT_FOUND, STALE_VERSION.
    """
    client, contact, errors = await _find_contact(work, command)
    raise_all(errors)
    assert client is not None  # noqa: S101 (otherwise there is an error)
    assert contact is not None  # noqa: S101 (as above)
    if client.primary_contact_id == contact.id:
        return client
    await _demote(work, [client.id])
    await work.change(contact, is_primary=True)
    (changed,) = await _set_primaries(work, [(client, contact.id)])
    return changed


async def _demote(work: UnitOfWork, clients: Sequence[UUID]) -> None:
    """Makes the primary contacts of the clients ordinary ones."""
    for contact in await work.repository(Contacts).demote(clients):
        work.record_changed(contact.replace(is_primary=True), contact)


async def _set_primaries(work: UnitOfWork, contacts: Sequence[tuple[Client, UUID]]) -> list[Client]:
    changes = [(client, {"primary_contact_id": contact}) for client, contact in contacts]
    changed = await work.repository(Clients).change_many(changes)
    for (client, _), after in zip(contacts, changed, strict=True):
        _record_primary(work, client, after)
    return changed


def _record_primary(work: UnitOfWork, before: Client, after: Client) -> None:
    change = change_of(before, after)
    work.record(PrimaryContactSet(after.id, after.created_by, after.primary_contact_id, change=change))


# contacts


async def _errors_of_new_contact(work: UnitOfWork, command: Any) -> list[InputError]:
    if command.client_id is None:
        return []  # the id is invalid
    client = (await work.repository(Clients).lock_many([command.client_id])).get(command.client_id)
    if client is None:
        return [NotFound.of("client", path=("client_id",))]
    taken = await _taken(work, client.created_by, [command])
    for error in taken:
        error.path = ("email",)
    return taken


async def _clients_of(work: UnitOfWork, commands: Sequence[Any]) -> Mapping[UUID, Client]:
    """The locked clients of new contacts, by id."""
    keys = {command.client_id for command in commands}
    clients = await work.repository(Clients).lock_many(sorted(keys))
    if len(clients) < len(keys):
        raise NotFound.of("client", path=("client_id",))
    return clients


@reports(_errors_of_new_contact)
@takes(AddContact)
async def add_contact(work: UnitOfWork, command: Any) -> Contact:
    """Adds a contact to a client. If it is a primary one, it replaces the primary contact that the client has.

    Possible errors: VALIDATION_ERROR, NOT_FOUND if the client does not exist, CONFLICT if the owner already has a
    contact with this e-mail address or if the `databaseId` is taken, QUOTA_EXCEEDED.
    """
    (contact,) = await _add_contacts(work, [command])
    return contact


async def _add_contacts(work: UnitOfWork, commands: Sequence[Any]) -> list[Contact]:
    clients = await _clients_of(work, commands)
    promoted = [clients[command.client_id] for command in commands if command.is_primary]
    replaced = [client.id for client in promoted if client.primary_contact_id is not None]
    if replaced:
        await _demote(work, replaced)
    rows = [_new_contact(work, clients[command.client_id], command) for command in commands]
    with locate_taken_id("database_id"):
        contacts = await work.repository(Contacts).add_many(rows)
    work.record_added(contacts)
    primaries = [(clients[contact.client_id], contact.id) for contact in contacts if contact.is_primary]
    if primaries:
        await _set_primaries(work, primaries)
    return contacts


async def _equal_addresses_of_owners(work: UnitOfWork, commands: Sequence[Any]) -> list[InputError]:
    """The addresses that several new contacts of one owner have. No statement if all addresses differ."""
    emails = [command.email for command in commands if command.email is not None]
    if len(emails) == len(set(emails)):
        return []
    keys = {command.client_id for command in commands if command.client_id is not None}
    clients = await work.repository(Clients).lock_many(sorted(keys))
    owners = {key: client.created_by for key, client in clients.items()}
    rows = [{"user_id": owners.get(command.client_id), "email": command.email} for command in commands]
    return find_unique_duplicates(Contact, rows, [(index,) for index in range(len(commands))])


async def _forget_primaries(work: UnitOfWork, rows: Sequence[Contact]) -> None:
    """If it is the primary contact, the client has none afterwards."""
    primaries = [row.id for row in rows if row.is_primary]
    if primaries:
        of_client = {row.client_id: row.id for row in rows if row.is_primary}
        for client in await work.repository(Clients).forget_primaries(primaries):
            _record_primary(work, client.replace(primary_contact_id=of_client[client.id]), client)


_contact_rules: Rules[Contact] = Rules(
    delete=_forget_primaries,
    purge=_forget_primaries,
    values_of_deleted={"is_primary": False},
    create=_add_contacts,
    duplicates=_equal_addresses_of_owners,
)
add_rules(Contact, _contact_rules)
