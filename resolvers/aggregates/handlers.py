"""What the derived handlers of commands have in common."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID

from repositories.aggregates.derived import repository_of
from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.core.errors import InputError, Path, ValidationError
from repositories.sql.table import Table
from resolvers.validation.command import Command, check_version, raise_all
from resolvers.validation.valid_parts import Handler

R = TypeVar("R", bound=Table)

CommandHandler = Callable[[UnitOfWork, Any], Awaitable[Any]]
"""A derived handler, which takes a derived command and returns a row or rows."""


def describe_handler(command: type[Command], doc: str) -> Callable[[Handler], Handler]:
    """Gives a handler the annotation and the docstring from which its mutation is made."""

    def describe(handler: Handler) -> Handler:
        handler.__annotations__ = {"work": UnitOfWork, "command": command, "return": Any}
        handler.__doc__ = doc
        return handler

    return describe


async def lock_row(work: UnitOfWork, row: type[R], command: Any) -> R:
    """The row of a command, locked. Raises NotFound, and StaleVersion if the client read another version."""
    found: R = await work.repository(repository_of(row)).lock(command.id)
    return check_version(found, getattr(command, "version", None))


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


async def run_each(
    work: UnitOfWork,
    single: Callable[..., Any],
    commands: Sequence[Any],
    places: Sequence[Path],
    *,
    names_fields: bool = True,
) -> list[Any]:
    """Runs several commands, and raises the errors of all of them together, in the order of their places.

    Each runs in a savepoint, because PostgreSQL executes no statement after one that failed.
    """
    done: list[Any] = []
    errors: list[InputError] = []
    for command, place in zip(commands, places, strict=True):
        try:
            async with work.savepoint():
                done.append(await single(work, command))
        except InputError as error:
            for part in error.parts:
                part.path = (*place, *part.path) if names_fields else place
                errors.append(part)
    raise_all(sorted(errors, key=lambda error: error.path[:2]))
    return done
