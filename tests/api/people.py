"""Users with passwords, and their sessions."""

from typing import Any

from argon2 import PasswordHasher

from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.identity import Sessions
from repositories.sql.filters import SortKey
from repositories.tables.identity import Session, User
from tests.api.client import Client, Gateway
from tests.factories import make_user

PASSWORD = "correct horse battery"  # noqa: S105 (used only in tests)
TOKENS = "accessToken refreshToken expiresAt viewer { email }"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""A fast hash for tests that are not about hashing. The first sign-in replaces it with one of current parameters."""


async def make_member(database: Database, email: str = "ada@example.com", **values: Any) -> User:
    return await make_user(database, email=email, password_hash=CHEAP.hash(PASSWORD), **values)


async def sign_in(client: Client, email: str = "ada@example.com", password: str = PASSWORD) -> Any:
    """Runs signIn and returns its payload."""
    return await client.do("signIn", TOKENS, email=email, password=password)


async def refresh(client: Client, token: str) -> Any:
    """Runs refreshSession and returns its payload."""
    return await client.do("refreshSession", TOKENS, refreshToken=token)


async def open_session(gateway: Gateway, email: str = "ada@example.com") -> tuple[Client, Any]:
    """Signs in; returns a client of the new session and the payload of signIn."""
    payload = await sign_in(gateway.client(), email)
    return gateway.client_with_token(payload["accessToken"]), payload


async def set_preferences(client: Client, **values: Any) -> None:
    """Changes the preferences of the client's user, whatever their version is."""
    version = (await client.data("{ viewer { preferences { version } } }"))["viewer"]["preferences"]["version"]
    payload = await client.do("updatePreferences", "userPreferences { version }", version=version, **values)
    assert payload["userErrors"] == []


async def all_sessions(database: Database) -> list[Session]:
    """Reads all sessions, oldest first."""
    snapshot = database.snapshot(SERVICE)
    try:
        return await Sessions(snapshot).find(order=[SortKey("created_at"), SortKey("id")], limit=1000)
    finally:
        await snapshot.close()
