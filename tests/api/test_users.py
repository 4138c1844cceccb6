"""Administrators list users, change roles, and suspend and reinstate accounts."""

import asyncio
import datetime as dt
from typing import Any

import pytest

from repositories.core.ids import new_id
from repositories.engines.database import Database
from repositories.identity import Users
from repositories.permissions import RoleName
from repositories.sql.filters import Compare, Op
from repositories.tables.identity import User, UserRole, UserStatus
from tests.api.client import Gateway, gid, user_error
from tests.api.people import PASSWORD, all_sessions, make_member, open_session, refresh, sign_in
from tests.api.stored_rows import event_summaries
from tests.factories import make_grant, make_task, make_user
from tests.repositories.support import open_snapshot

pytestmark = pytest.mark.usefixtures("cheap_passwords")

LAST = [user_error("CONFLICT", "This is the last administrator; make somebody else one first.", "id")]
CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("changeUserRole", {"role": "ADMIN"}),
    ("suspendUser", {}),
    ("reinstateUser", {}),
]
DAY = dt.datetime(2026, 6, 15, tzinfo=dt.UTC)


async def all_users(database: Database) -> list[User]:
    """All accounts that are not deleted."""
    async with open_snapshot(database) as snapshot:
        return await Users(snapshot).find(limit=1000)


async def test_users_are_filtered_searched_and_sorted(gateway: Gateway) -> None:
    users = [
        ("ada@example.com", "Ada", "Byron", UserRole.USER, UserStatus.ACTIVE),
        ("grace@navy.example", "Grace", "Hopper", UserRole.ADMIN, UserStatus.ACTIVE),
        ("alan@example.com", "Alan", "Turing", UserRole.USER, UserStatus.SUSPENDED),
        ("edsger@example.com", "Edsger", "dijkstra", UserRole.USER, UserStatus.DEACTIVATED),
    ]
    for index, (email, first, last, role, status) in enumerate(users):
        admin = await make_user(
            gateway.database,
            email=email,
            first_name=first,
            last_name=last,
            role=role,
            status=status,
            created_at=DAY + dt.timedelta(days=index),
            last_login=DAY - dt.timedelta(days=index) if index else None,
        )
    await make_user(gateway.database, deleted_at=DAY)
    admin = next(user for user in await all_users(gateway.database) if user.role is UserRole.ADMIN)
    client = gateway.client(admin)

    async def first_names(arguments: str) -> list[str]:
        data = await client.data(f"{{ users{arguments} {{ totalCount nodes {{ firstName }} }} }}")
        assert data["users"]["totalCount"] >= len(data["users"]["nodes"])
        return [node["firstName"] for node in data["users"]["nodes"]]

    for arguments, names in {
        "": "Edsger Alan Grace Ada",
        "(filter: {status: {eq: ACTIVE}})": "Grace Ada",
        "(filter: {status: {in: [SUSPENDED, DEACTIVATED]}})": "Edsger Alan",
        "(filter: {role: {eq: ADMIN}})": "Grace",
        '(filter: {createdAt: {gt: "2026-06-16T00:00:00Z", lt: "2026-06-18T00:00:00Z"}})': "Alan",
        '(filter: {createdAt: {gte: "2026-06-16T00:00:00Z"}})': "Edsger Alan Grace",
        '(filter: {search: "NAVY"})': "Grace",
        '(filter: {search: "ada byr"})': "Ada",
        '(filter: {search: "example tur"})': "Alan",
        '(filter: {email: {eq: "ada@example.com"}})': "Ada",
        "(filter: {lastLogin: {isNull: true}})": "Ada",
        "(order: [{field: EMAIL}])": "Ada Alan Edsger Grace",
        "(order: [{field: LAST_NAME}])": "Ada Edsger Grace Alan",
        "(order: [{field: LAST_LOGIN, direction: DESC}])": "Grace Alan Edsger Ada",
        "(order: [{field: CREATED_AT}], first: 2)": "Ada Grace",
    }.items():
        assert await first_names(arguments) == names.split(), arguments


async def test_only_administrators_see_and_change_users(gateway: Gateway, ada: User, bob: User) -> None:
    """FORBIDDEN for other users, whether the account exists or not. Nothing changes."""
    client, before = gateway.client(ada), await all_users(gateway.database)
    answer = await client.ask("{ users { nodes { email } } }")
    assert (answer.data, answer.codes) == ({"users": None}, ["FORBIDDEN"])
    for name, given in CHANGES:
        document = (
            f"mutation($input: {name[0].upper()}{name[1:]}Input!) {{ {name}(input: $input) {{ user {{ id }} }} }}"
        )
        for key in (ada.id, bob.id, new_id()):
            answer = await client.ask(document, input={"id": gid("User", key), **given})
            assert (answer.data, answer.codes) == ({name: None}, ["FORBIDDEN"])
    assert await all_users(gateway.database) == before
    assert await event_summaries(gateway.database) == []


GRANTED = (
    "query($filter: UserFilter) { users(filter: $filter, order: [{field: EMAIL}]) { totalCount nodes { email } } }"
)


async def test_users_are_filtered_by_granted_roles(
    gateway: Gateway, ada: User, bob: User, admin: User, statements: list[str]
) -> None:
    """The role of the account does not count. Each condition takes one statement, like any other filter."""
    await make_user(gateway.database, email="deleted@example.com", deleted_at=DAY)
    for user, role in (
        (ada, RoleName.PARTNERSHIP_MANAGER),
        (ada, RoleName.ADMIN),
        (bob, RoleName.PARTNERSHIP_MANAGER),
    ):
        await make_grant(gateway.database, user, role, by=admin)
    client = gateway.client(admin)

    async def emails(**granted: Any) -> str:
        users = (await client.data(GRANTED, filter={"grantedRole": granted}))["users"]
        assert users["totalCount"] == len(users["nodes"])
        return " ".join(node["email"].partition("@")[0] for node in users["nodes"])

    everybody = (await client.data(GRANTED))["users"]["nodes"]
    (name,) = {node["email"].partition("@")[0] for node in everybody} - {"ada", "bob"}
    for granted, expected in (
        ({"eq": "PARTNERSHIP_MANAGER"}, ["ada", "bob"]),
        ({"eq": "ADMIN"}, ["ada"]),
        ({"eq": "USER"}, []),
        ({"eq": None}, [name]),
        ({"ne": "ADMIN"}, ["bob", name]),
        ({"ne": None}, ["ada", "bob"]),
        ({"in": ["ADMIN", "PARTNERSHIP_MANAGER"]}, ["ada", "bob"]),
        ({"in": ["ADMIN", None]}, ["ada", name]),
        ({"in": []}, []),
        ({"notIn": ["ADMIN"]}, ["bob", name]),
        ({"notIn": ["PARTNERSHIP_MANAGER", None]}, []),
        ({"notIn": []}, ["ada", "bob", name]),
        ({"isNull": True}, [name]),
        ({"isNull": False}, ["ada", "bob"]),
        ({"eq": "PARTNERSHIP_MANAGER", "ne": "ADMIN"}, ["bob"]),
    ):
        assert await emails(**granted) == " ".join(sorted(expected)), granted
    statements.clear()
    await client.data("{ users(filter: {grantedRole: {in: [ADMIN]}}) { nodes { id } } }")
    assert len([text for text in statements if not text.startswith("BEGIN")]) == 1


async def test_filters_do_not_reveal_granted_roles(gateway: Gateway, ada: User, bob: User, admin: User) -> None:
    """Only administrators see grants. For other users nobody has any, themselves included."""
    for user in (ada, bob, admin):
        await make_task(gateway.database, user)
        await make_grant(gateway.database, user, RoleName.PARTNERSHIP_MANAGER, by=admin)
    document = "query($role: RoleNameChoiceFilter) { tasks(filter: {user: {grantedRole: $role}}) { totalCount } }"
    for user, roles, expected in (
        (ada, (), (0, 1)),
        (bob, (RoleName.PARTNERSHIP_MANAGER,), (0, 1)),
        (admin, (), (3, 0)),
    ):
        client = gateway.client(user, *roles)
        for condition, count in zip(({"eq": "PARTNERSHIP_MANAGER"}, {"isNull": True}), expected, strict=True):
            data = await client.data(document, role=condition)
            assert data == {"tasks": {"totalCount": count}}, (user, condition)


async def test_only_administrators_read_a_user_by_id(gateway: Gateway, ada: User, bob: User, admin: User) -> None:
    document = "query($id: ID!) { user(id: $id) { email phone } }"
    for key in (ada.id, bob.id, new_id()):
        for client in (gateway.client(ada), gateway.client(ada, RoleName.PARTNERSHIP_MANAGER)):
            answer = await client.ask(document, id=gid("User", key))
            assert (answer.data, answer.codes) == ({"user": None}, ["FORBIDDEN"])
    answer = await gateway.client().ask(document, id=gid("User", ada))
    assert (answer.data, answer.codes) == ({"user": None}, ["UNAUTHENTICATED"])
    data = await gateway.client(admin).data(document, id=gid("User", bob))
    assert data == {"user": {"email": "bob@example.com", "phone": None}}
    answer = await gateway.client(admin).ask(document, id=gid("User", new_id()))
    assert (answer.data, answer.codes) == ({"user": None}, ["NOT_FOUND"])


async def test_users_are_counted_in_groups(gateway: Gateway, admin: User) -> None:
    await make_user(gateway.database, status=UserStatus.SUSPENDED)
    await make_user(gateway.database)
    await make_user(gateway.database, deleted_at=DAY)
    document = "{ users { byRole: groups(by: ROLE) { key count } byStatus: groups(by: STATUS) { key count } } }"
    assert (await gateway.client(admin).data(document))["users"] == {
        "byRole": [{"key": "USER", "count": 2}, {"key": "ADMIN", "count": 1}],
        "byStatus": [{"key": "ACTIVE", "count": 2}, {"key": "SUSPENDED", "count": 1}],
    }


HISTORY = "history { nodes { eventType user { email } fields changes { field before after } } }"


async def test_the_history_of_a_user(gateway: Gateway, ada: User, admin: User) -> None:
    """Contains the values of roles and states. The owner of the account does not see which administrator acted."""
    client, key = gateway.client(admin), gid("User", ada)
    await client.do("changeUserRole", "user { id }", id=key, role="ADMIN")
    await client.do("changeUserRole", "user { id }", id=key, role="USER")
    await client.do("suspendUser", "user { id }", id=key)
    await client.do("reinstateUser", "user { id }", id=key)
    await gateway.client(ada).do("updateProfile", "user { id }", version=5, firstName="Augusta", phone="+4930901820")
    changes = [
        ("ProfileUpdated", ["firstName", "phone"], []),
        ("UserReinstated", ["status"], [{"field": "status", "before": "SUSPENDED", "after": "ACTIVE"}]),
        ("UserSuspended", ["status"], [{"field": "status", "before": "ACTIVE", "after": "SUSPENDED"}]),
        ("UserRoleChanged", ["role"], [{"field": "role", "before": "ADMIN", "after": "USER"}]),
        ("UserRoleChanged", ["role"], [{"field": "role", "before": "USER", "after": "ADMIN"}]),
    ]

    def seen(administrator: Any) -> list[dict[str, Any]]:
        actors = [{"email": "ada@example.com"}, *[administrator] * 4]
        return [
            {"eventType": kind, "user": actor, "fields": fields, "changes": values}
            for (kind, fields, values), actor in zip(changes, actors, strict=True)
        ]

    data = await client.data(f"query($id: ID!) {{ user(id: $id) {{ {HISTORY} }} }}", id=key)
    assert data["user"]["history"]["nodes"] == seen({"email": admin.email})
    data = await gateway.client(ada).data(f"{{ viewer {{ {HISTORY} }} }}")
    assert data["viewer"]["history"]["nodes"] == seen(None)


async def test_events_of_accounts_contain_what_changed(gateway: Gateway, admin: User) -> None:
    """No hashes and tokens, and not the names of their columns."""
    user = await make_member(gateway.database)
    client, tokens = await open_session(gateway)
    await refresh(gateway.client(), tokens["refreshToken"])
    changed = {"currentPassword": PASSWORD, "newPassword": f"{PASSWORD}!"}
    assert (await client.do("changePassword", "user { id }", **changed))["userErrors"] == []
    await gateway.client(admin).do("suspendUser", "user { id }", id=gid("User", user))
    (session,) = await all_sessions(gateway.database)
    owner = {"owner_id": str(user.id)}
    assert [(event[0], event[4]) for event in await event_summaries(gateway.database)] == [
        ("SessionStarted", owner),
        ("UserSignedIn", owner | {"session_id": str(session.id), "fields": ["last_login"]}),
        ("SessionRefreshed", owner | {"fields": ["expires_at", "last_seen_at"]}),
        ("PasswordChanged", owner | {"fields": []}),
        ("UserSuspended", owner | {"fields": ["status"], "changes": {"status": ["active", "suspended"]}}),
        (
            "SessionRevoked",
            owner
            | {
                "reason": "suspended",
                "fields": ["revoked_at"],
                "changes": {"revoked_at": [None, session.revoked_at and session.revoked_at.isoformat()]},
            },
        ),
    ]


async def test_changes_need_an_existing_user_and_the_current_version(gateway: Gateway, ada: User, admin: User) -> None:
    client = gateway.client(admin)
    for name, given in CHANGES:
        payload = await client.do(name, "user { id }", id=gid("User", new_id()), **given)
        assert payload["userErrors"] == [user_error("NOT_FOUND", "There is no such user.", "id")]
        payload = await client.do(name, "user { id }", id=gid("User", ada), version=7, **given)
        assert [error["code"] for error in payload["userErrors"]] == ["STALE_VERSION"]
    assert await event_summaries(gateway.database) == []


async def test_a_role_is_changed(gateway: Gateway, admin: User) -> None:
    """At once and in the next token; the event names the actor. The last administrator cannot lose the role."""
    await make_member(gateway.database)
    client, tokens = await open_session(gateway)
    (user,) = [row for row in await all_users(gateway.database) if row.id != admin.id]
    key = gid("User", user)
    payload = await gateway.client(admin).do("changeUserRole", "user { role version }", id=key, role="ADMIN", version=1)
    assert payload == {"user": {"role": "ADMIN", "version": 2}, "userErrors": []}
    assert await client.data("{ users { totalCount } }") == {"users": {"totalCount": 2}}
    payload = await refresh(gateway.client(), tokens["refreshToken"])
    new_client = gateway.client_with_token(payload["accessToken"])
    assert await new_client.data("{ users { totalCount } }") == {"users": {"totalCount": 2}}
    payload = await new_client.do("changeUserRole", "user { version }", id=key, role="ADMIN")
    assert payload == {"user": {"version": 2}, "userErrors": []}
    payload = await new_client.do("changeUserRole", "user { role }", id=gid("User", admin), role="USER")
    assert payload["user"] == {"role": "USER"}
    for name, given in (("changeUserRole", {"role": "USER"}), ("suspendUser", {})):
        assert (await new_client.do(name, "user { role }", id=key, **given))["userErrors"] == LAST
    changed = [event for event in await event_summaries(gateway.database) if event[0] == "UserRoleChanged"]
    assert [(event[2], event[3], event[4]["role"]) for event in changed] == [
        (user.id, admin.id, "admin"),
        (admin.id, user.id, "user"),
    ]


async def test_a_suspended_user_cannot_sign_in_until_reinstated(gateway: Gateway, admin: User) -> None:
    user = await make_member(gateway.database)
    _, tokens = await open_session(gateway)
    client, key = gateway.client(admin), gid("User", user)
    for version in (2, 2):
        payload = await client.do("suspendUser", "user { status version }", id=key)
        assert payload == {"user": {"status": "SUSPENDED", "version": version}, "userErrors": []}
    assert all(session.revoked_at for session in await all_sessions(gateway.database))
    assert (await sign_in(gateway.client()))["userErrors"] != []
    for _ in range(2):
        payload = await client.do("reinstateUser", "user { status version }", id=key)
        assert payload == {"user": {"status": "ACTIVE", "version": 3}, "userErrors": []}
    assert [error["code"] for error in (await refresh(gateway.client(), tokens["refreshToken"]))["userErrors"]] == [
        "SESSION_ENDED"
    ]
    assert (await sign_in(gateway.client()))["userErrors"] == []
    recorded = [(event[0], event[3]) for event in await event_summaries(gateway.database)]
    assert recorded[2:-2] == [("UserSuspended", admin.id), ("SessionRevoked", admin.id), ("UserReinstated", admin.id)]


async def test_a_closed_account_can_be_reinstated(gateway: Gateway, admin: User) -> None:
    user = await make_user(gateway.database, status=UserStatus.DEACTIVATED)
    client, key = gateway.client(admin), gid("User", user)
    payload = await client.do("suspendUser", "user { status }", id=key)
    message = "The owner of this account has closed it already."
    assert payload["userErrors"] == [user_error("CONFLICT", message, "id")]
    assert (await client.do("reinstateUser", "user { status }", id=key))["user"] == {"status": "ACTIVE"}


@pytest.mark.parametrize("mutation", ["changeUserRole", "suspendUser", "deactivateAccount"])
async def test_administrators_who_remove_each_other_concurrently_leave_one(gateway: Gateway, mutation: str) -> None:
    admins = [await make_user(gateway.database, role=UserRole.ADMIN) for _ in range(6)]

    async def remove(actor: User, other: User) -> Any:
        given: dict[str, Any] = {"id": gid("User", other)} if mutation != "deactivateAccount" else {"password": None}
        given |= {"role": "USER"} if mutation == "changeUserRole" else {}
        return (await gateway.client(actor).do(mutation, "user { id }", **given))["userErrors"]

    answers = await asyncio.gather(*(remove(actor, admins[index - 1]) for index, actor in enumerate(admins)))
    assert sorted(map(len, answers)) == [0, 0, 0, 0, 0, 1]
    assert [error["message"] for (error,) in filter(None, answers)] == [LAST[0]["message"]]
    async with open_snapshot(gateway.database) as snapshot:
        admins_left = await Users(snapshot).find(Compare("role", Op.EQ, UserRole.ADMIN), limit=10)
    assert len([user for user in admins_left if user.status is UserStatus.ACTIVE]) == 1


async def test_the_last_administrator_is_determined_by_the_database(gateway: Gateway) -> None:
    """The roles in the token do not count. A grant of the role counts like the role of the account."""
    granted = await make_user(gateway.database)
    appointed = await make_user(gateway.database, role=UserRole.ADMIN)
    await make_grant(gateway.database, granted, RoleName.ADMIN, by=appointed)
    old = gateway.client_with_token(gateway.tokens.issue(appointed, frozenset({RoleName.USER}), 3600))
    payload = await old.do("deactivateAccount", "user { status }", password=None)
    assert payload == {"user": {"status": "DEACTIVATED"}, "userErrors": []}
    payload = await gateway.client(granted).do("deactivateAccount", "user { status }", password=None)
    assert payload == {"user": None, "userErrors": [LAST[0] | {"field": []}]}
    assert [event[::3] for event in await event_summaries(gateway.database)] == [("UserDeactivated", appointed.id)]


async def test_the_only_administrator_can_lose_one_of_two_admin_roles(gateway: Gateway) -> None:
    """The user has the role by a grant and by the account, and can lose either of them, but not both."""
    only = await make_user(gateway.database)
    grant = await make_grant(gateway.database, only, RoleName.ADMIN, by=only)
    client, key = gateway.client(only, RoleName.ADMIN), gid("User", only)
    for role in ("ADMIN", "USER", "ADMIN"):
        payload = await client.do("changeUserRole", "user { role }", id=key, role=role)
        assert payload == {"user": {"role": role}, "userErrors": []}
    payload = await client.do("revokeRole", "roleGrant { id }", userId=key, roleId=gid("Role", grant.role_id))
    assert payload["userErrors"] == []
    payload = await client.do("changeUserRole", "user { role }", id=key, role="USER")
    assert payload == {"user": None, "userErrors": LAST}
