"""An account whose time zone is unknown, because another program or another version stored it, is used in UTC."""

import datetime as dt
from typing import Any

import jwt
import pytest

from gateway.auth.issuers import ExternalAccounts, JWKSIssuer
from repositories.core.clock import stored_time_zone
from repositories.engines.database import Database
from repositories.tables.identity import User
from resolvers.reactions import REACTIONS
from tests.api.client import AUDIENCE, SECRET, Client, Gateway
from tests.api.issuer import EXTERNAL_AUDIENCE, URL, make_claims
from tests.api.people import make_member, open_session, refresh
from tests.caches import empty_caches
from tests.factories import make_user

ZONE = "Mars/Olympus"
SHARED = "the secret of an external issuer, long enough"
MOMENT = dt.datetime(2026, 6, 15, 23, 30, tzinfo=dt.UTC)
DASHBOARD = "{ viewer { timeZone } lifeLockDashboard { totalTasks weeklyProgress { date created } } }"


async def _use(client: Client) -> None:
    """Creates a task and reads the dashboard. Everything counts in UTC."""
    payload = await client.do("createTask", "task { title }", title="x")
    assert payload == {"task": {"title": "x"}, "userErrors": []}
    data = await client.data(DASHBOARD)
    assert data["viewer"] == {"timeZone": ZONE}
    assert data["lifeLockDashboard"]["weeklyProgress"][-1] == {"date": "2026-06-15", "created": 1}


def _gateway(database: Database, **options: Any) -> Gateway:
    return Gateway(database, clock=lambda: MOMENT, **options)


@pytest.fixture
async def user(database: Database) -> User:
    return await make_user(database, email="ada@example.com", time_zone=ZONE)


async def test_the_tokens_of_the_account_are_valid(database: Database, user: User) -> None:
    gateway = _gateway(database)
    await _use(gateway.client(user))
    _, viewer = await gateway.authenticator.verify(gateway.token(user))
    assert viewer.time_zone == "UTC"


@pytest.mark.usefixtures("cheap_passwords")
async def test_the_account_signs_in_and_refreshes(database: Database) -> None:
    await make_member(database, time_zone=ZONE)
    gateway = _gateway(database)
    client, tokens = await open_session(gateway)
    await _use(client)
    assert (await refresh(gateway.client(), tokens["refreshToken"]))["userErrors"] == []


async def test_a_token_without_a_time_zone_uses_that_of_the_account(database: Database, user: User) -> None:
    expires_at = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    token = jwt.encode({"sub": str(user.id), "aud": AUDIENCE, "exp": expires_at}, SECRET)
    await _use(_gateway(database).client_with_token(token))


async def test_the_account_of_an_external_issuer_is_not_rejected(database: Database, user: User) -> None:
    issuer = JWKSIssuer(URL, EXTERNAL_AUDIENCE, secret=SHARED)
    gateway = _gateway(database, external=ExternalAccounts(issuer, database, REACTIONS, 900))
    await _use(gateway.client_with_token(jwt.encode(make_claims(sub=str(user.id)), SHARED)))


async def test_the_owner_replaces_the_time_zone(gateway: Gateway, user: User) -> None:
    """A zone that a client names must be known."""
    client = gateway.client(user)
    payload = await client.do("updateProfile", "user { timeZone }", version=1, timeZone=ZONE)
    assert payload["userErrors"][0]["message"] == "This is not a time zone; use an IANA name such as Europe/Berlin."
    payload = await client.do("updateProfile", "user { timeZone }", version=1, firstName="Eve")
    assert payload == {"user": {"timeZone": ZONE}, "userErrors": []}
    payload = await client.do("updateProfile", "user { timeZone }", version=2, timeZone="Europe/Vienna")
    assert payload == {"user": {"timeZone": "Europe/Vienna"}, "userErrors": []}
    answer = await client.ask("query($z: String) { lifeLockDashboard(timeZone: $z) { totalTasks } }", z=ZONE)
    assert answer.codes == ["VALIDATION_ERROR"]


def test_an_unknown_zone_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    empty_caches()
    for _ in range(3):
        assert stored_time_zone("Mars/Phobos").key == "UTC"
        assert stored_time_zone("Europe/Vienna").key == "Europe/Vienna"
    assert caplog.text.count("Mars/Phobos") == 1
    assert len(caplog.records) == 1
