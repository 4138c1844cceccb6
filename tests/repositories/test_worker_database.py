"""The PostgreSQL database that tests share: after a wipe it equals the template, and DDL in it is reported."""

import asyncio
import re
from typing import Any

import asyncpg
import pytest

from repositories.administration import Roles
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.engines.database import DatabaseOptions
from repositories.gamification.achievements import Achievements
from repositories.life_lock.statistics import DashboardStats
from repositories.sql.filters import Compare, Op
from repositories.tables.identity import User
from tests.catalog import fetch_catalog
from tests.databases import Server, postgres_options
from tests.factories import make_tasks, make_user
from tests.repositories.policy_subjects import SUBJECTS
from tests.repositories.support import connect_database
from tests.worker_database import WorkerDatabase

_RELATIONS = """
    SELECT c.oid::regclass::text AS name, relkind::text AS kind, relispopulated AS is_populated
    FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    WHERE relkind IN ('r', 'm', 'S') AND nspname !~ '^pg_|information_schema'
"""

_OTHERS = {
    "database": "SELECT datdba::regrole::text, datallowconn, datconnlimit, datistemplate, datacl::text, datcollate "
    "FROM pg_database WHERE datname = current_database()",
    "settings": "SELECT setrole::regrole::text, setconfig FROM pg_db_role_setting "
    "WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))",
    "roles": "SELECT rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolbypassrls, "
    "rolconnlimit FROM pg_roles",
    "memberships": "SELECT roleid::regrole::text, member::regrole::text, admin_option, inherit_option, set_option "
    "FROM pg_auth_members",
    "default privileges": "SELECT defaclrole::regrole::text, defaclobjtype::text, defaclacl::text FROM pg_default_acl",
    "column privileges": "SELECT attrelid::regclass::text, attname, attacl::text FROM pg_attribute "
    "WHERE attacl IS NOT NULL AND attrelid > 16384",
    "types": "SELECT oid::regtype::text, typtype::text FROM pg_type WHERE oid > 16384 AND typtype IN ('e', 'd')",
    "rules": "SELECT schemaname, tablename, rulename, definition FROM pg_rules WHERE schemaname <> 'pg_catalog'",
    "extensions": "SELECT extname, extversion FROM pg_extension",
    "event triggers": "SELECT evtname, evtevent FROM pg_event_trigger",
    "publications": "SELECT pubname FROM pg_publication",
    "comments": "SELECT objoid::text, description FROM pg_description WHERE objoid > 16384",
    "statistics": "SELECT starelid::regclass::text, staattnum FROM pg_statistic WHERE starelid > 16384",
    "large objects": "SELECT oid::text FROM pg_largeobject_metadata",
    "advisory locks": "SELECT objid::text FROM pg_locks WHERE locktype = 'advisory' "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    "sessions": "SELECT usename, state FROM pg_stat_activity WHERE datname = current_database() "
    "AND usename <> 'postgres' AND backend_type = 'client backend'",
}
"""All else that one database can have and another lack. Ids up to 16384 are those of the server itself."""


async def _contents(server: Server, name: str) -> dict[str, Any]:
    """All rows, sequences and materialized views, and the whole schema."""
    url = server.login("postgres", name)
    found: dict[str, Any] = {"catalog": sorted(await fetch_catalog(url), key=repr)}
    connection = await asyncpg.connect(url)
    for relation, kind, is_populated in await connection.fetch(_RELATIONS):
        columns = "last_value, is_called" if kind == "S" else "*"
        rows = await connection.fetch(f"SELECT {columns} FROM {relation}")
        found[relation] = kind, is_populated, sorted(map(repr, rows))
    for name_of, query in _OTHERS.items():
        found[name_of] = sorted(map(repr, await connection.fetch(query)))
    await connection.close()
    return found


async def _write_into_every_table(options: DatabaseOptions) -> None:
    """Rows of every table, changed and deleted rows of the migrations, and a refreshed materialized view."""
    insert_user = SUBJECTS[User].insert
    async with connect_database(options) as database:
        for subject in SUBJECTS.values():
            owner, key = new_id(), new_id()
            async with database.transaction(SERVICE) as write:
                await insert_user(write, key, owner)
                await subject.prepare(write, key, owner)
                if subject.insert is not insert_user:
                    await subject.insert(write, key, owner)
        await make_tasks(database, await make_user(database), 5_000)
        async with database.transaction(SERVICE) as write:
            achievement, *_ = await Achievements(write).find(limit=1)
            await Achievements(write).change(achievement, points=achievement.points + 1)
            role, *_ = await Roles(write).find(Compare("name", Op.EQ, "admin"), limit=1)
            await Roles(write).purge(role.id)
            await DashboardStats(write).refresh()


async def test_a_wiped_database_equals_the_template(
    server: Server, postgres_template: str, worker_database: WorkerDatabase
) -> None:
    template = await _contents(server, postgres_template)
    assert await _contents(server, worker_database.name) == template
    await _write_into_every_table(postgres_options(server, worker_database.name))
    left_open = await asyncpg.connect(server.login("gateway", worker_database.name))
    await left_open.execute("SELECT pg_advisory_lock(1); BEGIN; LOCK TABLE life_lock.tasks IN ACCESS SHARE MODE")

    written = await _contents(server, worker_database.name)
    same = {name for name, value in written.items() if value == template[name]}
    assert same == {"catalog", *_OTHERS} - {"advisory locks", "sessions"} | {"alembic_version"}
    await asyncio.to_thread(worker_database.wipe)
    assert await _contents(server, worker_database.name) == template
    assert left_open.is_closed()


@pytest.mark.parametrize(
    ("statement", "kinds"),
    [
        ("CREATE TABLE public.extra (id int)", "relations, columns"),
        ("ALTER TABLE life_lock.tasks NO FORCE ROW LEVEL SECURITY", "relations"),
        ("ALTER TABLE public.domain_events DISABLE TRIGGER USER", "triggers"),
        ("DROP POLICY service ON life_lock.tasks", "policies"),
        ("GRANT ALL ON life_lock.tasks TO gateway", "relations"),
        ("ALTER FUNCTION auth.uid() VOLATILE", "functions"),
        ("ALTER DATABASE shared SET statement_timeout = 1", "settings"),
        ("ALTER DATABASE shared CONNECTION LIMIT 5", "database"),
        ("ANALYZE gamification.achievements", "statistics"),
    ],
)
def test_a_test_that_changes_the_schema_is_told_to_use_a_clone(
    server: Server, postgres_template: str, worker_database: WorkerDatabase, statement: str, kinds: str
) -> None:
    """The next test has a database that equals the template."""
    server.sql(statement, database=worker_database.name)
    with pytest.raises(AssertionError, match=re.escape(f"of the shared database ({kinds}")):
        worker_database.wipe()
    assert asyncio.run(_contents(server, worker_database.name)) == asyncio.run(_contents(server, postgres_template))
