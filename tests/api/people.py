"""Signing up, in and on, as a client does it."""

from typing import Any

from argon2 import PasswordHasher

from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.identity import Sessions
from repositories.sql.filters import Order
from repositories.tables.identity import Session, User
from tests.api.client import Client, Gateway
from tests.factories import make_user

PASSWORD = "correct horse battery"  # noqa: S105 (opens nothing but tests' accounts)
TOKENS = "accessToken refreshToken expiresAt viewer { email }"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""For accounts whose hash is not what a test is about; the first sign-in hashes it anew."""


async def make_member(database: Database, email: str = "ada@example.com", **values: Any) -> User:
    """A user with a password."""
    return await make_user(database, email=email, password_hash=CHEAP.hash(PASSWORD), **values)


async def sign_in(client: Client, email: str = "ada@example.com", password: str = PASSWORD) -> Any:
    """The payload of signing in."""
    return await client.do("signIn", TOKENS, email=email, password=password)


async def refresh(client: Client, token: str) -> Any:
    """The payload of refreshing."""
    return await client.do("refreshSession", TOKENS, refreshToken=token)


async def signed_in(gateway: Gateway, email: str = "ada@example.com") -> tuple[Client, Any]:
    """A client of a new session, and the session's tokens."""
    payload = await sign_in(gateway.client(), email)
    return gateway.bearing(payload["accessToken"]), payload


async def sessions(database: Database) -> list[Session]:
    """Every session, oldest first."""
    snapshot = database.snapshot(SERVICE)
    try:
        return await Sessions(snapshot).find(order=[Order("created_at"), Order("id")], limit=1000)
    finally:
        await snapshot.close()
