"""What can be done with tasks and categories."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.core.errors import DanglingReference, InputError, NotFound, StaleVersion, ValidationError
from repositories.life_lock.categories import Categories
from repositories.life_lock.events import (
    CategoryCreated,
    CategoryDeleted,
    CategoryUpdated,
    TaskCompleted,
    TaskCreated,
    TaskDeleted,
    TaskReopened,
    TaskRestored,
    TaskUpdated,
)
from repositories.life_lock.tasks import Tasks
from repositories.tables.life_lock import Category, Task, TaskStatus
from resolvers.life_lock.inputs import (
    ChangeTask,
    CompleteTask,
    CreateCategory,
    CreateTask,
    CreateTasks,
    DeleteCategory,
    DeleteTask,
    ReopenTask,
    RestoreTask,
    UpdateCategory,
    UpdateTask,
    UpdateTasks,
)
from resolvers.validation.command import changed_fields, check_version, locate_taken_id, provided_fields, raise_all
from resolvers.validation.valid_parts import reports

# tasks


async def _errors_of_new_task(work: UnitOfWork, command: CreateTask) -> list[InputError]:
    return await _missing_categories(work, [command.category_id], [("category_id",)])


@reports(_errors_of_new_task)
async def create_task(work: UnitOfWork, command: CreateTask) -> Task:
    """Makes a task of the viewer's."""
    try:  # the reference names owner and category together, so the database tells whether the category is theirs
        with locate_taken_id("database_id"):
            task = await work.repository(Tasks).add(**_new_task(work, command))
    except DanglingReference as error:
        if command.category_id is None:
            raise
        raise NotFound.of("category", path=("category_id",)) from error
    _record_created(work, task)
    return task


async def _errors_of_new_tasks(work: UnitOfWork, command: CreateTasks) -> list[InputError]:
    tasks = command.tasks or []
    wanted = [item.category_id for item in tasks]
    places = [("tasks", index, "category_id") for index in range(len(wanted))]
    twins = _duplicates([item.database_id for item in tasks], "database_id")
    return [*twins, *await _missing_categories(work, wanted, places)]


@reports(_errors_of_new_tasks)
async def create_tasks(work: UnitOfWork, command: CreateTasks) -> list[Task]:
    """Makes tasks of the viewer's, all or none."""
    raise_all(await _errors_of_new_tasks(work, command))
    with locate_taken_id("tasks"):
        made = await work.repository(Tasks).add_many([_new_task(work, item) for item in command.tasks])
    for task in made:
        _record_created(work, task)
    return made


def _new_task(work: UnitOfWork, command: CreateTask) -> dict[str, Any]:
    values = command.model_dump(exclude={"database_id"})
    return values | {"id": command.database_id, "user_id": work.viewer_id, "created_at": work.now}


def _record_created(work: UnitOfWork, task: Task) -> None:
    work.record(
        TaskCreated(task.id, task.user_id, task.created_at, task.category_id, task.priority_level, task.due_date)
    )


async def _errors_of_change(work: UnitOfWork, command: UpdateTask) -> list[InputError]:
    return await _errors_of_changes(work, [command], [()], await _lock_tasks(work, [command]))


@reports(_errors_of_change)
async def update_task(work: UnitOfWork, command: UpdateTask) -> Task:
    """Changes a task, if it still has the version that was seen."""
    (task,) = await _update(work, [command], [()])
    return task


async def _errors_of_batch(work: UnitOfWork, command: UpdateTasks) -> list[InputError]:
    tasks = command.tasks or []
    places = [("tasks", index) for index in range(len(tasks))]
    rows = await _lock_tasks(work, tasks)
    return [*_duplicates([item.id for item in tasks], "id"), *await _errors_of_changes(work, tasks, places, rows)]


@reports(_errors_of_batch)
async def update_tasks(work: UnitOfWork, command: UpdateTasks) -> list[Task]:
    """Changes tasks, all or none; every refusal names the task it is about."""
    twins = _duplicates([item.id for item in command.tasks], "id")
    return await _update(work, command.tasks, [("tasks", index) for index in range(len(command.tasks))], twins)


async def _lock_tasks(work: UnitOfWork, commands: Sequence[UpdateTask]) -> Mapping[UUID, Task]:
    keys = {command.id: None for command in commands if command.id is not None}
    return await work.repository(Tasks).lock_many(list(keys))


async def _errors_of_changes(
    work: UnitOfWork,
    commands: Sequence[UpdateTask],
    places: Sequence[tuple[str | int, ...]],
    rows: Mapping[UUID, Task],
) -> list[InputError]:
    """Missing and stale rows, and missing categories."""
    refusals: list[InputError] = []
    for command, place in zip(commands, places, strict=True):
        row = rows.get(command.id)
        if command.id is None:
            continue  # the id is invalid
        if row is None or row.user_id != work.viewer_id:
            refusals.append(NotFound.of("task", path=(*place, "id")))
        elif command.version is not None and row.version != command.version:
            refusals.append(StaleVersion(row, path=(*place, "version")))
    wanted = [_wanted_category(rows.get(command.id), command) for command in commands]
    return [*refusals, *await _missing_categories(work, wanted, [(*place, "category_id") for place in places])]


async def _update(
    work: UnitOfWork,
    commands: Sequence[UpdateTask],
    places: Sequence[tuple[str | int, ...]],
    twins: Sequence[InputError] = (),
) -> list[Task]:
    rows = await _lock_tasks(work, commands)
    raise_all([*twins, *await _errors_of_changes(work, commands, places, rows)])
    pairs = [(rows[command.id], _changes(work, rows[command.id], command)) for command in commands]
    effective = [(row, values) for row, values in pairs if values]
    changed = await work.repository(Tasks).change_many(effective) if effective else []
    done = {row.id: row for row in changed}
    for row, values in effective:
        _record_updated(work, row, done[row.id], values)
    return [done.get(row.id, row) for row, _ in pairs]


def _wanted_category(row: Task | None, command: UpdateTask) -> UUID | None:
    """The category the task is to be moved to, None if it stays where it is."""
    wanted: UUID | None = provided_fields(command, "category_id").get("category_id")
    return None if row is not None and row.category_id == wanted else wanted


def _changes(work: UnitOfWork, row: Task, command: UpdateTask) -> dict[str, Any]:
    """The columns that really get another value."""
    wanted = provided_fields(command, "title", "description", "status", "priority_level", "category_id", "due_date")
    values = changed_fields(work, row, wanted)
    if "status" in values:
        values["completed_at"] = work.now if values["status"] is TaskStatus.COMPLETED else None
    return values


def _record_updated(work: UnitOfWork, before: Task, after: Task, values: Mapping[str, Any]) -> None:
    work.record(TaskUpdated(after.id, after.user_id, tuple(sorted(values))))
    if after.completed_at is not None and before.completed_at is None:
        work.record(TaskCompleted(after.id, after.user_id, after.completed_at, after.due_date))
    elif after.completed_at is None and before.completed_at is not None:
        work.record(TaskReopened(after.id, after.user_id, before.completed_at))


async def complete_task(work: UnitOfWork, command: CompleteTask) -> Task:
    """Marks a task as done; one that is done already stays as it is."""
    task = await _own(work, command)
    if task.status is TaskStatus.COMPLETED:
        return task
    task = await work.repository(Tasks).change(task, status=TaskStatus.COMPLETED, completed_at=work.now)
    work.record(TaskCompleted(task.id, task.user_id, work.now, task.due_date))
    return task


async def reopen_task(work: UnitOfWork, command: ReopenTask) -> Task:
    """Makes a completed or cancelled task pending again; an open one stays as it is."""
    task = await _own(work, command)
    if task.status not in {TaskStatus.COMPLETED, TaskStatus.CANCELLED}:
        return task
    changed = await work.repository(Tasks).change(task, status=TaskStatus.PENDING, completed_at=None)
    work.record(TaskReopened(task.id, task.user_id, task.completed_at))
    return changed


async def delete_task(work: UnitOfWork, command: DeleteTask) -> Task:
    """Puts a task away; it can be restored."""
    task = await _own(work, command)
    deleted = await work.repository(Tasks).change(task, deleted_at=work.now)
    work.record(TaskDeleted(task.id, task.user_id, task.created_at, task.completed_at))
    return deleted


async def restore_task(work: UnitOfWork, command: RestoreTask) -> Task:
    """Brings a deleted task back."""
    task = _checked(work, await work.repository(Tasks).lock_deleted(command.id), command.version)
    restored = await work.repository(Tasks).restore(task)
    work.record(TaskRestored(task.id, task.user_id, task.created_at, task.completed_at))
    return restored


async def _own(work: UnitOfWork, command: ChangeTask) -> Task:
    """The viewer's own task, locked, of the version that was seen."""
    return _checked(work, await work.repository(Tasks).lock(command.id), command.version)


def _checked(work: UnitOfWork, task: Task, version: int | None) -> Task:
    if task.user_id != work.viewer_id:
        raise NotFound.of("task")
    return check_version(task, version)


async def _missing_categories(
    work: UnitOfWork, wanted: Sequence[UUID | None], places: Sequence[tuple[str | int, ...]]
) -> list[InputError]:
    """A refusal for every category that is not the viewer's own; no statement if there are none."""
    keys = {key for key in wanted if key is not None}
    if not keys:
        return []
    known = await work.repository(Categories).lock_for_reference(sorted(keys))
    return [
        NotFound.of("category", path=place)
        for key, place in zip(wanted, places, strict=True)
        if key is not None and (key not in known or known[key].user_id != work.viewer_id)
    ]


def _duplicates(keys: Sequence[UUID | None], field: str) -> list[InputError]:
    """A refusal for every task whose key stands in the list before it."""
    seen: set[UUID] = set()
    twins: list[InputError] = []
    for index, key in enumerate(keys):
        if key in seen:
            twins.append(ValidationError("This one is in the list twice.", path=("tasks", index, field)))
        elif key is not None:
            seen.add(key)
    return twins


# categories


async def create_category(work: UnitOfWork, command: CreateCategory) -> Category:
    """Makes a category of the viewer's."""
    with locate_taken_id("database_id"):
        category = await work.repository(Categories).add(
            id=command.database_id, user_id=work.viewer_id, name=command.name, color=command.color
        )
    work.record(CategoryCreated(category.id, category.user_id))
    return category


async def update_category(work: UnitOfWork, command: UpdateCategory) -> Category:
    """Changes a category."""
    category = await _own_category(work, command.id)
    values = changed_fields(work, category, provided_fields(command, "name", "color"))
    if not values:
        return category
    changed = await work.repository(Categories).change(category, **values)
    work.record(CategoryUpdated(changed.id, changed.user_id, tuple(sorted(values))))
    return changed


async def delete_category(work: UnitOfWork, command: DeleteCategory) -> Category:
    """Deletes a category for good; its tasks live on without one."""
    category = await _own_category(work, command.id)
    for task_id in await work.repository(Tasks).uncategorise(category.id):
        work.record(TaskUpdated(task_id, category.user_id, ("category_id",)))
    await work.repository(Categories).purge(category.id)
    work.record(CategoryDeleted(category.id, category.user_id))
    return category


async def _own_category(work: UnitOfWork, key: UUID) -> Category:
    category = await work.repository(Categories).lock(key)
    if category.user_id != work.viewer_id:
        raise NotFound.of("category")
    return category
