"""Users in the database."""

import pytest

from repositories.core.errors import Conflict
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.identity import Users
from tests.factories import make_user
from tests.repositories.support import open_snapshot


async def test_users_are_found_by_their_address_in_any_case(database: Database) -> None:
    """An address can have only one account."""
    async with database.transaction(SERVICE) as write:
        assert await Users(write).are_there_any() is False
    ada = await make_user(database, email="ada@example.com")
    async with open_snapshot(database) as snapshot:
        assert await Users(snapshot).of_email("  ADA@Example.com ") == ada
        assert await Users(snapshot).of_email("bob@example.com") is None
        assert await Users(snapshot).are_there_any() is True
    with pytest.raises(Conflict):
        await make_user(database, email="ada@example.com")
