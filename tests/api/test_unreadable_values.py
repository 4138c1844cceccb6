"""Values that cannot be read, which another client of the database stored where a constraint was missing.

Only the field with such a value is null. All other fields of the response are complete.
"""

import asyncio
import datetime as dt
import sqlite3

import pytest

from repositories.engines.database import DatabaseOptions
from repositories.sql.table import metadata
from repositories.sql.types import Day, Timestamp
from repositories.tables.identity import UserRole
from tests.api.client import Gateway, connect_database, gid
from tests.databases import Server, database_of
from tests.factories import make_category, make_task, make_user

_UNREADABLE = ["infinity", "-infinity", "12026-06-15 12:00:00+00", "0044-03-15 12:00:00+00 BC"]
_DOCUMENT = """query($id: ID!, $ids: [ID!]!) {
    tasks(order: [{field: TITLE}]) { totalCount nodes { title dueDate category { name tasks { nodes { dueDate } } } } }
    node(id: $id) { ... on Task { title dueDate } }
    nodes(ids: $ids) { ... on Task { title dueDate } }
}"""


def _execute(options: DatabaseOptions, server: Server, *statements: str) -> None:
    """Executes statements without row-level security, and without the constraints of times and dates."""
    columns = [(table, column.name) for table in metadata.tables.values() for column in table.columns]
    drops = [
        f"ALTER TABLE {table.fullname} DROP CONSTRAINT IF EXISTS ck_{table.name}_{name}_range"
        for table, name in columns
        if isinstance(table.c[name].type, Timestamp | Day) and not table.info["is_view"]
    ]
    if options.url is not None:
        server.sql(*drops, *statements, database=database_of(options))
        return
    connection = sqlite3.connect(options.sqlite_path)
    connection.execute("PRAGMA ignore_check_constraints = ON")
    for statement in statements:
        connection.execute(statement.replace("life_lock.", "").replace("public.", ""))
    connection.commit()
    connection.close()


@pytest.mark.parametrize("pgbouncer", [False, True])
async def test_a_time_that_cannot_be_read_is_null(
    cloned_options: DatabaseOptions, server: Server, *, pgbouncer: bool
) -> None:
    """For the owner and for an administrator. The error has the path of the value. A command can replace the value."""
    async with connect_database(cloned_options, pgbouncer=pgbouncer) as database:
        ada, admin = await make_user(database), await make_user(database, role=UserRole.ADMIN)
        category = await make_category(database, ada)
        tasks = [await make_task(database, ada, title=str(place), category_id=category.id) for place in range(5)]
        for task, value in zip(tasks, _UNREADABLE, strict=False):
            change = f"UPDATE life_lock.tasks SET due_date = '{value}' WHERE id = '{task.id}'"
            await asyncio.to_thread(_execute, cloned_options, server, change)
        gateway, ids = Gateway(database), [gid("Task", task) for task in tasks]
        shown = [{"title": str(place), "dueDate": None} for place in range(5)]
        inner = {"category": {"name": category.name, "tasks": {"nodes": [{"dueDate": None}] * 5}}}
        for client in (gateway.client(ada), gateway.client(admin)):
            answer = await client.ask(_DOCUMENT, id=ids[0], ids=ids)
            assert answer.data == {
                "tasks": {"totalCount": 5, "nodes": [row | inner for row in shown]},
                "node": shown[0],
                "nodes": shown,
            }
            assert set(answer.codes) == {"INTERNAL_SERVER_ERROR"}
            paths = [error["path"] for error in answer.errors if len(error["path"]) < 5]
            expected = [["tasks", "nodes", place, "dueDate"] for place in range(4)] + [["node", "dueDate"]]
            assert paths == expected + [["nodes", place, "dueDate"] for place in range(4)]
        for place in range(4):
            values = {"id": ids[place], "version": 1, "dueDate": f"2026-06-1{place}T00:00:00Z"}
            payload = await gateway.client(ada).do("updateTask", "task { version }", **values)
            assert payload == {"task": {"version": 2}, "userErrors": []}
        assert (await gateway.client(ada).data("{ tasks { totalCount } }"))["tasks"]["totalCount"] == 5
        assert (await gateway.client(ada).data(_DOCUMENT, id=ids[0], ids=ids))["node"]["dueDate"].startswith(
            "2026-06-10"
        )


async def test_a_dashboard_with_a_value_that_cannot_be_read(cloned_options: DatabaseOptions, server: Server) -> None:
    """Also if the task with the value is one of the next ones."""
    async with connect_database(cloned_options) as database:
        ada = await make_user(database)
        bad = await make_task(database, ada, title="bad")
        await make_task(database, ada, title="good", due_date=dt.datetime(2150, 1, 1, tzinfo=dt.UTC))
        change = f"UPDATE life_lock.tasks SET due_date = 'infinity' WHERE id = '{bad.id}'"
        await asyncio.to_thread(_execute, cloned_options, server, change)
        fields = "totalTasks overdueTasks upcomingDeadlines { title dueDate } weeklyProgress { completed }"
        answer = await Gateway(database).client(ada).ask(f"{{ lifeLockDashboard {{ {fields} }} }}")
        dashboard = answer.data["lifeLockDashboard"]
        assert (dashboard["totalTasks"], len(dashboard["weeklyProgress"])) == (2, 7)
        assert {task["title"]: task["dueDate"] for task in dashboard["upcomingDeadlines"]} == {
            "good": "2150-01-01T00:00:00+00:00",
            "bad": None,
        }
        assert [error["path"][-1] for error in answer.errors] == ["dueDate"]
