"""Lists of contacts over all clients, their trash, bulk commands, and clients that get another owner."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.settings import Settings
from repositories.client_management import Clients
from repositories.core.errors import Forbidden, NotFound
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database, DatabaseOptions
from repositories.identity import Users
from repositories.sql.statements import Statement
from repositories.tables.client_management import Client as ClientRow
from repositories.tables.client_management import Contact as ContactRow
from repositories.tables.identity import User, UserRole, UserStatus
from tests.api.client import Client, Gateway, connect_database, gid, user_error
from tests.api.stored_rows import stored_events
from tests.api.test_statements import summarize_statements
from tests.factories import make_client, make_contact, make_contacts, make_user, viewer_of

CLIENTS = "clients { companyName contacts { nodes { email } } primaryContact { email } }"
MISSING = user_error("NOT_FOUND", "There is no such contact.", "id")
TAKEN_MEANWHILE = "You already have a contact with this e-mail address."
CLIENT_DELETED = "The client of this contact is deleted. Restore the client first."


async def _everything(database: Database) -> Any:
    """All clients, contacts and events, deleted rows included."""
    async with database.transaction(SERVICE) as write:
        rows = [
            await write.rows(Statement(sa.select(*kind.__table__.c).order_by(kind.__table__.c.id), kind))
            for kind in (ClientRow, ContactRow)
        ]
    return [*rows, await stored_events(database)]


async def _events(database: Database, after: int = 0) -> list[tuple[str, Any]]:
    """The types and data of the events after the first ones."""
    return [(event.event_type, event.event_data) for event in (await stored_events(database))[after:]]


async def _emails(client: Client, arguments: str, **variables: str) -> list[str]:
    declared = ", ".join(f"${name}: {'String' if name == 'email' else 'ID'}" for name in variables)
    document = (
        f"query{f'({declared})' if declared else ''} {{ contacts({arguments}) {{ totalCount nodes {{ email }} }} }}"
    )
    found = (await client.data(document, **variables))["contacts"]
    assert found["totalCount"] == len(found["nodes"])
    return [node["email"] for node in found["nodes"]]


async def test_contacts_are_filtered_by_their_client(gateway: Gateway, ada: User, bob: User, admin: User) -> None:
    """Clients of other users and deleted clients do not count, not even with their conditions negated."""
    database = gateway.database
    for user, status, email in (
        (ada, "active", "active@a.example"),
        (ada, "lead", "lead@a.example"),
        (bob, "active", "active@b.example"),
        (ada, "active", "deleted@a.example"),
    ):
        row = await make_client(database, user, status=status, company_name=email)
        await make_contact(database, row, email=email)
        if email.startswith("deleted"):
            await gateway.client(user).do("deleteClient", "client { id }", id=gid("Client", row))
    client, administrator, other = gateway.client(ada), gateway.client(admin), gateway.client(bob)
    active, lead = "filter: {client: {status: {eq: ACTIVE}}}", "filter: {client: {status: {eq: LEAD}}}"
    by_client = "order: [{field: CREATED_AT}]"
    assert await _emails(client, f"{active}, {by_client}") == ["active@a.example"]
    assert await _emails(client, lead) == ["lead@a.example"]
    assert await _emails(other, active) == ["active@b.example"]
    assert await _emails(other, lead) == []
    assert await _emails(administrator, f"{active}, {by_client}") == ["active@a.example", "active@b.example"]
    assert await _emails(administrator, f"{active}, scope: MINE") == []
    assert await _emails(client, "filter: {not: {client: {status: {eq: ACTIVE}}}}") == ["lead@a.example"]
    assert await _emails(client, f"{active}, deleted: ONLY") == []
    assert await _emails(client, "deleted: ONLY") == ["deleted@a.example"]
    assert await _emails(client, f"deleted: INCLUDE, {by_client}") == [
        *("active@a.example", "lead@a.example", "deleted@a.example")
    ]
    nested = 'filter: {or: [{client: {createdBy: {eq: $id}, companyName: {startsWith: "LEAD"}}}]}'
    assert await _emails(client, nested, id=gid("User", ada)) == ["lead@a.example"]
    assert await _emails(client, nested, id=gid("User", bob)) == []
    document = "{ contacts { groups(by: CLIENT_ID) { count } } clients { groups(by: STATUS) { key count } } }"
    assert await client.data(document) == {
        "contacts": {"groups": [{"count": 1}, {"count": 1}]},
        "clients": {"groups": [{"key": "ACTIVE", "count": 1}, {"key": "LEAD", "count": 1}]},
    }


async def test_contacts_of_an_address_can_be_filtered(gateway: Gateway, ada: User, bob: User, admin: User) -> None:
    """A null address is none. The cursor of one address is not valid for another one."""
    for user in (ada, bob):
        row = await make_client(gateway.database, user)
        await make_contact(gateway.database, row, email="joan@example.org", is_primary=user is ada)
        await make_contact(gateway.database, row, email="max@example.org")
    client, administrator = gateway.client(ada), gateway.client(admin)
    assert await _emails(client, "email: $email", email="JOAN@example.org") == ["joan@example.org"]
    assert len(await _emails(administrator, "email: $email", email="joan@example.org")) == 2
    primary = "email: $email, filter: {isPrimary: {eq: true}}"
    assert len(await _emails(administrator, primary, email="joan@example.org")) == 1
    assert await _emails(administrator, "email: $email, scope: MINE", email="joan@example.org") == []
    assert await _emails(client, "email: $email", email="no address") == []
    assert len(await _emails(client, "email: null")) == 2
    page = (
        "query($e: String, $after: String) { contacts(email: $e, first: 1, after: $after) { pageInfo { endCursor } } }"
    )
    cursor = (await administrator.data(page, e="joan@example.org"))["contacts"]["pageInfo"]["endCursor"]
    assert (await administrator.ask(page, e="joan@example.org", after=cursor)).errors == []
    assert (await administrator.ask(page, e="max@example.org", after=cursor)).codes == ["VALIDATION_ERROR"]


async def test_a_deleted_contact_is_restored_and_purged(gateway: Gateway, ada: User) -> None:
    row = await make_client(gateway.database, ada)
    contact = await make_contact(gateway.database, row, email="joan@example.org", is_primary=True)
    client, key = gateway.client(ada), gid("Contact", contact)
    shown = "contact { id isPrimary deletedAt client { primaryContact { id } } }"
    owned = {"owner_id": str(ada.id), "client_id": str(row.id)}
    for mutation in ("restoreContact", "purgeContact"):
        assert (await client.do(mutation, shown, id=key))["userErrors"] == [MISSING]
    removed = (await client.do("removeContact", shown, id=key))["contact"]
    assert removed["deletedAt"] is not None
    assert await _emails(client, "deleted: ONLY") == ["joan@example.org"]
    restored = (await client.do("restoreContact", shown, id=key))["contact"]
    assert restored == {"id": key, "isPrimary": False, "deletedAt": None, "client": {"primaryContact": None}}
    assert await _emails(client, "first: 5") == ["joan@example.org"]
    await client.do("removeContact", shown, id=key)
    purged = (await client.do("purgeContact", shown, id=key))["contact"]
    assert purged["id"] == key
    assert await _emails(client, "deleted: INCLUDE") == []
    assert await _events(gateway.database) == [
        (
            "PrimaryContactSet",
            {
                "owner_id": str(ada.id),
                "contact_id": None,
                "fields": ["primary_contact_id"],
                "changes": {"primary_contact_id": [str(contact.id), None]},
            },
        ),
        ("ContactRemoved", owned | {"fields": ["is_primary"], "changes": {"is_primary": [True, False]}}),
        ("ContactRestored", owned),
        ("ContactRemoved", owned),
        ("ContactPurged", owned),
    ]
    assert (await client.do("restoreContact", shown, id=key))["userErrors"] == [MISSING]


async def test_a_contact_that_cannot_be_restored_stays_deleted(gateway: Gateway, ada: User) -> None:
    """Another contact has its address, or its client is deleted."""
    row = await make_client(gateway.database, ada)
    contact = await make_contact(gateway.database, row, email="joan@example.org")
    client, key = gateway.client(ada), gid("Contact", contact)
    await client.do("removeContact", "contact { id }", id=key)
    again = await make_contact(gateway.database, row, email="joan@example.org")
    before = await _everything(gateway.database)
    payload = await client.do("restoreContact", "contact { id }", id=key)
    assert payload == {"contact": None, "userErrors": [user_error("CONFLICT", TAKEN_MEANWHILE, "id")]}
    assert await _everything(gateway.database) == before
    await client.do("removeContact", "contact { id }", id=gid("Contact", again))
    await client.do("deleteClient", "client { id }", id=gid("Client", row))
    before = await _everything(gateway.database)
    payload = await client.do("restoreContact", "contact { id }", id=key)
    assert payload == {"contact": None, "userErrors": [user_error("CONFLICT", CLIENT_DELETED, "id")]}
    assert await _everything(gateway.database) == before


async def test_the_primary_contact_of_a_deleted_client_can_be_purged(gateway: Gateway, ada: User) -> None:
    row = await make_client(gateway.database, ada)
    contact = await make_contact(gateway.database, row, is_primary=True)
    await make_contact(gateway.database, row, email="max@example.org")
    client = gateway.client(ada)
    await client.do("deleteClient", "client { id }", id=gid("Client", row))
    assert (await client.do("purgeContact", "contact { id }", id=gid("Contact", contact)))["userErrors"] == []
    restored = await client.do("restoreClient", "client { version primaryContact { id } }", id=gid("Client", row))
    assert restored["client"] == {"version": 4, "primaryContact": None}
    assert await _emails(client, "deleted: INCLUDE") == ["max@example.org"]
    kinds = [kind for kind, _ in await _events(gateway.database)]
    assert kinds[-5:] == ["ClientDeleted", "PrimaryContactSet", "ContactPurged", "ContactRestored", "ClientRestored"]


async def test_the_trash_of_other_users_is_not_found(gateway: Gateway, ada: User, bob: User) -> None:
    """All commands on a deleted client and a deleted contact of another user change nothing."""
    kept, deleted = await make_client(gateway.database, ada), await make_client(gateway.database, ada)
    contact = await make_contact(gateway.database, kept)
    owner, client = gateway.client(ada), gateway.client(bob)
    await owner.do("removeContact", "contact { id }", id=gid("Contact", contact))
    await owner.do("deleteClient", "client { id }", id=gid("Client", deleted))
    before = await _everything(gateway.database)
    for mutation, kind, field in (
        ("restoreContact", "contact", {"id": gid("Contact", contact)}),
        ("purgeContact", "contact", {"id": gid("Contact", contact)}),
        ("restoreContacts", "contacts", {"ids": [gid("Contact", contact)]}),
        ("restoreClient", "client", {"id": gid("Client", deleted)}),
        ("purgeClient", "client", {"id": gid("Client", deleted)}),
        ("restoreClients", "clients", {"ids": [gid("Client", deleted)]}),
    ):
        (error,) = (await client.do(mutation, f"{kind} {{ id }}", **field))["userErrors"]
        assert (error["code"], error["field"]) == ("NOT_FOUND", ["ids", "0"] if "ids" in field else ["id"]), mutation
    assert await _emails(client, "deleted: INCLUDE") == []
    assert await _everything(gateway.database) == before


async def test_a_client_is_purged_with_its_contacts(gateway: Gateway, ada: User) -> None:
    """Also with contacts that were deleted before the client, and with a primary contact."""
    row, other = await make_client(gateway.database, ada), await make_client(gateway.database, ada)
    contacts = await make_contacts(gateway.database, row, 2)
    primary = await make_contact(gateway.database, row, is_primary=True)
    kept = await make_contact(gateway.database, other)
    client, key = gateway.client(ada), gid("Client", row)
    await client.do("removeContact", "contact { id }", id=gid("Contact", contacts[0]))
    (error,) = (await client.do("purgeClient", "client { id }", id=key))["userErrors"]
    assert error["code"] == "NOT_FOUND"
    await client.do("deleteClient", "client { id }", id=key)
    before = await _everything(gateway.database)
    (error,) = (await client.do("purgeClient", "client { id }", id=key, version=1))["userErrors"]
    assert (error["code"], error["field"]) == ("STALE_VERSION", ["version"])
    assert await _everything(gateway.database) == before
    payload = await client.do(
        "purgeClient", "client { id version deletedAt contacts { totalCount } }", id=key, version=2
    )
    assert payload["userErrors"] == []
    assert payload["client"]["contacts"] == {"totalCount": 0}
    clients, left, events = await _everything(gateway.database)
    assert ([each.id for each in clients], [each.id for each in left]) == ([other.id], [kept.id])
    purged = events[len(before[2]) :]
    assert [event.event_type for event in purged] == [*["ContactPurged"] * 3, "ClientPurged"]
    assert {event.aggregate_id for event in purged} == {row.id, primary.id, *(each.id for each in contacts)}


async def test_clients_are_created_together_with_their_contacts(gateway: Gateway, ada: User) -> None:
    client, first = gateway.client(ada), new_id()
    joan = {"firstName": "Joan", "lastName": "Clarke", "email": "joan@example.org", "isPrimary": True}
    given = [{"companyName": "Acme", "contacts": [joan], "databaseId": str(first)}, {"companyName": "Zenith"}]
    payload = await client.do("createClients", CLIENTS, clients=given)
    assert payload == {
        "clients": [
            {
                "companyName": "Acme",
                "contacts": {"nodes": [{"email": "joan@example.org"}]},
                "primaryContact": {"email": "joan@example.org"},
            },
            {"companyName": "Zenith", "contacts": {"nodes": []}, "primaryContact": None},
        ],
        "userErrors": [],
    }
    kinds = [kind for kind, _ in await _events(gateway.database)]
    assert kinds == ["ClientCreated", "ClientCreated", "ContactAdded", "PrimaryContactSet"]
    before = await _everything(gateway.database)
    taken = "You already have a contact with this e-mail address."
    wrong = [
        {"companyName": "A", "contacts": [{**joan, "email": "max@example.org"}]},
        {"companyName": "B", "contacts": [{**joan, "email": "new@example.org"}, {**joan, "email": "JOAN@example.org"}]},
        {"companyName": "C", "contacts": [{**joan, "email": "max@example.org"}]},
        {"companyName": "D", "databaseId": str(first)},
    ]
    payload = await client.do("createClients", CLIENTS, clients=wrong)
    assert payload["clients"] is None
    assert [(error["code"], error["field"], error["message"]) for error in payload["userErrors"]] == [
        (
            "VALIDATION_ERROR",
            ["clients", "1", "contacts", "1", "isPrimary"],
            "Only one contact can be the primary one.",
        ),
        ("CONFLICT", ["clients", "1", "contacts", "1", "email"], taken),
        ("CONFLICT", ["clients", "2", "contacts", "0", "email"], "This e-mail address is in the list twice."),
        ("CONFLICT", ["clients", "3", "databaseId"], "This databaseId is taken; make another, or leave it out."),
    ]
    twice = [{"companyName": "A", "databaseId": str(new_id())}] * 2
    payload = await client.do("createClients", CLIENTS, clients=twice)
    message = "This value occurs twice in the list."
    assert payload["userErrors"] == [user_error("VALIDATION_ERROR", message, "clients", "1", "databaseId")]
    invalid = [{"companyName": " "}, {"companyName": "x", "contacts": [joan]}]
    payload = await client.do("createClients", CLIENTS, clients=invalid)
    assert [(error["code"], error["field"]) for error in payload["userErrors"]] == [
        ("VALIDATION_ERROR", ["clients", "0", "companyName"]),
        ("CONFLICT", ["clients", "1", "contacts", "0", "email"]),
    ]
    assert await _everything(gateway.database) == before


async def test_clients_are_restored_together_or_not_at_all(gateway: Gateway, ada: User) -> None:
    """The errors name each client whose contacts cannot be restored."""
    rows = [await make_client(gateway.database, ada, company_name=str(index)) for index in range(3)]
    for index, row in enumerate(rows):
        await make_contact(gateway.database, row, email=f"{index}@example.org")
    client, ids = gateway.client(ada), [gid("Client", row) for row in rows]
    payload = await client.do("deleteClients", "clients { contacts { totalCount } }", ids=ids)
    assert payload == {"clients": [{"contacts": {"totalCount": 0}}] * 3, "userErrors": []}
    new = await make_client(gateway.database, ada)
    taken = [await make_contact(gateway.database, new, email=f"{index}@example.org") for index in (0, 2)]
    before = await _everything(gateway.database)
    payload = await client.do("restoreClients", "clients { id }", ids=ids)
    assert payload["clients"] is None
    assert [(error["code"], error["field"]) for error in payload["userErrors"]] == [
        ("CONFLICT", ["ids", "0"]),
        ("CONFLICT", ["ids", "2"]),
    ]
    assert await _everything(gateway.database) == before
    for contact in taken:
        await client.do("removeContact", "contact { id }", id=gid("Contact", contact))
    payload = await client.do("restoreClients", "clients { companyName contacts { totalCount } }", ids=ids[::-1])
    assert payload["clients"] == [{"companyName": name, "contacts": {"totalCount": 1}} for name in ("2", "1", "0")]


async def test_contacts_are_changed_and_restored_together_or_not_at_all(gateway: Gateway, ada: User, bob: User) -> None:
    row = await make_client(gateway.database, ada)
    theirs = await make_contact(gateway.database, await make_client(gateway.database, bob))
    contacts = await make_contacts(gateway.database, row, 3)
    client, ids = gateway.client(ada), [gid("Contact", each) for each in contacts]
    changes = [{"id": key, "lastName": f"Name {index}"} for index, key in enumerate(ids)]
    payload = await client.do("updateContacts", "contacts { lastName }", contacts=changes)
    assert payload == {"contacts": [{"lastName": f"Name {index}"} for index in range(3)], "userErrors": []}
    owned = {"owner_id": str(ada.id), "client_id": str(row.id), "fields": ["last_name"]}
    assert await _events(gateway.database) == [("ContactUpdated", owned)] * 3
    before = await _everything(gateway.database)
    twice = "This e-mail address is in the list twice."
    for wrong, errors in (
        (
            [{"id": ids[0], "lastName": "x"}, {"id": gid("Contact", theirs), "lastName": "x"}],
            [("NOT_FOUND", "1", "id")],
        ),
        (
            [{"id": ids[0], "email": "same@example.org"}, {"id": ids[1], "email": "SAME@example.org"}],
            [("CONFLICT", "1", "email")],
        ),
    ):
        payload = await client.do("updateContacts", "contacts { id }", contacts=wrong)
        assert [(error["code"], *error["field"][1:]) for error in payload["userErrors"]] == errors
        assert all(error["field"][0] == "contacts" for error in payload["userErrors"])
        assert payload["userErrors"][0]["message"] in {twice, MISSING["message"]}
        assert await _everything(gateway.database) == before
    for key in ids:
        await client.do("removeContact", "contact { id }", id=key)
    email = gateway.database.cipher.decrypt(ContactRow.email, contacts[1].id, contacts[1].email)
    await make_contact(gateway.database, row, email=email)
    before = await _everything(gateway.database)
    payload = await client.do("restoreContacts", "contacts { id }", ids=[*ids, gid("Contact", theirs)])
    assert payload["userErrors"] == [
        user_error("CONFLICT", TAKEN_MEANWHILE, "ids", "1"),
        user_error("NOT_FOUND", "There is no such contact.", "ids", "3"),
    ]
    assert await _everything(gateway.database) == before
    payload = await client.do("restoreContacts", "contacts { id }", ids=[ids[2], ids[0]])
    assert payload == {"contacts": [{"id": ids[2]}, {"id": ids[0]}], "userErrors": []}


def _people(client: str, count: int, primary: int | None = None) -> list[dict[str, Any]]:
    """Inputs of contacts of a client."""
    values = {"clientId": client, "firstName": "Joan", "lastName": "Clarke"}
    return [values | {"email": f"{new_id().hex}@example.org", "isPrimary": index == primary} for index in range(count)]


@pytest.mark.parametrize("count", [2, 50])
async def test_bulk_commands_on_contacts_execute_exactly_these_statements(
    gateway: Gateway, ada: User, statements: list[str], count: int
) -> None:
    """Of two clients, each with a primary contact that is replaced."""
    client, database, store_events = gateway.client(ada), gateway.database, "INSERT domain_events"
    rows = [await make_client(database, ada) for _ in range(2)]
    for row in rows:
        await make_contact(database, row, is_primary=True)
    before = await _everything(database)

    async def run(mutation: str, **given: Any) -> list[str]:
        statements.clear()
        payload = await client.do(mutation, "contacts { id isPrimary deletedAt }", **given)
        assert payload["userErrors"] == []
        assert len(payload["contacts"]) == count
        keys.append([each["id"] for each in payload["contacts"]])
        return summarize_statements(statements)

    keys: list[list[str]] = []
    people = [each for row in rows for each in _people(gid("Client", row), count // 2, primary=0)]
    add = ["SELECT clients", "UPDATE contacts", "INSERT contacts", "UPDATE clients"]
    assert await run("addContacts", contacts=people) == ["SAVEPOINT", *add, "RELEASE", store_events]
    added = (await _events(database))[len(before[2]) :]
    kinds = ["ContactUpdated"] * 2 + ["ContactAdded"] * count + ["PrimaryContactSet"] * 2
    assert [kind for kind, _ in added] == kinds
    clients, contacts, _ = await _everything(database)
    primaries = {row.id: row.primary_contact_id for row in clients}
    assert [gid("Contact", primaries[row.id]) for row in rows] == [keys[0][0], keys[0][count // 2]]
    assert {each.id for each in contacts if each.is_primary} == set(primaries.values())
    assert [row.version for row in clients] == [2, 2]

    look_up = ["SELECT contacts", "SELECT clients", "SELECT contacts"]
    remove = ["SAVEPOINT", *look_up, "UPDATE clients", "UPDATE contacts", "RELEASE", store_events]
    assert await run("removeContacts", ids=keys[0][::-1]) == remove
    assert keys[1] == keys[0][::-1]
    removed = (await _events(database))[len(before[2]) + len(added) :]
    assert [kind for kind, _ in removed] == ["PrimaryContactSet"] * 2 + ["ContactRemoved"] * count
    assert [data.get("changes") for _, data in removed].count({"is_primary": [True, False]}) == 2
    clients, contacts, events = await _everything(database)
    assert [(row.version, row.primary_contact_id) for row in clients] == [(3, None)] * 2
    assert [each.is_primary for each in contacts] == [False] * (count + 2)

    restore = ["SAVEPOINT", *look_up, "UPDATE contacts", "RELEASE", store_events]
    assert await run("restoreContacts", ids=keys[0]) == restore
    assert await _events(database, len(events)) == [
        ("ContactRestored", {"owner_id": str(ada.id), "client_id": str(row.id)})
        for row in rows
        for _ in range(count // 2)
    ]


@pytest.mark.parametrize("count", [2, 50])
async def test_bulk_commands_on_clients_execute_exactly_these_statements(
    gateway: Gateway, ada: User, statements: list[str], count: int
) -> None:
    client, store_events = gateway.client(ada), "INSERT domain_events"
    people = [{name: value for name, value in each.items() if name != "clientId"} for each in _people("", count, 0)]
    given: list[Any] = [{"companyName": f"Acme {index}", "contacts": [people[index]]} for index in range(count)]
    given[0]["contacts"].append({**people[0], "email": "second@example.org", "isPrimary": False})
    statements.clear()
    payload = await client.do("createClients", "clients { id primaryContact { email } version }", clients=given)
    create = ["SAVEPOINT", "INSERT clients", "INSERT contacts", "UPDATE clients", "RELEASE"]
    stored = [store_events] * (1 if count == 2 else 2)  # one statement for 100 events
    assert summarize_statements(statements) == [*create, *stored, "SELECT contacts"]
    first, *others = payload["clients"]
    assert (first["version"], first["primaryContact"]["email"]) == (1, people[0]["email"])
    assert [(each["version"], each["primaryContact"]) for each in others] == [(1, None)] * (count - 1)
    kinds = [kind for kind, _ in await _events(gateway.database)]
    assert kinds == ["ClientCreated"] * count + ["ContactAdded"] * (count + 1) + ["PrimaryContactSet"]


async def test_errors_of_bulk_commands_on_contacts_name_each_contact(gateway: Gateway, ada: User, bob: User) -> None:
    """Nothing changes, and what is wrong is reported for all of them together."""
    database = gateway.database
    row, theirs = await make_client(database, ada), await make_client(database, bob)
    contact = await make_contact(database, row, email="joan@example.org", is_primary=True)
    other = await make_contact(database, theirs)
    client, key = gateway.client(ada), gid("Client", row)
    before = await _everything(database)
    new = _people(key, 3)
    wrong = [
        new[0],
        {**new[1], "email": "JOAN@example.org"},
        {**new[1], "clientId": gid("Client", theirs)},
        {**new[2], "email": new[0]["email"]},
        {**new[2], "databaseId": str(contact.id)},
    ]
    payload = await client.do("addContacts", "contacts { id }", contacts=wrong)
    assert payload["contacts"] is None
    assert [(error["code"], error["field"]) for error in payload["userErrors"]] == [
        ("CONFLICT", ["contacts", "1", "email"]),
        ("NOT_FOUND", ["contacts", "2", "clientId"]),
        ("CONFLICT", ["contacts", "3", "email"]),
        ("CONFLICT", ["contacts", "4", "databaseId"]),
    ]
    invalid = [{**new[0], "firstName": ""}, {**new[1], "email": "joan@example.org"}]
    payload = await client.do("addContacts", "contacts { id }", contacts=invalid)
    assert [(error["code"], error["field"]) for error in payload["userErrors"]] == [
        ("VALIDATION_ERROR", ["contacts", "0", "firstName"]),
        ("CONFLICT", ["contacts", "1", "email"]),
    ]
    ids = [gid("Contact", each) for each in (other, contact)]
    payload = await client.do("removeContacts", "contacts { id }", ids=ids)
    assert payload == {"contacts": None, "userErrors": [MISSING | {"field": ["ids", "0"]}]}
    assert await _everything(database) == before

    both = [{**each, "isPrimary": True} for each in _people(key, 2)]
    payload = await client.do("addContacts", "contacts { email }", contacts=both)
    primary = user_error("VALIDATION_ERROR", "Only one contact can be the primary one.", "contacts", "1", "isPrimary")
    assert payload == {"contacts": None, "userErrors": [primary]}
    invalid = [*both, {**_people(key, 1)[0], "firstName": ""}]
    payload = await client.do("addContacts", "contacts { email }", contacts=invalid)
    empty = user_error("VALIDATION_ERROR", "This must not be empty.", "contacts", "2", "firstName")
    assert payload == {"contacts": None, "userErrors": [empty, primary]}
    assert await _everything(database) == before
    other_key = gid("Client", await make_client(database, ada))
    each_one = [{**both[0], "isPrimary": True}, {**_people(other_key, 1)[0], "isPrimary": True}]
    payload = await client.do("addContacts", "contacts { isPrimary }", contacts=each_one)
    assert payload == {"contacts": [{"isPrimary": True}] * 2, "userErrors": []}


async def test_contacts_of_deleted_clients_are_not_restored_together(gateway: Gateway, ada: User) -> None:
    database, client = gateway.database, gateway.client(ada)
    rows = [await make_client(database, ada) for _ in range(2)]
    ids = [gid("Contact", await make_contact(database, row)) for row in rows]
    assert (await client.do("removeContacts", "contacts { id }", ids=ids))["userErrors"] == []
    await client.do("deleteClient", "client { id }", id=gid("Client", rows[1]))
    before = await _everything(database)
    payload = await client.do("restoreContacts", "contacts { id }", ids=ids)
    assert payload == {"contacts": None, "userErrors": [user_error("CONFLICT", CLIENT_DELETED, "ids", "1")]}
    assert await _everything(database) == before


# other owners


async def test_a_client_is_given_to_another_user(gateway: Gateway, ada: User, bob: User, admin: User) -> None:
    """With its contacts, deleted ones included. Events tell both owners."""
    database = gateway.database
    row = await make_client(database, ada, industry="Tools")
    removed, contact = await make_contacts(database, row, 2)
    primary = await make_contact(database, row, email="joan@example.org", is_primary=True)
    await make_contact(database, await make_client(database, ada), email="kept@example.org")
    key = gid("Client", row)
    await gateway.client(ada).do("removeContact", "contact { id }", id=gid("Contact", removed))
    count = len(await stored_events(database))
    given = {"id": key, "version": 1, "userId": gid("User", bob)}
    payload = await gateway.client(admin).do(
        "transferClient",
        "client { version createdBy { id } contacts { totalCount } primaryContact { email } }",
        **given,
    )
    assert payload == {
        "client": {
            "version": 2,
            "createdBy": {"id": gid("User", bob)},
            "contacts": {"totalCount": 2},
            "primaryContact": {"email": "joan@example.org"},
        },
        "userErrors": [],
    }
    document = "query($id: ID!) { client(id: $id) { industry contacts { totalCount } } clients { totalCount } }"
    answer = await gateway.client(ada).ask(document, id=key)
    assert (answer.codes, answer.data) == (["NOT_FOUND"], {"client": None, "clients": {"totalCount": 1}})
    assert await gateway.client(bob).data(document, id=key) == {
        "client": {"industry": "Tools", "contacts": {"totalCount": 2}},
        "clients": {"totalCount": 1},
    }
    assert await _emails(gateway.client(ada), "deleted: INCLUDE") == ["kept@example.org"]
    assert len(await _emails(gateway.client(bob), "deleted: INCLUDE")) == 3
    assert await _emails(gateway.client(bob), "email: $email", email="joan@example.org") == ["joan@example.org"]
    events = (await stored_events(database))[count:]
    changes = {"fields": ["created_by"], "changes": {"created_by": [str(ada.id), str(bob.id)]}}
    assert [(event.event_type, event.aggregate_id, event.event_data) for event in events[:2]] == [
        ("ClientTransferred", row.id, {"owner_id": str(ada.id), "to_user_id": str(bob.id), **changes}),
        ("ClientReceived", row.id, {"owner_id": str(bob.id), "from_user_id": str(ada.id), **changes}),
    ]
    data = {"owner_id": str(bob.id), "client_id": str(row.id), "fields": ["user_id"]}
    assert {(event.event_type, event.aggregate_id) for event in events[2:]} == {
        ("ContactUpdated", each.id) for each in (removed, contact, primary)
    }
    assert [event.event_data for event in events[2:]] == [data] * 3
    restored = await gateway.client(bob).do("restoreContact", "contact { id }", id=gid("Contact", removed))
    assert restored["userErrors"] == []
    before = await _everything(database)
    again = await gateway.client(admin).do("transferClient", "client { version }", id=key, userId=gid("User", bob))
    assert again == {"client": {"version": 2}, "userErrors": []}
    assert await _everything(database) == before


async def test_contacts_that_are_added_during_a_transfer_have_the_owner_of_the_client(
    gateway: Gateway, ada: User, bob: User, admin: User
) -> None:
    """Each is added before the transfer and transferred, or not found by the former owner after it."""
    row = await make_client(gateway.database, ada)
    client, key = gateway.client(ada), gid("Client", row)
    person = {"clientId": key, "firstName": "Joan", "lastName": "Clarke"}
    payloads = await asyncio.gather(
        *(client.do("addContact", "contact { id }", **person, email=f"{index}@example.org") for index in range(4)),
        gateway.client(admin).do("transferClient", "client { id }", id=key, userId=gid("User", bob)),
        *(client.do("addContact", "contact { id }", **person, email=f"{index}@example.org") for index in range(4, 8)),
    )
    errors = [error for payload in payloads for error in payload["userErrors"]]
    assert {(error["code"], *error["field"]) for error in errors} <= {("NOT_FOUND", "clientId")}
    (changed,), contacts, _ = await _everything(gateway.database)
    assert (changed.created_by, changed.version) == (bob.id, 2)
    assert {contact.user_id for contact in contacts} <= {bob.id}
    assert len(contacts) == 8 - len(errors)


async def test_a_rejected_transfer_changes_nothing(gateway: Gateway, ada: User, bob: User, admin: User) -> None:
    """Only admins may give clients to others: a user can neither give away an own client nor take another one."""
    database = gateway.database
    row = await make_client(database, ada)
    await make_contact(database, row, email="joan@example.org")
    await make_contact(database, await make_client(database, bob), email="JOAN@example.org")
    suspended = await make_user(database)
    async with database.transaction(SERVICE) as write:
        await Users(write).change(suspended, status=UserStatus.SUSPENDED)
    before, key = await _everything(database), gid("Client", row)
    document = "mutation($input: TransferClientInput!) { transferClient(input: $input) { client { id } } }"
    for user, target in ((ada, bob), (bob, bob), (ada, ada)):
        answer = await gateway.client(user).ask(document, input={"id": key, "userId": gid("User", target)})
        assert answer.codes == ["FORBIDDEN"]
    taken = "The user already has a contact with the e-mail address of one of the client's contacts."
    for given, code, message, field in (
        ({"userId": gid("User", bob)}, "CONFLICT", taken, "userId"),
        ({"userId": gid("User", suspended)}, "CONFLICT", "The account of this user is not active.", "userId"),
        ({"userId": gid("User", new_id())}, "NOT_FOUND", "There is no such user.", "userId"),
        ({"id": gid("Client", new_id())}, "NOT_FOUND", "There is no such client.", "id"),
        ({"userId": key}, "VALIDATION_ERROR", "This is not the id of a User.", "userId"),
    ):
        values = {"id": key, "userId": gid("User", admin), **given}
        payload = await gateway.client(admin).do("transferClient", "client { id }", **values)
        assert payload == {"client": None, "userErrors": [user_error(code, message, field)]}
        assert await _everything(database) == before
    stale: dict[str, Any] = {"id": key, "userId": gid("User", admin), "version": 2}
    (error,) = (await gateway.client(admin).do("transferClient", "client { id }", **stale))["userErrors"]
    assert (error["code"], error["field"], error["current"]) == ("STALE_VERSION", ["version"], {"id": key})
    assert await _everything(database) == before


async def test_a_user_cannot_change_the_owner_in_the_database(database: Database, ada: User, bob: User) -> None:
    """The policies reject it without the permission of the mutation, too."""
    row = await make_client(database, ada)
    await make_contact(database, row)
    before = await _everything(database)
    with pytest.raises(Forbidden):
        async with database.transaction(viewer_of(ada)) as write:
            await Clients(write).transfer(row, bob.id)
    assert await _everything(database) == before
    with suppress(NotFound):  # on PostgreSQL, the statement finds no row
        async with database.transaction(viewer_of(bob)) as write:
            assert await Clients(write).transfer(row, bob.id) == []
    assert await _everything(database) == before


async def test_both_owners_see_the_transfer_on_their_dashboards(
    database: Database, ada: User, bob: User, admin: User
) -> None:
    """Also if the dashboards are cached."""
    gateway = Gateway(database, settings=Settings(cache="memory"))
    row = await make_client(database, ada, annual_revenue="5.00")
    document = "{ clientDashboard { totalRevenue } }"

    async def revenues() -> list[str]:
        return [(await gateway.client(user).data(document))["clientDashboard"]["totalRevenue"] for user in (ada, bob)]

    assert await revenues() == ["5.00", "0.00"]
    given = {"id": gid("Client", row), "userId": gid("User", bob)}
    assert (await gateway.client(admin).do("transferClient", "client { id }", **given))["userErrors"] == []
    assert await revenues() == ["0.00", "5.00"]
    await gateway.http.aclose()


async def test_a_transfer_counts_for_the_quota_of_the_new_owner(options: DatabaseOptions) -> None:
    """The usage of both accounts changes, unless it would exceed the quota."""
    async with connect_database(options, account_rows=3) as database:
        gateway, admin = Gateway(database), await make_user(database, role=UserRole.ADMIN)
        ada, bob = await make_user(database), await make_user(database)
        rows = [await make_client(database, ada, company_name="Acme") for _ in range(2)]
        for row in rows:
            await make_contact(database, row, first_name="Ü")
        client, usage = gateway.client(admin), "{ viewer { usage { rowCount byteCount } } }"

        async def usages() -> list[tuple[int, int]]:
            found = [(await gateway.client(user).data(usage))["viewer"]["usage"] for user in (ada, bob)]
            return [(each["rowCount"], each["byteCount"]) for each in found]

        (total, size), nothing = await usages()
        assert (total, nothing) == (4, (0, 0))
        assert size % 2 == 0
        given = {"id": gid("Client", rows[0]), "userId": gid("User", bob)}
        assert (await client.do("transferClient", "client { id }", **given))["userErrors"] == []
        assert await usages() == [(2, size // 2), (2, size // 2)]
        before = await _everything(database)
        payload = await client.do("transferClient", "client { id }", **given | {"id": gid("Client", rows[1])})
        assert [error["code"] for error in payload["userErrors"]] == ["QUOTA_EXCEEDED"]
        assert await _everything(database) == before
        assert await usages() == [(2, size // 2), (2, size // 2)]
        await gateway.http.aclose()
