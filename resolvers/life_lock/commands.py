"""Commands on tasks and categories beyond the derived ones."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from pydantic import Field
from strawberry import Maybe

from repositories.aggregates.derived import change_of
from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.core.errors import Conflict, InputError, NotFound, ValidationError
from repositories.life_lock.events import TaskCompleted, TaskReopened, TaskUpdated
from repositories.life_lock.tasks import Tasks
from repositories.tables.life_lock import CLOSED, Category, Task, TaskStatus
from resolvers.aggregates.derived_commands import row_command
from resolvers.aggregates.handlers import find_row, lock_row
from resolvers.aggregates.rules import Rules, Values, add_rules
from resolvers.request.account_lookup import AccountLookup
from resolvers.request.context import Context
from resolvers.validation.command import LookupEmail, check_version, raise_all, version_errors
from resolvers.validation.valid_parts import reports


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


async def _errors_of_completion(context: Context, command: Any) -> list[InputError]:
    if command.id is None:
        return []
    task = (await Tasks(context.snapshot).by_id([command.id])).get(command.id)
    if task is None or context.viewer_id not in {task.user_id, task.assignee_id}:
        return [NotFound.of(Tasks.noun)]
    return version_errors(task, command.version)


@row_command(Task, "The task to complete.")
@reports(_errors_of_completion)
async def complete_task(context: Context, command: Any) -> Task:
    """Completes a task of the viewer, or one that is assigned to the viewer. A completed task stays as it is.

    The points for it belong to the owner. Possible errors: NOT_FOUND, STALE_VERSION.
    """
    try:
        async with context.unit_of_work() as work:
            work.outcome = task = await _complete(work, command)
            return task
    except NotFound:
        found = (await Tasks(context.snapshot).by_id([command.id])).get(command.id)
        if found is None or found.assignee_id != context.viewer_id:
            raise
    async with context.unit_of_work(context.viewer.as_service()) as work:  # the owner's days and points change too
        work.outcome = task = await _complete(work, command, assignee=context.viewer_id)
        return task


async def _complete(work: UnitOfWork, command: Any, *, assignee: UUID | None = None) -> Task:
    """Completes the task if it is assigned to ``assignee``, which is checked here because the service may see it."""
    task = await work.repository(Tasks).lock(command.id)
    if assignee is not None and task.assignee_id != assignee:
        raise NotFound.of(Tasks.noun)
    check_version(task, command.version)
    if task.status is TaskStatus.COMPLETED:
        return task
    return await work.change(task, TaskCompleted, status=TaskStatus.COMPLETED, completed_at=work.now)


_maybe: Any = Maybe
_EMAIL = Field(
    description="The e-mail address of an active user, who can then read and complete the task. Null removes the "
    "assignee. It must be given: leaving it out is a VALIDATION_ERROR."
)


async def _find_assignee(context: Context, command: Any) -> tuple[UUID | None, list[InputError]]:
    if command.email is None:
        return None, [ValidationError("Give an e-mail address, or null to remove the assignee.", path=("email",))]
    if command.email.value is None:
        return None, []
    found = await context.service(AccountLookup).find_active(context, command.email.value)
    if found is None:
        return None, [NotFound("There is no active user with this e-mail address.", path=("email",))]
    if found == context.viewer_id:
        return None, [Conflict("The task is yours. Give the e-mail address of another user.", path=("email",))]
    return found, []


async def _errors_of_assignment(context: Context, command: Any) -> list[InputError]:
    _, errors = await _find_assignee(context, command)
    async with context.unit_of_work() as work:
        return [*(await find_row(work, Task, command))[1], *errors]


@row_command(
    Task,
    "The task to assign, one of the viewer's, and the user who gets it.",
    {"email": (_maybe[LookupEmail | None], _EMAIL)},
)
@reports(_errors_of_assignment)
async def assign_task(context: Context, command: Any) -> Task:
    """Assigns a task to a user, who can then read and complete it, or removes the assignee.

    A task that is assigned to this user already stays as it is. Each user can look up a limited number of addresses per
    hour. Possible errors: NOT_FOUND for the task, and at `email` if there is no active user with this address; CONFLICT
    if it is the viewer's own address; VALIDATION_ERROR, STALE_VERSION.
    """
    assignee, errors = await _find_assignee(context, command)
    async with context.unit_of_work() as work:
        task, found = await find_row(work, Task, command)
        raise_all([*found, *errors])
        assert task is not None  # noqa: S101 (otherwise there is an error)
        if task.assignee_id != assignee:
            task = await work.change(task, assignee_id=assignee)
        work.outcome = task
        return task


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
