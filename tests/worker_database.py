"""The PostgreSQL database that the tests of one process share, and that is wiped after each of them.

A wipe takes about 5 ms, a clone of the template takes 100 ms and more. The wipe restores rows, sequences and
materialized views, and closes connections that a test left open. It does not undo DDL: a test that changes the schema
or a setting of the database needs a clone (the fixtures ``cloned_options`` and ``cloned_postgres``), and fails if it
uses the shared database.
"""

import asyncio
import json
import time
from typing import Any, NamedTuple

import asyncpg

from tests.databases import Server, clone, drop

_LARGE = 512 * 1024
"""Bytes. Larger tables are truncated, because deleted rows stay in the file. For small ones DELETE is much faster."""

_CLOSING_TIME = 0.05
"""Seconds. Connections that are still open afterwards are terminated."""

_RELATIONS = """
    SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = $1::text::"char" AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ORDER BY 1
"""

_SESSIONS = """
    SELECT array_agg(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""

_COLUMNS = """
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
    WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
"""

_CATALOG_CONTENTS = {
    "relations": "SELECT sum(hashtextextended(concat_ws(' ', c.oid, relname, relnamespace, relkind, relowner, relacl, "
    "relrowsecurity, relforcerowsecurity, reloptions), 0)) "
    "FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname !~ '^pg_'",
    "database": "SELECT concat_ws(' ', datdba, datallowconn, datconnlimit, datacl) FROM pg_database "
    "WHERE datname = current_database()",
}
"""Compared by content: TRUNCATE and REFRESH MATERIALIZED VIEW write to pg_class too."""

_CATALOGS = {
    "schemas": "pg_namespace WHERE nspname !~ '^pg_'",
    "columns": "pg_attribute",
    "defaults": "pg_attrdef",
    "constraints": "pg_constraint",
    "policies": "pg_policy",
    "triggers": "pg_trigger",
    "functions": "pg_proc",
    "default privileges": "pg_default_acl",
    "settings": "pg_db_role_setting",
    "statistics": "pg_statistic",
}
"""Compared by the number of rows and the newest transaction that wrote one, which every insert and update changes."""


def _schema_query() -> str:
    queries = _CATALOG_CONTENTS | {
        name: f"SELECT concat_ws(' ', count(*), max(xmin::text::bigint)) FROM {catalog}"
        for name, catalog in _CATALOGS.items()
    }
    pairs = ", ".join(f"'{name}', ({query})" for name, query in queries.items())
    return f"SELECT json_build_object({pairs})::text"


class _Relation(NamedTuple):
    is_changed: str
    """The condition, in SQL, that it differs from the template."""
    restore: str
    """The statement that makes it equal to the template."""


class WorkerDatabase:
    """A clone of the template, and a connection of the superuser that wipes it."""

    def __init__(self, server: Server, template: str, name: str = "shared") -> None:
        self.name = name
        self._server = server
        self._template = template
        self._runner = asyncio.Runner()
        self._create()

    def wipe(self) -> None:
        """Makes the database equal to the template; raises AssertionError if its schema was changed."""
        try:
            self._runner.run(self._wipe())
        except BaseException:
            self._drop()
            self._create()
            raise

    def close(self) -> None:
        self._drop()
        self._runner.close()

    def _create(self) -> None:
        clone(self._server, self._template, self.name)
        self._runner.run(self._prepare())

    def _drop(self) -> None:
        self._runner.run(self._connection.close(timeout=5))
        drop(self._server, self.name)

    async def _prepare(self) -> None:
        options = {"session_replication_role": "replica", "lock_timeout": "10s", "jit": "off"}
        self._connection = await asyncpg.connect(self._server.login("postgres", self.name), server_settings=options)
        self._tables = [await self._table(name) for name in await self._names("r")]
        self._relations = dict(self._tables)
        for name in await self._names("S"):
            self._relations[name] = await self._sequence(name)
        for name in await self._names("m"):  # last, because they are computed from the tables
            self._relations[name] = _Relation(f"EXISTS (SELECT FROM {name})", f"REFRESH MATERIALIZED VIEW {name}")
        cases = (f"CASE WHEN {relation.is_changed} THEN '{name}' END" for name, relation in self._relations.items())
        large = (f"CASE WHEN pg_relation_size('{name}') > {_LARGE} THEN '{name}' END" for name, _ in self._tables)
        self._state = await self._connection.prepare(
            f"SELECT array_remove(ARRAY[{', '.join(cases)}], NULL) AS changed,"
            f" array_remove(ARRAY[{', '.join(large)}], NULL) AS large, ({_schema_query()}) AS schema"
        )
        changed, _, self._schema = await self._fetch_state()
        assert not changed, changed

    async def _names(self, kind: str) -> list[str]:
        return [row[0] for row in await self._connection.fetch(_RELATIONS, kind)]

    async def _table(self, name: str) -> tuple[str, _Relation]:
        rows = f"(SELECT jsonb_agg(to_jsonb(t) ORDER BY to_jsonb(t)) FROM {name} t)"
        template = await self._connection.fetchval(f"SELECT quote_literal({rows})")
        if template is None:
            return name, _Relation(f"EXISTS (SELECT FROM {name})", f"DELETE FROM {name}")
        columns = await self._connection.fetchval(_COLUMNS, name)
        restore = (
            f"DELETE FROM {name}; INSERT INTO {name} ({columns}) OVERRIDING SYSTEM VALUE "
            f"SELECT {columns} FROM jsonb_populate_recordset(NULL::{name}, {template})"
        )
        return name, _Relation(f"{rows} IS DISTINCT FROM {template}::jsonb", restore)

    async def _sequence(self, name: str) -> _Relation:
        value, is_called = await self._connection.fetchrow(f"SELECT last_value, is_called FROM {name}")
        is_changed = f"(SELECT (last_value, is_called) IS DISTINCT FROM ({value}::bigint, {is_called}) FROM {name})"
        return _Relation(is_changed, f"SELECT setval('{name}', {value}, {is_called})")

    async def _fetch_state(self) -> tuple[list[str], list[str], dict[str, Any]]:
        row = await self._state.fetchrow()
        return row["changed"], row["large"], json.loads(row["schema"])

    async def _wipe(self) -> None:
        await self._close_sessions()
        changed, large, schema = await self._fetch_state()
        differences = [name for name, value in schema.items() if value != self._schema[name]]
        assert not differences, (
            f"The test changed the schema of the shared database ({', '.join(differences)}). "
            "Use the fixture cloned_options or cloned_postgres, which gives it a database of its own."
        )
        if truncated := set(changed) & set(large):
            await self._connection.execute(f"TRUNCATE {', '.join(truncated)} CASCADE")
            changed, _, _ = await self._fetch_state()
        if changed:
            await self._connection.execute("; ".join(self._relations[name].restore for name in changed))

    async def _close_sessions(self) -> None:
        """Waits for connections that are being closed, and terminates those that the test left open."""
        until = time.monotonic() + _CLOSING_TIME
        while pids := await self._connection.fetchval(_SESSIONS):
            if time.monotonic() > until:
                await self._connection.fetch("SELECT pg_terminate_backend(pid, 5000) FROM unnest($1::int[]) pid", pids)
            await asyncio.sleep(0.001)
