"""Queries and mutations of tasks: the exact responses, rows and events."""

import datetime as dt
from typing import Any
from uuid import UUID

import pytest

from repositories.tables.identity import User
from repositories.tables.life_lock import TaskStatus
from tests.api.client import TAKEN_ID, Client, Gateway, gid, user_error
from tests.api.stored_rows import event_summaries, life_lock_rows, stored_task
from tests.factories import make_category, make_task

AT = dt.datetime(2026, 6, 15, 12, 0, tzinfo=dt.UTC)
NOON = "2026-06-15T12:00:00+00:00"
TASK = """task { id databaseId title description status priorityLevel priority { level name } category { id name }
    dueDate completedAt user { email } version createdAt deletedAt }"""


def _changed(status: str, completed_at: str | None, new_status: str, new_completed_at: str | None) -> dict[str, Any]:
    """What an event contains about a change of the status."""
    return {
        "fields": ["completed_at", "status"],
        "changes": {"status": [status, new_status], "completed_at": [completed_at, new_completed_at]},
    }


@pytest.fixture
def at_noon(gateway: Gateway, ada: User) -> Client:
    """A client of Ada. The clock of its gateway shows noon of 15 June 2026."""
    return gateway.at(AT).client(ada)


async def test_a_task_is_created_with_all_fields(gateway: Gateway, at_noon: Client, ada: User) -> None:
    category = await make_category(gateway.database, ada, name="Garden")
    key = UUID("0195c3a4-7b1e-7c55-9d1a-2f6b1c0a9e11")
    payload = await at_noon.do(
        "createTask",
        TASK,
        title="  Water the roses ",
        description=" twice \n",
        priorityLevel=5,
        categoryId=gid("Category", category),
        dueDate="2026-06-16T01:30:00+02:00",
        databaseId=str(key),
    )
    assert payload == {
        "task": {
            "id": gid("Task", key),
            "databaseId": str(key),
            "title": "Water the roses",
            "description": " twice \n",
            "status": "PENDING",
            "priorityLevel": 5,
            "priority": {"level": 5, "name": "urgent"},
            "category": {"id": gid("Category", category), "name": "Garden"},
            "dueDate": "2026-06-15T23:30:00+00:00",
            "completedAt": None,
            "user": {"email": "ada@example.com"},
            "version": 1,
            "createdAt": NOON,
            "deletedAt": None,
        },
        "userErrors": [],
    }
    assert await event_summaries(gateway.database) == [
        (
            "TaskCreated",
            "task",
            key,
            ada.id,
            {
                "owner_id": str(ada.id),
                "created_at": NOON,
                "category_id": str(category.id),
                "priority_level": 5,
                "due_date": "2026-06-15T23:30:00+00:00",
            },
        )
    ]


async def test_a_task_needs_only_a_title(at_noon: Client) -> None:
    payload = await at_noon.do("createTask", TASK, title="x")
    task = payload["task"]
    assert (task["priorityLevel"], task["priority"], task["status"]) == (3, {"level": 3, "name": "medium"}, "PENDING")
    assert (task["description"], task["category"], task["dueDate"]) == (None, None, None)


async def test_every_priority_has_a_name(at_noon: Client) -> None:
    items = [{"title": "x", "priorityLevel": level} for level in (1, 2, 3, 4, 5)]
    payload = await at_noon.do("createTasks", "tasks { priority { name } }", tasks=items)
    names = [task["priority"]["name"] for task in payload["tasks"]]
    assert names == ["lowest", "low", "medium", "high", "urgent"]


async def test_a_taken_database_id_is_a_conflict(gateway: Gateway, at_noon: Client, ada: User, bob: User) -> None:
    """The same applies if another user has it. The error says nothing else about that user's task."""
    for owner in (ada, bob):
        task = await make_task(gateway.database, owner)
        before = await life_lock_rows(gateway.database)
        given = {"title": "x", "databaseId": str(task.id)}
        payload = await at_noon.do("createTask", TASK, **given)
        assert payload == {"task": None, "userErrors": [TAKEN_ID]}
        payload = await at_noon.do("createTasks", "tasks { id }", tasks=[{"title": "y"}, given])
        assert payload == {"tasks": None, "userErrors": [TAKEN_ID | {"field": ["tasks", "1", "databaseId"]}]}
        assert await life_lock_rows(gateway.database) == before


async def test_an_update_changes_the_given_fields_only(gateway: Gateway, at_noon: Client, ada: User) -> None:
    category = await make_category(gateway.database, ada)
    task = await make_task(gateway.database, ada, title="Old", description="text", category_id=category.id, due_date=AT)
    key = gid("Task", task)
    await at_noon.do("updateTask", TASK, id=key, version=1, title="New")
    assert await stored_task(gateway.database, task) == task.replace(
        title="New", version=2, updated_at=(await stored_task(gateway.database, task)).updated_at
    )
    payload = await at_noon.do("updateTask", TASK, id=key, version=2, description=None, categoryId=None, dueDate=None)
    changed = payload["task"]
    assert [changed[name] for name in ("title", "description", "category", "dueDate", "version")] == [
        "New",
        None,
        None,
        None,
        3,
    ]
    assert await event_summaries(gateway.database) == [
        ("TaskUpdated", "task", task.id, ada.id, {"owner_id": str(ada.id), "fields": ["title"]}),
        (
            "TaskUpdated",
            "task",
            task.id,
            ada.id,
            {
                "owner_id": str(ada.id),
                "fields": ["category_id", "description", "due_date"],
                "changes": {"category_id": [str(task.category_id), None], "due_date": [NOON, None]},
            },
        ),
    ]


async def test_an_update_without_a_change_records_nothing(gateway: Gateway, at_noon: Client, ada: User) -> None:
    task = await make_task(gateway.database, ada, title="Same", due_date=AT)
    before = await life_lock_rows(gateway.database)
    given = {"title": "Same", "status": "PENDING", "dueDate": "2026-06-15T14:00:00+02:00"}
    payload = await at_noon.do("updateTask", TASK, id=gid("Task", task), version=1, **given)
    assert payload["task"]["version"] == 1
    assert await life_lock_rows(gateway.database) == before


async def test_completed_at_follows_the_status(gateway: Gateway, at_noon: Client, ada: User) -> None:
    """It is set only while the task is completed. The events are those of completeTask and reopenTask."""
    task = await make_task(gateway.database, ada)
    for version, (status, completed) in enumerate(
        [("IN_PROGRESS", None), ("COMPLETED", NOON), ("CANCELLED", None), ("PENDING", None)], start=1
    ):
        payload = await at_noon.do("updateTask", TASK, id=gid("Task", task), version=version, status=status)
        assert (payload["task"]["status"], payload["task"]["completedAt"]) == (status, completed)
    assert [event[0] for event in await event_summaries(gateway.database)] == [
        "TaskUpdated",
        "TaskUpdated",
        "TaskCompleted",
        "TaskUpdated",
        "TaskReopened",
        "TaskUpdated",
    ]


async def test_a_task_is_completed_and_reopened(gateway: Gateway, at_noon: Client, ada: User) -> None:
    task = await make_task(gateway.database, ada, due_date=AT)
    key = gid("Task", task)
    done = (await at_noon.do("completeTask", TASK, id=key, version=1))["task"]
    assert (done["status"], done["completedAt"], done["version"]) == ("COMPLETED", NOON, 2)
    again = (await at_noon.do("completeTask", TASK, id=key))["task"]
    assert again == done
    reopened = (await at_noon.do("reopenTask", TASK, id=key, version=2))["task"]
    assert (reopened["status"], reopened["completedAt"], reopened["version"]) == ("PENDING", None, 3)
    assert (await at_noon.do("reopenTask", TASK, id=key))["task"] == reopened
    owner = str(ada.id)
    assert await event_summaries(gateway.database) == [
        (
            "TaskCompleted",
            "task",
            task.id,
            ada.id,
            {"owner_id": owner, "completed_at": NOON, "due_date": NOON, **_changed("pending", None, "completed", NOON)},
        ),
        (
            "TaskReopened",
            "task",
            task.id,
            ada.id,
            {"owner_id": owner, "completed_at": NOON, **_changed("completed", NOON, "pending", None)},
        ),
    ]


async def test_a_cancelled_task_is_reopened(gateway: Gateway, at_noon: Client, ada: User) -> None:
    task = await make_task(gateway.database, ada, status=TaskStatus.CANCELLED)
    payload = await at_noon.do("reopenTask", TASK, id=gid("Task", task))
    assert payload["task"]["status"] == "PENDING"
    changes = {"status": ["cancelled", "pending"]}
    data = {"owner_id": str(ada.id), "completed_at": None, "fields": ["status"], "changes": changes}
    assert await event_summaries(gateway.database) == [("TaskReopened", "task", task.id, ada.id, data)]


async def test_a_task_is_deleted_and_restored(gateway: Gateway, at_noon: Client, ada: User) -> None:
    """A deleted task is not found until it is restored."""
    task = await make_task(gateway.database, ada, created_at=AT, title="Task")
    key = gid("Task", task)
    deleted = (await at_noon.do("deleteTask", TASK, id=key, version=1))["task"]
    assert (deleted["deletedAt"], deleted["title"], deleted["version"]) == (NOON, "Task", 2)
    answer = await at_noon.ask("query($id: ID!) { task(id: $id) { id } tasks { totalCount } }", id=key)
    assert answer.data == {"task": None, "tasks": {"totalCount": 0}}
    assert answer.codes == ["NOT_FOUND"]
    missing = [user_error("NOT_FOUND", "There is no such task.", "id")]
    for mutation in ("completeTask", "reopenTask", "deleteTask"):
        assert (await at_noon.do(mutation, TASK, id=key))["userErrors"] == missing
    restored = (await at_noon.do("restoreTask", TASK, id=key, version=2))["task"]
    assert (restored["deletedAt"], restored["version"], restored["id"]) == (None, 3, key)
    assert (await at_noon.do("restoreTask", TASK, id=key))["userErrors"] == missing
    data = {"owner_id": str(ada.id), "created_at": NOON, "completed_at": None}
    assert await event_summaries(gateway.database) == [
        ("TaskDeleted", "task", task.id, ada.id, data),
        ("TaskRestored", "task", task.id, ada.id, data),
    ]


async def test_batches_keep_their_order_and_record_an_event_per_task(
    gateway: Gateway, at_noon: Client, ada: User
) -> None:
    items = [{"title": f"Task {index}"} for index in range(130)]
    created = (await at_noon.do("createTasks", "tasks { id title }", tasks=items))["tasks"]
    assert [task["title"] for task in created] == [item["title"] for item in items]
    changes = [{"id": task["id"], "version": 1, "title": f"{task['title']}!"} for task in reversed(created)]
    changed = (await at_noon.do("updateTasks", "tasks { id title version }", tasks=changes))["tasks"]
    expected = [{"id": change["id"], "title": change["title"], "version": 2} for change in changes]
    assert changed == expected
    recorded = await event_summaries(gateway.database)
    assert [event[0] for event in recorded] == ["TaskCreated"] * 130 + ["TaskUpdated"] * 130
    assert [gid("Task", event[2]) for event in recorded] == [row["id"] for row in created + expected]


async def test_a_batch_changes_different_fields_of_each_task(gateway: Gateway, at_noon: Client, ada: User) -> None:
    """A task without a change keeps its version."""
    one, two, three = [await make_task(gateway.database, ada, title=f"Task {index}") for index in range(3)]
    changes = [
        {"id": gid("Task", one), "version": 1, "status": "COMPLETED"},
        {"id": gid("Task", two), "version": 1, "title": "Task 1"},
        {"id": gid("Task", three), "version": 1, "dueDate": NOON, "description": "x"},
    ]
    payload = await at_noon.do("updateTasks", "tasks { status completedAt title dueDate version }", tasks=changes)
    assert payload["tasks"] == [
        {"status": "COMPLETED", "completedAt": NOON, "title": "Task 0", "dueDate": None, "version": 2},
        {"status": "PENDING", "completedAt": None, "title": "Task 1", "dueDate": None, "version": 1},
        {"status": "PENDING", "completedAt": None, "title": "Task 2", "dueDate": NOON, "version": 2},
    ]
    assert [event[0] for event in await event_summaries(gateway.database)] == [
        "TaskUpdated",
        "TaskCompleted",
        "TaskUpdated",
    ]


async def test_task_events_are_the_history_of_the_task(gateway: Gateway, ada: User, admin: User) -> None:
    """Oldest first, for the owner and for admins."""
    client = gateway.at(AT).client(ada)
    key = (await client.do("createTask", "task { id }", title="x"))["task"]["id"]
    await client.do("completeTask", "task { id }", id=key)
    document = """query($id: ID!, $n: Int!) { taskEvents(id: $id, first: $n) {
        eventType aggregateType userId timestamp version eventData } }"""
    history = (await client.data(document, id=key, n=50))["taskEvents"]
    created = {"owner_id": str(ada.id), "created_at": NOON, "category_id": None, "priority_level": 3, "due_date": None}
    shared = {"aggregateType": "task", "userId": str(ada.id), "timestamp": NOON, "version": 1}
    assert history == [
        {"eventType": "TaskCreated", "eventData": created, **shared},
        {
            "eventType": "TaskCompleted",
            "eventData": {
                "owner_id": str(ada.id),
                "completed_at": NOON,
                "due_date": None,
                **_changed("pending", None, "completed", NOON),
            },
            **shared,
        },
    ]
    assert (await client.data(document, id=key, n=1))["taskEvents"] == history[:1]
    assert (await gateway.client(admin).data(document, id=key, n=50))["taskEvents"] == history


async def test_due_tasks_are_the_open_tasks_by_due_date(gateway: Gateway, ada: User, bob: User, admin: User) -> None:
    """They are only the viewer's own tasks, also for admins. ``until`` is inclusive."""
    hours = {name: AT + dt.timedelta(hours=offset) for name, offset in [("late", -5), ("now", 0), ("later", 1)]}
    for owner in (ada, bob):
        for name, due in hours.items():
            await make_task(gateway.database, owner, title=name, due_date=due)
        await make_task(gateway.database, owner, title="cancelled", due_date=AT, status=TaskStatus.CANCELLED)
        await make_task(gateway.database, owner, title="some day")
    document = "query($until: DateTime!, $n: Int! = 50) { dueTasks(until: $until, first: $n) { title } }"
    client = gateway.client(ada)
    assert await client.data(document, until=NOON) == {"dueTasks": [{"title": "late"}, {"title": "now"}]}
    assert await client.data(document, until=NOON, n=1) == {"dueTasks": [{"title": "late"}]}
    assert await gateway.client(admin).data(document, until=NOON) == {"dueTasks": []}
