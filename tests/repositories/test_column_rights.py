"""What SQL can change in a user's own rows: as another client of the database, and as the gateway's writing role.

The test inserts and updates every column of every table, and deletes a row of it. test_policy_matrix.py covers the rows
of others.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from migrations import run
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.engines.database import DatabaseOptions
from repositories.inspection import excessive_client_rights
from repositories.sql.aggregate import aggregates
from repositories.sql.policy import claims, policies
from repositories.sql.table import Table
from repositories.sql.table import declared as facts
from repositories.sql.types import Choice, to_json
from repositories.tables.identity import AccountUsage, User, UserPreferences
from tests.databases import Server, database_of
from tests.factories import viewer_of
from tests.repositories.policy_subjects import insert_user, subject_of
from tests.repositories.support import connect_database

# done: the statement has an effect · unseen: it affects no row · forbidden: a privilege or a policy is missing
# rejected: a constraint prevents it · -: no column is an exception

_EXPECTED = """
    table                             role           insert     update     delete     exceptions
    administration.job_runs           siso_writer    forbidden  unseen     unseen     -
    administration.roles              siso_writer    forbidden  unseen     unseen     -
    administration.user_roles         siso_writer    forbidden  unseen     unseen     -
    client_management.clients         siso_writer    done       done       done       created_by=forbidden primary_contact_id=rejected
    client_management.contacts        siso_writer    done       done       done       user_id=forbidden client_id=rejected
    commerce.order_items              siso_writer    done       done       done       user_id=forbidden order_id=rejected product_id=rejected
    commerce.orders                   siso_writer    done       done       done       user_id=forbidden status=rejected subtotal=rejected tax=rejected total=rejected
    commerce.product_categories       siso_writer    forbidden  unseen     unseen     -
    commerce.products                 siso_writer    forbidden  unseen     unseen     -
    commerce.stock_levels             siso_writer    forbidden  unseen     unseen     -
    commerce.stock_movements          siso_writer    done       forbidden  forbidden  insert:actor_id=forbidden insert:product_id=rejected insert:order_item_id=rejected
    gamification.achievements         siso_writer    forbidden  unseen     unseen     -
    gamification.point_entries        siso_writer    done       forbidden  forbidden  insert:user_id=forbidden insert:source_event_id=rejected
    gamification.reward_redemptions   siso_writer    done       done       done       user_id=forbidden reward_id=rejected
    gamification.rewards              siso_writer    forbidden  unseen     unseen     -
    gamification.user_achievements    siso_writer    done       done       done       user_id=forbidden achievement_id=rejected
    identity.account_tokens           siso_writer    forbidden  unseen     unseen     -
    identity.account_usage            siso_writer    done       done       done       id=forbidden
    identity.outbox_messages          siso_writer    forbidden  unseen     unseen     -
    identity.sessions                 siso_writer    done       done       done       user_id=forbidden
    identity.user_preferences         siso_writer    done       done       done       user_id=forbidden id=rejected
    identity.users                    siso_writer    done       done       done       id=forbidden role=forbidden email_verified=forbidden update:email=forbidden update:status=forbidden update:stripe_customer_id=forbidden
    life_lock.categories              siso_writer    done       done       done       user_id=forbidden
    life_lock.task_analytics          siso_writer    done       done       done       user_id=forbidden
    life_lock.tasks                   siso_writer    done       done       done       user_id=forbidden category_id=rejected assignee_id=rejected completed_at=rejected
    partnership.partners              siso_writer    forbidden  unseen     unseen     -
    partnership.referrals             siso_writer    forbidden  unseen     unseen     -
    public.domain_events              siso_writer    done       forbidden  forbidden  insert:user_id=forbidden sequence=rejected
    public.idempotency_keys           siso_writer    done       done       done       viewer_id=forbidden
    *                                 authenticated  forbidden  forbidden  forbidden  sequence=rejected
    *                                 anon           forbidden  forbidden  forbidden  sequence=rejected
"""  # noqa: E501 (a table)

_LOGINS = {"siso_writer": "gateway", "authenticated": "client", "anon": "client"}

_TABLES: dict[str, type[Table]] = {
    declared.table.fullname: declared.table.info["row"]
    for declared in policies.values()
    if not declared.table.info["is_view"]
}

_OTHER_VALUES: dict[str, Any] = {
    "avatar_url": "https://example.com/ada.png",
    "code": "other",
    "color": "#000000",
    "currency": "USD",
    "criteria": {"event": "TaskCompleted", "count": 5},
    "email": "other@example.com",
    "email_index": "cd" * 32,
    "event_data": {"other": 1},
    "fingerprint": "cd" * 32,
    "locale": "fr",
    "refresh_token_hash": "cd" * 32,
    "time_zone": "Europe/Berlin",
    "token_hash": "cd" * 32,
    "website": "https://example.com",
}
"""Valid values of columns by name, where a value by type is not valid."""

_VALUES_BY_TYPE: dict[str, Any] = {
    "UUID": str(UUID(int=1)),
    "TEXT": "other",
    "INTEGER": 2,
    "BIGINT": 2,
    "BOOLEAN": True,
    "TIMESTAMP WITH TIME ZONE": "2025-02-03T04:05:06+00:00",
    "DATE": "2025-02-03",
    "JSONB": {},
}


def _other_value(column: Any) -> Any:
    """A valid value for the column, which differs from that of the rows of the test."""
    if facts(column).encrypted:
        return "1.other"
    if column.name in _OTHER_VALUES:
        return _OTHER_VALUES[column.name]
    if isinstance(column.type, Choice):
        return list(column.type.choices)[1].value
    return _VALUES_BY_TYPE.get(column.type.compile(dialect=postgresql.dialect()), "0.2")  # type: ignore[no-untyped-call]


class Case(NamedTuple):
    """A row of the table of expected results."""

    table: str
    role: str
    expected: dict[str, str]
    """By operation, and by operation and column for exceptions."""

    def result(self, operation: str, column: str) -> str:
        return self.expected.get(f"{operation}:{column}", self.expected[operation])


def _cases() -> Iterator[Case]:
    header, *lines = (line.split() for line in _EXPECTED.strip().splitlines())
    assert header[:5] == ["table", "role", "insert", "update", "delete"]
    listed = {line[0] for line in lines}
    for name, row in _TABLES.items():
        if name not in listed:  # rows of a user, who can write all columns but the owner
            found = aggregates[row]
            changes = {f"{operation}:{found.owner}": "forbidden" for operation in ("insert", "update")}
            yield Case(name, "siso_writer", {"insert": "done", "update": "done", "delete": "done", **changes})
    for table, role, insert, update, delete, *exceptions in lines:
        expected = {"insert": insert, "update": update, "delete": delete}
        for exception in exceptions if exceptions != ["-"] else []:
            column, _, result = exception.partition("=")
            operations = [column] if ":" in column else [f"insert:{column}", f"update:{column}"]
            expected |= dict.fromkeys(operations, result)
        for name in _TABLES if table == "*" else [table]:
            yield Case(name, role, expected)


class _Rows(NamedTuple):
    """``key`` is that of a row of the user. ``template`` is a row that the user ``newcomer`` does not have yet."""

    user: UUID
    key: UUID
    newcomer: UUID
    template: dict[str, Any]


async def _make_rows(options: DatabaseOptions, superuser: Any, table: type[Table]) -> _Rows:
    subject, keys = subject_of(table), {}
    async with connect_database(options) as database, database.transaction(SERVICE) as write:
        for owner in (new_id(), new_id()):
            keys[owner] = owner if table in (User, UserPreferences, AccountUsage) else new_id()
            if table is not User:
                await insert_user(write, owner, owner)
            await subject.prepare(write, keys[owner], owner)
            await subject.insert(write, keys[owner], owner)
    (user, key), (newcomer, unused) = keys.items()
    found = f"{table.__table__.fullname} t WHERE {subject.key} = $1"
    template = json.loads(await superuser.fetchval(f"SELECT jsonb_strip_nulls(to_jsonb(t)) FROM {found}", unused))
    await superuser.execute(f"DELETE FROM {found}", unused)
    return _Rows(user, key, newcomer, template)


@asynccontextmanager
async def _connected(url: str, **settings: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url, server_settings=settings)
    try:
        yield connection
    finally:
        await connection.close()


async def _become(connection: Any, role: str, user: UUID) -> None:
    identify = "SELECT set_config('role', $1, false), set_config('request.jwt.claims', $2, false)"
    await connection.execute(identify, role, to_json(claims(viewer_of(user))))


async def _result(connection: Any, text: str, *values: Any) -> str:
    """The result of a statement, which is rolled back."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        status = await connection.execute(text, *values)
    except asyncpg.InsufficientPrivilegeError:
        return "forbidden"
    except (asyncpg.IntegrityConstraintViolationError, asyncpg.GeneratedAlwaysError):
        return "rejected"
    else:
        return "done" if status.endswith(" 1") else "unseen"
    finally:
        await transaction.rollback()


async def _insert(connection: Any, table: sa.Table, values: dict[str, Any]) -> str:
    names = ", ".join(values)
    rows = f"SELECT {names} FROM jsonb_populate_record(NULL::{table.fullname}, $1)"
    return await _result(connection, f"INSERT INTO {table.fullname} ({names}) {rows}", json.dumps(values))


async def _update(connection: Any, table: sa.Table, condition: str, key: UUID, values: dict[str, Any]) -> str:
    (name,) = values
    value = f"(SELECT {name} FROM jsonb_populate_record(NULL::{table.fullname}, $1))"
    text = f"UPDATE {table.fullname} SET {name} = {value} WHERE {condition}"
    return await _result(connection, text, json.dumps(values), key)


async def _results(connection: Any, role: str, table: sa.Table, rows: _Rows) -> dict[tuple[str, str], str]:
    """The results by operation and column."""
    condition = f"{subject_of(table.info['row']).key} = "
    template = {column: value for column, value in rows.template.items() if not table.c[column].identity}
    results = {}
    await _become(connection, role, rows.newcomer)
    for column in table.columns:
        values = template | {column.name: _other_value(column)}
        results["insert", column.name] = await _insert(connection, table, values)
    await _become(connection, role, rows.user)
    for column in table.columns:
        value = {column.name: _other_value(column)}
        results["update", column.name] = await _update(connection, table, f"{condition}$2", rows.key, value)
    results["delete", ""] = await _result(connection, f"DELETE FROM {table.fullname} WHERE {condition}$1", rows.key)
    return results


@pytest.mark.parametrize("name", sorted(_TABLES))
async def test_a_user_can_write_exactly_these_columns_by_sql(
    postgres_only: DatabaseOptions, server: Server, name: str
) -> None:
    """Other clients of the database can write nothing."""
    database, table = database_of(postgres_only), _TABLES[name].__table__
    async with _connected(server.login("postgres", database), session_replication_role="replica") as superuser:
        rows = await _make_rows(postgres_only, superuser, table.info["row"])
    for case in _cases():
        if case.table == name:
            async with _connected(server.login(_LOGINS[case.role], database)) as connection:
                results = await _results(connection, case.role, table, rows)
            assert results == {place: case.result(*place) for place in results}, case.role


def test_every_table_has_expected_results_for_every_role() -> None:
    assert sorted((case.table, case.role) for case in _cases()) == sorted(
        (table, role) for table in _TABLES for role in _LOGINS
    )


_ATTACKS = {
    "end a suspension by deleting the account": "DELETE FROM identity.users WHERE id = auth.uid()",
    "create the account again": (
        "INSERT INTO identity.users (id, email, first_name, last_name, created_at, updated_at)"
        " VALUES (auth.uid(), 'x@example.com', 'Ada', 'Byron', now(), now())"
    ),
    "make up an event": (
        "INSERT INTO public.domain_events"
        " (id, aggregate_id, aggregate_type, event_type, event_data, user_id, timestamp)"
        " VALUES (gen_random_uuid(), gen_random_uuid(), 'task', 'TaskCompleted', '{}', auth.uid(), now())"
    ),
    "award points": (
        "INSERT INTO gamification.point_entries (id, user_id, points, reason, source_event_id, created_at, updated_at)"
        " VALUES (gen_random_uuid(), auth.uid(), 1000, 'task_completed', gen_random_uuid(), now(), now())"
    ),
    "refund a redemption": "UPDATE gamification.reward_redemptions SET status = 'refunded'",
    "a link that runs a script": "UPDATE identity.users SET avatar_url = 'javascript:alert(1)'",
    "replace the password hash": "UPDATE identity.users SET password_hash = 'x'",
    "read the password hash": "SELECT password_hash FROM identity.users",
    "read all columns of the account": "SELECT * FROM identity.users",
    "read the hash of a refresh token": "SELECT refresh_token_hash FROM identity.sessions",
    "create a temporary table": "CREATE TEMP TABLE forged (reward_id uuid)",
    "create a table": "CREATE TABLE life_lock.forged (id uuid)",
    "create a table in the schema public": "CREATE TABLE public.forged (id uuid)",
    "empty a table": "TRUNCATE life_lock.tasks",
    "number events anew": "SELECT setval('public.domain_events_sequence_seq', 1)",
    "change the revision": "UPDATE public.alembic_version SET version_num = '0001'",
    "switch to the gateway's role": "SET ROLE siso_writer",
}


@pytest.mark.parametrize("attack", _ATTACKS)
async def test_another_client_of_the_database_cannot(
    postgres_only: DatabaseOptions, server: Server, attack: str
) -> None:
    user = new_id()
    async with connect_database(postgres_only) as database, database.transaction(SERVICE) as write:
        await insert_user(write, user, user)
    async with _connected(server.login("client", database_of(postgres_only))) as connection:
        await _become(connection, "authenticated", user)
        assert await connection.fetchval("SELECT first_name FROM identity.users") == "Ada"
        assert await _result(connection, _ATTACKS[attack]) == "forbidden"


async def test_a_trigger_function_cannot_be_run_on_a_table_of_another_client(
    cloned_postgres: DatabaseOptions, server: Server
) -> None:
    """Also if the database grants TEMPORARY. The function would raise the stock of a reward."""
    name, user = database_of(cloned_postgres), new_id()
    await asyncio.to_thread(server.sql, f"GRANT TEMPORARY ON DATABASE {name} TO PUBLIC")
    async with _connected(server.login("client", name)) as connection:
        await _become(connection, "authenticated", user)
        await connection.execute("CREATE TEMP TABLE forged (reward_id uuid, updated_at timestamptz)")
        for function in await connection.fetch(
            "SELECT oid::regprocedure::text FROM pg_proc WHERE prorettype = 'trigger'::regtype"
            " AND pronamespace::regnamespace::text !~ '^pg_|information_schema'"
        ):
            trigger = f"CREATE TRIGGER run AFTER INSERT ON forged FOR EACH ROW EXECUTE FUNCTION {function[0]}"
            assert await _result(connection, trigger) == "forbidden", function[0]


@pytest.mark.usefixtures("postgres_template")
async def test_default_privileges_of_the_database_give_other_clients_nothing(server: Server) -> None:
    """Supabase grants anon and authenticated all privileges on new objects in the schema public."""
    name = f"supabase_{uuid4().hex[:12]}"
    owner = server.login("owner", name)
    await asyncio.to_thread(server.sql, f"CREATE DATABASE {name} OWNER owner")
    try:
        async with _connected(owner) as connection:
            for objects in ("TABLES", "SEQUENCES", "FUNCTIONS"):
                grant = f"GRANT ALL ON {objects} TO anon, authenticated, service_role"
                await connection.execute(f"ALTER DEFAULT PRIVILEGES IN SCHEMA public {grant}")
        await asyncio.to_thread(run.call_with_connection, owner, Path(), run.upgrade)
        assert await excessive_client_rights(owner, timeout=5) == []
        async with _connected(server.login("client", name)) as connection:
            await _become(connection, "authenticated", new_id())
            for attack in ("number events anew", "change the revision", "make up an event"):
                assert await _result(connection, _ATTACKS[attack]) == "forbidden"
    finally:
        await asyncio.to_thread(server.sql, f"DROP DATABASE {name} WITH (FORCE)")
