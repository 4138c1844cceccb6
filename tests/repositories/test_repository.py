"""The methods of the repository base class, each with its exact number of statements."""

import datetime as dt
import re
from typing import Any

import pytest

from repositories.aggregates.batch import Batch
from repositories.aggregates.repository import ADD_BATCH, CHANGE_BATCH
from repositories.core.clock import now
from repositories.core.errors import Forbidden, InputErrors, NotFound, StaleVersion
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.life_lock.categories import Categories
from repositories.life_lock.tasks import Tasks
from repositories.sql.filters import Compare, Op, SortKey
from repositories.tables.identity import User
from repositories.tables.life_lock import Task, TaskStatus
from tests.factories import make_category, make_task, make_tasks, make_user, viewer_of
from tests.repositories.support import open_snapshot


def _without_transactions(statements: list[str]) -> list[str]:
    """The statements, except for those that open and close transactions."""
    return [text for text in statements if not re.match(r"BEGIN|COMMIT", text)]


async def _all(database: Database) -> list[Task]:
    async with open_snapshot(database) as snapshot:
        return await Tasks(snapshot).find(order=[SortKey("id")], limit=500)


async def test_get_returns_the_row_or_raises_not_found(database: Database, statements: list[str]) -> None:
    """All columns are equal. The error is the same for missing rows, deleted rows and rows of other users."""
    ada, bob = await make_user(database), await make_user(database)
    due = dt.datetime(2024, 3, 31, 1, 30, 0, 123456, dt.timezone(dt.timedelta(hours=2)))
    category = await make_category(database, ada)
    task = await make_task(
        database, ada, title="Äpfel", description="", priority_level=5, due_date=due, category_id=category.id
    )
    deleted = await make_task(database, ada, deleted_at=now())
    theirs = await make_task(database, bob)
    statements.clear()
    async with open_snapshot(database, viewer_of(ada)) as snapshot:
        found = await Tasks(snapshot).get(task.id)
        assert len(_without_transactions(statements)) == 1
        assert found == task
        assert (found.user_id, found.title, found.description, found.status) == (
            ada.id,
            "Äpfel",
            "",
            TaskStatus.PENDING,
        )
        assert (found.priority_level, found.category_id, found.due_date) == (5, category.id, due)
        assert (found.version, found.completed_at, found.deleted_at) == (1, None, None)
        assert found.created_at == found.updated_at
        assert found.created_at.utcoffset() == found.due_date.utcoffset() == dt.timedelta()  # type: ignore[union-attr]
        assert isinstance(found.status, TaskStatus)
        errors = []
        for key in (new_id(), deleted.id, theirs.id):
            with pytest.raises(NotFound) as caught:
                await Tasks(snapshot).get(key)
            errors.append((caught.value.message, caught.value.path))
        assert errors == [("There is no such task.", ("id",))] * 3


async def test_a_row_is_a_tuple_without_a_dict(database: Database) -> None:
    """Its repr contains no personal data, and ``replace`` returns a changed copy."""
    ada = await make_user(database, first_name="Augusta")
    assert isinstance(ada, tuple)
    assert not hasattr(ada, "__dict__")
    assert repr(ada) == f"<User {ada.id}>"
    copy = ada.replace(last_name="King")
    assert (type(copy), copy.first_name, copy.last_name) == (User, "Augusta", "King")
    assert (ada.last_name, copy.replace(last_name=ada.last_name)) == ("Byron", ada)


async def test_by_id_reads_many_rows_in_one_statement(database: Database, statements: list[str]) -> None:
    """It omits missing rows, deleted rows and rows of other users."""
    ada, bob = await make_user(database), await make_user(database)
    tasks = await make_tasks(database, ada, 3)
    deleted = await make_task(database, ada, deleted_at=now())
    theirs = await make_task(database, bob)
    async with open_snapshot(database, viewer_of(ada)) as snapshot:
        keys = [tasks[2].id, new_id(), deleted.id, theirs.id, tasks[0].id, tasks[0].id]
        statements.clear()
        found = await Tasks(snapshot).by_id(keys)
        assert len(_without_transactions(statements)) == 1
        assert dict(found) == {tasks[2].id: tasks[2], tasks[0].id: tasks[0]}
        assert dict(await Tasks(snapshot).by_id([])) == {}
        on_class = Tasks.by_id
        assert isinstance(on_class, Batch)
        assert dict(await on_class(snapshot, [tasks[1].id])) == {tasks[1].id: tasks[1]}


async def test_lock_returns_the_rows_in_one_statement(database: Database, statements: list[str]) -> None:
    """A missing row is NotFound."""
    ada = await make_user(database)
    tasks = await make_tasks(database, ada, 3)
    async with database.transaction(viewer_of(ada)) as write:
        statements.clear()
        assert await Tasks(write).lock(tasks[0].id) == tasks[0]
        assert dict(await Tasks(write).lock_many([task.id for task in tasks[1:]])) == {t.id: t for t in tasks[1:]}
        assert len(statements) == 2
        with pytest.raises(NotFound):
            await Tasks(write).lock(new_id())


async def test_exists_first_find_and_count_ignore_deleted_rows(database: Database, statements: list[str]) -> None:
    """Each of them is one statement."""
    ada = await make_user(database)
    tasks = await make_tasks(database, ada, 5)
    deleted = await make_task(database, ada, title="Task 9", deleted_at=now())
    async with open_snapshot(database, viewer_of(ada)) as snapshot:
        repository = Tasks(snapshot)
        assert await repository.exists(tasks[0].id) is True
        statements.clear()
        assert await repository.exists(deleted.id) is False
        assert await repository.first(order=[SortKey("title")]) == tasks[0]
        assert await repository.first(Compare("title", Op.EQ, "Task 9")) is None
        assert await repository.find(order=[SortKey("title")], limit=3) == tasks[:3]
        assert await repository.find(Compare("title", Op.GT, "Task 2"), [SortKey("title")], limit=9) == tasks[3:]
        assert await repository.count() == 5
        assert await repository.count(Compare("title", Op.GT, "Task 2")) == 2
        assert len(statements) == 7


async def test_add_fills_in_omitted_values(database: Database, statements: list[str]) -> None:
    """Id, timestamps and defaults. The caller may give the id. It is one statement."""
    ada = await make_user(database)
    given_id, before = new_id(), now()
    async with database.transaction(viewer_of(ada)) as write:
        statements.clear()
        added = await Tasks(write).add(user_id=ada.id, title="Made")
        named = await Tasks(write).add(id=given_id, user_id=ada.id, title="Named", priority_level=1)
        assert len(statements) == 2
    assert before <= added.created_at == added.updated_at <= now()
    assert (added.id.version, named.id) == (7, given_id)
    assert (added.status, added.priority_level, added.version) == (TaskStatus.PENDING, 3, 1)
    assert sorted(await _all(database)) == sorted([added, named])


async def test_add_many_returns_the_rows_in_order(database: Database, statements: list[str]) -> None:
    """250 rows with values of all types are three statements."""
    ada = await make_user(database)
    at = now()
    rows: list[dict[str, Any]] = [
        {
            "user_id": ada.id,
            "title": f"Ta\"s'k\\ 😀 {249 - index}",
            "description": None if index % 2 else "",
            "status": TaskStatus.COMPLETED if index % 3 == 0 else TaskStatus.PENDING,
            "completed_at": at if index % 3 == 0 else None,
            "due_date": at + dt.timedelta(microseconds=index),
        }
        for index in range(250)
    ]
    async with database.transaction(viewer_of(ada)) as write:
        statements.clear()
        added = await Tasks(write).add_many(rows)
        assert len(statements) == 3 == -(-250 // ADD_BATCH)
        assert len(set(statements)) == 1
        assert await Tasks(write).add_many([]) == []
        assert len(statements) == 3
    assert [{name: getattr(task, name) for name in rows[0]} for task in added] == rows
    assert len({task.id for task in added}) == 250
    assert await _all(database) == sorted(added)


async def test_add_missing_returns_the_ids_of_new_rows(database: Database, statements: list[str]) -> None:
    """1200 rows are two statements. An existing row does not change."""
    ada = await make_user(database)
    there = await make_task(database, ada, title="There")
    rows = [{"id": new_id(), "user_id": ada.id, "title": f"Task {index}"} for index in range(1199)]
    again = {"id": there.id, "user_id": ada.id, "title": "Again"}
    async with database.transaction(SERVICE) as write:
        statements.clear()
        assert await Tasks(write).add_missing([*rows, again]) == {row["id"] for row in rows}
        assert len(statements) == 2
        assert await Tasks(write).add_missing([*rows, again]) == set()
        assert await Tasks(write).add_missing([]) == set()
        assert await Tasks(write).get(there.id) == there
        assert await Tasks(write).count() == 1200
        assert await Tasks(write).count(Compare("title", Op.PREFIX, "Task ")) == 1199


async def test_add_missing_cannot_add_rows_of_another_user(database: Database) -> None:
    ada, bob = await make_user(database), await make_user(database)
    with pytest.raises(Forbidden):
        async with database.transaction(viewer_of(bob)) as write:
            await Tasks(write).add_missing(
                [{"user_id": bob.id, "title": "Mine"}, {"user_id": ada.id, "title": "Forged"}]
            )
    assert await _all(database) == []


async def test_change_changes_only_the_given_values(database: Database, statements: list[str]) -> None:
    """It also changes ``version`` and ``updated_at``. It is one statement."""
    ada = await make_user(database)
    task, other = await make_tasks(database, ada, 2)
    async with database.transaction(viewer_of(ada)) as write:
        statements.clear()
        changed = await Tasks(write).change(task, title="Changed", description=None, priority_level=1)
        assert len(statements) == 1
    assert changed.updated_at > task.updated_at
    assert changed == task.replace(title="Changed", priority_level=1, version=2, updated_at=changed.updated_at)
    assert await _all(database) == [changed, other]


async def test_change_of_a_table_without_versions_needs_no_version(database: Database) -> None:
    ada = await make_user(database)
    category = await make_category(database, ada)
    async with database.transaction(viewer_of(ada)) as write:
        changed = await Categories(write).change(category, name="Renamed")
        again = await Categories(write).change(category, color="#000000")
    assert (changed.name, again.name, again.color) == ("Renamed", "Renamed", "#000000")


async def test_change_of_a_missing_row_is_not_found(database: Database) -> None:
    """The same applies to deleted rows and rows of other users."""
    ada, bob = await make_user(database), await make_user(database)
    purged, deleted = await make_tasks(database, ada, 2)
    theirs = await make_task(database, bob)
    async with database.transaction(SERVICE) as write:
        await Tasks(write).purge(purged.id)
        await Tasks(write).remove(deleted)
    before = await _all(database)
    for row in (purged, deleted, theirs):
        with pytest.raises(NotFound):
            async with database.transaction(viewer_of(ada)) as write:
                await Tasks(write).change(row, title="Changed")
    assert await _all(database) == before


async def test_change_many_returns_the_rows_in_order(database: Database, statements: list[str]) -> None:
    """120 rows are three statements. Each row keeps the values that its change does not contain."""
    ada = await make_user(database)
    tasks = await make_tasks(database, ada, 120)
    changes: list[tuple[Task, dict[str, Any]]] = [
        (task, {"title": f"Changed {index}"} if index % 2 else {"description": "Ch'anged", "priority_level": 1})
        for index, task in enumerate(reversed(tasks))
    ]
    async with database.transaction(viewer_of(ada)) as write:
        statements.clear()
        changed = await Tasks(write).change_many(changes)
        assert len(statements) == 3 == -(-120 // CHANGE_BATCH)
        assert await Tasks(write).change_many([]) == []
    at = changed[0].updated_at
    assert changed == [task.replace(**values, version=2, updated_at=at) for task, values in changes]
    assert await _all(database) == sorted(changed)


async def test_change_many_with_stale_rows_changes_no_row(database: Database) -> None:
    """The error contains each row that cannot be changed, by its index."""
    ada = await make_user(database)
    tasks = await make_tasks(database, ada, 120)
    async with database.transaction(SERVICE) as write:
        newer = await Tasks(write).change(tasks[70], title="Newer")
        await Tasks(write).remove(tasks[3])
    before = await _all(database)
    with pytest.raises(InputErrors) as caught:
        async with database.transaction(viewer_of(ada)) as write:
            await Tasks(write).change_many([(task, {"title": "Changed"}) for task in tasks])
    missing, stale = caught.value.parts
    assert isinstance(missing, NotFound)
    assert missing.path == (3, "id")
    assert isinstance(stale, StaleVersion)
    assert (stale.path, stale.current) == ((70, "version"), newer)
    assert await _all(database) == before


async def test_a_soft_deleted_row_can_be_restored(database: Database, statements: list[str]) -> None:
    """It does not exist in between, and keeps all its values. Both operations are one statement."""
    ada = await make_user(database)
    task = await make_task(database, ada, title="Kept", priority_level=5)
    async with database.transaction(viewer_of(ada)) as write:
        statements.clear()
        removed = await Tasks(write).remove(task)
        assert len(statements) == 1
        assert removed is not None
        assert removed.version == 2
        assert removed.deleted_at is not None
        assert await Tasks(write).exists(task.id) is False
        statements.clear()
        assert await Tasks(write).lock_deleted(task.id) == removed
        restored = await Tasks(write).restore(removed)
        assert len(statements) == 2
        with pytest.raises(NotFound):
            await Tasks(write).lock_deleted(task.id)
    assert restored == task.replace(version=3, updated_at=restored.updated_at)
    assert await _all(database) == [restored]


async def test_a_second_removal_is_not_found(database: Database) -> None:
    ada = await make_user(database)
    task = await make_task(database, ada)
    async with database.transaction(SERVICE) as write:
        removed = await Tasks(write).remove(task)
    with pytest.raises(NotFound):
        async with database.transaction(viewer_of(ada)) as write:
            await Tasks(write).remove(task)
    async with database.transaction(SERVICE) as write:
        assert await Tasks(write).lock_deleted(task.id) == removed


async def test_remove_deletes_rows_of_tables_without_deleted_at(database: Database, statements: list[str]) -> None:
    """It is one statement."""
    ada = await make_user(database)
    category = await make_category(database, ada)
    async with database.transaction(viewer_of(ada)) as write:
        statements.clear()
        await Categories(write).remove(category)
        assert len(statements) == 1
        with pytest.raises(NotFound):
            await Categories(write).get(category.id)
        with pytest.raises(NotFound) as caught:
            await Categories(write).remove(category)
    assert caught.value.message == "There is no such category."


async def test_purge_deletes_rows_permanently(database: Database, statements: list[str]) -> None:
    """It also deletes soft-deleted rows. Missing rows and rows of other users are NotFound."""
    ada, bob = await make_user(database), await make_user(database)
    task, removed = await make_tasks(database, ada, 2)
    theirs = await make_task(database, bob)
    async with database.transaction(viewer_of(ada)) as write:
        await Tasks(write).remove(removed)
        statements.clear()
        await Tasks(write).purge(task.id)
        await Tasks(write).purge(removed.id)
        assert len(statements) == 2
        for key in (task.id, theirs.id):
            with pytest.raises(NotFound):
                await Tasks(write).purge(key)
        with pytest.raises(NotFound):
            await Tasks(write).lock_deleted(removed.id)
    assert await _all(database) == [theirs]
