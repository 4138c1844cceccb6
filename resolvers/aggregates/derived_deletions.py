"""The handlers that delete, restore and purge rows, derived from the declaration of an aggregate."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from repositories.aggregates.derived import repository_of
from repositories.aggregates.repository import Repository
from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.core.errors import Conflict, DanglingReference, NotFound, Path
from repositories.sql.aggregate import Aggregate
from resolvers.aggregates import derived_inputs as inputs
from resolvers.aggregates.handlers import describe_handler, find_duplicates, run_each
from resolvers.validation.command import check_version, raise_all

T = TypeVar("T")


def delete_handler(aggregate: Aggregate) -> Callable[[UnitOfWork, Any], Awaitable[Any]]:
    noun = aggregate.noun
    what = "It can be restored." if aggregate.is_soft_deleted else "It cannot be restored."

    @describe_handler(
        inputs.row_input(aggregate, "delete", f"The {noun} to delete."), f"Deletes {aggregate.a_noun}. {what}"
    )
    async def delete(work: UnitOfWork, command: Any) -> Any:
        row = await work.repository(repository_of(aggregate.row)).lock(command.id)
        return await _in_use(work.delete(check_version(row, getattr(command, "version", None))), aggregate)

    return delete


def restore_handler(aggregate: Aggregate) -> Callable[[UnitOfWork, Any], Awaitable[Any]]:
    noun = aggregate.noun

    @describe_handler(
        inputs.row_input(aggregate, "restore", f"The deleted {noun} to restore."), f"Restores a deleted {noun}."
    )
    async def restore(work: UnitOfWork, command: Any) -> Any:
        row = await work.repository(repository_of(aggregate.row)).lock_deleted(command.id)
        return await work.restore(check_version(row, getattr(command, "version", None)))

    return restore


def purge_handler(aggregate: Aggregate) -> Callable[[UnitOfWork, Any], Awaitable[Any]]:
    noun = aggregate.noun
    doc = (
        f"Deletes {aggregate.a_noun} permanently that was deleted before. Its events remain in the audit log. "
        f"Returns the {noun} as it was. Returns the error CONFLICT if other objects refer to it."
    )

    @describe_handler(inputs.row_input(aggregate, "purge", f"The deleted {noun} to delete permanently."), doc)
    async def purge(work: UnitOfWork, command: Any) -> Any:
        row = await work.repository(repository_of(aggregate.row)).lock_deleted(command.id)
        check_version(row, getattr(command, "version", None))
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

    @describe_handler(model, f"Deletes {plural}, all or none. The errors name each of them by its index.")
    async def delete_many(work: UnitOfWork, command: Any) -> Any:
        _check_ids(command.ids)
        if own is not None or not aggregate.is_soft_deleted:
            single = own or delete_handler(aggregate)
            return await _one_by_one(work, single, "delete", aggregate, command.ids)
        rows = await work.repository(repository_of(aggregate.row)).lock_many(command.ids)
        return await _mark(work, aggregate, rows, command.ids, work.record_deleted, deleted_at=work.now)

    return delete_many


def restore_many_handler(
    aggregate: Aggregate, own: Callable[..., Any] | None
) -> Callable[[UnitOfWork, Any], Awaitable[Any]]:
    plural = aggregate.plural.replace("_", " ")
    model = inputs.bulk_input(aggregate, "restore", f"The deleted {plural} to restore, all or none.")

    @describe_handler(model, f"Restores deleted {plural}, all or none. The errors name each of them by its index.")
    async def restore_many(work: UnitOfWork, command: Any) -> Any:
        _check_ids(command.ids)
        if own is not None:
            return await _one_by_one(work, own, "restore", aggregate, command.ids)
        rows = await work.repository(repository_of(aggregate.row)).lock_many_deleted(command.ids)
        return await _mark(work, aggregate, rows, command.ids, work.record_restored, deleted_at=None)

    return restore_many


def _check_ids(ids: Sequence[UUID]) -> None:
    raise_all(find_duplicates([("ids", index) for index in range(len(ids))], ids))


async def _mark(
    work: UnitOfWork,
    aggregate: Aggregate,
    rows: Mapping[UUID, Any],
    ids: Sequence[UUID],
    record: Callable[[Any], None],
    **values: Any,
) -> list[Any]:
    """Changes the same values of all rows."""
    raise_all([NotFound.of(aggregate.noun, path=("ids", at)) for at, key in enumerate(ids) if key not in rows])
    repository: Repository[Any] = work.repository(repository_of(aggregate.row))
    changed = await repository.change_many([(rows[key], values) for key in ids])
    await work.load_owners(changed)
    for row in changed:
        record(row)
    return changed


async def _one_by_one(
    work: UnitOfWork, single: Callable[..., Any], verb: str, aggregate: Aggregate, ids: Sequence[UUID]
) -> list[Any]:
    """Runs a command for each row in the order of their ids, so that concurrent commands do not wait for each other."""
    command: Any = inputs.row_input(aggregate, verb, "")
    order = sorted(range(len(ids)), key=ids.__getitem__)
    places: list[Path] = [("ids", index) for index in order]
    rows = await run_each(work, single, [command(id=ids[index]) for index in order], places, names_fields=False)
    return [row for _, row in sorted(zip(order, rows, strict=True))]
