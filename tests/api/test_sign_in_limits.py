"""Limits on password attempts: guesses of other people do not lock the owner of an account out."""

import datetime as dt
from typing import Any

import httpx
import jwt
import pytest

from gateway.auth.tokens import Tokens
from gateway.settings import Settings
from repositories.account_messages import AccountTokens
from repositories.aggregates.unit_of_work import open_unit_of_work
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.tables.identity import TokenPurpose
from resolvers.services.client_addresses import client_network
from tests.api.client import AUDIENCE, SECRET, Client, Gateway
from tests.api.people import CHEAP, PASSWORD, make_member, open_session
from tests.api.test_accounts import is_limited

pytestmark = pytest.mark.usefixtures("cheap_passwords")

GUESS = "a wrong password"
NEW_PASSWORD = "a completely new password"  # noqa: S105 (used only in tests)
SENT = "a token that was sent by e-mail, forty characters"
OWNER, ATTACKER = "198.51.100.7", "203.0.113.9"


def limited_gateway(database: Database, *, client: int = 10, account: int = 100, **settings: Any) -> Gateway:
    """A gateway that allows this many attempts in 15 minutes, for one client and for one account."""
    limits = {
        "password_attempts_per_client": f"{client} per 15 minutes",
        "password_attempts_per_account": f"{account} per 15 minutes",
    }
    return Gateway(database, settings=Settings(**limits | settings))


async def attempt(
    gateway: Gateway,
    address: str,
    password: str = PASSWORD,
    *,
    email: str = "ada@example.com",
    device: str | None = None,
) -> Any:
    """Signs in from an address; returns the payload, or None if the attempt is rejected because of a limit."""
    selection = "accessToken deviceToken userErrors { message }"
    document = f"mutation($input: SignInInput!) {{ signIn(input: $input) {{ {selection} }} }}"
    given = {"email": email, "password": password} | ({"deviceToken": device} if device is not None else {})
    async with gateway.http_from(address) as http:
        answer = await http.post("/graphql", json={"query": document, "variables": {"input": given}})
    return None if is_limited(answer.json()) else answer.json()["data"]["signIn"]


async def is_signed_in(*arguments: Any, **options: Any) -> bool:
    payload = await attempt(*arguments, **options)
    return payload is not None and payload["accessToken"] is not None


async def test_guesses_from_one_address_do_not_lock_the_owner_out(database: Database) -> None:
    """With the default limits: ten guesses use up the attempts of that address for that account only."""
    await make_member(database)
    await make_member(database, "bob@example.com")
    gateway = Gateway(database)
    client, _ = await open_session(gateway)
    results = [await attempt(gateway, ATTACKER, GUESS) for _ in range(15)]
    assert [result is None for result in results] == [False] * 10 + [True] * 5
    assert await attempt(gateway, ATTACKER, PASSWORD) is None
    assert await is_signed_in(gateway, OWNER)
    assert await is_signed_in(gateway, ATTACKER, email="bob@example.com")
    payload = await client.do("changePassword", "user { id }", currentPassword=PASSWORD, newPassword="another password")
    assert payload["userErrors"] == []
    payload = await client.do("deactivateAccount", "user { id }", password="another password")  # noqa: S106
    assert payload["userErrors"] == []


async def test_guesses_from_many_addresses_are_limited_per_account(database: Database) -> None:
    """An address whose attempts are used up uses up none of the account's."""
    await make_member(database)
    gateway = limited_gateway(database, client=2, account=5)
    results = [await attempt(gateway, f"203.0.113.{index % 2}", GUESS) for index in range(20)]
    assert [result is None for result in results] == [False] * 4 + [True] * 16
    assert await attempt(gateway, "203.0.113.2", GUESS) is not None
    assert await attempt(gateway, "203.0.113.3", GUESS) is None
    assert await attempt(gateway, OWNER) is None


async def test_a_known_device_signs_in_while_the_account_is_locked(database: Database) -> None:
    """From any address, also from that of the attacker. The device has a limit of its own."""
    await make_member(database)
    gateway = limited_gateway(database, client=3, account=5)
    known = await attempt(gateway, OWNER)
    for index in range(8):
        await attempt(gateway, f"203.0.113.{index}", GUESS)
    assert await attempt(gateway, OWNER) is None
    assert await is_signed_in(gateway, OWNER, device=known["deviceToken"])
    assert await is_signed_in(gateway, "203.0.113.0", device=known["deviceToken"])
    assert await attempt(gateway, OWNER) is None
    results = [await attempt(gateway, OWNER, GUESS, device=known["deviceToken"]) for _ in range(5)]
    assert [result is None for result in results] == [False] * 3 + [True] * 2
    assert await attempt(gateway, OWNER, device=known["deviceToken"]) is None


async def test_every_payload_with_tokens_has_a_device_token(database: Database) -> None:
    gateway = limited_gateway(database, account=1)
    new = {"email": "ada@example.com", "password": PASSWORD, "firstName": "Ada", "lastName": "Byron"}
    selection = "deviceToken refreshToken"
    first = await gateway.client().do("signUp", selection, **new)
    second = await gateway.client().do("refreshSession", selection, refreshToken=first["refreshToken"])
    for _ in range(2):
        await attempt(gateway, ATTACKER, GUESS)
    for payload in (first, second):
        assert await is_signed_in(gateway, OWNER, device=payload["deviceToken"])


async def test_other_tokens_do_not_exempt_from_the_limit(database: Database) -> None:
    """Those of another account, expired ones, and tokens for other purposes. They are no error either."""
    ada = await make_member(database)
    bob = await make_member(database, "bob@example.com")
    gateway = limited_gateway(database, account=3)
    tokens, (_, session) = gateway.tokens, await open_session(gateway, "bob@example.com")
    tomorrow = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    valid = tokens.issue_device(ada)
    claims = jwt.decode(valid, SECRET, algorithms=["HS256"], audience=f"{AUDIENCE}/device") | {"exp": tomorrow}
    useless = {
        "another account's": tokens.issue_device(bob),
        "expired": jwt.encode(claims | {"exp": tomorrow - dt.timedelta(days=2)}, SECRET),
        "another audience": jwt.encode(claims | {"aud": AUDIENCE}, SECRET),
        "several audiences": jwt.encode(claims | {"aud": [f"{AUDIENCE}/device", AUDIENCE]}, SECRET),
        "another key": Tokens("another secret of a sufficient length", AUDIENCE).issue_device(ada),
        "without an id": jwt.encode({name: value for name, value in claims.items() if name != "jti"}, SECRET),
        "without a key": jwt.encode({name: value for name, value in claims.items() if name != "key"}, SECRET),
        "another password's": tokens.issue_device(ada.replace(password_hash=CHEAP.hash("another"))),
        "an access token": gateway.token(ada),
        "a refresh token": session["refreshToken"],
        "a text": "x",
        "an empty text": "",
    }
    for index in range(3):
        await attempt(gateway, f"203.0.113.{index}", GUESS)
    for name, token in useless.items():
        assert await attempt(gateway, OWNER, device=token) is None, name
        assert await is_signed_in(gateway, OWNER, email="bob@example.com", device=token), name
    assert await is_signed_in(gateway, OWNER, device=jwt.encode(claims, SECRET))


@pytest.mark.parametrize("is_reset", [False, True])
async def test_devices_are_forgotten_when_the_password_changes(database: Database, *, is_reset: bool) -> None:
    """A device that someone used with a stolen password counts like any other afterwards."""
    user = await make_member(database)
    gateway = limited_gateway(database, account=2)
    client, session = await open_session(gateway)
    stolen = (await attempt(gateway, ATTACKER))["deviceToken"]
    if is_reset:
        async with open_unit_of_work(database, SERVICE, ()) as work:
            times = {"requested_at": work.now, "expires_at": work.now + dt.timedelta(hours=1)}
            tokens = work.repository(AccountTokens)
            assert await tokens.replace(new_id(), TokenPurpose.RESET_PASSWORD, user.id, user.email, SENT, **times)
        changed = await gateway.client().do("resetPassword", "email", token=SENT, newPassword=NEW_PASSWORD)
    else:
        changed = await client.do("changePassword", "user { id }", currentPassword=PASSWORD, newPassword=NEW_PASSWORD)
    assert changed["userErrors"] == []
    for index in range(2):
        await attempt(gateway, f"203.0.113.{index}", GUESS)
    assert await attempt(gateway, OWNER, NEW_PASSWORD, device=stolen) is None
    if not is_reset:
        renewed = await client.do("refreshSession", "deviceToken", refreshToken=session["refreshToken"])
        assert await is_signed_in(gateway, OWNER, NEW_PASSWORD, device=renewed["deviceToken"])


async def test_a_device_token_gives_no_access(gateway: Gateway, database: Database) -> None:
    user = await make_member(database)
    token = gateway.tokens.issue_device(user)
    assert (await gateway.client_with_token(token).ask("{ viewer { id } }")).codes == ["UNAUTHENTICATED"]
    payload = await gateway.client().do("refreshSession", "accessToken", refreshToken=token)
    assert [error["code"] for error in payload["userErrors"]] == ["VALIDATION_ERROR"]
    assert gateway.tokens.device_of(token, user.replace(id=new_id())) is None


@pytest.mark.parametrize(
    ("address", "network"),
    [
        (None, None),
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("::FFFF:CB00:7109", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("a name", "a name"),
        ("", ""),
    ],
)
def test_an_address_counts_as_its_network(address: str | None, network: str | None) -> None:
    assert client_network(address) == network


@pytest.mark.parametrize(
    ("first", "same", "other"),
    [
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", "2001:db8:0:1::1"),
        ("::ffff:203.0.113.9", "203.0.113.9", "::ffff:203.0.113.10"),
    ],
)
async def test_limits_count_networks(database: Database, first: str, same: str, other: str) -> None:
    """Attempts for an account, sign-ins, sign-ups, refreshes, and the cost of anonymous operations."""
    await make_member(database)
    gateway = limited_gateway(database, client=1)
    assert await attempt(gateway, first, GUESS) is not None
    assert await attempt(gateway, same) is None
    assert await is_signed_in(gateway, other)
    limits: Any = {"sign_ins_per_address": "1 per hour", "sign_ups_per_address": "1 per hour"}
    gateway = limited_gateway(database, **limits, refreshes_per_address="1 per hour", cost_per_minute=1000)
    operations = {
        "signIn": {"email": "x@example.com", "password": ""},
        "signUp": {"email": "ada@example.com", "password": PASSWORD, "firstName": "Ada", "lastName": "Byron"},
        "refreshSession": {"refreshToken": "x"},
    }
    for name, given in operations.items():
        kind = name[0].upper() + name[1:]
        document = f"mutation($input: {kind}Input!) {{ {name}(input: $input) {{ userErrors {{ code }} }} }}"
        answers = {address: await _ask(gateway, address, document, given) for address in (first, same, other)}
        assert [answer.get("errors", [{}])[0].get("extensions", {}).get("code") for answer in answers.values()] == [
            None,
            "RATE_LIMITED",
            None,
        ], name
    before = {address: await _remaining_budget(gateway, address) for address in (same, other)}
    await _remaining_budget(gateway, first)
    after = {address: await _remaining_budget(gateway, address) for address in (same, other)}
    assert {address: before[address] - after[address] for address in before} == {same: 2, other: 1}


async def _ask(gateway: Gateway, address: str, document: str, given: dict[str, Any]) -> Any:
    async with gateway.http_from(address) as http:
        return (await http.post("/graphql", json={"query": document, "variables": {"input": given}})).json()


async def _remaining_budget(gateway: Gateway, address: str) -> int:
    """What is left after an operation that costs exactly 1, because it uses no database connection."""
    async with gateway.http_from(address) as http:
        response: httpx.Response = await http.post("/graphql", json={"query": "{ viewer { id } }"})
    return int(response.headers["RateLimit"].partition("r=")[2].partition(";")[0])


async def test_a_session_whose_attempts_are_used_up_does_not_lock_sign_in(database: Database) -> None:
    await make_member(database)
    gateway = limited_gateway(database, client=2)
    client, _ = await open_session(gateway)
    document = "mutation($input: ChangePasswordInput!) { changePassword(input: $input) { userErrors { code } } }"
    given = {"currentPassword": GUESS, "newPassword": "another password"}
    answers = [await client.ask(document, input=given) for _ in range(3)]
    assert [answer.codes for answer in answers] == [[], [], ["RATE_LIMITED"]]
    assert await is_signed_in(gateway, OWNER)
    assert isinstance(client, Client)
