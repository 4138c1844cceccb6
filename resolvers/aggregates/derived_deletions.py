"""The handlers that delete, restore and purge rows, derived from the declaration of an aggregate."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar
from uuid import UUID

from repositories.aggregates.derived import repository_of
from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.core.errors import Conflict, DanglingReference, NotFound, Path
from repositories.sql.aggregate import Aggregate
from resolvers.aggregates import derived_inputs as inputs
from resolvers.aggregates.command_descriptions import delete_text, purge_text, restore_text
from resolvers.aggregates.handlers import describe_handler, find_duplicates, run_each
from resolvers.aggregates.rules import rules_of
from resolvers.validation.command import check_version, raise_all

T = TypeVar("T")


def delete_handler(aggregate: Aggregate) -> Callable[[UnitOfWork, Any], Awaitable[Any]]:
    @describe_handler(inputs.row_input(aggregate, "delete", f"The {aggregate.noun} to delete."), delete_text(aggregate))
    async def delete(work: UnitOfWork, command: Any) -> Any:
        row = await work.repository(repository_of(aggregate.row)).lock(command.id)
        check_version(row, getattr(command, "version", None))
        await rules_of(aggregate.row).delete(work, [row])
        return await _in_use(work.delete(row), aggregate)

    return delete


def restore_handler(aggregate: Aggregate) -> Callable[[UnitOfWork, Any], Awaitable[Any]]:
    @describe_handler(
        inputs.row_input(aggregate, "restore", f"The deleted {aggregate.noun} to restore."), restore_text(aggregate)
    )
    async def restore(work: UnitOfWork, command: Any) -> Any:
        row = await work.repository(repository_of(aggregate.row)).lock_deleted(command.id)
        check_version(row, getattr(command, "version", None))
        await rules_of(aggregate.row).restore(work, [row])
        return await work.restore(row)

    return restore


def purge_handler(aggregate: Aggregate) -> Callable[[UnitOfWork, Any], Awaitable[Any]]:
    @describe_handler(
        inputs.row_input(aggregate, "purge", f"The deleted {aggregate.noun} to delete permanently."),
        purge_text(aggregate),
    )
    async def purge(work: UnitOfWork, command: Any) -> Any:
        row = await work.repository(repository_of(aggregate.row)).lock_deleted(command.id)
        check_version(row, getattr(command, "version", None))
        await rules_of(aggregate.row).purge(work, [row])
        await _in_use(work.purge(row), aggregate)
        return row

    return purge


async def _in_use(deletion: Awaitable[T], aggregate: Aggregate) -> T:
    try:
        return await deletion
    except DanglingReference:
        raise Conflict(f"Other objects still refer to this {aggregate.noun}.", path=("id",)) from None


def delete_many_handler(
    aggregate: Aggregate, own: Callable[..., Any] | None
) -> Callable[[UnitOfWork, Any], Awaitable[Any]]:
    plural = aggregate.plural.replace("_", " ")
    model = inputs.bulk_input(aggregate, "delete", f"The {plural} to delete, all or none.")

    async def delete_rows(work: UnitOfWork, ids: Sequence[UUID]) -> list[Any]:
        rows = await _lock_all(aggregate, ids, work.repository(repository_of(aggregate.row)).lock_many)
        await rules_of(aggregate.row).delete(work, rows)
        return await work.delete_many(rows)

    @describe_handler(model, f"Deletes {plural}, all or none. The errors name each of them by its index.")
    async def delete_many(work: UnitOfWork, command: Any) -> Any:
        _check_ids(command.ids)
        if own is None:
            with suppress(Conflict, DanglingReference):
                async with work.savepoint():
                    return await delete_rows(work, command.ids)
        return await _one_by_one(
            work, own or delete_handler(aggregate), inputs.row_input(aggregate, "delete", ""), command.ids
        )

    return delete_many


def restore_many_handler(
    aggregate: Aggregate, own: Callable[..., Any] | None
) -> Callable[[UnitOfWork, Any], Awaitable[Any]]:
    plural = aggregate.plural.replace("_", " ")
    model = inputs.bulk_input(aggregate, "restore", f"The deleted {plural} to restore, all or none.")

    async def restore_rows(work: UnitOfWork, ids: Sequence[UUID]) -> list[Any]:
        rows = await _lock_all(aggregate, ids, work.repository(repository_of(aggregate.row)).lock_many_deleted)
        await rules_of(aggregate.row).restore(work, rows)
        return await work.restore_many(rows)

    @describe_handler(model, f"Restores deleted {plural}, all or none. The errors name each of them by its index.")
    async def restore_many(work: UnitOfWork, command: Any) -> Any:
        _check_ids(command.ids)
        if own is None:
            with suppress(Conflict, DanglingReference):
                async with work.savepoint():
                    return await restore_rows(work, command.ids)
        return await _one_by_one(
            work, own or restore_handler(aggregate), inputs.row_input(aggregate, "restore", ""), command.ids
        )

    return restore_many


def _check_ids(ids: Sequence[UUID]) -> None:
    raise_all(find_duplicates([("ids", index) for index in range(len(ids))], ids))


async def _lock_all(
    aggregate: Aggregate, ids: Sequence[UUID], lock: Callable[[Sequence[UUID]], Awaitable[Mapping[UUID, Any]]]
) -> list[Any]:
    """The locked rows in the order of their ids in the command. An error for each that does not exist."""
    rows = await lock(ids)
    raise_all([NotFound.of(aggregate.noun, path=("ids", at)) for at, key in enumerate(ids) if key not in rows])
    return [rows[key] for key in ids]


async def _one_by_one(work: UnitOfWork, single: Callable[..., Any], command: Any, ids: Sequence[UUID]) -> list[Any]:
    """Runs a command for each row in the order of their ids, so that concurrent commands do not wait for each other.

    For a domain's own handlers, and to find out which rows a constraint has rejected, which the database does not tell.
    """
    order = sorted(range(len(ids)), key=ids.__getitem__)
    places: list[Path] = [("ids", index) for index in order]
    rows = await run_each(work, single, [command(id=ids[index]) for index in order], places, names_fields=False)
    return [row for _, row in sorted(zip(order, rows, strict=True))]
