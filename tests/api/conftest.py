"""Fixtures: the gateway over each engine, two users without special roles, and an administrator."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from gateway.auth.issuer_keys import IssuerKeys
from gateway.auth.issuers import ExternalAccounts, JWKSIssuer
from repositories.engines.database import Database
from repositories.tables.identity import User, UserRole
from resolvers.identity.accounts import Passwords
from resolvers.reactions import REACTIONS
from tests.api.client import Ask, Gateway
from tests.api.issuer import EXTERNAL_AUDIENCE, KEY, RSA_KEY, SHARED, URL, Clock, KeyServer, publish_keys
from tests.api.mailbox import Mailbox, open_mailbox
from tests.api.people import CHEAP
from tests.factories import make_user
from tests.waiting import until


@pytest_asyncio.fixture
async def gateway(database: Database) -> AsyncIterator[Gateway]:
    """The application. At the end of the test, all connections must be returned to the pool."""
    application = Gateway(database)
    yield application
    await application.http.aclose()
    await until(lambda: database.pool_state().used == 0)


@pytest.fixture
def ask(gateway: Gateway) -> Ask:
    """Executes operations as users, over HTTP."""

    async def ask(user: User, document: str, **variables: Any) -> Any:
        return await gateway.client(user).data(document, **variables)

    return ask


@pytest_asyncio.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    """A mail server that accepts everything."""
    async with open_mailbox() as server:
        yield server


@pytest_asyncio.fixture
async def ada(database: Database) -> User:
    """A user without special roles."""
    return await make_user(database, email="ada@example.com", first_name="Ada", last_name="Byron")


@pytest_asyncio.fixture
async def bob(database: Database) -> User:
    """Another user without special roles."""
    return await make_user(database, email="bob@example.com", first_name="Bob", last_name="Ross")


@pytest_asyncio.fixture
async def admin(database: Database) -> User:
    return await make_user(database, email="admin@example.com", role=UserRole.ADMIN)


@pytest_asyncio.fixture
async def key_server() -> AsyncIterator[KeyServer]:
    """An external issuer with an ES256 and an RS256 key."""
    async with publish_keys(KEY, RSA_KEY) as issuer:
        yield issuer


@pytest.fixture
def clock() -> Clock:
    """The time by which the keys of an external issuer get old."""
    return Clock()


@pytest_asyncio.fixture
async def external_gateway(database: Database, key_server: KeyServer, clock: Clock) -> AsyncIterator[Gateway]:
    """A gateway that accepts tokens of the external issuer, by its keys and by its secret."""
    issuer = JWKSIssuer(URL, EXTERNAL_AUDIENCE, secret=SHARED, keys=IssuerKeys(key_server.url, 60, clock))
    made = Gateway(database, external=ExternalAccounts(issuer, database, REACTIONS, 900))
    yield made
    await made.http.aclose()
    await until(lambda: database.pool_state().used == 0)


@pytest.fixture
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes passwords with parameters that take no time, for tests whose subject is not the hash."""
    monkeypatch.setattr(Passwords.__init__, "__defaults__", (CHEAP,))
