"""Who changed what and when stands in the audit log, for every command there is."""

import datetime as dt
from collections.abc import Callable
from typing import Any

from graphql import get_named_type

from repositories.tables.identity import User, UserRole
from schema import schema
from tests.api.client import USER_ERRORS, Client, Gateway, gid
from tests.api.stored_rows import stored_events
from tests.factories import make_points, make_user

AT = dt.datetime(2026, 6, 15, 12, tzinfo=dt.UTC)
UNRECORDED = {"refreshUserDashboardStats"}
"""Counts anew what is there; nothing of anybody's is changed."""

Ids = dict[str, str]
STORY: dict[str, Callable[[Ids], dict[str, Any]]] = {
    "createCategory": lambda _: {"name": "Home"},
    "updateCategory": lambda ids: {"id": ids["category"], "name": "Haus"},
    "createTask": lambda ids: {"title": "x", "categoryId": ids["category"]},
    "updateTask": lambda ids: {"id": ids["task"], "version": 1, "title": "y"},
    "completeTask": lambda ids: {"id": ids["task"]},
    "reopenTask": lambda ids: {"id": ids["task"]},
    "deleteTask": lambda ids: {"id": ids["task"]},
    "restoreTask": lambda ids: {"id": ids["task"]},
    "createTasks": lambda _: {"tasks": [{"title": "x"}]},
    "updateTasks": lambda ids: {"tasks": [{"id": ids["tasks"], "version": 1, "title": "y"}]},
    "deleteCategory": lambda ids: {"id": ids["category"]},
    "createClient": lambda _: {"companyName": "Acme"},
    "updateClient": lambda ids: {"id": ids["client"], "version": 1, "companyName": "Other"},
    "deleteClient": lambda ids: {"id": ids["client"]},
    "restoreClient": lambda ids: {"id": ids["client"]},
    "addContact": lambda ids: {
        "clientId": ids["client"],
        "firstName": "Joan",
        "lastName": "Clarke",
        "email": "joan@example.com",
    },
    "updateContact": lambda ids: {"id": ids["contact"], "firstName": "Jo"},
    "setPrimaryContact": lambda ids: {"id": ids["client"], "contactId": ids["contact"]},
    "removeContact": lambda ids: {"id": ids["contact"]},
    "createPartner": lambda _: {"name": "Acme", "kind": "REFERRAL", "commissionRate": "0.1"},
    "updatePartner": lambda ids: {"id": ids["partner"], "version": 1, "name": "Other"},
    "changePartnerStatus": lambda ids: {"id": ids["partner"], "status": "ACTIVE"},
    "submitReferral": lambda ids: {"partnerId": ids["partner"], "clientName": "Client"},
    "qualifyReferral": lambda ids: {"id": ids["referral"]},
    "closeReferral": lambda ids: {"id": ids["referral"], "outcome": "WON", "value": "10"},
    "createReward": lambda _: {"name": "Cup", "cost": 5},
    "updateReward": lambda ids: {"id": ids["reward"], "version": 1, "name": "Mug"},
    "redeemReward": lambda ids: {"rewardId": ids["reward"]},
    "fulfillRedemption": lambda ids: {"id": ids["rewardRedemption"]},
    "refundRedemption": lambda ids: {"id": ids["rewardRedemption"]},
    "createAchievement": lambda _: {
        "code": "new",
        "name": "New",
        "description": "x",
        "points": 1,
        "criteria": {"count": 1000},
    },
    "updateAchievement": lambda ids: {"id": ids["achievement"], "version": 1, "name": "Newer"},
    "grantRole": lambda ids: {"userId": ids["user"], "roleId": ids["role"]},
    "revokeRole": lambda ids: {"userId": ids["user"], "roleId": ids["role"]},
    "setSystemSetting": lambda _: {"key": "a", "value": 1},
}
"""Every command once, each on what those before it made."""

ACCOUNTS = {
    "signUp": ["UserSignedUp"],
    "signIn": ["UserSignedIn"],
    "refreshSession": ["SessionRefreshed"],
    "updateProfile": ["ProfileUpdated"],
    "updatePreferences": ["PreferencesUpdated"],
    "changePassword": ["PasswordChanged", "SessionRevoked"],
    "revokeSession": ["SessionRevoked"],
    "signOut": ["SessionRevoked"],
    "changeUserRole": ["UserRoleChanged"],
    "suspendUser": ["UserSuspended"],
    "reinstateUser": ["UserReinstated"],
    "deactivateAccount": ["UserDeactivated"],
}
"""What each command about accounts records, sessions that it ends besides."""


def _result_of(mutation: str) -> str:
    assert schema._schema.mutation_type is not None
    payload: Any = get_named_type(schema._schema.mutation_type.fields[mutation].type)
    return str(next(iter(payload.fields)))


def test_the_story_tells_of_every_command() -> None:
    """A command that is not in it is one of which nobody has shown that it is recorded."""
    assert schema._schema.mutation_type is not None
    assert set(STORY) | set(ACCOUNTS) | UNRECORDED == set(schema._schema.mutation_type.fields)


async def test_every_command_is_in_the_audit_log(gateway: Gateway, admin: User) -> None:
    """With its actor and its moment; the log is asked for that minute alone."""
    await make_points(gateway.database, admin, 100)
    roles = (await gateway.client(admin).data("{ roles { id } }"))["roles"]
    ids: Ids = {"user": gid("User", await make_user(gateway.database)), "role": roles[0]["id"]}
    document = """query($filter: AuditLogFilter) { auditLog(filter: $filter) {
        nodes { eventType aggregateType aggregateId userId timestamp } } }"""
    for index, (mutation, given) in enumerate(STORY.items()):
        moment = AT + dt.timedelta(minutes=index)
        known = len(await stored_events(gateway.database))
        result = _result_of(mutation)
        client = gateway.at(moment).client(admin)
        name = mutation[0].upper() + mutation[1:]
        text = f"mutation($input: {name}Input!) {{ {mutation}(input: $input) {{ {result} {{ id }} {USER_ERRORS} }} }}"
        payload = (await client.data(text, input=given(ids)))[mutation]
        assert payload["userErrors"] == [], (mutation, payload)
        made = payload[result]
        ids[result] = (made[0] if isinstance(made, list) else made)["id"]
        recorded = (await stored_events(gateway.database))[known:]
        assert recorded, mutation
        given_filter = {"userId": {"eq": gid("User", admin)}, "timestamp": {"eq": moment.isoformat()}}
        logged = (await client.data(document, filter=given_filter))["auditLog"]["nodes"]
        assert logged == [
            {
                "eventType": event.event_type,
                "aggregateType": event.aggregate_type,
                "aggregateId": str(event.aggregate_id),
                "userId": str(admin.id),
                "timestamp": moment.isoformat(),
            }
            for event in reversed(recorded)
        ], mutation


async def test_every_change_of_an_account_is_recorded(gateway: Gateway, admin: User) -> None:
    """With whoever did it: the person, or the admin."""
    told: set[str] = set()
    signs_in = "accessToken refreshToken viewer { id databaseId version }"
    credentials = {"email": "new@example.com", "password": "correct horse battery"}

    async def does(client: Client, mutation: str, selection: str, actor: str, **given: Any) -> Any:
        known = len(await stored_events(gateway.database))
        payload = await client.do(mutation, selection, **given)
        assert payload["userErrors"] == [], (mutation, payload)
        recorded = (await stored_events(gateway.database))[known:]
        assert set(ACCOUNTS[mutation]) <= {event.event_type for event in recorded}, mutation
        assert {str(event.user_id) for event in recorded} <= {actor, person}, mutation
        told.add(mutation)
        return payload

    person = ""
    anonymous = gateway.client()
    payload = await anonymous.do("signUp", signs_in, **credentials, firstName="New", lastName="Person")
    person, user = payload["viewer"]["databaseId"], payload["viewer"]["id"]
    assert {(e.event_type, str(e.user_id)) for e in await stored_events(gateway.database)} >= {("UserSignedUp", person)}
    told.add("signUp")
    other = gateway.client_with_token(payload["accessToken"])
    signed = await does(anonymous, "signIn", signs_in, person, **credentials)
    fresh = await does(anonymous, "refreshSession", signs_in, person, refreshToken=signed["refreshToken"])
    own, version = gateway.client_with_token(fresh["accessToken"]), fresh["viewer"]["version"]
    await does(own, "updateProfile", "user { id }", person, version=version, firstName="Newer")
    await does(own, "updatePreferences", "userPreferences { version }", person, version=1, theme="DARK")
    changed = {"currentPassword": credentials["password"], "newPassword": "another horse battery"}
    await does(own, "changePassword", "user { id }", person, **changed)
    credentials["password"] = changed["newPassword"]
    await anonymous.do("signIn", signs_in, **credentials)
    sessions = (await own.data("{ mySessions { nodes { id isCurrent } } }"))["mySessions"]["nodes"]
    away = next(session["id"] for session in sessions if not session["isCurrent"])
    await does(other, "revokeSession", "session { id }", person, id=away)
    await does(own, "signOut", "sessions { id }", person, everywhere=True)
    await make_user(gateway.database, role=UserRole.ADMIN)
    boss, actor = gateway.client(admin), str(admin.id)
    await does(boss, "changeUserRole", "user { id }", actor, id=user, role="ADMIN")
    await does(boss, "suspendUser", "user { id }", actor, id=user)
    await does(boss, "reinstateUser", "user { id }", actor, id=user)
    own = gateway.client_with_token((await anonymous.do("signIn", signs_in, **credentials))["accessToken"])
    await does(own, "deactivateAccount", "user { id }", person, password=credentials["password"])
    assert told == set(ACCOUNTS)
