"""Copies the rig's rows into the gateway's tables and creates the login for viewers' requests.

It encrypts the e-mail addresses and phone numbers of contacts, as the gateway does.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import asyncpg

from gateway.auth.keys import database_options
from gateway.settings import load_settings
from repositories.core.encryption import Cipher
from repositories.tables.client_management import Contact

_LOGIN = """
DO $$ BEGIN CREATE ROLE gateway_login LOGIN NOSUPERUSER NOBYPASSRLS; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
GRANT siso_viewer, siso_writer TO gateway_login;
"""
_ROWS = {
    "identity.users": "SELECT id, email, 'User' AS first_name, display_name AS last_name, 'UTC' AS time_zone,"
    " timestamptz '2025-01-01Z' AS created_at, timestamptz '2025-01-01Z' AS updated_at FROM life_lock.users",
    "life_lock.categories": "SELECT id, user_id, name, color, timestamptz '2025-01-01Z' AS created_at,"
    " timestamptz '2025-01-01Z' AS updated_at FROM life_lock.categories",
    "life_lock.tasks": "SELECT * FROM life_lock.tasks",
    "client_management.clients": "SELECT * FROM client_management.clients",
    "client_management.contacts": "SELECT t.*, c.created_by AS user_id, t.created_at AS updated_at"
    " FROM client_management.contacts t JOIN client_management.clients c ON c.id = t.client_id",
}


async def load(source_url: str, target_url: str) -> None:
    cipher = Cipher(*_keys())
    source, target = await asyncpg.connect(source_url), await asyncpg.connect(target_url)
    await target.execute(_LOGIN)
    for table, query in _ROWS.items():
        statement = await source.prepare(query)
        columns = [attribute.name for attribute in statement.get_attributes()]
        if table == "client_management.contacts":
            columns.append("email_index")
        schema_name, name = table.split(".")
        async with source.transaction():
            rows = _encrypt_rows(cipher, statement, columns)
            await target.copy_records_to_table(name, schema_name=schema_name, columns=columns, records=rows)
    await target.execute("VACUUM (ANALYZE, FREEZE)")
    await source.close()
    await target.close()


async def _encrypt_rows(cipher: Cipher, statement: Any, columns: list[str]) -> AsyncIterator[tuple[Any, ...]]:
    async for record in statement.cursor(prefetch=1000):
        row = dict(record)
        if "email_index" in columns:
            row["email_index"] = cipher.blind_index(Contact.email, row["email"])
            row["email"] = cipher.encrypt(Contact.email, row["id"], row["email"])
            row["phone"] = cipher.encrypt(Contact.phone, row["id"], row["phone"])
        yield tuple(row[name] for name in columns)


def _keys() -> tuple[Any, bytes]:
    options = database_options(load_settings())
    return options.encryption_keys, options.index_key


if __name__ == "__main__":
    asyncio.run(load(*sys.argv[1:]))
