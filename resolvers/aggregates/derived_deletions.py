"""The handlers that delete, restore and purge rows, derived from the declaration of an aggregate."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar
from uuid import UUID

from repositories.aggregates.derived import repository_of
from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.core.errors import Conflict, DanglingReference, InputError, NotFound, Path
from repositories.sql.aggregate import Aggregate, Commands
from repositories.sql.filters import And, Compare, DeletedRows, Deletion, Op
from resolvers.aggregates import derived_inputs as inputs
from resolvers.aggregates.command_descriptions import (
    delete_many_text,
    delete_text,
    purge_text,
    restore_many_text,
    restore_text,
)
from resolvers.aggregates.handlers import (
    CommandHandler,
    describe_handler,
    errors_of_run,
    find_duplicates,
    lock_row,
    row_check,
    try_each,
)
from resolvers.aggregates.rules import rules_of
from resolvers.validation.command import raise_all

T = TypeVar("T")


def delete_handler(aggregate: Aggregate) -> CommandHandler:
    model = inputs.row_input(aggregate, aggregate.verb(Commands.DELETE), f"The {aggregate.noun} to delete.")
    rules = rules_of(aggregate.row)

    @describe_handler(model, delete_text(aggregate), row_check(aggregate.row))
    async def delete(work: UnitOfWork, command: Any) -> Any:
        await _lock_parents(work, aggregate, Commands.DELETE, [command.id])
        row = await lock_row(work, aggregate.row, command)
        await rules.delete(work, [row])
        return await _in_use(work.delete(row, **rules.values_of_deleted), aggregate)

    return delete


def restore_handler(aggregate: Aggregate) -> CommandHandler:
    model = inputs.row_input(aggregate, "restore", f"The deleted {aggregate.noun} to restore.")

    @describe_handler(model, restore_text(aggregate), row_check(aggregate.row, deleted=True))
    async def restore(work: UnitOfWork, command: Any) -> Any:
        await _lock_parents(work, aggregate, Commands.RESTORE, [command.id])
        row = await lock_row(work, aggregate.row, command, deleted=True)
        await rules_of(aggregate.row).restore(work, [row])
        try:
            return await work.restore(row)
        except Conflict as error:
            error.path = ("id",)
            raise

    return restore


def purge_handler(aggregate: Aggregate) -> CommandHandler:
    model = inputs.row_input(aggregate, "purge", f"The deleted {aggregate.noun} to delete permanently.")

    @describe_handler(model, purge_text(aggregate), row_check(aggregate.row, deleted=True))
    async def purge(work: UnitOfWork, command: Any) -> Any:
        await _lock_parents(work, aggregate, Commands.PURGE, [command.id])
        row = await lock_row(work, aggregate.row, command, deleted=True)
        await rules_of(aggregate.row).purge(work, [row])
        await _in_use(work.purge(row), aggregate)
        return row

    return purge


async def _lock_parents(work: UnitOfWork, aggregate: Aggregate, command: Commands, ids: Sequence[UUID]) -> None:
    """Locks the rows of which these rows are parts. Two commands that lock them first never wait for each other.

    Raises Conflict if rows are to be restored that are parts of a deleted row.
    """
    if aggregate.parent is None:
        return
    where = And((Compare("id", Op.IN, tuple(ids)), DeletedRows(Deletion.INCLUDE)))
    rows = await work.repository(repository_of(aggregate.row)).find(where, limit=len(ids))
    keys = {getattr(row, aggregate.parent) for row in rows}
    parents = work.repository(repository_of(aggregate.references[aggregate.parent].target))
    deleted = keys - set(await parents.lock_many(sorted(keys))) if keys else set()
    if deleted and command is Commands.RESTORE:
        message = f"The {parents.noun} of this {aggregate.noun} is deleted. Restore the {parents.noun} first."
        raise Conflict(message, path=("id",))
    if deleted:
        await parents.lock_many_deleted(sorted(deleted))


async def _in_use(deletion: Awaitable[T], aggregate: Aggregate) -> T:
    try:
        return await deletion
    except DanglingReference:
        raise Conflict(f"Other objects still refer to this {aggregate.noun}.", path=("id",)) from None


def delete_many_handler(aggregate: Aggregate, own: Callable[..., Any] | None) -> CommandHandler:
    async def delete_rows(work: UnitOfWork, ids: Sequence[UUID]) -> list[Any]:
        await _lock_parents(work, aggregate, Commands.DELETE, ids)
        rows = await _lock_all(aggregate, ids, work.repository(repository_of(aggregate.row)).lock_many)
        await rules.delete(work, rows)
        return await work.delete_many(rows, **rules.values_of_deleted)

    words, verb, rules = aggregate.plural.replace("_", " "), aggregate.verb(Commands.DELETE), rules_of(aggregate.row)
    model = inputs.bulk_input(aggregate, verb, f"The {words} to delete, all or none.")
    command = inputs.row_input(aggregate, verb, "")
    bulk = _bulk_handler(own, delete_rows, delete_handler(aggregate), command)
    return describe_handler(model, delete_many_text(aggregate), errors_of_run(bulk))(bulk)


def restore_many_handler(aggregate: Aggregate, own: Callable[..., Any] | None) -> CommandHandler:
    async def restore_rows(work: UnitOfWork, ids: Sequence[UUID]) -> list[Any]:
        await _lock_parents(work, aggregate, Commands.RESTORE, ids)
        rows = await _lock_all(aggregate, ids, work.repository(repository_of(aggregate.row)).lock_many_deleted)
        await rules_of(aggregate.row).restore(work, rows)
        return await work.restore_many(rows)

    words = f"deleted {aggregate.plural.replace('_', ' ')}"
    model = inputs.bulk_input(aggregate, "restore", f"The {words} to restore, all or none.")
    command = inputs.row_input(aggregate, "restore", "")
    bulk = _bulk_handler(own, restore_rows, restore_handler(aggregate), command)
    return describe_handler(model, restore_many_text(aggregate), errors_of_run(bulk))(bulk)


def _bulk_handler(
    own: Callable[..., Any] | None, together: Callable[..., Any], single: CommandHandler, model: Any
) -> CommandHandler:
    """A handler that runs ``together`` for all rows, and the domain's own handler for each row if there is one.

    If that fails, ``single`` is run for each of them, to find out which of them are wrong.
    """

    async def bulk(work: UnitOfWork, command: Any) -> Any:
        ids = command.ids or []
        errors = find_duplicates([("ids", index) for index in range(len(ids))], ids)
        if own is None and ids and not errors and None not in ids:
            with suppress(InputError):
                async with work.savepoint():
                    return await together(work, ids)
        return await _one_by_one(work, own or single, model, ids, errors)

    return bulk


async def _lock_all(
    aggregate: Aggregate, ids: Sequence[UUID], lock: Callable[[Sequence[UUID]], Awaitable[Mapping[UUID, Any]]]
) -> list[Any]:
    """The locked rows in the order of their ids in the command. NotFound if one of them does not exist."""
    rows = await lock(ids)
    if len(rows) < len(ids):
        raise NotFound.of(aggregate.noun)
    return [rows[key] for key in ids]


async def _one_by_one(
    work: UnitOfWork, single: Callable[..., Any], command: Any, ids: Sequence[UUID | None], errors: Sequence[InputError]
) -> list[Any]:
    """Runs a command for each row in the order of their ids, so that concurrent commands do not wait for each other.

    For a domain's own handlers, and to find out which rows are wrong. ``errors`` are raised with those of the rows. Ids
    that have one, and invalid ids, which are None, are left out.
    """
    wrong = {error.path for error in errors}
    valid = {index: key for index, key in enumerate(ids) if key is not None and ("ids", index) not in wrong}
    order = sorted(valid, key=valid.__getitem__)
    places: list[Path] = [("ids", index) for index in order]
    rows, others = await try_each(work, single, [command(id=valid[index]) for index in order], places)
    for error in others:
        error.path = error.path[:2]
    raise_all(sorted([*errors, *others], key=lambda error: error.path))
    return [row for _, row in sorted(zip(order, rows, strict=True))]
