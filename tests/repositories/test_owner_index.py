"""The owner's condition uses an index, so that a user's lists do not become slower with the rows of other users."""

import hashlib
import re
from collections.abc import Iterator
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import pytest
import sqlalchemy as sa

from repositories.core.ids import new_id
from repositories.core.viewer import Viewer
from repositories.permissions import RoleName
from repositories.sql import types
from repositories.sql.aggregate import aggregates
from repositories.sql.filters import NO_FILTER, Compare, Filter, Op, parameters_of
from repositories.sql.lists import build_count, build_page
from repositories.sql.policy import claims, database_role, policies
from repositories.sql.statements import Engine, Statement, scope_of
from repositories.sql.types import to_json
from repositories.tables.life_lock import Task
from tests.databases import Server, temporary_clone
from tests.factories import viewer_of

ROWS, OWNERS = 20_000, 400

OWNER_COLUMNS = {
    declared.table: condition.left
    for declared in policies.values()
    if isinstance(condition := declared.read.condition(frozenset({RoleName.USER})), sa.BinaryExpression)
    and isinstance(condition.left, sa.Column)
} | {found.table: found.table.c[found.owner] for found in aggregates.values() if found.owner and found.assignee}
"""The owner column of each table whose policy has an owner."""

_WITHOUT_CONSTRAINTS = """
    DO $$ DECLARE command text; BEGIN
        FOR command IN SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname)
            FROM pg_constraint WHERE contype IN ('c', 'f') AND conrelid > 0 AND conparentid = 0
                AND connamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
        LOOP EXECUTE command; END LOOP;
    END $$
"""

_VALUES = {
    types.Id: "md5('other' || g)::uuid",
    types.Timestamp: "now() + g * interval '1 second'",
    types.Day: "current_date + g",
    types.Flag: "false",
    types.Json: "'{}'",
    types.Choice: "'any'",
    sa.Text: "'text ' || g",
    types.Email: "'text ' || g",
    sa.Integer: "g",
    sa.BigInteger: "g",
    types.Fixed: "1",
}


def _is_unique(column: sa.Column[Any]) -> bool:
    keys = [constraint for constraint in column.table.constraints if isinstance(constraint, sa.UniqueConstraint)]
    return column.primary_key or any(list(key.columns) == [column] for key in keys)


def _insert_rows(owner: sa.Column[Any]) -> str:
    """The statement that inserts rows of many owners. Nullable columns are NULL."""
    table = owner.table
    owners = ROWS if _is_unique(owner) else OWNERS
    columns = [column for column in table.columns if column is owner or not (column.nullable or column.identity)]
    values = [
        f"md5('owner' || g % {owners})::uuid" if column is owner else _VALUES[type(column.type)] for column in columns
    ]
    return (
        f"INSERT INTO {table.fullname} ({', '.join(column.name for column in columns)})"
        f" SELECT {', '.join(values)} FROM generate_series(1, {ROWS}) AS g"
    )


@pytest.fixture(scope="module")
def crowded(server: Server, postgres_template: str) -> Iterator[str]:
    """The URL of a database with the rows of many users."""
    with temporary_clone(server, postgres_template) as name:
        server.sql(
            _WITHOUT_CONSTRAINTS,
            "SET session_replication_role = replica",
            *(_insert_rows(owner) for owner in OWNER_COLUMNS.values()),
            "ANALYZE",
            database=name,
        )
        yield server.login("gateway", name)


async def _plan(url: str, viewer: Viewer, statement: Statement[Any], where: Filter = NO_FILTER) -> str:
    """PostgreSQL's plan of the viewer's statement."""
    compiled = statement.compile_for(scope_of(Engine.POSTGRESQL, viewer))
    arguments = compiled.bind({"viewer_id": viewer.id, "limit": 51, "offset": 0} | parameters_of(where))
    connection = await asyncpg.connect(url)
    try:
        introduction = "SELECT set_config('role', $1, false), set_config('request.jwt.claims', $2, false)"
        await connection.execute(introduction, database_role(viewer, writes=False), to_json(claims(viewer)))
        lines = await connection.fetch(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {compiled.text}", *arguments)
    finally:
        await connection.close()
    return "\n".join(line[0] for line in lines)


@pytest.mark.parametrize("table", OWNER_COLUMNS, ids=lambda table: table.fullname)
async def test_an_owners_list_and_count_use_an_index(crowded: str, table: sa.Table) -> None:
    """The index finds only rows of the viewer, so no row is read and discarded.

    Lists of rows that can be assigned have a condition on the owner by default.
    """
    owner = OWNER_COLUMNS[table]
    row = table.info["row"]
    person = UUID(hashlib.md5(b"owner7", usedforsecurity=False).hexdigest())
    is_assignable = row in aggregates and aggregates[row].assignee is not None
    where: Filter = Compare(owner.name, Op.EQ, person) if is_assignable else NO_FILTER
    for statement in (build_page(row, None, where, (), None, backwards=False), build_count(row, where)):
        plan = await _plan(crowded, viewer_of(person), statement, where)
        assert f"Index Cond: ({owner.name} = " in plan, plan
        assert "Rows Removed" not in plan, plan


class ManyTasks(NamedTuple):
    """A database with 40,000 tasks that have the same user in ``column``."""

    url: str
    column: str
    person: UUID


@pytest.fixture(params=["user_id", "assignee_id"])
def many_tasks(request: pytest.FixtureRequest, server: Server, postgres_template: str) -> Iterator[ManyTasks]:
    person, other = new_id(), new_id()
    ids = {"user_id": other, "assignee_id": other} | {request.param: person}
    with temporary_clone(server, postgres_template) as name:
        server.sql(
            _WITHOUT_CONSTRAINTS,
            "SET session_replication_role = replica",
            "INSERT INTO life_lock.tasks (id, user_id, assignee_id, title, priority_level, created_at, updated_at) "
            f"SELECT md5('other' || g)::uuid, '{ids['user_id']}', '{ids['assignee_id']}', 'x', g, now(), now() "
            "FROM generate_series(1, 40000) AS g",
            "ANALYZE",
            database=name,
        )
        yield ManyTasks(server.login("gateway", name), request.param, person)


async def test_a_list_of_very_many_tasks_reads_an_index_in_order(many_tasks: ManyTasks) -> None:
    """In the default order, only tasks of the same priority are sorted, and those after the page are not read."""
    column = many_tasks.column
    where = Compare(column, Op.EQ, many_tasks.person)
    statement = build_page(Task, None, where, aggregates[Task].order, None, backwards=False)
    plan = await _plan(many_tasks.url, viewer_of(many_tasks.person), statement, where)
    assert f"Index Scan Backward using ix_tasks_{column}_priority_level" in plan, plan
    assert "Presorted Key: tasks.priority_level" in plan, plan
    assert f"Index Cond: ({column} = " in plan, plan
    assert "Rows Removed" not in plan, plan
    read = re.search(r"Index Scan.*rows=(\d+)", plan)
    assert read is not None
    assert int(read[1]) < 200, plan


async def test_statements_of_admins_have_no_owner_condition(crowded: str) -> None:
    admin = viewer_of(UUID(int=1), RoleName.ADMIN)
    plan = await _plan(crowded, admin, build_count(Task, NO_FILTER))
    assert "Index Cond: (user_id" not in plan, plan
