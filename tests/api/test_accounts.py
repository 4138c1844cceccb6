"""Signing up and signing in: valid and invalid attempts, rate limits, and error messages that reveal nothing."""

import asyncio
import datetime as dt
from typing import Any

import jwt
import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import VerifyMismatchError

from gateway.settings import Settings
from repositories.core.clock import now
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.identity import Users
from repositories.tables.identity import User, UserStatus
from resolvers.identity.accounts import ARGON2ID, Passwords
from tests.api.client import AUDIENCE, SECRET, Gateway, user_error
from tests.api.people import CHEAP, PASSWORD, TOKENS, all_sessions, make_member, open_session, sign_in
from tests.api.stored_rows import event_summaries
from tests.factories import make_user
from tests.repositories.support import open_snapshot

NEW = {"email": " Ada@Example.COM ", "password": PASSWORD, "firstName": "Ada", "lastName": "Byron"}
WRONG = {
    "accessToken": None,
    "refreshToken": None,
    "expiresAt": None,
    "viewer": None,
    "userErrors": [user_error("VALIDATION_ERROR", "The e-mail address or the password is wrong.")],
}


async def stored_user(database: Database, user: User) -> User:
    """The account as it is in the database."""
    async with open_snapshot(database) as snapshot:
        return await Users(snapshot).get(user.id)


@pytest.fixture
def verifications(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The parameters of each hash with which a password is compared."""
    seen: list[str] = []
    verify = PasswordHasher.verify

    def counting(self: PasswordHasher, stored_hash: str, password: str) -> Any:
        seen.append(stored_hash.rpartition("$")[0].rpartition("$")[0])
        return verify(self, stored_hash, password)

    monkeypatch.setattr(PasswordHasher, "verify", counting)
    return seen


async def test_sign_up_signs_in(gateway: Gateway) -> None:
    """The rest of the response is that of the new user. The password is stored as an argon2id hash."""
    moment = dt.datetime.now(dt.UTC).replace(microsecond=0)
    shown = "email firstName timeZone locale lastLogin role preferences { theme }"
    selection = f"accessToken refreshToken expiresAt viewer {{ {shown} }}"
    payload = await gateway.at(moment).client().do("signUp", selection, **NEW, timeZone="Europe/Vienna", locale="de-AT")
    assert payload["userErrors"] == []
    assert payload["expiresAt"] == (moment + dt.timedelta(minutes=15)).isoformat()
    assert payload["viewer"] == {
        "email": "ada@example.com",
        "firstName": "Ada",
        "timeZone": "Europe/Vienna",
        "locale": "de-AT",
        "lastLogin": moment.isoformat(),
        "role": "USER",
        "preferences": {"theme": "SYSTEM"},
    }
    (session,) = await all_sessions(gateway.database)
    claims = jwt.decode(payload["accessToken"], SECRET, ["HS256"], audience=AUDIENCE)
    assert claims["sub"] == str(session.user_id)
    assert claims["sid"] == str(session.id)
    assert claims["app_metadata"] == {"roles": ["user"]}
    assert claims["zoneinfo"] == "Europe/Vienna"
    assert claims["exp"] - claims["iat"] == 900
    assert session.expires_at == moment + dt.timedelta(days=30)
    assert session.ip == "127.0.0.1"
    assert session.user_agent is not None
    assert session.user_agent.startswith("python-httpx")
    async with open_snapshot(gateway.database) as snapshot:
        user = await Users(snapshot).get(session.user_id)
    assert user.password_hash is not None
    assert user.password_hash.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert [event[:4] for event in await event_summaries(gateway.database)] == [
        ("UserSignedUp", "user", user.id, user.id),
        ("SessionStarted", "session", session.id, user.id),
        ("UserSignedIn", "user", user.id, user.id),
    ]
    assert "ada@" not in str([event[4] for event in await event_summaries(gateway.database)]).lower()


async def test_email_is_unique_regardless_of_case(gateway: Gateway) -> None:
    await make_member(gateway.database)
    payload = await gateway.client().do("signUp", TOKENS, **NEW)
    message = "There is already an account with this e-mail address."
    assert payload["userErrors"] == [user_error("CONFLICT", message, "email")]
    assert (payload["accessToken"], payload["viewer"]) == (None, None)
    assert await all_sessions(gateway.database) == []
    assert await event_summaries(gateway.database) == []


async def test_all_mistakes_of_a_sign_up_are_reported(gateway: Gateway) -> None:
    short = "This must have at least 10 characters."
    long = "This must have at most 128 characters."
    name = "This must have at least 2 characters."
    pattern = "A locale is a language, and a region if it matters, such as en or de-AT."
    same = "The password must not be the e-mail address."
    cases: list[tuple[dict[str, Any], dict[str, str]]] = [
        ({"email": "nobody"}, {"email": "This is not an e-mail address."}),
        ({"email": "x" * 250 + "@example.com"}, {"email": "This must have at most 254 characters."}),
        ({"email": "a\0@example.com"}, {"email": "Text must not contain NUL or half of a surrogate pair."}),
        ({"password": "123456789"}, {"password": short}),
        ({"password": "x" * 129}, {"password": long}),
        ({"password": "ADA@example.com"}, {"password": same}),
        (
            {"password": "correct\0horse battery"},
            {"password": "Text must not contain NUL or half of a surrogate pair."},
        ),
        (
            {"firstName": " A ", "lastName": "x" * 51, "locale": "German", "timeZone": "Mars/Olympus"},
            {
                "firstName": name,
                "lastName": "This must have at most 50 characters.",
                "locale": pattern,
                "timeZone": "This is not a time zone; use an IANA name such as Europe/Berlin.",
            },
        ),
    ]
    for change, mistakes in cases:
        payload = await gateway.client().do("signUp", TOKENS, **NEW | change)
        found = {error["field"][0]: error["message"] for error in payload["userErrors"]}
        assert found == mistakes, change
        assert {error["code"] for error in payload["userErrors"]} == {"VALIDATION_ERROR"}
    assert await event_summaries(gateway.database) == []


@pytest.mark.parametrize("field", ["role", "status", "emailVerified", "id", "passwordHash"])
async def test_other_columns_cannot_be_set_at_sign_up(gateway: Gateway, field: str) -> None:
    document = "mutation($input: SignUpInput!) { signUp(input: $input) { accessToken } }"
    answer = await gateway.client().ask(document, input=NEW | {field: "ADMIN"})
    assert answer.codes == ["GRAPHQL_VALIDATION_FAILED"]
    assert await event_summaries(gateway.database) == []


async def test_sign_in(gateway: Gateway) -> None:
    """Accepts the e-mail address in any case, and any Unicode form of the password. Each sign-in starts a session."""
    user = await make_user(gateway.database, email="ada@example.com", password_hash=CHEAP.hash("Ä long password"))
    for email, password in (("ada@example.com", "Ä long password"), (" ADA@example.com", "A\u0308 long password")):
        payload = await sign_in(gateway.client(), email, password)
        assert payload["userErrors"] == []
        client = gateway.client_with_token(payload["accessToken"])
        assert await client.data("{ viewer { email } }") == {"viewer": {"email": "ada@example.com"}}
    found = await stored_user(gateway.database, user)
    assert found.last_login is not None
    assert found.last_login >= user.created_at
    assert found.version == user.version
    assert len({session.id for session in await all_sessions(gateway.database)}) == 2
    assert [event[0] for event in await event_summaries(gateway.database)] == [*["SessionStarted", "UserSignedIn"] * 2]


async def test_failed_sign_in_does_not_reveal_the_reason(gateway: Gateway, verifications: list[str]) -> None:
    """The response is the same for every reason, and one hash of the same cost is verified."""
    database = gateway.database
    hashed = ARGON2ID.hash(PASSWORD)
    await make_user(database, email="ada@example.com", password_hash=hashed)
    await make_user(database, email="outside@example.com")
    for status in (UserStatus.SUSPENDED, UserStatus.DEACTIVATED):
        await make_user(database, email=f"{status}@example.com", password_hash=hashed, status=status)
    await make_user(database, email="deleted@example.com", password_hash=hashed, deleted_at=now())
    await make_user(database, email="broken@example.com", password_hash="no hash at all")  # noqa: S106
    cases = {
        "ada@example.com": PASSWORD + "!",
        "nobody@example.com": PASSWORD,
        "outside@example.com": "the password of an account that does not exist",
        "suspended@example.com": PASSWORD,
        "deactivated@example.com": PASSWORD,
        "deleted@example.com": PASSWORD,
        "broken@example.com": PASSWORD,
        "no address": "",
    }
    client = gateway.client()
    for email, password in cases.items():
        verifications.clear()
        assert await sign_in(client, email, password) == WRONG, email
        assert len(verifications) == 1, email
        if email != "broken@example.com":
            assert verifications == ["$argon2id$v=19$m=65536,t=3,p=4"], email
    assert await all_sessions(database) == []
    assert await event_summaries(database) == []


def test_unknown_account_costs_a_whole_verification() -> None:
    """An invalid hash would be rejected before anything is computed, with another exception."""
    with pytest.raises(VerifyMismatchError):
        ARGON2ID.verify(Passwords()._nobody, PASSWORD)


async def test_outdated_hash_is_renewed(gateway: Gateway) -> None:
    user = await make_member(gateway.database)
    assert user.password_hash is not None
    await sign_in(gateway.client(), password="another password")  # noqa: S106
    assert (await stored_user(gateway.database, user)).password_hash == user.password_hash
    await open_session(gateway)
    renewed = (await stored_user(gateway.database, user)).password_hash
    assert renewed is not None
    assert extract_parameters(renewed) == extract_parameters(ARGON2ID.hash("x"))
    await open_session(gateway)
    assert (await stored_user(gateway.database, user)).password_hash == renewed


@pytest.mark.parametrize("change", ["status", "password_hash"])
async def test_account_that_changes_during_sign_in_is_rejected(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """It is suspended, or gets another password, between the verification of the password and the sign-in."""
    user = await make_member(gateway.database)
    values: dict[str, Any] = {"status": UserStatus.SUSPENDED, "password_hash": CHEAP.hash("another password")}
    loop = asyncio.get_running_loop()
    verify = PasswordHasher.verify

    async def meanwhile() -> None:
        async with gateway.database.transaction(SERVICE) as write:
            await Users(write).change(user, **{change: values[change]})

    def verify_slowly(self: PasswordHasher, stored_hash: str, password: str) -> Any:
        is_right = verify(self, stored_hash, password)
        asyncio.run_coroutine_threadsafe(meanwhile(), loop).result()
        return is_right

    monkeypatch.setattr(PasswordHasher, "verify", verify_slowly)
    assert await sign_in(gateway.client()) == WRONG
    assert await all_sessions(gateway.database) == []


def limited_gateway(database: Database, **limits: Any) -> Gateway:
    return Gateway(database, settings=Settings(**limits))


async def try_sign_in(gateway: Gateway, email: str, password: str, address: str = "127.0.0.1", **headers: str) -> Any:
    """Sends a sign-in and returns the response, whether it succeeds or not."""
    document = "mutation($input: SignInInput!) { signIn(input: $input) { accessToken userErrors { code } } }"
    body = {"query": document, "variables": {"input": {"email": email, "password": password}}}
    async with gateway.http_from(address) as http:
        return (await http.post("/graphql", json=body, headers=headers)).json()


def is_limited(answer: Any) -> bool:
    """Whether the response is a rate limit error."""
    if "errors" not in answer:
        return False
    (error,) = answer["errors"]
    assert error["extensions"]["code"] == "RATE_LIMITED"
    assert 1 <= error["extensions"]["retryAfter"] <= 900
    assert (
        error["message"] == f"There were too many attempts. Try again in {error['extensions']['retryAfter']} seconds."
    )
    assert answer["data"] == {"signIn": None}
    return True


@pytest.mark.usefixtures("cheap_passwords")
@pytest.mark.parametrize("email", ["ada@example.com", "nobody@example.com"])
async def test_password_attempts_per_account_are_limited(
    database: Database, verifications: list[str], email: str
) -> None:
    """Attempts from all addresses count, concurrent or not. Beyond the limit no password is verified."""
    await make_member(database)
    gateway = limited_gateway(database, password_attempts_per_account="5 per 15 minutes")  # noqa: S106
    tries = [try_sign_in(gateway, email, f"guess number {index}", f"10.0.0.{index}") for index in range(20)]
    answers = await asyncio.gather(*tries)
    assert sum(map(is_limited, answers)) == 15
    assert is_limited(await try_sign_in(gateway, email.upper(), PASSWORD))
    assert len(verifications) == 5
    await make_member(database, "bob@example.com")
    assert not is_limited(await try_sign_in(gateway, "bob@example.com", PASSWORD))


@pytest.mark.usefixtures("cheap_passwords")
@pytest.mark.parametrize("limit", ["password_attempts_per_account", "password_attempts_per_client"])
async def test_successful_sign_in_resets_the_limit_of_the_account(database: Database, limit: str) -> None:
    await make_member(database)
    gateway = limited_gateway(database, **{limit: "3 per 15 minutes"})
    for _ in range(3):
        for password in ("wrong password", "wrong password", PASSWORD):
            answer = await try_sign_in(gateway, "ada@example.com", password)
            assert not is_limited(answer)
        assert answer["data"]["signIn"]["accessToken"]


@pytest.mark.usefixtures("cheap_passwords")
async def test_sign_ins_per_address_are_limited(database: Database, verifications: list[str]) -> None:
    """Sign-ins to all accounts count, and use up no attempts of the accounts. The client cannot choose its address."""
    await make_member(database)
    gateway = limited_gateway(
        database,
        sign_ins_per_address="3 per 15 minutes",
        password_attempts_per_account="1 per 15 minutes",  # noqa: S106
    )
    for index in range(3):
        assert not is_limited(await try_sign_in(gateway, f"{index}@example.com", "guess", "10.0.0.1"))
    for claimed in ("10.0.0.2", "10.0.0.3"):
        header = {"X-Forwarded-For": claimed}
        assert is_limited(await try_sign_in(gateway, "ada@example.com", PASSWORD, "10.0.0.1", **header))
    assert len(verifications) == 3
    assert not is_limited(await try_sign_in(gateway, "ada@example.com", PASSWORD, "10.0.0.4"))


@pytest.mark.usefixtures("cheap_passwords")
async def test_forwarded_address_of_a_trusted_proxy_is_used(database: Database) -> None:
    """The client's address is the last one that is not a trusted proxy."""
    await make_member(database)
    gateway = Gateway(database, settings=Settings(trusted_proxies="10.0.0.0/8, 192.168.0.1"))
    for peer, forwarded, address in (
        ("10.1.2.3", "203.0.113.9, 198.51.100.7, 192.168.0.1", "198.51.100.7"),
        ("10.1.2.3", "2001:db8::1", "2001:db8::1"),
        ("172.16.0.1", "203.0.113.9", "172.16.0.1"),
    ):
        answer = await try_sign_in(gateway, "ada@example.com", PASSWORD, peer, **{"X-Forwarded-For": forwarded})
        assert answer["data"]["signIn"]["accessToken"]
        assert (await all_sessions(database))[-1].ip == address


@pytest.mark.usefixtures("cheap_passwords")
async def test_sign_ups_per_address_are_limited(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit no password is hashed."""
    hashed: list[str] = []
    hash_password = PasswordHasher.hash

    def counting(self: PasswordHasher, password: str) -> str:
        hashed.append(password)
        return hash_password(self, password)

    gateway = limited_gateway(database, sign_ups_per_address="2 per hour")
    monkeypatch.setattr(PasswordHasher, "hash", counting)
    document = "mutation($input: SignUpInput!) { signUp(input: $input) { userErrors { code } } }"
    inputs = [NEW | {"email": f"{index}@example.com"} for index in range(6)]
    answers = await asyncio.gather(*(gateway.client().ask(document, input=each) for each in inputs))
    assert sorted(answer.codes for answer in answers) == [[], [], *[["RATE_LIMITED"]] * 4]
    assert len(hashed) == 2


@pytest.mark.usefixtures("cheap_passwords")
async def test_no_connection_is_held_while_a_password_is_hashed(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No reading connection is held, and on SQLite not the only writing one, so other writes go on."""
    await make_member(gateway.database)
    loop = asyncio.get_running_loop()
    verify = PasswordHasher.verify
    made: list[User] = []

    def verify_slowly(self: PasswordHasher, stored_hash: str, password: str) -> Any:
        assert gateway.database.pool_state().used == 0
        made.append(asyncio.run_coroutine_threadsafe(make_user(gateway.database), loop).result())
        return verify(self, stored_hash, password)

    client, _ = await open_session(gateway)
    monkeypatch.setattr(PasswordHasher, "verify", verify_slowly)
    await open_session(gateway)
    for mutation, given in (
        ("changePassword", {"currentPassword": "wrong", "newPassword": "a new password"}),
        ("deactivateAccount", {"password": "wrong"}),
    ):
        payload = await client.do(mutation, "user { id }", **given)
        assert [error["message"] for error in payload["userErrors"]] == ["This is not your password."]
    assert len(made) == 3
