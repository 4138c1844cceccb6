"""For a user, the clients and contacts of other users do not exist, in any operation. Admins may do everything."""

import json
from typing import Any
from uuid import UUID

import pytest

from repositories.core.ids import new_id
from repositories.tables.identity import User
from tests.api.client import USER_ERRORS, Client, Gateway, gid
from tests.api.stored_rows import client_rows
from tests.factories import make_client, make_contact

_QUERIES = [
    "query($id: ID!) { client(id: $id) { id companyName } }",
    "query($id: ID!) { node(id: $id) { id ... on Contact { email } } }",
    "query($id: ID!) { nodes(ids: [$id]) { id ... on Client { contacts { totalCount } } } }",
    "query($id: ID!) { clients(filter: {id: {eq: $id}}) { totalCount nodes { id } } }",
    "query($id: ID!) { clients(filter: {not: {id: {ne: $id}}}) { totalCount } }",
    "query($id: ID!) { clients(filter: {createdBy: {eq: $id}}) { totalCount } }",
    "query($id: ID!) { clients { nodes { contacts(filter: {id: {eq: $id}}) { totalCount nodes { email } } } } }",
    "query($id: ID!) { contact(id: $id) { id email history { totalCount } } }",
    "query($id: ID!) { contacts(filter: {clientId: {eq: $id}}, deleted: INCLUDE) { totalCount nodes { email } } }",
    "query($id: ID!) { contacts(filter: {client: {id: {eq: $id}}}) { totalCount groups(by: CLIENT_ID) { key } } }",
    "query($id: ID!) { clients(deleted: ONLY, filter: {id: {eq: $id}}) { totalCount groups(by: STATUS) { count } } }",
]
_CONTACT = {"firstName": "Joan", "lastName": "Clarke", "email": "new@example.org"}
_MUTATIONS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("updateClient", "id", "Client", {"version": 1, "companyName": "stolen"}),
    ("updateClient", "id", "Client", {"version": 7}),
    ("deleteClient", "id", "Client", {}),
    ("deleteClient", "id", "Client", {"version": 9}),
    ("restoreClient", "id", "Client", {}),
    ("purgeClient", "id", "Client", {}),
    ("addContact", "clientId", "Client", _CONTACT),
    ("addContact", "clientId", "Client", _CONTACT | {"email": "secret@example.org", "isPrimary": True}),
    ("setPrimaryContact", "contactId", "Contact", {"id": "mine"}),
    ("setPrimaryContact", "id", "Client", {"contactId": "mine"}),
    ("updateContact", "id", "Contact", {"firstName": "stolen", "email": "secret@example.org"}),
    ("removeContact", "id", "Contact", {}),
    ("restoreContact", "id", "Contact", {}),
    ("purgeContact", "id", "Contact", {}),
]


async def _comparable_body(
    client: Client, document: str, row: UUID, type_name: str, given: dict[str, Any] | None
) -> str:
    """The response body, with the requested id replaced by "the id", so that two responses can be compared."""
    key = gid(type_name, row)
    variables = {"id": key} if given is None else {"input": given}
    answer = await client.ask(document, **json.loads(json.dumps(variables).replace("the id", key)))
    return json.dumps(answer.body).replace(key, "the id").replace(str(row), "the id")


@pytest.mark.parametrize("state", ["alive", "deleted"])
async def test_a_client_of_another_user_is_not_found(gateway: Gateway, ada: User, bob: User, state: str) -> None:
    theirs = await make_client(gateway.database, bob, company_name="Secret")
    contact = await make_contact(gateway.database, theirs, email="secret@example.org", is_primary=True)
    if state == "deleted":
        await gateway.client(bob).do("deleteClient", "client { id }", id=gid("Client", theirs))
    mine = await make_client(gateway.database, ada)
    my_contact = await make_contact(gateway.database, mine)
    before = await client_rows(gateway.database)
    client = gateway.client(ada)
    for document in _QUERIES:
        for type_name, key in (("Client", theirs.id), ("Contact", contact.id), ("User", bob.id)):
            args = (document, type_name)
            bodies = [await _comparable_body(client, document, each, type_name, None) for each in (key, new_id())]
            assert bodies[0] == bodies[1], args
    for name, field, type_name, given in _MUTATIONS:
        document = (
            f"mutation($input: {name[0].upper()}{name[1:]}Input!) {{ {name}(input: $input) {{ {USER_ERRORS} }} }}"
        )
        mine_by_field = {"id": gid("Client", mine), "contactId": gid("Contact", my_contact)}
        variables = {key: mine_by_field[key] if value == "mine" else value for key, value in given.items()}
        variables[field] = "the id"
        key = theirs.id if type_name == "Client" else contact.id
        bodies = [await _comparable_body(client, document, each, type_name, variables) for each in (key, new_id())]
        assert bodies[0] == bodies[1], name
        assert "NOT_FOUND" in bodies[0], name
    assert await client_rows(gateway.database) == before


async def test_lists_and_dashboards_show_only_own_clients(gateway: Gateway, ada: User, bob: User, admin: User) -> None:
    theirs = await make_client(gateway.database, bob, annual_revenue="5.00", industry="Tools")
    await make_contact(gateway.database, theirs, email="secret@example.org")
    document = """{ clients { totalCount nodes { id } } contacts(email: "secret@example.org") { nodes { email } }
        clientDashboard { byStatus { total } byIndustry { total } totalRevenue meanRevenue newest { id } } }"""
    nothing = {
        "byStatus": [{"total": 0}] * 4,
        "byIndustry": [],
        "totalRevenue": "0.00",
        "meanRevenue": None,
        "newest": [],
    }
    assert await gateway.client(ada).data(document) == {
        "clients": {"totalCount": 0, "nodes": []},
        "contacts": {"nodes": []},
        "clientDashboard": nothing,
    }
    assert await gateway.client(admin).data(document) == {
        "clients": {"totalCount": 1, "nodes": [{"id": gid("Client", theirs)}]},
        "contacts": {"nodes": [{"email": "secret@example.org"}]},
        "clientDashboard": nothing,
    }
    shown = (await gateway.client(bob).data(document))["clientDashboard"]
    assert (shown["totalRevenue"], shown["meanRevenue"]) == ("5.00", "5.00")


async def test_an_admin_can_change_the_clients_of_all_users(gateway: Gateway, bob: User, admin: User) -> None:
    """The clients keep their owners."""
    theirs = await make_client(gateway.database, bob)
    client, key = gateway.client(admin), gid("Client", theirs)
    payload = await client.do("addContact", "contact { id client { createdBy { id } } }", clientId=key, **_CONTACT)
    assert payload["contact"]["client"] == {"createdBy": {"id": gid("User", bob)}}
    for mutation, given in (
        ("updateClient", {"version": 1, "companyName": "New"}),
        ("setPrimaryContact", {"contactId": payload["contact"]["id"]}),
        ("deleteClient", {}),
        ("restoreClient", {}),
    ):
        assert (await client.do(mutation, "client { id }", id=key, **given))["userErrors"] == [], mutation
    document = "query($id: ID!) { client(id: $id) { companyName primaryContact { email } } }"
    shown = {"companyName": "New", "primaryContact": {"email": "new@example.org"}}
    assert await gateway.client(bob).data(document, id=key) == {"client": shown}


async def test_an_anonymous_caller_gets_nothing(gateway: Gateway, ada: User) -> None:
    row = await make_client(gateway.database, ada)
    contact = await make_contact(gateway.database, row)
    before = await client_rows(gateway.database)
    client = gateway.client()
    document = """query($id: ID!) { client(id: $id) { id } clients { totalCount }
        contacts(email: "x@example.org") { totalCount } clientDashboard { totalRevenue } node(id: $id) { id } }"""
    answer = await client.ask(document, id=gid("Client", row))
    assert answer.data == dict.fromkeys(["client", "clients", "contacts", "clientDashboard", "node"])
    assert set(answer.codes) == {"UNAUTHENTICATED"}
    for name, field, type_name, given in _MUTATIONS:
        variables = given | {field: gid(type_name, row if type_name == "Client" else contact)}
        kind = f"{name[0].upper()}{name[1:]}Input!"
        document = f"mutation($input: {kind}) {{ {name}(input: $input) {{ userErrors {{ code }} }} }}"
        assert (await client.ask(document, input=variables)).codes == ["UNAUTHENTICATED"], name
    assert await client_rows(gateway.database) == before


async def test_an_input_cannot_set_the_owner(gateway: Gateway, ada: User, bob: User) -> None:
    document = "mutation($input: CreateClientInput!) { createClient(input: $input) { client { id } } }"
    for name in ("createdBy", "primaryContactId", "version"):
        answer = await gateway.client(ada).ask(document, input={"companyName": "x", name: gid("User", bob)})
        assert answer.codes == ["GRAPHQL_VALIDATION_FAILED"], name
    assert await client_rows(gateway.database) == [[], [], []]
