"""Queries and mutations of clients and contacts: the exact responses, rows and events."""

import asyncio
from typing import Any

import pytest

from repositories.client_management import Clients, Contacts
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.tables.client_management import Client as ClientRow
from repositories.tables.identity import User
from tests.api.client import Gateway, gid, user_error
from tests.api.stored_rows import client_rows, event_summaries
from tests.factories import make_client, make_contact, make_contacts

CLIENT = """client { id companyName status industry website annualRevenue employeeCount version deletedAt
    createdBy { email } primaryContact { email } contacts { totalCount nodes { firstName email isPrimary } } }"""
HISTORY = "contact { history { nodes { eventType fields } } }"
CONTACT = "contact { id firstName lastName email phone position isPrimary client { version primaryContact { email } } }"
JOAN = {"firstName": "Joan", "lastName": "Clarke", "email": "joan@example.org"}
MAX = {"firstName": "Max", "lastName": "Newman", "email": "max@example.org"}
TAKEN = "You already have a contact with this e-mail address."


async def _events(gateway: Gateway) -> list[tuple[Any, ...]]:
    """The types and data of all events, without the owner in the data."""
    return [
        (kind, {name: value for name, value in data.items() if name != "owner_id"})
        for kind, _, _, _, data in await event_summaries(gateway.database)
    ]


async def _row(gateway: Gateway, client: ClientRow) -> ClientRow:
    async with gateway.database.transaction(SERVICE) as write:
        return await Clients(write).get(client.id)


async def test_a_client_is_created_with_its_contacts(gateway: Gateway, ada: User) -> None:
    client, contact = new_id(), new_id()
    payload = await gateway.client(ada).do(
        "createClient",
        CLIENT,
        companyName=" Acme ",
        status="LEAD",
        industry="Tools",
        website="https://acme.example/start",
        annualRevenue="1234567890123.45",
        employeeCount=12,
        databaseId=str(client),
        contacts=[
            {**JOAN, "position": "Head of purchasing", "phone": "+49 (30) 123-4567"},
            {**MAX, "email": "Max.Newman@EXAMPLE.org", "isPrimary": True, "databaseId": str(contact)},
        ],
    )
    assert payload == {
        "client": {
            "id": gid("Client", client),
            "companyName": "Acme",
            "status": "LEAD",
            "industry": "Tools",
            "website": "https://acme.example/start",
            "annualRevenue": "1234567890123.45",
            "employeeCount": 12,
            "version": 1,
            "deletedAt": None,
            "createdBy": {"email": "ada@example.com"},
            "primaryContact": {"email": "max.newman@example.org"},
            "contacts": {
                "totalCount": 2,
                "nodes": [
                    {"firstName": "Joan", "email": "joan@example.org", "isPrimary": False},
                    {"firstName": "Max", "email": "max.newman@example.org", "isPrimary": True},
                ],
            },
        },
        "userErrors": [],
    }
    assert await _events(gateway) == [
        ("ClientCreated", {"status": "lead"}),
        ("ContactAdded", {"client_id": str(client)}),
        ("ContactAdded", {"client_id": str(client)}),
        (
            "PrimaryContactSet",
            {
                "contact_id": str(contact),
                "fields": ["primary_contact_id"],
                "changes": {"primary_contact_id": [None, str(contact)]},
            },
        ),
    ]


async def test_an_invalid_contact_prevents_the_whole_client(gateway: Gateway, ada: User) -> None:
    """The input model finds some errors, and the database others."""
    await make_contact(gateway.database, await make_client(gateway.database, ada), email="Third@example.org")
    before = await client_rows(gateway.database)
    for email, code, message in (
        ("third", "VALIDATION_ERROR", "This is not an e-mail address."),
        ("THIRD@Example.org", "CONFLICT", TAKEN),
        ("Joan@example.org", "CONFLICT", "This e-mail address is in the list twice."),
    ):
        people = [JOAN, MAX, {**JOAN, "email": email}]
        payload = await gateway.client(ada).do("createClient", CLIENT, companyName="Acme", contacts=people)
        assert payload == {"client": None, "userErrors": [user_error(code, message, "contacts", "2", "email")]}
        assert await client_rows(gateway.database) == before


async def test_all_errors_of_a_new_client_are_reported_at_once(gateway: Gateway, ada: User) -> None:
    payload = await gateway.client(ada).do(
        "createClient",
        CLIENT,
        companyName=" ",
        industry="x" * 101,
        website="ftp://acme.example",
        annualRevenue="-1",
        employeeCount=-1,
        contacts=[{**JOAN, "phone": "0301234567"}, {**JOAN, "lastName": "", "position": "\0"}],
    )
    number = "A phone number starts with + and the code of its country, such as +49 30 1234567."
    twice = user_error("CONFLICT", "This e-mail address is in the list twice.", "contacts", "1", "email")
    assert payload["userErrors"][-1] == twice
    assert payload["userErrors"][:-1] == [
        user_error("VALIDATION_ERROR", message, *path.split("."))
        for path, message in (
            ("companyName", "This must not be empty."),
            ("industry", "This must have at most 100 characters."),
            ("website", "This is not a web address; it starts with http:// or https://."),
            ("annualRevenue", "This must be 0 or more."),
            ("employeeCount", "This must be 0 or more."),
            ("contacts.0.phone", number),
            ("contacts.1.lastName", "This must not be empty."),
            ("contacts.1.position", "Text must not contain NUL or half of a surrogate pair."),
        )
    ]
    contacts = [{**JOAN, "isPrimary": True}, {**MAX, "isPrimary": True}]
    payload = await gateway.client(ada).do("createClient", CLIENT, companyName="Acme", contacts=contacts)
    only = user_error("VALIDATION_ERROR", "Only one contact can be the primary one.", "contacts", "1", "isPrimary")
    assert payload["userErrors"] == [only]
    assert await client_rows(gateway.database) == [[], [], []]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("annualRevenue", "10000000000000"),
        ("annualRevenue", "0.001"),
        ("website", "https://acme.example/" + "x" * 240),
        ("website", "http://"),
        ("email", "joan@example.org, max@example.org"),
        ("email", "Joan <joan@example.org>"),
        ("email", "joan@" + "x" * 250 + ".org"),
        ("phone", "+0123456789"),
    ],
)
async def test_invalid_values_are_rejected(gateway: Gateway, ada: User, field: str, value: str) -> None:
    is_of_contact = field in {"email", "phone"}
    given = {"contacts": [{**JOAN, field: value}]} if is_of_contact else {field: value}
    payload = await gateway.client(ada).do("createClient", "client { id }", companyName="Acme", **given)
    (error,) = payload["userErrors"]
    assert (error["code"], error["field"][-1]) == ("VALIDATION_ERROR", field)
    assert await client_rows(gateway.database) == [[], [], []]


async def test_contacts_of_different_owners_can_have_the_same_address(
    gateway: Gateway, ada: User, bob: User, admin: User
) -> None:
    """This applies to admins as well, who can see both contacts."""
    await make_contact(gateway.database, await make_client(gateway.database, bob), email=JOAN["email"])
    mine = await make_client(gateway.database, ada)
    for user in (ada, admin):
        payload = await gateway.client(user).do("createClient", CLIENT, companyName="Acme", contacts=[JOAN])
        assert payload["userErrors"] == []
    contact = await make_contact(gateway.database, mine)
    given = {"id": gid("Contact", contact), "email": "JOAN@example.org"}
    payload = await gateway.client(ada).do("updateContact", CONTACT, **given)
    assert payload == {"contact": None, "userErrors": [user_error("CONFLICT", TAKEN, "email")]}
    payload = await gateway.client(ada).do("addContact", CONTACT, clientId=gid("Client", mine), **JOAN)
    assert payload == {"contact": None, "userErrors": [user_error("CONFLICT", TAKEN, "email")]}
    await gateway.client(ada).do("updateContact", CONTACT, id=given["id"], email=MAX["email"])
    assert (await gateway.client(ada).do("addContact", CONTACT, clientId=gid("Client", mine), **MAX))["userErrors"]


async def test_a_client_is_updated_if_the_given_version_is_current(gateway: Gateway, ada: User) -> None:
    row = await make_client(gateway.database, ada, industry="Tools", annual_revenue="5.50")
    client, key = gateway.client(ada), gid("Client", row)
    changes = {"companyName": "Zenith", "status": "CHURNED", "industry": None, "annualRevenue": "7", "website": None}
    payload = await client.do("updateClient", CLIENT, id=key, version=1, **changes)
    shown = payload["client"]
    assert {name: shown[name] for name in (*changes, "version")} == changes | {"annualRevenue": "7.00", "version": 2}
    assert (await _events(gateway))[-1] == (
        "ClientUpdated",
        {
            "fields": ["annual_revenue", "company_name", "industry", "status"],
            "changes": {"annual_revenue": ["5.50", "7.00"], "status": ["active", "churned"]},
        },
    )
    before = await client_rows(gateway.database)
    same = await client.do("updateClient", CLIENT, id=key, version=2, companyName="Zenith", annualRevenue="7.0")
    assert same["client"]["version"] == 2
    for mutation in ("updateClient", "deleteClient"):
        payload = await client.do(mutation, CLIENT, id=key, version=1)
        (error,) = payload["userErrors"]
        assert (error["code"], error["field"], error["current"]["id"]) == ("STALE_VERSION", ["version"], key)
    assert await client_rows(gateway.database) == before


async def test_contacts_are_deleted_and_restored_with_their_client(gateway: Gateway, ada: User) -> None:
    """A contact that was removed before its client was deleted is not restored."""
    row = await make_client(gateway.database, ada)
    removed, contact = await make_contacts(gateway.database, row, 2)
    primary = await make_contact(gateway.database, row, email=JOAN["email"], is_primary=True)
    client, key = gateway.client(ada), gid("Client", row)
    await client.do("removeContact", CONTACT, id=gid("Contact", removed))
    deleted = (await client.do("deleteClient", CLIENT, id=key))["client"]
    assert deleted["deletedAt"]
    assert (deleted["contacts"]["totalCount"], deleted["primaryContact"]) == (0, None)
    for each in (removed, contact, primary):
        answer = await client.ask("query($id: ID!) { node(id: $id) { id } }", id=gid("Contact", each))
        assert answer.codes == ["NOT_FOUND"]
    for mutation, given in (
        ("addContact", {"clientId": key, **MAX}),
        ("updateContact", {"id": gid("Contact", contact), "firstName": "x"}),
        ("removeContact", {"id": gid("Contact", contact)}),
        ("setPrimaryContact", {"id": key, "contactId": gid("Contact", contact)}),
    ):
        shown = "client { id }" if mutation == "setPrimaryContact" else "contact { id }"
        places = {"addContact": [["clientId"]], "setPrimaryContact": [["id"], ["contactId"]]}.get(mutation, [["id"]])
        errors = (await client.do(mutation, shown, **given))["userErrors"]
        assert [(error["code"], error["field"]) for error in errors] == [("NOT_FOUND", each) for each in places]
    restored = (await client.do("restoreClient", CLIENT, id=key))["client"]
    assert restored["contacts"]["totalCount"] == 2
    assert restored["primaryContact"] == {"email": JOAN["email"]}
    assert restored["version"] == 3
    kinds = [kind for kind, _ in await _events(gateway)]
    assert kinds == [
        "ContactRemoved",
        *["ContactRemoved"] * 2,
        "ClientDeleted",
        *["ContactRestored"] * 2,
        "ClientRestored",
    ]
    (error,) = (await client.do("restoreClient", CLIENT, id=key))["userErrors"]
    assert error["code"] == "NOT_FOUND"


async def test_a_client_whose_contacts_addresses_are_taken_cannot_be_restored(gateway: Gateway, ada: User) -> None:
    row = await make_client(gateway.database, ada)
    await make_contact(gateway.database, row, email=JOAN["email"])
    client, key = gateway.client(ada), gid("Client", row)
    await client.do("deleteClient", CLIENT, id=key)
    assert (await client.do("createClient", CLIENT, companyName="New", contacts=[JOAN]))["userErrors"] == []
    before = await client_rows(gateway.database)
    message = "The e-mail address of one of its contacts belongs to another contact of yours by now."
    payload = await client.do("restoreClient", CLIENT, id=key)
    assert payload == {"client": None, "userErrors": [user_error("CONFLICT", message, "id")]}
    assert await client_rows(gateway.database) == before


async def test_a_client_has_at_most_one_primary_contact(gateway: Gateway, ada: User) -> None:
    row = await make_client(gateway.database, ada)
    first, second = await make_contacts(gateway.database, row, 2)
    client, key = gateway.client(ada), gid("Client", row)
    for contact, version in ((first, 2), (second, 3), (second, 3)):
        payload = await client.do("setPrimaryContact", CLIENT, id=key, contactId=gid("Contact", contact))
        assert (payload["userErrors"], payload["client"]["version"]) == ([], version)
        assert (await _row(gateway, row)).primary_contact_id == contact.id
        assert [person["isPrimary"] for person in payload["client"]["contacts"]["nodes"]].count(True) == 1
    given = {"clientId": key, **JOAN, "isPrimary": True, "position": "Boss"}
    added = (await client.do("addContact", CONTACT, **given))["contact"]
    assert added["client"] == {"version": 4, "primaryContact": {"email": JOAN["email"]}}
    removed = (await client.do("removeContact", CONTACT, id=added["id"]))["contact"]
    assert (removed["isPrimary"], removed["client"]) == (False, {"version": 5, "primaryContact": None})
    restored = (await client.do("restoreContact", HISTORY, id=added["id"]))["contact"]
    entries = [(entry["eventType"], entry["fields"]) for entry in restored["history"]["nodes"]]
    assert entries == [("ContactRestored", []), ("ContactRemoved", ["isPrimary"]), ("ContactAdded", [])]
    other = await make_contact(gateway.database, await make_client(gateway.database, ada))
    payload = await client.do("setPrimaryContact", CLIENT, id=key, contactId=gid("Contact", other))
    missing = user_error("NOT_FOUND", "There is no such contact.", "contactId")
    assert payload == {"client": None, "userErrors": [missing]}
    (error,) = (await client.do("setPrimaryContact", CLIENT, id=key, contactId=gid("Contact", first), version=4))[
        "userErrors"
    ]
    assert error["code"] == "STALE_VERSION"


async def test_a_contact_is_updated(gateway: Gateway, ada: User) -> None:
    row = await make_client(gateway.database, ada)
    contact = await make_contact(gateway.database, row, email="a@example.org", phone="+49301234567")
    client, key = gateway.client(ada), gid("Contact", contact)
    same = {"firstName": "Joan", "email": "a@example.org", "phone": "+49 30 1234567"}
    assert (await client.do("updateContact", CONTACT, id=key, **same))["userErrors"] == []
    assert await _events(gateway) == []
    changes = {"firstName": "Jo", "lastName": "Murray", "email": "b@example.org", "phone": None, "position": "Boss"}
    shown = (await client.do("updateContact", CONTACT, id=key, **changes))["contact"]
    assert {name: shown[name] for name in changes} == changes
    fields = ["email", "first_name", "last_name", "phone", "position"]
    assert await _events(gateway) == [("ContactUpdated", {"client_id": str(row.id), "fields": fields})]
    document = "query($email: String!) { contacts(email: $email) { nodes { id } } }"
    assert await client.data(document, email=" B@Example.ORG ") == {"contacts": {"nodes": [{"id": key}]}}
    assert await client.data(document, email="a@example.org") == {"contacts": {"nodes": []}}
    payload = await client.do("updateContact", CONTACT, id=key, firstName=None, email=None)
    null = "This must not be null."
    assert payload["userErrors"] == [user_error("VALIDATION_ERROR", null, name) for name in ("firstName", "email")]


async def test_a_taken_database_id_is_a_conflict(gateway: Gateway, ada: User) -> None:
    row = await make_client(gateway.database, ada)
    contact = await make_contact(gateway.database, row)
    client = gateway.client(ada)
    taken = "This databaseId is taken; make another, or leave it out."
    for mutation, given, path in (
        ("createClient", {"companyName": "x", "databaseId": str(row.id)}, "databaseId"),
        ("createClient", {"companyName": "x", "contacts": [{**JOAN, "databaseId": str(contact.id)}]}, "contacts"),
        ("addContact", {"clientId": gid("Client", row), **JOAN, "databaseId": str(contact.id)}, "databaseId"),
    ):
        payload = await client.do(mutation, "__typename", **given)
        message = taken if path == "databaseId" else "One of the databaseIds is taken; make others, or leave them out."
        assert payload["userErrors"] == [user_error("CONFLICT", message, path)]
    contacts = [{**person, "databaseId": str(contact.id)} for person in (JOAN, MAX)]
    payload = await client.do("createClient", "__typename", companyName="x", contacts=contacts)
    message = "This value occurs twice in the list."
    assert payload["userErrors"] == [user_error("VALIDATION_ERROR", message, "contacts", "1", "databaseId")]
    (error,) = (await client.do("addContact", "__typename", clientId=gid("Client", new_id()), **JOAN))["userErrors"]
    assert error == user_error("NOT_FOUND", "There is no such client.", "clientId")


async def test_clients_are_filtered_searched_and_sorted(gateway: Gateway, ada: User) -> None:
    for name, revenue, industry in (("beta", "2.50", "Tools"), ("Alpha", None, "Food"), ("gamma", "1.50", None)):
        row = await make_client(gateway.database, ada, company_name=name, annual_revenue=revenue, industry=industry)
        await make_contact(gateway.database, row, first_name=name, is_primary=name == "beta")
    client = gateway.client(ada)

    async def names(arguments: str) -> list[str]:
        data = await client.data(f"{{ clients({arguments}) {{ nodes {{ companyName }} }} }}")
        return [node["companyName"] for node in data["clients"]["nodes"]]

    assert await names("first: 9") == ["Alpha", "beta", "gamma"]
    assert await names('filter: {search: "FOOD"}') == ["Alpha"]
    assert await names('filter: {annualRevenue: {gte: "1.5", lt: "2.50"}}') == ["gamma"]
    assert await names("filter: {annualRevenue: {isNull: true}, status: {in: [ACTIVE]}}") == ["Alpha"]
    by_revenue = "order: [{field: ANNUAL_REVENUE, direction: DESC, nulls: FIRST}]"
    assert await names(by_revenue) == ["Alpha", "beta", "gamma"]
    first = (await client.data(f"{{ clients(first: 2, {by_revenue}) {{ pageInfo {{ endCursor }} }} }}"))["clients"]
    assert await names(f'first: 2, after: "{first["pageInfo"]["endCursor"]}", {by_revenue}') == ["gamma"]
    for number, code in (
        ("0.001", "VALIDATION_ERROR"),
        ("10000000000000", "VALIDATION_ERROR"),
        ("1e30", "GRAPHQL_VALIDATION_FAILED"),
    ):
        answer = await client.ask(f'{{ clients(filter: {{annualRevenue: {{lt: "{number}"}}}}) {{ totalCount }} }}')
        assert answer.codes == [code], number
    document = "{ clients { nodes { contacts(filter: {isPrimary: {eq: true}}) { nodes { firstName } } } } }"
    nodes = (await client.data(document))["clients"]["nodes"]
    assert [[person["firstName"] for person in node["contacts"]["nodes"]] for node in nodes] == [[], ["beta"], []]


async def test_concurrent_changes_of_the_primary_contact_stay_consistent(gateway: Gateway, ada: User) -> None:
    """Nine mutations choose, add and remove contacts at once. Client and contacts agree on the primary contact."""
    row = await make_client(gateway.database, ada)
    contacts = await make_contacts(gateway.database, row, 6)
    client, key = gateway.client(ada), gid("Client", row)
    add = {"clientId": key, **JOAN, "isPrimary": True}
    answers = await asyncio.gather(
        *(client.do("setPrimaryContact", CLIENT, id=key, contactId=gid("Contact", each)) for each in contacts),
        client.do("addContact", CONTACT, **add),
        *(client.do("removeContact", CONTACT, id=gid("Contact", each)) for each in contacts[:2]),
    )
    assert {error["code"] for answer in answers for error in answer["userErrors"]} <= {"NOT_FOUND"}
    async with gateway.database.transaction(SERVICE) as write:
        current = await Clients(write).get(row.id)
        primary = [each.id for each in await Contacts(write).find(limit=20) if each.is_primary]
    assert primary == ([] if current.primary_contact_id is None else [current.primary_contact_id])


async def test_concurrent_contacts_with_the_same_address_create_one(gateway: Gateway, ada: User) -> None:
    row = await make_client(gateway.database, ada)
    client = gateway.client(ada)
    answers = await asyncio.gather(
        *(client.do("addContact", CONTACT, clientId=gid("Client", row), **JOAN) for _ in range(5)),
        *(client.do("createClient", CLIENT, companyName=str(index), contacts=[MAX, JOAN]) for index in range(5)),
    )
    errors_of_answers = [answer["userErrors"] for answer in answers if answer["userErrors"]]
    assert len(errors_of_answers) >= 8
    places = {("email",), ("contacts",), ("contacts", "0", "email"), ("contacts", "1", "email")}
    assert {(error["code"], tuple(error["field"])) for errors in errors_of_answers for error in errors} <= {
        ("CONFLICT", place) for place in places
    }
    document = "query($email: String!) { contacts(email: $email) { totalCount } }"
    assert await client.data(document, email=JOAN["email"]) == {"contacts": {"totalCount": 1}}


async def test_no_contact_is_added_to_a_client_that_is_being_deleted(gateway: Gateway, ada: User) -> None:
    row = await make_client(gateway.database, ada)
    client, key = gateway.client(ada), gid("Client", row)
    people = [{"firstName": "A", "lastName": "B", "email": f"{index}@example.org"} for index in range(6)]
    await asyncio.gather(
        *(client.do("addContact", CONTACT, clientId=key, **person) for person in people[:3]),
        client.do("deleteClient", CLIENT, id=key),
        *(client.do("addContact", CONTACT, clientId=key, **person) for person in people[3:]),
    )
    assert (await client_rows(gateway.database))[:2] == [[], []]
