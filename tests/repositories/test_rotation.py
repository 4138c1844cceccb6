"""Rotation of encryption keys: all values are encrypted again, none is lost, and concurrent writes are possible."""

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa

from repositories.client_management import Contacts
from repositories.core.encryption import DecryptionError
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database, DatabaseOptions
from repositories.rotation import BATCH, RotationResult, count_outdated, rotate
from repositories.sql.filters import SortKey
from repositories.sql.statements import Statement, scalar
from repositories.tables.client_management import Contact
from tests.databases import KEYS
from tests.factories import make_client, make_contact, make_user
from tests.repositories.support import connect_database, open_snapshot, until_blocked

OLD = {"old": KEYS["encryption_keys"]["old"]}
NEW = {"new": KEYS["encryption_keys"]["new"]}
COUNT = 2 * BATCH + 10


async def _fill(options: DatabaseOptions, count: int = COUNT) -> None:
    """Adds contacts that are encrypted with the old key. Every second one has a phone number."""
    async with connect_database(options, encryption_keys=OLD) as database:
        client = await make_client(database, await make_user(database))
        fixed = {"client_id": client.id, "user_id": client.created_by, "first_name": "Joan", "last_name": "Clarke"}
        rows = [
            {**fixed, "email": f"{index}@example.org", "phone": "+49301234567" if index % 2 else None}
            for index in range(count)
        ]
        async with database.transaction(SERVICE) as write:
            await Contacts(write).add_missing(rows)


async def _rows(database: Database) -> list[Contact]:
    async with open_snapshot(database) as snapshot:
        return await Contacts(snapshot).find(order=[SortKey("id")], limit=10_000)


def _raise(error: DecryptionError) -> None:
    raise error


async def test_all_values_are_encrypted_with_the_current_key(options: DatabaseOptions) -> None:
    """The old key is not needed afterwards. All other columns, such as blind indexes and timestamps, do not change."""
    await _fill(options)
    async with connect_database(options) as database:
        before = await _rows(database)
        values = COUNT + COUNT // 2
        assert await count_outdated(database) == values
        progress: list[int] = []
        assert await rotate(database, on_progress=progress.append, on_unreadable=_raise) == RotationResult(values, 0, 0)
        assert sum(progress) == values
        assert await count_outdated(database) == 0
        assert await rotate(database, on_progress=progress.append, on_unreadable=_raise) == RotationResult(0, 0, 0)
    async with connect_database(options, encryption_keys=NEW) as database:
        after = await _rows(database)
        for old, new in zip(before, after, strict=True):
            assert new == old.replace(email=new.email, phone=new.phone)
            assert new.email != old.email
            assert (new.phone is None) == (old.phone is None)
        addresses = {database.cipher.decrypt(Contact.email, row.id, row.email) for row in after}
        assert addresses == {f"{index}@example.org" for index in range(COUNT)}


async def test_an_interrupted_rotation_can_be_continued(options: DatabaseOptions) -> None:
    await _fill(options)
    async with connect_database(options) as database:

        def stop(count: int) -> None:
            if count:
                raise KeyboardInterrupt(count)

        outdated = await count_outdated(database)
        with pytest.raises(KeyboardInterrupt):
            await rotate(database, on_progress=stop, on_unreadable=_raise)
        remaining = await count_outdated(database)
        assert remaining == outdated - BATCH
        assert await rotate(database, on_progress=lambda _: None, on_unreadable=_raise) == RotationResult(
            remaining, 0, 0
        )


async def test_an_unreadable_value_is_reported_and_not_changed(options: DatabaseOptions) -> None:
    await _fill(options, 3)
    async with connect_database(options) as database:
        first, second, _ = await _rows(database)
        table = Contact.__table__
        move = sa.update(table).where(table.c.id == sa.bindparam("key", type_=table.c.id.type))
        swap: Statement[Any] = Statement(move.values(email=first.email).returning(table.c.id), scalar(object))
        async with database.transaction(SERVICE) as write:
            await write.rows(swap, key=second.id)
        unreadable: list[DecryptionError] = []
        assert await rotate(database, on_progress=lambda _: None, on_unreadable=unreadable.append) == RotationResult(
            3, 1, 0
        )
        (error,) = unreadable
        assert str(second.id) in str(error)
        assert {row.id: row.email for row in await _rows(database)}[second.id] == first.email


async def test_values_can_be_written_during_a_rotation(options: DatabaseOptions) -> None:
    """Every value is the one that was written last, and it is encrypted with the current key."""
    await _fill(options, 60)
    async with connect_database(options) as database:

        async def change(row: Contact, index: int) -> None:
            async with database.transaction(SERVICE) as write:
                contact = await Contacts(write).lock(row.id)
                await Contacts(write).change(contact, email=f"new{index}@example.org")

        rows = await _rows(database)
        _, *_ = await asyncio.gather(
            rotate(database, on_progress=lambda _: None, on_unreadable=_raise),
            *(change(row, index) for index, row in enumerate(rows)),
        )
        assert await count_outdated(database) == 0
        addresses = [database.cipher.decrypt(Contact.email, row.id, row.email) for row in await _rows(database)]
        assert addresses == [f"new{index}@example.org" for index in range(60)]


async def test_a_value_that_changes_during_its_rotation_is_not_replaced(postgres_only: DatabaseOptions) -> None:
    """The rotation has read the old value and waits for the row's lock. The newer value stays."""
    await _fill(postgres_only, 2)
    async with connect_database(postgres_only) as database:
        first, _ = await _rows(database)
        async with (
            connect_database(postgres_only, encryption_keys=OLD) as elsewhere,
            elsewhere.transaction(SERVICE) as write,
        ):
            await Contacts(write).change(first, email="newer@example.org")
            rotating = asyncio.ensure_future(rotate(database, on_progress=lambda _: None, on_unreadable=_raise))
            await until_blocked(database, 1)
        assert await rotating == RotationResult(2, 0, 1)
        (now, _) = await _rows(database)
        assert database.cipher.decrypt(Contact.email, now.id, now.email) == "newer@example.org"
        assert await rotate(database, on_progress=lambda _: None, on_unreadable=_raise) == RotationResult(1, 0, 0)


async def test_a_rotation_without_outdated_values_changes_no_value(database: Database) -> None:
    user = await make_user(database)
    assert await rotate(database, on_progress=lambda _: None, on_unreadable=_raise) == RotationResult(0, 0, 0)
    await make_contact(database, await make_client(database, user))
    assert await rotate(database, on_progress=lambda _: None, on_unreadable=_raise) == RotationResult(0, 0, 0)
