"""Users change their own profile, preferences and password, and close their account."""

import asyncio
import logging
from typing import Any

import pytest

from gateway.settings import Settings
from repositories.core.errors import ValidationError
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.identity import Preferences, Users
from repositories.tables.identity import User, UserPreferences, UserRole, UserStatus, Weekday
from tests.api.client import Client, Gateway, gid, user_error
from tests.api.people import PASSWORD, all_sessions, make_member, open_session, refresh, sign_in
from tests.api.stored_rows import event_summaries
from tests.databases import ON_SQLITE
from tests.factories import make_user
from tests.repositories.support import open_snapshot

pytestmark = pytest.mark.usefixtures("cheap_passwords")

PROFILE = "user { firstName lastName phone avatarUrl timeZone locale version }"
PREFERENCES = "{ theme weekStartsOn version }"
STALE = "This is at version {} now, which is not the one that you read. Read it again and repeat your change."


async def stored_user(database: Database, user: User) -> User:
    """The current state of the account."""
    async with open_snapshot(database) as snapshot:
        return await Users(snapshot).get(user.id)


async def test_a_profile_update_changes_the_given_fields_only(gateway: Gateway, ada: User) -> None:
    client = gateway.client(ada)
    payload = await client.do(
        "updateProfile",
        PROFILE,
        version=1,
        firstName=" Augusta ",
        phone="+44 (20) 7946-0958",
        avatarUrl="https://example.com/ada.png",
        timeZone="Europe/London",
        locale="en-GB",
    )
    changed = {
        "firstName": "Augusta",
        "lastName": "Byron",
        "phone": "+442079460958",
        "avatarUrl": "https://example.com/ada.png",
        "timeZone": "Europe/London",
        "locale": "en-GB",
        "version": 2,
    }
    assert payload == {"user": changed, "userErrors": []}
    row = await stored_user(gateway.database, ada)
    assert row.phone is not None
    assert "2079460958" not in row.phone
    payload = await client.do("updateProfile", PROFILE, version=2, phone="+442079460958", firstName="Augusta")
    assert payload["user"] == changed
    payload = await client.do("updateProfile", PROFILE, version=2, phone=None, avatarUrl=None, lastName="King")
    assert payload["user"] == changed | {"phone": None, "avatarUrl": None, "lastName": "King", "version": 3}
    assert [event[0::4] for event in await event_summaries(gateway.database)] == [
        (
            "ProfileUpdated",
            {"owner_id": str(ada.id), "fields": ["avatar_url", "first_name", "locale", "phone", "time_zone"]},
        ),
        ("ProfileUpdated", {"owner_id": str(ada.id), "fields": ["avatar_url", "last_name", "phone"]}),
    ]


async def test_invalid_profiles_are_rejected(gateway: Gateway, ada: User) -> None:
    client = gateway.client(ada)
    short, null = "This must have at least 2 characters.", "This must not be null."
    phone = "A phone number starts with + and the code of its country, such as +49 30 1234567."
    cases: list[tuple[dict[str, Any], dict[str, str]]] = [
        ({"firstName": "A", "lastName": None}, {"firstName": short, "lastName": null}),
        ({"phone": "030 901820"}, {"phone": phone}),
        ({"phone": "+49"}, {"phone": phone}),
        (
            {"avatarUrl": "javascript:alert(1)"},
            {"avatarUrl": "This is not a web address; it starts with http:// or https://."},
        ),
        (
            {"timeZone": "CEST", "version": 0},
            {
                "timeZone": "This is not a time zone; use an IANA name such as Europe/Berlin.",
                "version": "This must be 1 or more.",
            },
        ),
        ({"timeZone": None, "locale": None}, {"timeZone": null, "locale": null}),
    ]
    for given, messages in cases:
        payload = await client.do("updateProfile", PROFILE, **{"version": 1} | given)
        assert {error["field"][0]: error["message"] for error in payload["userErrors"]} == messages, given
        assert payload["user"] is None
    payload = await client.do("updateProfile", PROFILE, version=2, firstName="Augusta")
    (error,) = payload["userErrors"]
    assert (error["code"], error["message"], error["field"]) == ("STALE_VERSION", STALE.format(1), ["version"])
    assert error["current"]["id"] == gid("User", ada)
    assert await stored_user(gateway.database, ada) == ada
    assert await event_summaries(gateway.database) == []


@ON_SQLITE
@pytest.mark.parametrize("field", ["role", "status", "emailVerified", "email", "passwordHash", "id", "userId"])
async def test_a_profile_update_cannot_set_protected_fields(gateway: Gateway, ada: User, field: str) -> None:
    document = "mutation($input: UpdateProfileInput!) { updateProfile(input: $input) { user { id } } }"
    answer = await gateway.client(ada).ask(document, input={"version": 1, field: "ADMIN"})
    assert answer.codes == ["GRAPHQL_VALIDATION_FAILED"]


@pytest.mark.parametrize(
    "values", [{"avatar_url": "x" * 256}, {"time_zone": ""}, {"locale": "x"}, {"locale": "x" * 36}]
)
async def test_the_database_checks_the_lengths_too(database: Database, ada: User, values: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        async with database.transaction(SERVICE) as write:
            await Users(write).change(ada, **values)
    assert caught.value.path == tuple(values)


async def test_a_phone_that_cannot_be_decrypted_is_a_masked_error_of_its_field(
    gateway: Gateway, ada: User, bob: User, admin: User, caplog: pytest.LogCaptureFixture
) -> None:
    """A ciphertext of another row: null, a masked error and a log line. The phone number can be replaced."""
    for user, number in ((ada, "+4930901820"), (bob, "+4940901820")):
        await gateway.client(user).do("updateProfile", PROFILE, version=1, phone=number)
    async with gateway.database.transaction(SERVICE) as write:
        moved = (await stored_user(gateway.database, ada)).phone
        table = "identity.users" if write.engine.is_postgresql else "users"
        await write.execute_sql(f"UPDATE {table} SET phone = '{moved}' WHERE id = '{bob.id}'")
    caplog.set_level(logging.INFO)
    answer = await gateway.client(admin).ask("{ users(order: [{field: EMAIL}]) { nodes { email phone } } }")
    assert answer.data["users"]["nodes"] == [
        {"email": "ada@example.com", "phone": "+4930901820"},
        {"email": "admin@example.com", "phone": None},
        {"email": "bob@example.com", "phone": None},
    ]
    (error,) = answer.errors
    assert error["path"] == ["users", "nodes", 2, "phone"]
    assert error["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
    assert f"Internal error {error['extensions']['errorId']}" in caplog.text
    assert f"users.phone of row {bob.id} cannot be decrypted" in caplog.text
    assert "901820" not in caplog.text
    payload = await gateway.client(bob).do("updateProfile", PROFILE, version=2, phone="+4940901820")
    assert payload["user"]["phone"] == "+4940901820"


async def test_other_users_are_not_found(gateway: Gateway, ada: User, bob: User) -> None:
    """A user can fetch neither other accounts nor their preferences by their ids."""
    await gateway.client(bob).do("updatePreferences", f"userPreferences {PREFERENCES}", version=1, theme="DARK")
    client = gateway.client(ada)
    for name in ("User", "UserPreferences"):
        for key in (bob.id, new_id()):
            answer = await client.ask("query($id: ID!) { node(id: $id) { id } }", id=gid(name, key))
            assert (answer.data, answer.codes) == ({"node": None}, ["NOT_FOUND"])
    own = await client.data("query($id: ID!) { node(id: $id) { ... on User { email } } }", id=gid("User", ada))
    assert own == {"node": {"email": "ada@example.com"}}


async def test_preferences_have_defaults(gateway: Gateway) -> None:
    """Without a row they have an id and version 1."""
    user = await make_user(gateway.database, locale="de-AT")
    client = gateway.client(user)
    defaults = {
        "theme": "SYSTEM",
        "weekStartsOn": "MONDAY",
        "version": 1,
    }
    assert await client.data(f"{{ viewer {{ preferences {PREFERENCES} }} }}") == {"viewer": {"preferences": defaults}}
    document = f"query($id: ID!) {{ node(id: $id) {{ ... on UserPreferences {PREFERENCES} }} }}"
    assert await client.data(document, id=gid("UserPreferences", user)) == {"node": defaults}


async def test_a_preferences_update_changes_the_given_fields_only(gateway: Gateway, ada: User) -> None:
    client, name, selection = gateway.client(ada), "updatePreferences", f"userPreferences {PREFERENCES}"
    payload = await client.do(name, selection, version=1, theme="DARK")
    first = {
        "theme": "DARK",
        "weekStartsOn": "MONDAY",
        "version": 2,
    }
    assert payload == {"userPreferences": first, "userErrors": []}
    payload = await client.do(name, selection, version=2, weekStartsOn="SUNDAY", theme="DARK")
    second = first | {
        "weekStartsOn": "SUNDAY",
        "version": 3,
    }
    assert payload["userPreferences"] == second
    assert (await client.do(name, selection, version=3, theme="DARK"))["userPreferences"] == second
    for version in (1, 2, 4):
        payload = await client.do(name, selection, version=version, theme="LIGHT")
        (error,) = payload["userErrors"]
        assert (error["code"], error["message"]) == ("STALE_VERSION", STALE.format(3))
        assert error["current"]["id"] == gid("UserPreferences", ada)
    assert [
        (event[0], event[1], event[2], event[4]["fields"]) for event in await event_summaries(gateway.database)
    ] == [
        ("PreferencesUpdated", "user_preferences", ada.id, ["theme"]),
        ("PreferencesUpdated", "user_preferences", ada.id, ["week_starts_on"]),
    ]
    payload = await client.do(name, selection, version=3, weekStartsOn=None, theme=None)
    assert {tuple(error["field"]) for error in payload["userErrors"]} == {
        ("weekStartsOn",),
        ("theme",),
    }


async def test_concurrent_first_updates_of_preferences_succeed_once(gateway: Gateway, ada: User) -> None:
    """There is no row yet that the transactions could lock."""
    client, selection = gateway.client(ada), "userPreferences { weekStartsOn }"
    answers = await asyncio.gather(
        *(
            client.do("updatePreferences", selection, version=1, weekStartsOn=day.name)
            for day in Weekday
            if day is not Weekday.MONDAY
        )
    )
    (winner,) = [answer["userPreferences"]["weekStartsOn"] for answer in answers if answer["userPreferences"]]
    codes = [error["code"] for answer in answers for error in answer["userErrors"]]
    assert codes == ["STALE_VERSION"] * 5
    async with open_snapshot(gateway.database) as snapshot:
        (row,) = await Preferences(snapshot).find(limit=10)
    assert isinstance(row, UserPreferences)
    assert (row.week_starts_on.name, row.version, row.id) == (winner, 2, ada.id)


async def change_password(client: Client, current: str, new: str) -> Any:
    """Runs changePassword and returns the userErrors, or the e-mail address if it succeeds."""
    payload = await client.do("changePassword", "user { email }", currentPassword=current, newPassword=new)
    return payload["userErrors"] or payload["user"]["email"]


async def test_a_new_password_revokes_the_other_sessions(gateway: Gateway) -> None:
    user = await make_member(gateway.database)
    client, tokens = await open_session(gateway)
    _, other = await open_session(gateway)
    assert await change_password(client, PASSWORD, "another password") == "ada@example.com"
    assert (await sign_in(gateway.client()))["userErrors"] != []
    assert (await sign_in(gateway.client(), password="another password"))["userErrors"] == []  # noqa: S106
    assert (await refresh(gateway.client(), tokens["refreshToken"]))["userErrors"] == []
    assert [error["code"] for error in (await refresh(gateway.client(), other["refreshToken"]))["userErrors"]] == [
        "SESSION_ENDED"
    ]
    recorded = [(event[0], event[3], event[4].get("reason")) for event in await event_summaries(gateway.database)]
    assert ("PasswordChanged", user.id, None) in recorded
    assert [event for event in recorded if event[0] == "SessionRevoked"] == [
        ("SessionRevoked", user.id, "password_changed")
    ]


async def test_changing_the_password_needs_the_current_one(gateway: Gateway, bob: User) -> None:
    """Bob has no password, like the accounts of an external issuer."""
    user = await make_member(gateway.database)
    client = gateway.client(user)
    wrong = [user_error("VALIDATION_ERROR", "This is not your password.", "currentPassword")]
    assert await change_password(client, "wrong password", "another password") == wrong
    assert await change_password(gateway.client(bob), "", "another password") == wrong
    same = [user_error("VALIDATION_ERROR", "The password must not be the e-mail address.", "newPassword")]
    assert await change_password(client, PASSWORD, "ADA@example.com") == same
    short = [user_error("VALIDATION_ERROR", "This must have at least 10 characters.", "newPassword")]
    assert await change_password(client, PASSWORD, "short") == short
    assert await stored_user(gateway.database, user) == user


async def test_password_checks_of_a_session_are_limited(database: Database) -> None:
    """So a stolen access token does not help to guess the password. Other sessions are not affected."""
    user = await make_member(database)
    gateway = Gateway(database, settings=Settings(password_attempts_per_client="3 per 15 minutes"))  # noqa: S106
    thief, _ = await open_session(gateway)
    owner, _ = await open_session(gateway)
    for _ in range(3):
        await change_password(thief, "wrong password", "another password")
    document = "mutation($input: {}Input!) {{ {}(input: $input) {{ userErrors {{ code }} }} }}"
    for mutation, given in (
        ("ChangePassword", {"currentPassword": PASSWORD, "newPassword": "another password"}),
        ("DeactivateAccount", {"password": PASSWORD}),
    ):
        answer = await thief.ask(document.format(mutation, mutation[0].lower() + mutation[1:]), input=given)
        assert answer.codes == ["RATE_LIMITED"]
    assert (await stored_user(database, user)).version == user.version
    assert await change_password(owner, PASSWORD, "another password") == "ada@example.com"


async def test_concurrent_password_changes_succeed_once(gateway: Gateway) -> None:
    user = await make_member(gateway.database)
    client = gateway.client(user)
    passwords = [f"another password {index}" for index in range(3)]
    answers = await asyncio.gather(*(change_password(client, PASSWORD, each) for each in passwords))
    winners = [index for index, answer in enumerate(answers) if answer == "ada@example.com"]
    assert len(winners) == 1
    conflict = [user_error("CONFLICT", "Your account was changed at the same moment. Try again.")]
    wrong = [user_error("VALIDATION_ERROR", "This is not your password.", "currentPassword")]
    assert all(answer in (conflict, wrong) for index, answer in enumerate(answers) if index not in winners)
    assert (await sign_in(gateway.client(), password=passwords[winners[0]]))["userErrors"] == []


async def test_an_account_is_closed_by_its_owner(gateway: Gateway, bob: User) -> None:
    """It needs the password, revokes all sessions and prevents signing in."""
    user = await make_member(gateway.database)
    client, tokens = await open_session(gateway)
    wrong = [user_error("VALIDATION_ERROR", "This is not your password.", "password")]
    for given in ({}, {"password": "wrong password"}):
        payload = await client.do("deactivateAccount", "user { status }", **{"password": None} | given)
        assert payload == {"user": None, "userErrors": wrong}
    payload = await client.do("deactivateAccount", "user { status }", password=PASSWORD)
    assert payload == {"user": {"status": "DEACTIVATED"}, "userErrors": []}
    assert (await stored_user(gateway.database, user)).status is UserStatus.DEACTIVATED
    assert all(session.revoked_at for session in await all_sessions(gateway.database))
    assert (await sign_in(gateway.client()))["userErrors"] != []
    assert (await refresh(gateway.client(), tokens["refreshToken"]))["userErrors"] != []
    names = [(event[0], event[4].get("reason")) for event in await event_summaries(gateway.database)]
    assert names[-2:] == [("UserDeactivated", None), ("SessionRevoked", "deactivated")]
    payload = await gateway.client(bob).do("deactivateAccount", "user { status }", password=None)
    assert payload["user"] == {"status": "DEACTIVATED"}


async def test_the_last_administrator_cannot_close_the_account(gateway: Gateway) -> None:
    admin = await make_member(gateway.database, "admin@example.com", role=UserRole.ADMIN)
    other = await make_member(gateway.database, "other@example.com", role=UserRole.ADMIN)
    payload = await gateway.client(other).do("deactivateAccount", "user { status }", password=PASSWORD)
    assert payload["userErrors"] == []
    payload = await gateway.client(admin).do("deactivateAccount", "user { status }", password=PASSWORD)
    message = "This is the last administrator; make somebody else one first."
    assert payload["userErrors"] == [user_error("CONFLICT", message)]
    assert (await stored_user(gateway.database, admin)).status is UserStatus.ACTIVE
