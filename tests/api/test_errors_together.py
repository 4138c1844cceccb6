"""An invalid value hides no other error of an input: all are reported in one response, and nothing changes."""

from typing import Any

from repositories.core.ids import new_id
from repositories.tables.identity import User
from tests.api.client import Client, Gateway, gid, user_error
from tests.api.stored_rows import client_rows, life_lock_rows
from tests.factories import make_category, make_client, make_contact, make_task

EMAIL = "This is not an e-mail address."
TAKEN = "You already have a contact with this e-mail address."
TWICE = "This e-mail address is in the list twice."
PRIMARY = "Only one contact can be the primary one."
NOT_AN_ID = "This is not an id; take one from the `id` field of an object."
EMPTY = "This must not be empty."


async def errors_of(client: Client, mutation: str, selection: str, **values: Any) -> list[Any]:
    payload = await client.do(mutation, selection, **values)
    assert payload[selection.split(maxsplit=1)[0]] is None
    return payload["userErrors"]  # type: ignore[no-any-return]


def contact(email: str, **values: Any) -> dict[str, Any]:
    return {"firstName": "Jo", "lastName": "An", "email": email, **values}


async def test_an_invalid_contact_does_not_hide_the_errors_of_the_others(gateway: Gateway, ada: User) -> None:
    owned = await make_client(gateway.database, ada)
    await make_contact(gateway.database, owned, email="taken@acme.example")
    before = await client_rows(gateway.database)
    key = str(new_id())
    errors = await errors_of(
        gateway.client(ada),
        "createClient",
        "client { id }",
        companyName="",
        contacts=[
            contact("nonsense", isPrimary=True, databaseId=key),
            contact("jo@acme.example", isPrimary=True, databaseId=key, phone="x"),
            contact("Jo@ACME.example", firstName=" "),
            contact("TAKEN@acme.example"),
        ],
    )
    taken = contact("taken@acme.example", phone="x")
    phone = "A phone number starts with + and the code of its country, such as +49 30 1234567."
    assert sorted(errors, key=lambda error: error["field"]) == [
        user_error("VALIDATION_ERROR", EMPTY, "companyName"),
        user_error("VALIDATION_ERROR", EMAIL, "contacts", "0", "email"),
        user_error("VALIDATION_ERROR", "This value occurs twice in the list.", "contacts", "1", "databaseId"),
        user_error("VALIDATION_ERROR", PRIMARY, "contacts", "1", "isPrimary"),
        user_error("VALIDATION_ERROR", phone, "contacts", "1", "phone"),
        user_error("CONFLICT", TWICE, "contacts", "2", "email"),
        user_error("VALIDATION_ERROR", EMPTY, "contacts", "2", "firstName"),
        user_error("CONFLICT", TAKEN, "contacts", "3", "email"),
    ]
    errors = await errors_of(
        gateway.client(ada),
        "addContact",
        "contact { id }",
        clientId=gid("Client", owned),
        **taken,
    )
    assert errors == [user_error("VALIDATION_ERROR", phone, "phone"), user_error("CONFLICT", TAKEN, "email")]
    errors = await errors_of(
        gateway.client(ada), "addContact", "contact { id }", clientId=gid("Client", new_id()), **contact("nonsense")
    )
    missing = user_error("NOT_FOUND", "There is no such client.", "clientId")
    wrong_id = user_error("VALIDATION_ERROR", NOT_AN_ID, "clientId")
    for client_id, others in ((gid("Client", owned), []), ("nonsense", [wrong_id])):
        values = contact("nonsense", clientId=client_id)
        found = await errors_of(gateway.client(ada), "addContact", "contact { id }", **values)
        assert found == [*others, user_error("VALIDATION_ERROR", EMAIL, "email")]
    assert errors == [user_error("VALIDATION_ERROR", EMAIL, "email"), missing]
    assert await client_rows(gateway.database) == before


async def test_an_invalid_task_does_not_hide_the_errors_of_the_others(gateway: Gateway, ada: User, bob: User) -> None:
    database, client = gateway.database, gateway.client(ada)
    old, other = await make_task(database, ada, title="Old", version=3), await make_task(database, bob)
    category = gid("Category", await make_category(database, bob))
    before = await life_lock_rows(database)
    key = str(new_id())
    no_category = user_error("NOT_FOUND", "There is no such category.", "categoryId")
    empty = user_error("VALIDATION_ERROR", EMPTY, "title")

    def at(index: int, error: dict[str, Any]) -> dict[str, Any]:
        return error | {"field": ["tasks", str(index), *error["field"]]}

    assert await errors_of(client, "createTask", "task { id }", title="", categoryId=category) == [empty, no_category]
    tasks = [
        {"title": "", "databaseId": key},
        {"title": "x", "databaseId": key},
        {"title": "x", "categoryId": category},
    ]
    twice = user_error("VALIDATION_ERROR", "This value occurs twice in the list.", "databaseId")
    assert await errors_of(client, "createTasks", "tasks { id }", tasks=tasks) == [
        at(0, empty),
        at(1, twice),
        at(2, no_category),
    ]
    changes: list[dict[str, Any]] = [
        {"id": gid("Task", old), "version": 2, "title": ""},
        {"id": gid("Task", other), "version": 1, "categoryId": category},
        {"id": "nonsense", "version": 1},
        {"id": gid("Task", old), "version": 3},
    ]
    errors = await errors_of(client, "updateTasks", "tasks { id }", tasks=changes)
    assert [(error["code"], error["field"]) for error in errors] == [
        ("VALIDATION_ERROR", ["tasks", "0", "title"]),
        ("VALIDATION_ERROR", ["tasks", "2", "id"]),
        ("VALIDATION_ERROR", ["tasks", "3", "id"]),
        ("STALE_VERSION", ["tasks", "0", "version"]),
        ("NOT_FOUND", ["tasks", "1", "id"]),
        ("NOT_FOUND", ["tasks", "1", "categoryId"]),
    ]
    errors = await errors_of(client, "updateTask", "task { id }", **changes[0])
    assert [error["code"] for error in errors] == ["VALIDATION_ERROR", "STALE_VERSION"]
    assert errors[1]["current"] == {"id": gid("Task", old), "title": "Old", "version": 3}
    valid = [change | {"title": "x"} for change in (changes[0], changes[3], changes[1])]
    errors = await errors_of(client, "updateTasks", "tasks { id }", tasks=valid)
    assert [error["code"] for error in errors] == ["VALIDATION_ERROR", "STALE_VERSION", "NOT_FOUND", "NOT_FOUND"]
    assert await life_lock_rows(database) == before


async def test_a_list_that_is_too_long_is_not_checked_item_by_item(gateway: Gateway, ada: User) -> None:
    tasks = [{"title": "x", "databaseId": str(new_id())}] * 501
    errors = await errors_of(gateway.client(ada), "createTasks", "tasks { id }", tasks=tasks)
    assert errors == [user_error("VALIDATION_ERROR", "This list must have at most 500 items.", "tasks")]


async def test_administrators_see_all_errors_too(gateway: Gateway, admin: User) -> None:
    client, nobody = gateway.client(admin), gid("User", new_id())
    no_user = "There is no such user."
    for mutation in ("grantRole", "revokeRole"):
        assert await errors_of(client, mutation, "roleGrant { id }", userId=nobody, roleId="x") == [
            user_error("VALIDATION_ERROR", NOT_AN_ID, "roleId"),
            user_error("NOT_FOUND", no_user, "userId"),
        ]
    errors = await errors_of(
        client, "createPartner", "partner { id }", name="", kind="REFERRAL", commissionRate="0.1", managerId=nobody
    )
    assert [(error["code"], error["field"]) for error in errors] == [
        ("VALIDATION_ERROR", ["name"]),
        ("NOT_FOUND", ["managerId"]),
    ]
