"""Authentication: every invalid Authorization header gets the same response; without one the caller is anonymous."""

import base64
import datetime as dt
import json
from typing import Any

import httpx
import jwt
import pytest

from gateway.auth.tokens import Tokens
from repositories.core.ids import new_id
from repositories.engines.database import Database
from repositories.identity import roles_of
from repositories.permissions import RoleName
from repositories.tables.identity import User
from tests.api.client import AUDIENCE, HOUR, SECRET, Gateway
from tests.api.stored_rows import life_lock_rows
from tests.databases import ON_SQLITE
from tests.repositories.support import open_snapshot

VIEWER = {"query": "{ viewer { email } }"}


def claims(**changes: Any) -> dict[str, Any]:
    """The claims of a valid token. A change to ``...`` omits a claim."""
    valid = {
        "sub": str(new_id()),
        "aud": AUDIENCE,
        "exp": dt.datetime.now(dt.UTC) + dt.timedelta(hours=1),
        "app_metadata": {"roles": ["user"]},
        "zoneinfo": "Europe/Berlin",
    }
    return {name: value for name, value in (valid | changes).items() if value is not ...}


def token(*, key: str = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm=algorithm)


def _make_unsigned() -> str:
    parts = ({"alg": "none", "typ": "JWT"}, claims(exp=4102444800))
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


def _make_tampered() -> str:
    head, _, signature = token().split(".")
    body = base64.urlsafe_b64encode(json.dumps(claims(exp=4102444800)).encode()).decode().rstrip("=")
    return f"{head}.{body}.{signature}"


def invalid_headers() -> dict[str, list[str]]:
    """Invalid Authorization headers, by what is wrong with them."""
    past = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=31)
    tokens = {
        "expired": token(exp=past),
        "signed with another secret": token(key="another secret of a sufficient length"),
        "signed with another algorithm": token(algorithm="HS384", key=SECRET * 2),
        "not signed": _make_unsigned(),
        "changed after it was signed": _make_tampered(),
        "without an expiry": token(exp=...),
        "an expiry that is no number": token(exp="tomorrow"),
        "for another audience": token(aud="another"),
        "for several audiences": token(aud=[AUDIENCE, "another"]),
        "without an audience": token(aud=...),
        "without a subject": token(sub=...),
        "a subject that is no id": token(sub="ada"),
        "a role that does not exist": token(app_metadata={"roles": ["emperor"]}),
        "roles that are no list": token(app_metadata={"roles": 5}),
        "metadata that is no object": token(app_metadata="admin"),
        "a zone that is no text": token(zoneinfo=5),
        "not valid yet": token(nbf=dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)),
        "a session that is no id": token(sid="5"),
        "a refresh token": Tokens(SECRET, AUDIENCE).issue_refresh(new_id(), dt.datetime.now(dt.UTC) + dt.timedelta(1)),
        "no token at all": "nonsense",
        "nothing": "",
    }
    return {name: [f"Bearer {each}"] for name, each in tokens.items()} | {
        "empty": [""],
        "another scheme": [f"Basic {base64.b64encode(b'ada:secret').decode()}"],
        "no scheme": [token()],
        "two headers": [f"Bearer {token()}", f"Bearer {token()}"],
        "two tokens": [f"Bearer {token()} {token()}"],
        "not ASCII": ["Bearer \xff\xfe"],
    }


def _headers(values: list[str]) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", value.encode("latin-1")) for value in values]


@ON_SQLITE
async def test_all_invalid_headers_get_the_same_response(gateway: Gateway) -> None:
    """Byte for byte, so that it does not reveal which part was valid."""
    answers = {}
    for name, values in invalid_headers().items():
        for method in ("POST", "GET"):
            given = [*_headers(values), (b"x-request-id", b"same")]
            response = await gateway.http.request(method, "/graphql", json=VIEWER, headers=given)
            answers[f"{name} {method}"] = (response.status_code, dict(response.headers), response.content)
    (status, headers, body) = answers["expired POST"]
    assert {name: answer for name, answer in answers.items() if answer != (status, headers, body)} == {}
    assert (status, headers["www-authenticate"]) == (401, "Bearer")
    assert headers["content-type"] == "application/json; charset=utf-8"
    message = "The Authorization header is not valid. Send `Bearer` and a current token, or no header at all."
    assert json.loads(body) == {"errors": [{"message": message, "extensions": {"code": "UNAUTHENTICATED"}}]}


@ON_SQLITE
async def test_a_mutation_with_an_invalid_header_changes_nothing(gateway: Gateway) -> None:
    document = 'mutation { createTask(input: {title: "x"}) { task { id } } }'
    for values in invalid_headers().values():
        response = await gateway.http.post("/graphql", json={"query": document}, headers=_headers(values))
        assert response.status_code == 401
    assert await life_lock_rows(gateway.database) == [[], [], [], []]


async def test_a_valid_token_identifies_the_viewer(gateway: Gateway, ada: User) -> None:
    """The scheme is case-insensitive, and other claims are ignored."""
    for scheme in ("Bearer", "bearer", "BEARER"):
        header = {"Authorization": f"{scheme} {token(sub=str(ada.id), iat=0, jti='x', role='authenticated')}"}
        response = await gateway.http.post("/graphql", json=VIEWER, headers=header)
        assert response.json() == {"data": {"viewer": {"email": "ada@example.com"}}}


@ON_SQLITE
async def test_a_caller_without_a_header_is_anonymous(gateway: Gateway) -> None:
    assert (await gateway.client().data("{ viewer { email } }")) == {"viewer": None}


async def test_the_viewer_has_all_fields_of_the_account_except_secrets(gateway: Gateway, ada: User) -> None:
    document = """{ viewer { id databaseId email firstName lastName role status emailVerified avatarUrl timeZone locale
        lastLogin version createdAt updatedAt } __type(name: "User") { fields { name } } }"""
    data = await gateway.client(ada).data(document)
    assert data["viewer"] == {
        "id": gid_of(ada),
        "databaseId": str(ada.id),
        "email": "ada@example.com",
        "firstName": "Ada",
        "lastName": "Byron",
        "role": "USER",
        "status": "ACTIVE",
        "emailVerified": False,
        "avatarUrl": None,
        "timeZone": "UTC",
        "locale": "en",
        "lastLogin": None,
        "version": 1,
        "createdAt": ada.created_at.isoformat(),
        "updatedAt": ada.updated_at.isoformat(),
    }
    names = {field["name"] for field in data["__type"]["fields"]}
    assert names.isdisjoint({"passwordHash", "stripeCustomerId"})
    assert names == set(data["viewer"]) | {
        *("phone", "preferences", "roles", "usage", "sessions", "deletedAt", "history")
    }


def gid_of(user: User) -> str:
    """The user's global id, computed independently of the implementation."""
    return base64.b64encode(f"User:{user.id}".encode()).decode()


async def test_a_valid_token_without_an_account_sees_no_rows(gateway: Gateway) -> None:
    """The viewer is signed in, but has neither an account nor rows."""
    header = {"Authorization": f"Bearer {token(zoneinfo=...)}"}
    body = {"query": "{ viewer { email } tasks { totalCount } lifeLockDashboard { totalTasks } }"}
    response = (await gateway.http.post("/graphql", json=body, headers=header)).json()
    assert response["data"] == {"viewer": None, "tasks": {"totalCount": 0}, "lifeLockDashboard": None}
    (error,) = response["errors"]
    assert (error["message"], error["extensions"]["code"]) == ("There is no such user.", "NOT_FOUND")


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
async def test_the_time_zone_is_the_accounts_if_the_token_has_none(gateway: Gateway, ada: User, zone: str) -> None:
    header = {"Authorization": f"Bearer {token(sub=str(ada.id), zoneinfo=...)}"}
    moment = dt.datetime(2026, 6, 15, 10, 30, tzinfo=dt.UTC)
    body = {
        "query": "query($z: String) { lifeLockDashboard(timeZone: $z) { weeklyProgress { date } } }",
        "variables": {},
    }
    http = gateway.at(moment).http
    assert (await http.post("/graphql", json=body, headers=header)).json()["data"]["lifeLockDashboard"][
        "weeklyProgress"
    ][-1] == {"date": "2026-06-15"}
    body["variables"] = {"z": zone}
    date = "2026-06-16" if zone == "Pacific/Kiritimati" else "2026-06-14"
    assert (await http.post("/graphql", json=body, headers=header)).json()["data"]["lifeLockDashboard"][
        "weeklyProgress"
    ][-1] == {"date": date}


async def test_an_issued_token_contains_the_roles_of_the_account(database: Database, ada: User, admin: User) -> None:
    tokens = Tokens(SECRET, AUDIENCE)
    for user, roles in ((ada, frozenset({RoleName.USER})), (admin, frozenset({RoleName.USER, RoleName.ADMIN}))):
        async with open_snapshot(database) as snapshot:
            assert await roles_of(snapshot, user) == roles
        viewer = tokens.verify(tokens.issue(user.replace(time_zone="Europe/Vienna"), roles, HOUR)).viewer
        assert (viewer.id, viewer.roles) == (user.id, roles)
        assert (viewer.time_zone, viewer.is_service) == ("Europe/Vienna", False)
        with pytest.raises(jwt.InvalidAudienceError):
            Tokens(SECRET, "another audience").verify(tokens.issue(user, roles, HOUR))
        with pytest.raises(jwt.ExpiredSignatureError):
            tokens.verify(tokens.issue(user, roles, -31))


async def test_a_token_with_another_role_has_the_user_role_too(gateway: Gateway, ada: User) -> None:
    manager_token = token(sub=str(ada.id), app_metadata={"roles": ["partnership_manager"]})
    response = await gateway.http.post(
        "/graphql",
        json={"query": "{ tasks { totalCount } userDashboardStats { totalCount } }"},
        headers={"Authorization": f"Bearer {manager_token}"},
    )
    assert isinstance(response, httpx.Response)
    assert response.json()["data"] == {"tasks": {"totalCount": 0}, "userDashboardStats": None}
