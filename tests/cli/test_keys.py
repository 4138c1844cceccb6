"""`siso keys rotate`, and the sources of the keys."""

import asyncio
import base64
import signal
import stat
from pathlib import Path

import pytest
from pydantic import SecretStr

from gateway.auth.keys import database_options
from gateway.settings import Settings, SettingsError
from repositories.client_management import Contacts
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database, DatabaseOptions
from repositories.rotation import count_outdated
from repositories.tables.client_management import Contact
from tests.cli.siso import Siso
from tests.cli.test_doctor import findings
from tests.databases import KEY_SETTINGS, KEYS
from tests.factories import make_client, make_contact, make_user
from tests.repositories.support import connect_database

OLD = {"old": KEYS["encryption_keys"]["old"]}
KEY = base64.b64encode(b"k" * 32).decode()


async def _fill(options: DatabaseOptions, count: int) -> None:
    async with connect_database(options, encryption_keys=OLD) as database:
        client = await make_client(database, await make_user(database))
        fixed = {"client_id": client.id, "user_id": client.created_by, "first_name": "A", "last_name": "B"}
        rows = [{**fixed, "email": f"{index}@example.org", "phone": "+49301234567"} for index in range(count)]
        async with database.transaction(SERVICE) as write:
            await Contacts(write).add_missing(rows)


async def test_a_killed_rotation_can_be_continued(siso: Siso, options: DatabaseOptions, database: Database) -> None:
    await _fill(options, 8000)
    process = siso.start("keys", "rotate", **KEY_SETTINGS)
    while await count_outdated(database) == 16_000:
        assert process.poll() is None
        await asyncio.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    left = await count_outdated(database)
    assert 0 < left < 16_000
    result = await asyncio.to_thread(siso.expect_output, "keys", "rotate", **KEY_SETTINGS)
    assert result == f"Encrypted {left} values with the key new."
    assert await count_outdated(database) == 0
    only_new = KEY_SETTINGS["GATEWAY_ENCRYPTION_KEYS"].partition(",")[0]
    again = await asyncio.to_thread(
        siso.expect_output, "keys", "rotate", **KEY_SETTINGS | {"GATEWAY_ENCRYPTION_KEYS": only_new}
    )
    assert again == "Encrypted 0 values with the key new."


async def test_values_that_no_key_decrypts_are_reported(siso: Siso, options: DatabaseOptions) -> None:
    await _fill(options, 1)
    only_new = KEY_SETTINGS["GATEWAY_ENCRYPTION_KEYS"].partition(",")[0]
    given = KEY_SETTINGS | {"GATEWAY_ENCRYPTION_KEYS": only_new}
    ended = await asyncio.to_thread(lambda: siso.run("keys", "rotate", **given))
    assert ended.code == 1
    assert ended.out.splitlines() == [
        "Encrypted 0 values with the key new.",
        "2 values cannot be decrypted with any of the keys and were left unchanged.",
    ]
    assert [line.partition(" of row ")[0] for line in ended.err.splitlines()] == [
        "siso: contacts.email",
        "siso: contacts.phone",
    ]


def test_missing_keys_are_created_beside_the_sqlite_file(tmp_path: Path) -> None:
    """Only the owner has access to them. The next start uses them."""
    settings = Settings(database_path=tmp_path / "made" / "siso.sqlite3")
    made = database_options(settings)
    assert [len(key) for key in (*made.encryption_keys.values(), made.index_key)] == [32, 32]
    for name in ("encryption_keys", "index_key"):
        assert stat.S_IMODE((tmp_path / "made" / name).stat().st_mode) == 0o600
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["encryption_keys", "index_key"]
    assert database_options(settings) == made
    assert database_options(Settings(database_path=tmp_path / "other" / "siso.sqlite3")) != made
    assert "made" not in repr(made.encryption_keys)
    (tmp_path / "made" / "index_key").write_text("nonsense")
    with pytest.raises(SettingsError, match=r"encryption_keys or index_key in .*: must be base64 of 32 bytes"):
        database_options(settings)


def test_keys_from_the_settings(tmp_path: Path) -> None:
    settings = Settings(
        encryption_keys=SecretStr(KEY_SETTINGS["GATEWAY_ENCRYPTION_KEYS"]),
        index_key=SecretStr(KEY_SETTINGS["GATEWAY_INDEX_KEY"]),
        database_path=tmp_path / "made" / "siso.sqlite3",
    )
    options = database_options(settings)
    assert (options.encryption_keys, options.index_key) == (KEYS["encryption_keys"], KEYS["index_key"])
    assert list(options.encryption_keys) == ["new", "old"]
    assert list(tmp_path.iterdir()) == []
    assert KEY not in repr(settings)
    assert "iiii" not in repr(options)


@pytest.mark.parametrize(
    "given", ["", "nonsense", f"a b:{KEY}", f"a.b:{KEY}", f":{KEY}", "a:abc", f"a:{KEY},a:{KEY}", f"a:{KEY[:-4]}"]
)
def test_invalid_keys_are_rejected(on_sqlite: Siso, given: str) -> None:
    line = on_sqlite.expect_error("token", "ada@example.com", GATEWAY_ENCRYPTION_KEYS=given)
    assert line.startswith("siso: GATEWAY_ENCRYPTION_KEYS: must be ")
    assert KEY not in line
    if ":" not in given:
        line = on_sqlite.expect_error("token", "ada@example.com", GATEWAY_INDEX_KEY=given)
        assert line.startswith("siso: GATEWAY_INDEX_KEY: must be base64 of 32 bytes; `openssl rand -base64 32`")


def test_postgresql_needs_keys_from_the_settings(on_postgresql: Siso) -> None:
    """Without keys the gateway serves, but commands that encrypt fail. One key without the other is an error."""
    for name in KEY_SETTINGS:
        del on_postgresql.settings[name]
    verdict, text = findings(on_postgresql, code=1)["keys"]
    assert (verdict, "Set GATEWAY_ENCRYPTION_KEYS and GATEWAY_INDEX_KEY" in text) == ("error", True)
    needed = "Encrypted columns need GATEWAY_ENCRYPTION_KEYS and GATEWAY_INDEX_KEY."
    for command in (("keys", "rotate"), ("seed", "--demo", "--users", "1")):
        assert needed in on_postgresql.expect_error(*command)
    half = {"GATEWAY_INDEX_KEY": KEY_SETTINGS["GATEWAY_INDEX_KEY"]}
    assert "are needed together on PostgreSQL" in on_postgresql.expect_error("keys", "rotate", **half)
    assert findings(on_postgresql, code=1, **half)["keys"][0] == "error"
    assert findings(on_postgresql, code=0, **KEY_SETTINGS)["keys"] == ("ok", "new encrypts; old can still decrypt")


async def test_the_next_start_can_decrypt_the_demo_data(on_sqlite: Siso, sqlite_only: DatabaseOptions) -> None:
    """It uses the keys that the first command has created."""
    await asyncio.to_thread(on_sqlite.expect_output, "seed", "--demo", "--users", "1", "--tasks", "0")
    options = database_options(Settings(database_path=sqlite_only.sqlite_path))
    async with connect_database(options) as database:
        contact = await make_contact(database, await make_client(database, await make_user(database)))
        snapshot = database.snapshot(SERVICE)
        rows = await Contacts(snapshot).find(limit=1000)
        await snapshot.close()
        emails = {row.id: database.cipher.decrypt(Contact.email, row.id, row.email) for row in rows}
    assert len(emails) > 2
    assert emails[contact.id].endswith("@example.org")
