"""Addresses and numbers of contacts: readable by whom they are for, and nowhere else."""

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
from tests.factories import make_client, make_contacts, make_user
from tests.repositories.support import connect_database

SECRETS = ("very.secret@example.org", "+4930555123456", "other.secret@example.org")
PAGE = "{ clients { nodes { companyName contacts { nodes { firstName email phone } } } } }"


async def _everything_done(gateway: Gateway, user: User) -> None:
    """Commands that succeed, conflict and fail, with secrets in each."""
    client = gateway.client(user)
    person = {"firstName": "Joan", "lastName": "Clarke", "email": SECRETS[0], "phone": SECRETS[1]}
    made = await client.do("createClient", "client { id }", companyName="Acme", contacts=[person])
    assert made["userErrors"] == []
    taken = await client.do("addContact", "contact { id }", clientId=made["client"]["id"], **person)
    wrong = person | {"email": SECRETS[2], "phone": SECRETS[2]}
    invalid = await client.do("addContact", "contact { id }", clientId=made["client"]["id"], **wrong)
    for refused in (taken, invalid):
        assert refused["userErrors"]
        assert not any(secret in str(refused) for secret in SECRETS)
    found = await client.data("query($e: String!) { contacts(email: $e) { id email } }", e=SECRETS[0])
    (contact,) = found["contacts"]
    assert contact["email"] == SECRETS[0]
    given = {"id": contact["id"], "email": SECRETS[2], "phone": None}
    assert (await client.do("updateContact", "contact { email }", **given))["contact"] == {"email": SECRETS[2]}
    await client.do("updateContact", "contact { id }", id=contact["id"], phone=SECRETS[1])
    await client.ask("{ contacts(email: 5) { id } }")


@pytest.mark.parametrize("options", ["sqlite"], indirect=True)
async def test_the_file_and_the_log_say_nothing(
    gateway: Gateway, options: DatabaseOptions, ada: User, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the database file nor its journal nor any log line, at the most talkative level."""
    caplog.set_level(logging.DEBUG)
    await _everything_done(gateway, ada)
    written = b"".join(path.read_bytes() for path in _files(options.sqlite_path))
    assert b"Clarke" in written
    for secret in SECRETS:
        assert secret.encode() not in written
        assert secret not in caplog.text


def _files(path: Path) -> list[Path]:
    found = sorted(path.parent.glob(f"{path.name}*"))
    assert len(found) == 3
    return found


async def test_no_table_says_anything(gateway: Gateway, ada: User) -> None:
    """On either engine: every value of contacts and events as text."""
    await _everything_done(gateway, ada)
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


async def _spoil(database: Database, contact: Contact, **values: str | None) -> None:
    """Changes what is stored, past the repository."""
    table = Contact.__table__
    statement = sa.update(table).where(table.c.id == sa.bindparam("key", type_=table.c.id.type))
    async with database.transaction(SERVICE) as write:
        await write.rows(Statement(statement.values(**values).returning(table.c.id), scalar(object)), key=contact.id)


async def test_spoiled_ciphertexts_are_refused_and_leave_the_rest(
    gateway: Gateway, ada: User, caplog: pytest.LogCaptureFixture
) -> None:
    """Flipped bits, and swaps between rows, columns and tables: null, a masked error and a log line for each."""
    database = gateway.database
    row = await make_client(database, ada)
    good, flipped, swapped, moved, foreign = await make_contacts(database, row, 5, phone="+4930555123456")
    await _spoil(database, flipped, email=flipped.email[:-20] + flipped.email[-20:].swapcase())
    await _spoil(database, swapped, email=good.email)
    await _spoil(database, moved, email=moved.phone)
    other = database.cipher.encrypt(User.email, foreign.id, "someone@example.org")
    await _spoil(database, foreign, phone=other)
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


async def test_the_database_refuses_what_is_not_sealed(gateway: Gateway, ada: User) -> None:
    (contact,) = await make_contacts(gateway.database, await make_client(gateway.database, ada), 1)
    for column in ("email", "phone"):
        with pytest.raises(ValidationError):
            await _spoil(gateway.database, contact, **{column: "plain@example.org"})


async def test_without_keys_nothing_is_stored_in_plain_sight(
    options: DatabaseOptions, caplog: pytest.LogCaptureFixture
) -> None:
    """A masked error and a log line that says what is missing; clients without contacts need no keys."""
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
