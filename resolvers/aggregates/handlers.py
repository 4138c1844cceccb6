"""What the derived handlers of commands have in common."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID

from repositories.aggregates.derived import repository_of
from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.core.errors import Conflict, InputError, Path, ValidationError
from repositories.sql.constraints import unique_keys
from repositories.sql.table import Table
from resolvers.aggregates.rules import Values
from resolvers.validation.command import Command, check_version, raise_all
from resolvers.validation.valid_parts import Check, Handler, reports

R = TypeVar("R", bound=Table)

CommandHandler = Callable[[UnitOfWork, Any], Awaitable[Any]]
"""A derived handler, which takes a derived command and returns a row or rows."""


RowCheck = Callable[[UnitOfWork, Any, Any], Awaitable[Sequence[InputError]]]
"""Returns the errors of a command beside those of its row. It gets the locked row, None if there is no such row."""


async def _no_errors(work: UnitOfWork, row: Any, command: Any) -> Sequence[InputError]:
    return ()


def describe_handler(command: type[Command], doc: str, check: Check) -> Callable[[Handler], Handler]:
    """Gives a handler the annotation and the docstring from which its mutation is made, and its check."""

    def describe(handler: Handler) -> Handler:
        handler.__annotations__ = {"work": UnitOfWork, "command": command, "return": Any}
        handler.__doc__ = doc
        return reports(check)(handler)

    return describe


async def find_row(
    work: UnitOfWork, row: type[R], command: Any, check: RowCheck = _no_errors, *, deleted: bool = False
) -> tuple[R | None, list[InputError]]:
    """The row of a command, locked, and all errors: NOT_FOUND or STALE_VERSION, and those of the check."""
    found, errors = None, []
    try:
        if command.id is not None:  # otherwise it is invalid
            rows = work.repository(repository_of(row))
            found = await (rows.lock_deleted if deleted else rows.lock)(command.id)
            check_version(found, getattr(command, "version", None))
    except InputError as error:
        errors.append(error)
    return found, [*errors, *await check(work, found, command)]


async def lock_row(
    work: UnitOfWork, row: type[R], command: Any, check: RowCheck = _no_errors, *, deleted: bool = False
) -> R:
    """The row of a command, locked. Raises the errors of :func:`find_row`."""
    found, errors = await find_row(work, row, command, check, deleted=deleted)
    raise_all(errors)
    assert found is not None  # noqa: S101 (otherwise there is an error)
    return found


def row_check(row: type[Table], check: RowCheck = _no_errors, *, deleted: bool = False) -> Check:
    """The check of a command on one row."""

    async def errors(work: UnitOfWork, command: Any) -> list[InputError]:
        return (await find_row(work, row, command, check, deleted=deleted))[1]

    return errors


def find_duplicates(places: Sequence[Path], keys: Sequence[UUID | None]) -> list[InputError]:
    """An error for every key that is in the list before."""
    seen: set[UUID] = set()
    errors: list[InputError] = []
    for place, key in zip(places, keys, strict=True):
        if key in seen:
            errors.append(ValidationError("This value occurs twice in the list.", path=place))
        elif key is not None:
            seen.add(key)
    return errors


def find_unique_duplicates(row: type[Table], rows: Sequence[Values], places: Sequence[Path]) -> list[InputError]:
    """An error for every row with a unique value that a row before it has, by the unique keys of the table.

    A key is not checked in rows in which one of its columns is missing or null.
    """
    errors: list[InputError] = []
    for field, columns, message in unique_keys(row.__table__):
        seen: set[tuple[Any, ...]] = set()
        for values, place in zip(rows, places, strict=True):
            key = tuple(values.get(name) for name in columns)
            if None in key or values[field] is False:
                continue
            if key in seen:
                kind = ValidationError if values[field] is True else Conflict
                errors.append(kind(message, path=(*place, field)))
            seen.add(key)
    return errors


async def run_each(
    work: UnitOfWork, single: Callable[..., Any], commands: Sequence[Any], places: Sequence[Path]
) -> list[Any]:
    """Runs several commands, and raises the errors of all of them together."""
    done, errors = await try_each(work, single, commands, places)
    raise_all(errors)
    return done


async def try_each(
    work: UnitOfWork, single: Callable[..., Any], commands: Sequence[Any], places: Sequence[Path]
) -> tuple[list[Any], list[InputError]]:
    """Runs several commands. Returns the results of those that succeed, and the errors of the others.

    Each runs in a savepoint, because PostgreSQL executes no statement after one that failed.
    """
    done: list[Any] = []
    errors: list[InputError] = []
    for command, place in zip(commands, places, strict=True):
        try:
            async with work.savepoint():
                done.append(await single(work, command))
        except InputError as error:
            errors += error.prefix_path(*place).parts
    return done, errors


def errors_of_run(handler: CommandHandler) -> Check:
    """The check of a bulk handler that takes invalid values: it runs, and its changes are rolled back."""

    async def errors(work: UnitOfWork, command: Any) -> list[InputError]:
        try:
            await handler(work, command)
        except InputError as error:
            return [error]
        return []

    return errors
