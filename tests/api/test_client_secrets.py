"""Encrypted e-mail addresses and phone numbers of contacts: only responses to their owner contain the plain text."""

import logging
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from repositories.core.errors import ValidationError
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database, DatabaseOptions
from repositories.sql.statements import Statement, scalar
from repositories.tables.client_management import Contact
from repositories.tables.identity import User
from tests.api.client import Gateway, gid
from tests.api.stored_rows import client_rows
from tests.databases import ON_SQLITE
from tests.factories import make_client, make_contacts, make_user
from tests.repositories.support import connect_database

SECRETS = ("very.secret@example.org", "+4930555123456", "other.secret@example.org")
PAGE = "{ clients { nodes { companyName contacts { nodes { firstName email phone } } } } }"


async def _use_secrets(gateway: Gateway, user: User) -> None:
    """Runs queries and mutations with secrets in their input. Some succeed and some fail."""
    client = gateway.client(user)
    person = {"firstName": "Joan", "lastName": "Clarke", "email": SECRETS[0], "phone": SECRETS[1]}
    created = await client.do("createClient", "client { id }", companyName="Acme", contacts=[person])
    assert created["userErrors"] == []
    taken = await client.do("addContact", "contact { id }", clientId=created["client"]["id"], **person)
    wrong = person | {"email": SECRETS[2], "phone": SECRETS[2]}
    invalid = await client.do("addContact", "contact { id }", clientId=created["client"]["id"], **wrong)
    for rejected in (taken, invalid):
        assert rejected["userErrors"]
        assert not any(secret in str(rejected) for secret in SECRETS)
    data = await client.data("query($e: String!) { contacts(email: $e) { nodes { id email } } }", e=SECRETS[0])
    (contact,) = data["contacts"]["nodes"]
    assert contact["email"] == SECRETS[0]
    given = {"id": contact["id"], "email": SECRETS[2], "phone": None}
    assert (await client.do("updateContact", "contact { email }", **given))["contact"] == {"email": SECRETS[2]}
    await client.do("updateContact", "contact { id }", id=contact["id"], phone=SECRETS[1])
    await client.ask("{ contacts(email: 5) { totalCount } }")


@ON_SQLITE
async def test_files_and_logs_contain_no_plain_text(
    gateway: Gateway, options: DatabaseOptions, ada: User, caplog: pytest.LogCaptureFixture
) -> None:
    """The database file, its journal and the log, even at the level DEBUG, contain none."""
    caplog.set_level(logging.DEBUG)
    await _use_secrets(gateway, ada)
    content = b"".join(path.read_bytes() for path in _files(options.sqlite_path))
    assert b"Clarke" in content
    for secret in SECRETS:
        assert secret.encode() not in content
        assert secret not in caplog.text


def _files(path: Path) -> list[Path]:
    files = sorted(path.parent.glob(f"{path.name}*"))
    assert len(files) == 3
    return files


async def test_tables_contain_no_plain_text(gateway: Gateway, ada: User) -> None:
    """Reads all values of contacts and events as text."""
    await _use_secrets(gateway, ada)
    for table in ("client_management.contacts", "public.domain_events"):
        name = table if gateway.database.engine.is_postgresql else table.split(".")[1]
        snapshot = gateway.database.snapshot(SERVICE)
        rows = await snapshot.rows(Statement(sa.text(f"SELECT * FROM {name}"), _AsText()))
        await snapshot.close()
        assert rows
        assert not any(secret in row for row in rows for secret in SECRETS)


class _AsText:
    def _make(self, values: Any) -> str:
        return repr(tuple(values))


async def _overwrite(database: Database, contact: Contact, **values: str | None) -> None:
    """Overwrites stored values without the repository, which would encrypt them."""
    table = Contact.__table__
    statement = sa.update(table).where(table.c.id == sa.bindparam("key", type_=table.c.id.type))
    async with database.transaction(SERVICE) as write:
        await write.rows(Statement(statement.values(**values).returning(table.c.id), scalar(object)), key=contact.id)


async def test_a_corrupt_ciphertext_is_a_masked_error_of_its_field(
    gateway: Gateway, ada: User, caplog: pytest.LogCaptureFixture
) -> None:
    """Changed bytes, and values of another row, column or table: null, a masked error and a log line for each."""
    database = gateway.database
    row = await make_client(database, ada)
    good, flipped, swapped, moved, foreign = await make_contacts(database, row, 5, phone="+4930555123456")
    await _overwrite(database, flipped, email=flipped.email[:-20] + flipped.email[-20:].swapcase())
    await _overwrite(database, swapped, email=good.email)
    await _overwrite(database, moved, email=moved.phone)
    other = database.cipher.encrypt(User.email, foreign.id, "someone@example.org")
    await _overwrite(database, foreign, phone=other)
    caplog.clear()
    answer = await gateway.client(ada).ask(PAGE)
    (client,) = answer.data["clients"]["nodes"]
    shown = client["contacts"]["nodes"]
    assert [person["email"] is None for person in shown] == [False, True, True, True, False]
    assert [person["phone"] is None for person in shown] == [False, False, False, False, True]
    assert {person["firstName"] for person in shown} == {"Joan"}
    places = [("email", 1), ("email", 2), ("email", 3), ("phone", 4)]
    root: list[Any] = ["clients", "nodes", 0, "contacts", "nodes"]
    assert sorted((error["path"][-1], error["path"][-2]) for error in answer.errors) == places
    assert all(error["path"][:-2] == root for error in answer.errors)
    for error in answer.errors:
        assert error["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
        assert error["extensions"]["errorId"] in error["message"]
        assert error["extensions"]["errorId"] in caplog.text
    for contact, column in ((flipped, "email"), (swapped, "email"), (moved, "email"), (foreign, "phone")):
        assert f"contacts.{column} of row {contact.id} cannot be decrypted" in caplog.text
    assert "+4930555123456" not in caplog.text
    assert "@example.org" not in caplog.text
    payload = await gateway.client(ada).do(
        "updateContact", "contact { email }", id=gid("Contact", swapped), email="x@example.org"
    )
    assert payload["contact"] == {"email": "x@example.org"}


async def test_the_database_rejects_unencrypted_values(gateway: Gateway, ada: User) -> None:
    (contact,) = await make_contacts(gateway.database, await make_client(gateway.database, ada), 1)
    for column in ("email", "phone"):
        with pytest.raises(ValidationError):
            await _overwrite(gateway.database, contact, **{column: "plain@example.org"})


async def test_without_keys_no_plain_text_is_stored(options: DatabaseOptions, caplog: pytest.LogCaptureFixture) -> None:
    """A masked error and a log line that says what is missing. Clients without contacts need no keys."""
    async with connect_database(options, encryption_keys={}, index_key=b"") as database:
        ada = await make_user(database)
        gateway = Gateway(database)
        client = gateway.client(ada)
        assert (await client.do("createClient", "client { id }", companyName="Acme"))["userErrors"] == []
        before = await client_rows(database)
        document = "mutation($input: CreateClientInput!) { createClient(input: $input) { client { id } } }"
        person = {"firstName": "Joan", "lastName": "Clarke", "email": SECRETS[0]}
        answer = await client.ask(document, input={"companyName": "Zenith", "contacts": [person]})
        assert answer.codes == ["INTERNAL_SERVER_ERROR"]
        assert "no keys are configured" in caplog.text
        assert SECRETS[0] not in caplog.text
        assert await client_rows(database) == before
        await gateway.http.aclose()
