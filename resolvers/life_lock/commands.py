"""Commands on tasks and categories beyond the derived ones."""

from collections.abc import Sequence
from typing import Any

from repositories.aggregates.derived import change_of
from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.life_lock.events import TaskCompleted, TaskReopened, TaskUpdated
from repositories.life_lock.tasks import Tasks
from repositories.tables.life_lock import CLOSED, Category, Task, TaskStatus
from resolvers.aggregates.derived_commands import row_command
from resolvers.aggregates.handlers import lock_row
from resolvers.aggregates.rules import Rules, Values, add_rules
from resolvers.aggregates.transitions import transition


def _completion(work: UnitOfWork, before: Task | None, values: Values) -> Values:
    """The time of completion follows from the status."""
    if "status" not in values:
        return {}
    return {"completed_at": work.now if values["status"] is TaskStatus.COMPLETED else None}


def _record_completion(work: UnitOfWork, before: Task | None, after: Task) -> None:
    completed_before = before.completed_at if before is not None else None
    if after.completed_at is not None and completed_before is None:
        work.record(TaskCompleted(after.id, after.user_id, after.completed_at, after.due_date))
    elif after.completed_at is None and completed_before is not None:
        work.record(TaskReopened(after.id, after.user_id, completed_before))


add_rules(Task, Rules(complete=_completion, record=_record_completion))


@transition(Task, TaskCompleted, "The task to complete.")
def complete_task(work: UnitOfWork, task: Task) -> Values:
    """Completes a task. A completed task stays as it is."""
    return {"status": TaskStatus.COMPLETED}


@row_command(Task, "The completed or cancelled task to reopen.")
async def reopen_task(work: UnitOfWork, command: Any) -> Task:
    """Changes the status of a closed task to PENDING. An open task stays as it is.

    Possible errors: NOT_FOUND, STALE_VERSION.
    """
    task = await lock_row(work, Task, command)
    if task.status not in CLOSED:
        return task
    reopened = await work.repository(Tasks).change(task, status=TaskStatus.PENDING, completed_at=None)
    work.record(TaskReopened(task.id, task.user_id, task.completed_at, change=change_of(task, reopened)))
    return reopened


async def _uncategorise(work: UnitOfWork, rows: Sequence[Category]) -> None:
    """Its tasks remain, without a category."""
    for category, task in await work.repository(Tasks).uncategorise([row.id for row in rows]):
        work.record_changed(task.replace(category_id=category), task, TaskUpdated)


_category_rules: Rules[Category] = Rules(delete=_uncategorise)
add_rules(Category, _category_rules)
