"""An invalid value hides no other error of an input: all are reported in one response, and nothing changes."""

from typing import Any

import pytest

from repositories.core.ids import new_id
from repositories.tables.identity import User
from repositories.tables.partnership import PartnerStatus
from tests.api.client import Client, Gateway, gid, user_error
from tests.api.stored_rows import client_rows, gamification_rows, life_lock_rows, partnership_rows
from tests.api.test_statements import summarize_statements
from tests.factories import (
    make_category,
    make_client,
    make_contact,
    make_partner,
    make_referral,
    make_task,
)

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


def places_of(errors: list[Any]) -> list[tuple[str, ...]]:
    return [(error["code"], *error["field"]) for error in errors]


async def test_deletions_report_duplicates_missing_rows_and_invalid_ids(
    gateway: Gateway, ada: User, bob: User, admin: User
) -> None:
    database, client = gateway.database, gateway.client(ada)
    own, theirs = await make_task(database, ada), gid("Task", await make_task(database, bob))
    key = gid("Task", own)
    before = await life_lock_rows(database)
    twice = ("VALIDATION_ERROR", "ids", "1")
    missing = ("NOT_FOUND", "ids", "2")
    errors = await errors_of(client, "deleteTasks", "tasks { id }", ids=[key, key, theirs])
    assert places_of(errors) == [twice, missing]
    errors = await errors_of(client, "deleteTasks", "tasks { id }", ids=[key, key, theirs, "abc"])
    assert places_of(errors) == [("VALIDATION_ERROR", "ids", "3"), twice, missing]
    errors = await errors_of(client, "restoreTasks", "tasks { id }", ids=[key, key, "abc"])
    assert places_of(errors) == [("VALIDATION_ERROR", "ids", "2"), ("NOT_FOUND", "ids", "0"), twice]
    for mutation in ("deleteTask", "completeTask", "reopenTask"):
        errors = await errors_of(client, mutation, "task { id }", id=theirs, version=0)
        assert places_of(errors) == [("VALIDATION_ERROR", "version"), ("NOT_FOUND", "id")], mutation
    for mutation in ("restoreTask", "purgeTask"):
        errors = await errors_of(client, mutation, "task { id }", id=key, version=0)
        assert places_of(errors) == [("VALIDATION_ERROR", "version"), ("NOT_FOUND", "id")], mutation
    assert await life_lock_rows(database) == before
    errors = await errors_of(gateway.client(admin), "completeTask", "task { id }", id=key, version=0)
    assert places_of(errors) == [("VALIDATION_ERROR", "version"), ("NOT_FOUND", "id")]


async def test_an_invalid_version_of_an_assigned_task_is_the_only_error(gateway: Gateway, ada: User, bob: User) -> None:
    task = await make_task(gateway.database, ada, assignee_id=bob.id)
    before = await life_lock_rows(gateway.database)
    errors = await errors_of(gateway.client(bob), "completeTask", "task { id }", id=gid("Task", task), version=0)
    assert places_of(errors) == [("VALIDATION_ERROR", "version")]
    assert await life_lock_rows(gateway.database) == before


async def test_an_assignment_reports_the_task_and_the_address(gateway: Gateway, ada: User) -> None:
    client, key = gateway.client(ada), gid("Task", await make_task(gateway.database, ada, version=3))
    before = await life_lock_rows(gateway.database)
    nobody = ("NOT_FOUND", "email")
    for given, expected in (
        ({"id": "zz", "email": "not an email"}, [("VALIDATION_ERROR", "id"), nobody]),
        ({"id": "zz"}, [("VALIDATION_ERROR", "id"), ("VALIDATION_ERROR", "email")]),
        (
            {"id": key, "version": 0, "email": "x" * 255},
            [("VALIDATION_ERROR", "version"), ("VALIDATION_ERROR", "email")],
        ),
        ({"id": key, "version": 2, "email": "not an email"}, [("STALE_VERSION", "version"), nobody]),
        ({"id": key, "version": 2, "email": "x" * 255}, [("VALIDATION_ERROR", "email"), ("STALE_VERSION", "version")]),
    ):
        assert places_of(await errors_of(client, "assignTask", "task { id }", **given)) == expected
    assert await life_lock_rows(gateway.database) == before


async def test_commands_on_partners_report_the_row_and_the_values(gateway: Gateway, admin: User) -> None:
    database, client = gateway.database, gateway.client(admin)
    partner = await make_partner(database, admin, status=PartnerStatus.ENDED)
    referral = await make_referral(database, partner)
    before = await partnership_rows(database)
    value, stale = ("VALIDATION_ERROR", "value"), ("STALE_VERSION", "version")
    key = gid("Referral", referral)
    errors = await errors_of(client, "closeReferral", "referral { id }", id=key, outcome="WON", version=55)
    assert places_of(errors) == [value, stale]
    errors = await errors_of(client, "closeReferral", "referral { id }", id="zz", outcome="WON")
    assert places_of(errors) == [("VALIDATION_ERROR", "id"), value]
    given = {"id": gid("Partner", partner), "status": "ACTIVE", "version": 55}
    errors = await errors_of(client, "changePartnerStatus", "partner { id }", **given)
    assert places_of(errors) == [stale, ("CONFLICT", "status")]
    given = {"partnerId": gid("Partner", partner), "clientName": ""}
    errors = await errors_of(client, "submitReferral", "referral { id }", **given)
    assert places_of(errors) == [("VALIDATION_ERROR", "clientName"), ("CONFLICT", "partnerId")]
    assert await partnership_rows(database) == before


async def test_commands_on_clients_report_the_client_and_the_other_row(
    gateway: Gateway, ada: User, admin: User
) -> None:
    row = await make_client(gateway.database, ada)
    before = await client_rows(gateway.database)
    key, stale = gid("Client", row), ("STALE_VERSION", "version")
    for given, first in (
        ({"id": key, "version": 99}, stale),
        ({"id": key, "version": 0}, ("VALIDATION_ERROR", "version")),
        ({"id": gid("Client", new_id())}, ("NOT_FOUND", "id")),
        ({"id": "zz"}, ("VALIDATION_ERROR", "id")),
    ):
        nobody = gid("User", new_id())
        errors = await errors_of(gateway.client(admin), "transferClient", "client { id }", **given, userId=nobody)
        assert places_of(errors) == [first, ("NOT_FOUND", "userId")]
        contact_id = gid("Contact", new_id())
        errors = await errors_of(
            gateway.client(ada), "setPrimaryContact", "client { id }", **given, contactId=contact_id
        )
        assert places_of(errors) == [first, ("NOT_FOUND", "contactId")]
    assert await client_rows(gateway.database) == before


async def test_an_account_reports_its_version_and_its_values(gateway: Gateway, ada: User) -> None:
    client, stale = gateway.client(ada), ("STALE_VERSION", "version")
    errors = await errors_of(client, "updateProfile", "user { id }", version=99, firstName="")
    assert places_of(errors) == [("VALIDATION_ERROR", "firstName"), stale]
    errors = await errors_of(client, "updatePreferences", "userPreferences { id }", version=99, theme=None)
    assert places_of(errors) == [("VALIDATION_ERROR", "theme"), stale]


async def test_equal_and_taken_names_are_found_by_index(gateway: Gateway, ada: User, bob: User) -> None:
    database, client = gateway.database, gateway.client(ada)
    await make_category(database, bob, name="New")
    old, other = [await make_category(database, ada, name=name) for name in ("Taken", "Other")]
    before = await life_lock_rows(database)
    twice, taken = "This value occurs twice in the list.", "You already have a category of this name."

    def names(*each: str) -> list[dict[str, Any]]:
        return [{"name": name} for name in each]

    def at(index: int, message: str) -> dict[str, Any]:
        return user_error("CONFLICT", message, "categories", str(index), "name")

    for items, expected in (
        (names("New", "New"), [at(1, twice)]),
        (names("New", "Taken", "Other"), [at(1, taken), at(2, taken)]),
        (names("New", "Taken", "New"), [at(1, taken), at(2, twice)]),
    ):
        assert await errors_of(client, "createCategories", "categories { id }", categories=items) == expected
    items = [*names("Dup", "dup", "Dup"), {"name": "", "color": "red"}, *names("Taken")]
    errors = await errors_of(client, "createCategories", "categories { id }", categories=items)
    assert errors[0] == user_error("VALIDATION_ERROR", EMPTY, "categories", "3", "name")
    assert places_of(errors[1:2]) == [("VALIDATION_ERROR", "categories", "3", "color")]
    assert errors[2:] == [at(2, twice), at(4, taken)]
    ids = [gid("Category", each) for each in (old, other)]

    def renamed(*each: str) -> list[dict[str, Any]]:
        return [{"id": key, "name": name} for key, name in zip(ids, each, strict=True)]

    for changes, expected in (
        (renamed("Same", "Same"), [at(1, twice)]),
        (renamed("Other", "Taken"), [at(0, taken), at(1, taken)]),
        (renamed("Taken", "Taken"), [at(1, taken)]),
    ):
        assert await errors_of(client, "updateCategories", "categories { id }", categories=changes) == expected
    errors = await errors_of(client, "updateCategories", "categories { id }", categories=renamed("", "Taken"))
    assert errors == [user_error("VALIDATION_ERROR", EMPTY, "categories", "0", "name"), at(1, taken)]
    assert await life_lock_rows(database) == before
    payload = await client.do("createCategories", "categories { name }", categories=names("New", "new"))
    assert payload == {"categories": [{"name": "New"}, {"name": "new"}], "userErrors": []}
    moved = [{"id": ids[1], "name": "Free"}, {"id": ids[0], "name": "Other"}]
    payload = await client.do("updateCategories", "categories { name }", categories=moved)
    assert payload == {"categories": [{"name": "Free"}, {"name": "Other"}], "userErrors": []}


async def test_equal_and_taken_codes_are_found_by_index(gateway: Gateway, admin: User) -> None:
    client = gateway.client(admin)

    def coded(code: str) -> dict[str, Any]:
        return {"code": code, "name": "x", "description": "x", "points": 1, "criteria": {"count": 1}}

    assert (await client.do("createAchievement", "achievement { id }", **coded("taken")))["userErrors"] == []
    before = await gamification_rows(gateway.database)
    items = [coded("a"), coded("taken"), coded("a"), coded("b") | {"criteria": {"count": 0}}]
    errors = await errors_of(client, "createAchievements", "achievements { id }", achievements=items)
    assert places_of(errors) == [
        ("VALIDATION_ERROR", "achievements", "3", "criteria", "count"),
        ("CONFLICT", "achievements", "1", "code"),
        ("CONFLICT", "achievements", "2", "code"),
    ]
    assert await gamification_rows(gateway.database) == before


async def test_the_same_address_in_two_new_clients_is_found_beside_an_invalid_client(
    gateway: Gateway, ada: User
) -> None:
    before = await client_rows(gateway.database)
    clients = [{"companyName": name, "contacts": [contact("jo@acme.example")]} for name in ("A", "B")]
    errors = await errors_of(
        gateway.client(ada), "createClients", "clients { id }", clients=[*clients, {"companyName": ""}]
    )
    assert errors == [
        user_error("VALIDATION_ERROR", EMPTY, "clients", "2", "companyName"),
        user_error("CONFLICT", TWICE, "clients", "1", "contacts", "0", "email"),
    ]
    assert await client_rows(gateway.database) == before


async def test_equal_addresses_of_new_contacts_are_found_per_owner(
    gateway: Gateway, ada: User, bob: User, admin: User
) -> None:
    """Also in contacts of several clients, but not in those of clients of several owners."""
    owners = (ada, ada, bob)
    keys = [gid("Client", await make_client(gateway.database, owner)) for owner in owners]
    before = await client_rows(gateway.database)
    contacts = [contact("jo@acme.example", clientId=key) for key in keys]
    missing = contact("", clientId=gid("Client", new_id()))
    given = [*contacts, missing]
    errors = await errors_of(gateway.client(admin), "addContacts", "contacts { id }", contacts=given)
    assert errors[1:] == [
        user_error("CONFLICT", TWICE, "contacts", "1", "email"),
        user_error("NOT_FOUND", "There is no such client.", "contacts", "3", "clientId"),
    ]
    assert places_of(errors[:1]) == [("VALIDATION_ERROR", "contacts", "3", "email")]
    errors = await errors_of(gateway.client(ada), "addContacts", "contacts { id }", contacts=contacts[:2])
    assert errors == [user_error("CONFLICT", TWICE, "contacts", "1", "email")]
    assert await client_rows(gateway.database) == before
    payload = await gateway.client(admin).do("addContacts", "contacts { email }", contacts=contacts[1:])
    assert payload == {"contacts": [{"email": "jo@acme.example"}] * 2, "userErrors": []}


@pytest.mark.parametrize("count", [2, 20])
async def test_categories_with_free_names_are_stored_with_a_constant_number_of_statements(
    gateway: Gateway, ada: User, statements: list[str], count: int
) -> None:
    """The savepoint is for names that are taken."""
    client, new = gateway.client(ada), [{"name": f"New {index}"} for index in range(count)]
    await client.do("createCategories", "categories { name }", categories=new)
    changes: list[dict[str, Any]] = [
        {"id": gid("Category", each), "name": f"Changed {index}"}
        for index, each in enumerate((await life_lock_rows(gateway.database))[1])
    ]
    others = [{"name": f"Other {index}"} for index in range(count)]
    for mutation, items, stored in (
        ("createCategories", others, ["SAVEPOINT", "INSERT categories", "RELEASE"]),
        ("updateCategories", changes, ["SELECT categories", "SAVEPOINT", "UPDATE categories", "RELEASE"]),
    ):
        statements.clear()
        payload = await client.do(mutation, "categories { name }", categories=items)
        assert payload == {"categories": [{"name": item["name"]} for item in items], "userErrors": []}
        assert summarize_statements(statements) == [*stored, "INSERT domain_events"]
