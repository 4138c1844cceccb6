"""Sessions: refresh tokens are valid once, sessions are listed and ended, and reuse of a token ends its session."""

import asyncio
import datetime as dt
import hashlib
from typing import Any
from unittest.mock import ANY

import jwt
import pytest

from gateway.settings import Settings
from repositories.core.clock import now
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.identity import Sessions, Users
from repositories.tables.identity import User, UserStatus
from tests.api.client import AUDIENCE, SECRET, Client, Gateway, gid, user_error
from tests.api.people import PASSWORD, all_sessions, make_member, open_session, refresh, sign_in
from tests.api.stored_rows import event_summaries
from tests.factories import make_session, make_user
from tests.repositories.support import open_snapshot

pytestmark = pytest.mark.usefixtures("cheap_passwords")

ENDED = {
    "accessToken": None,
    "refreshToken": None,
    "expiresAt": None,
    "viewer": None,
    "userErrors": [user_error("SESSION_ENDED", "This session has ended. Sign in again.", "refreshToken")],
}
AT = dt.datetime(2100, 6, 15, 12, tzinfo=dt.UTC)
MINE = "{ mySessions { totalCount nodes { id isCurrent userAgent ip expiresAt lastSeenAt revokedAt } } }"


async def session_events(database: Database) -> list[Any]:
    """Types and reasons of the events after the first sign-in."""
    return [(event[0], event[4].get("reason")) for event in await event_summaries(database)][2:]


async def test_refresh_extends_the_session(gateway: Gateway) -> None:
    """It issues new tokens of the same session. The database stores only a hash of the refresh token."""
    await make_member(gateway.database)
    _, first = await open_session(gateway)
    (before,) = await all_sessions(gateway.database)
    moment = now().replace(microsecond=0) + dt.timedelta(days=20)
    later = gateway.at(moment)
    async with later.http_from("10.0.0.9") as http:
        second = await refresh(Client(http, None), first["refreshToken"])
    assert second["userErrors"] == []
    assert second["refreshToken"] != first["refreshToken"]
    assert second["viewer"] == {"email": "ada@example.com"}
    assert second["expiresAt"] == (moment + dt.timedelta(minutes=15)).isoformat()
    (after,) = await all_sessions(gateway.database)
    assert after.id == before.id
    assert after.refresh_token_hash == hashlib.sha256(second["refreshToken"].encode()).hexdigest()
    assert (after.expires_at, after.last_seen_at, after.ip) == (moment + dt.timedelta(days=30), moment, "10.0.0.9")
    assert after.created_at == before.created_at
    sid = jwt.decode(second["accessToken"], SECRET, ["HS256"], audience=AUDIENCE)["sid"]
    assert sid == str(before.id)
    assert await session_events(gateway.database) == [("SessionRefreshed", None)]
    for _ in range(3):
        second = await refresh(gateway.client(), second["refreshToken"])
        assert second["userErrors"] == []


async def test_the_history_of_a_session_and_of_its_user(gateway: Gateway) -> None:
    """The history of the session begins with the sign-in, which also changes `lastLogin` of the user."""
    await make_member(gateway.database)
    client, tokens = await open_session(gateway)
    await refresh(gateway.client(), tokens["refreshToken"])
    document = """{ mySessions { nodes { history { nodes { eventType fields } } } }
        viewer { history { nodes { eventType fields } } } }"""
    assert await client.data(document) == {
        "mySessions": {
            "nodes": [
                {
                    "history": {
                        "nodes": [
                            {"eventType": "SessionRefreshed", "fields": ["expiresAt", "lastSeenAt"]},
                            {"eventType": "SessionStarted", "fields": []},
                        ]
                    }
                }
            ]
        },
        "viewer": {"history": {"nodes": [{"eventType": "UserSignedIn", "fields": ["lastLogin"]}]}},
    }


async def test_a_failed_sign_in_starts_no_session(gateway: Gateway) -> None:
    user = await make_member(gateway.database)
    assert (await sign_in(gateway.client(), password="wrong horse battery"))["userErrors"] != []  # noqa: S106
    async with open_snapshot(gateway.database) as snapshot:
        assert await Users(snapshot).get(user.id) == user
    assert await all_sessions(gateway.database) == []
    assert await event_summaries(gateway.database) == []


async def test_reused_refresh_token_ends_its_session(gateway: Gateway) -> None:
    """The thief is rejected, and the owner, whose token is current, has to sign in again."""
    await make_member(gateway.database)
    _, first = await open_session(gateway)
    _, other = await open_session(gateway)
    second = await refresh(gateway.client(), first["refreshToken"])
    assert await refresh(gateway.client(), first["refreshToken"]) == ENDED
    assert await refresh(gateway.client(), second["refreshToken"]) == ENDED
    assert await refresh(gateway.client(), first["refreshToken"]) == ENDED
    stolen, kept = await all_sessions(gateway.database)
    assert stolen.revoked_at is not None
    assert kept.revoked_at is None
    assert (await refresh(gateway.client(), other["refreshToken"]))["userErrors"] == []
    assert await session_events(gateway.database) == [
        ("SessionStarted", None),
        ("UserSignedIn", None),
        ("SessionRefreshed", None),
        ("SessionRevoked", "reused"),
        ("SessionRefreshed", None),
    ]


async def test_one_of_fifty_concurrent_refreshes_succeeds(gateway: Gateway) -> None:
    """The session ends, because fifty uses of one token mean that several clients have it."""
    await make_member(gateway.database)
    _, first = await open_session(gateway)
    answers = await asyncio.gather(*(refresh(gateway.client(), first["refreshToken"]) for _ in range(50)))
    winners = [answer for answer in answers if not answer["userErrors"]]
    assert len(winners) == 1
    assert [answer for answer in answers if answer["userErrors"]] == [ENDED] * 49
    (session,) = await all_sessions(gateway.database)
    assert session.revoked_at is not None
    assert await refresh(gateway.client(), winners[0]["refreshToken"]) == ENDED
    assert await session_events(gateway.database) == [("SessionRefreshed", None), ("SessionRevoked", "reused")]


async def test_forged_refresh_token_is_rejected(gateway: Gateway) -> None:
    """The error reveals nothing about the session, and the session does not end."""
    user = await make_member(gateway.database)
    access, first = await open_session(gateway)
    (session,) = await all_sessions(gateway.database)
    good = jwt.decode(first["refreshToken"], SECRET, ["HS256"], audience=f"{AUDIENCE}/refresh")

    def forged(key: str = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
        claims = {name: value for name, value in (good | changes).items() if value is not None}
        return jwt.encode(claims, key, algorithm=algorithm)

    for token in (
        forged("another secret of a sufficient length"),
        forged(SECRET * 2, algorithm="HS384"),
        forged(aud=AUDIENCE),
        forged(aud=None),
        forged(jti=None),
        forged(sid="5"),
        forged(sid=None),
        access.headers["Authorization"].removeprefix("Bearer "),
        gateway.token(user),
        first["refreshToken"][:-2],
        "nonsense",
        "",
    ):
        payload = await refresh(gateway.client(), token)
        message = "This is not a refresh token of this gateway."
        assert payload["userErrors"] == [user_error("VALIDATION_ERROR", message, "refreshToken")]
    assert await refresh(gateway.client(), forged(sid=str(new_id()))) == ENDED
    assert await all_sessions(gateway.database) == [session]
    assert (await refresh(gateway.client(), first["refreshToken"]))["userErrors"] == []


async def test_unused_session_expires(gateway: Gateway) -> None:
    await make_member(gateway.database)
    _, first = await open_session(gateway)
    (session,) = await all_sessions(gateway.database)
    for moment in (session.expires_at, session.expires_at + dt.timedelta(days=400)):
        assert await refresh(gateway.at(moment).client(), first["refreshToken"]) == ENDED
    assert await all_sessions(gateway.database) == [session]
    in_time = gateway.at(session.expires_at - dt.timedelta(seconds=1))
    assert (await refresh(in_time.client(), first["refreshToken"]))["userErrors"] == []


@pytest.mark.parametrize(
    "change", [{"status": UserStatus.SUSPENDED}, {"status": UserStatus.DEACTIVATED}, {"deleted_at": now()}]
)
async def test_inactive_user_cannot_refresh(gateway: Gateway, change: dict[str, Any]) -> None:
    """The attempt ends the session, even if nothing else ended it before."""
    user = await make_member(gateway.database)
    _, first = await open_session(gateway)
    async with gateway.database.transaction(SERVICE) as write:
        await Users(write).change(user, **change)
    assert await refresh(gateway.client(), first["refreshToken"]) == ENDED
    (session,) = await all_sessions(gateway.database)
    assert session.revoked_at is not None
    assert await session_events(gateway.database) == [("SessionRevoked", "not_active")]


async def test_refresh_is_rate_limited_by_address(database: Database) -> None:
    """The limit is checked before the token, which stays valid."""
    await make_member(database)
    gateway = Gateway(database, settings=Settings(refreshes_per_address="3 per hour"))
    _, first = await open_session(gateway)
    document = "mutation($t: String!) { refreshSession(input: {refreshToken: $t}) { accessToken } }"
    for code in ([], [], [], ["RATE_LIMITED"]):
        token = "nonsense" if not code else first["refreshToken"]
        answer = await gateway.client().ask(document, t=token)
        assert answer.codes == code
    assert 3000 < answer.errors[0]["extensions"]["retryAfter"] <= 3600
    async with gateway.http_from("10.0.0.2") as http:
        assert (await refresh(Client(http, None), first["refreshToken"]))["userErrors"] == []


async def test_active_sessions_are_listed(gateway: Gateway) -> None:
    """The last used session comes first, and the current one is marked. Other users' sessions are not listed."""
    user = await make_member(gateway.database)
    await make_member(gateway.database, "bob@example.com")
    one, first = await open_session(gateway)
    two, _ = await open_session(gateway)
    await open_session(gateway, "bob@example.com")
    ended, _ = await open_session(gateway)
    await ended.do("signOut", "sessions { id }", everywhere=False)
    stored = [session for session in await all_sessions(gateway.database) if session.user_id == user.id]
    data = (await one.data(MINE))["mySessions"]
    assert data["totalCount"] == 2
    assert [(node["id"], node["isCurrent"]) for node in data["nodes"]] == [
        (gid("Session", stored[1]), False),
        (gid("Session", stored[0]), True),
    ]
    assert data["nodes"][0]["userAgent"].startswith("python-httpx")
    assert data["nodes"][0]["ip"] == "127.0.0.1"
    await refresh(gateway.client(), first["refreshToken"])
    order = [node["id"] for node in (await two.data(MINE))["mySessions"]["nodes"]]
    assert order == [gid("Session", stored[0]), gid("Session", stored[1])]
    late = gateway.at(stored[0].expires_at + dt.timedelta(days=1))
    assert (await late.client(user).data(MINE))["mySessions"]["totalCount"] == 0
    admin = await make_user(gateway.database, email="admin@example.com", role="admin")
    assert (await gateway.client(admin).data(MINE))["mySessions"] == {"totalCount": 0, "nodes": []}


async def test_sessions_are_listed_page_by_page(gateway: Gateway) -> None:
    """The cursor of one request is valid in the next one, although sessions end with time."""
    user = await make_member(gateway.database)
    for _ in range(3):
        client, _ = await open_session(gateway)
    document = """query($after: String) { mySessions(after: $after, first: 1) {
        nodes { id } pageInfo { endCursor hasNextPage hasPreviousPage } } }"""
    found, after = [], None
    for number in (1, 2, 3):
        page = (await client.data(document, after=after))["mySessions"]
        flags = (page["pageInfo"]["hasPreviousPage"], page["pageInfo"]["hasNextPage"])
        assert flags == (number > 1, number < 3)
        found += [node["id"] for node in page["nodes"]]
        after = page["pageInfo"]["endCursor"]
    stored = [session for session in await all_sessions(gateway.database) if session.user_id == user.id]
    assert found == [gid("Session", session) for session in reversed(stored)]


async def test_sign_out_ends_the_current_session(gateway: Gateway) -> None:
    """Its access token is rejected at once. A token without a session has no session to end."""
    user = await make_member(gateway.database)
    client, tokens = await open_session(gateway)
    _, other = await open_session(gateway)
    payload = await client.do("signOut", "sessions { isCurrent revokedAt }", everywhere=False)
    assert payload["userErrors"] == []
    (ended,) = payload["sessions"]
    assert ended["isCurrent"] is True
    assert ended["revokedAt"] is not None
    before = await all_sessions(gateway.database)
    assert await refresh(gateway.client(), tokens["refreshToken"]) == ENDED
    answer = await client.ask("mutation { signOut(input: {everywhere: false}) { sessions { id } } }")
    assert (answer.status, answer.codes) == (401, ["UNAUTHENTICATED"])
    assert (await gateway.client(user).do("signOut", "sessions { id }", everywhere=False))["sessions"] == []
    assert await all_sessions(gateway.database) == before
    assert await session_events(gateway.database) == [
        ("SessionStarted", None),
        ("UserSignedIn", None),
        ("SessionRevoked", "signed_out"),
    ]
    assert (await refresh(gateway.client(), other["refreshToken"]))["userErrors"] == []


async def test_sign_out_everywhere_ends_all_sessions(gateway: Gateway) -> None:
    await make_member(gateway.database)
    await make_member(gateway.database, "bob@example.com")
    _, bobs = await open_session(gateway, "bob@example.com")
    made = [await open_session(gateway) for _ in range(3)]
    payload = await made[0][0].do("signOut", "sessions { id }", everywhere=True)
    assert len(payload["sessions"]) == 3
    for _, tokens in made:
        assert await refresh(gateway.client(), tokens["refreshToken"]) == ENDED
    assert (await refresh(gateway.client(), bobs["refreshToken"]))["userErrors"] == []
    assert [reason for _, reason in await session_events(gateway.database) if reason] == ["signed_out"] * 3


async def test_only_the_owner_and_administrators_can_revoke_a_session(gateway: Gateway) -> None:
    """For other users it is the same as a session that does not exist."""
    await make_member(gateway.database)
    await make_member(gateway.database, "bob@example.com")
    client, tokens = await open_session(gateway)
    bob, _ = await open_session(gateway, "bob@example.com")
    (session, _) = await all_sessions(gateway.database)
    missing = [user_error("NOT_FOUND", "There is no such session.", "id")]
    for key in (gid("Session", session), gid("Session", new_id())):
        payload = await bob.do("revokeSession", "session { id }", id=key)
        assert payload == {"session": None, "userErrors": missing}
    for key in (gid("Session", session), gid("Session", new_id())):
        answer = await bob.ask("query($id: ID!) { node(id: $id) { id ... on Session { ip } } }", id=key)
        assert (answer.data, answer.codes) == ({"node": None}, ["NOT_FOUND"])
    assert (await all_sessions(gateway.database))[0] == session
    payload = await client.do("revokeSession", "session { isCurrent revokedAt }", id=gid("Session", session))
    assert payload["session"]["isCurrent"] is True
    assert payload["session"]["revokedAt"] is not None
    assert await refresh(gateway.client(), tokens["refreshToken"]) == ENDED
    again, _ = await open_session(gateway)
    repeated = await again.do("revokeSession", "session { isCurrent revokedAt }", id=gid("Session", session))
    assert repeated["session"] == {"isCurrent": False, "revokedAt": payload["session"]["revokedAt"]}
    assert [reason for _, reason in await session_events(gateway.database) if reason] == ["revoked"]
    node = await again.data("query($id: ID!) { node(id: $id) { id } }", id=gid("Session", session))
    assert node == {"node": {"id": gid("Session", session)}}


async def test_administrators_revoke_sessions_of_other_users(gateway: Gateway, admin: User) -> None:
    """The event names the administrator. A missing session is NOT_FOUND, and a revoked one stays as it is."""
    ada = await make_member(gateway.database)
    client, tokens = await open_session(gateway)
    await open_session(gateway)
    session, other = await all_sessions(gateway.database)
    revoker = gateway.at(AT).client(admin)
    selection = "session { isCurrent revokedAt user { email } }"
    for moment in (AT, AT + dt.timedelta(minutes=1)):
        payload = await gateway.at(moment).client(admin).do("revokeSession", selection, id=gid("Session", session))
        revoked = {"isCurrent": False, "revokedAt": AT.isoformat(), "user": {"email": "ada@example.com"}}
        assert payload == {"session": revoked, "userErrors": []}
    payload = await revoker.do("revokeSession", selection, id=gid("Session", new_id()))
    missing = [user_error("NOT_FOUND", "There is no such session.", "id")]
    assert payload == {"session": None, "userErrors": missing}
    assert await all_sessions(gateway.database) == [session.replace(revoked_at=AT, updated_at=ANY), other]
    assert (await client.ask("{ viewer { email } }")).status == 401
    assert await refresh(gateway.client(), tokens["refreshToken"]) == ENDED
    data = {
        "owner_id": str(ada.id),
        "reason": "revoked",
        "fields": ["revoked_at"],
        "changes": {"revoked_at": [None, AT.isoformat()]},
    }
    assert (await event_summaries(gateway.database))[4:] == [
        ("SessionRevoked", "session", session.id, admin.id, data),
    ]


SESSIONS = """query($filter: SessionFilter, $scope: Scope) { sessions(filter: $filter, scope: $scope) {
    totalCount nodes { ip } groups(by: USER_ID) { key count } } }"""


async def test_administrators_see_the_sessions_of_all_users(
    gateway: Gateway, ada: User, bob: User, admin: User
) -> None:
    """The most recently used first, in the list and in ``User.sessions``. Other users see their own only."""
    ago, hour = now(), dt.timedelta(hours=1)
    for index, (user, values) in enumerate(
        [(ada, {}), (bob, {"revoked_at": ago}), (admin, {}), (ada, {"expires_at": ago + hour})]
    ):
        await make_session(gateway.database, user, ip=f"10.0.0.{index}", last_seen_at=ago - index * hour, **values)

    async def listed(user: User, **given: Any) -> list[str]:
        found = (await gateway.client(user).data(SESSIONS, **given))["sessions"]
        assert found["totalCount"] == len(found["nodes"]) == sum(group["count"] for group in found["groups"])
        return [node["ip"][-1] for node in found["nodes"]]

    assert await listed(admin) == ["0", "1", "2", "3"]
    assert await listed(admin, scope="MINE") == ["2"]
    assert await listed(admin, filter={"userId": {"eq": gid("User", ada)}}) == ["0", "3"]
    assert await listed(admin, filter={"user": {"email": {"eq": "bob@example.com"}}}) == ["1"]
    assert await listed(admin, filter={"revokedAt": {"isNull": True}}) == ["0", "2", "3"]
    groups = (await gateway.client(admin).data(SESSIONS))["sessions"]["groups"]
    assert groups[0] == {"key": gid("User", ada), "count": 2}
    assert {(group["key"], group["count"]) for group in groups[1:]} == {(gid("User", bob), 1), (gid("User", admin), 1)}
    data = await gateway.client(admin).data(
        "{ users(order: [{field: EMAIL}]) { nodes { sessions { nodes { ip } } } } }"
    )
    found = [[node["ip"][-1] for node in user["sessions"]["nodes"]] for user in data["users"]["nodes"]]
    assert sorted(found) == [["0", "3"], ["1"], ["2"]]
    for scope in ("MINE", "ALL"):
        assert await listed(ada, scope=scope) == ["0", "3"]
        assert await listed(bob, scope=scope) == ["1"]
    assert await listed(ada, filter={"userId": {"eq": gid("User", bob)}}) == []
    data = await gateway.client(ada).data("{ viewer { sessions { totalCount nodes { ip user { email } } } } }")
    assert data["viewer"]["sessions"] == {
        "totalCount": 2,
        "nodes": [{"ip": f"10.0.0.{index}", "user": {"email": "ada@example.com"}} for index in (0, 3)],
    }
    answer = await gateway.client().ask("{ sessions { totalCount } }")
    assert (answer.data, answer.codes) == ({"sessions": None}, ["UNAUTHENTICATED"])


async def test_a_session_of_another_user_is_not_found(gateway: Gateway, ada: User, bob: User, admin: User) -> None:
    session = await make_session(gateway.database, ada, ip="10.0.0.1")
    document = "query($id: ID!) { session(id: $id) { ip user { email } } }"
    for user in (ada, admin):
        data = await gateway.client(user).data(document, id=gid("Session", session))
        assert data == {"session": {"ip": "10.0.0.1", "user": {"email": "ada@example.com"}}}
    for key in (session.id, new_id()):
        answer = await gateway.client(bob).ask(document, id=gid("Session", key))
        assert (answer.data, answer.codes) == ({"session": None}, ["NOT_FOUND"])


async def test_expired_sessions_are_purged(database: Database) -> None:
    """Revoked sessions stay until they expire."""
    user = await make_user(database)
    kept = []
    for index, days in enumerate((-400, -1, 1, 30)):
        for revoked in (None, now()):
            key = new_id()
            async with database.transaction(SERVICE) as write:
                await Sessions(write).add(
                    id=key,
                    user_id=user.id,
                    refresh_token_hash=hashlib.sha256(key.bytes).hexdigest(),
                    expires_at=now() + dt.timedelta(days=days),
                    last_seen_at=now(),
                    revoked_at=revoked,
                )
            if index > 1:
                kept.append(key)
    async with database.transaction(SERVICE) as write:
        assert await Sessions(write).purge_expired(now()) == 4
    async with database.transaction(SERVICE) as write:
        assert await Sessions(write).purge_expired(now()) == 0
    assert {session.id for session in await all_sessions(database)} == set(kept)
    async with open_snapshot(database) as snapshot:
        assert await Sessions(snapshot).count(Sessions.alive_of(user.id, now())) == 2


async def test_one_document_can_sign_in_as_several_users(gateway: Gateway) -> None:
    """Each payload shows its own user, also in fields that need another statement."""
    for email, theme in (("ada@example.com", "DARK"), ("bob@example.com", "LIGHT")):
        client = gateway.client(await make_member(gateway.database, email))
        await client.do("updatePreferences", "userPreferences { theme }", version=1, theme=theme)
    field = (
        'signIn(input: {{email: "{}@example.com", password: "{}"}}) {{ viewer {{ email preferences {{ theme }} }} }}'
    )
    data = await gateway.client().data(
        f"mutation {{ a: {field.format('ada', PASSWORD)} b: {field.format('bob', PASSWORD)} }}"
    )
    assert data == {
        "a": {"viewer": {"email": "ada@example.com", "preferences": {"theme": "DARK"}}},
        "b": {"viewer": {"email": "bob@example.com", "preferences": {"theme": "LIGHT"}}},
    }
    assert (await sign_in(gateway.client()))["userErrors"] == []
