"""The commands that are derived from the declaration of an aggregate.

A handler takes ``(work, command)`` and returns rows. A domain replaces a derived handler by a function of the same
name. The modules derived_changes.py and derived_deletions.py make the handlers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from repositories.sql.aggregate import Aggregate, Commands, aggregates
from repositories.sql.table import Table
from resolvers.aggregates.derived_changes import (
    create_handler,
    create_many_handler,
    update_handler,
    update_many_handler,
)
from resolvers.aggregates.derived_deletions import (
    delete_handler,
    delete_many_handler,
    purge_handler,
    restore_handler,
    restore_many_handler,
)
from resolvers.aggregates.derived_inputs import Fields, command_input
from resolvers.aggregates.handlers import CommandHandler, RowCheck, row_check
from resolvers.validation.command import Command
from resolvers.validation.valid_parts import Handler, registered_check, reports


@dataclass(frozen=True, slots=True)
class Derived:
    """A derived command: its handler, and whether it returns several rows."""

    handler: CommandHandler
    many: bool = False


def derive_commands(aggregate: Aggregate, custom: Mapping[str, Callable[..., Any]]) -> dict[str, Derived]:
    """The commands of an aggregate by name, without those that the domain replaces.

    ``custom`` are the domain's own handlers by name. A bulk command calls them for each row.
    """
    name, plural = aggregate.name, aggregate.plural
    single = {
        Commands.CREATE: create_handler,
        Commands.UPDATE: update_handler,
        Commands.DELETE: delete_handler,
        Commands.RESTORE: restore_handler,
        Commands.PURGE: purge_handler,
    }
    derived: dict[str, Derived] = {}
    for command, derive in single.items():
        key = f"{aggregate.verb(command)}_{name}"
        if command in aggregate.commands and key not in custom:
            derived[key] = Derived(_named(derive(aggregate), key))
    bulk = {
        Commands.CREATE: create_many_handler,
        Commands.UPDATE: update_many_handler,
        Commands.DELETE: delete_many_handler,
        Commands.RESTORE: restore_many_handler,
    }
    for command, derive_bulk in bulk.items():
        key = f"{aggregate.verb(command)}_{plural}"
        if command in aggregate.commands and key not in custom:
            own = custom.get(f"{aggregate.verb(command)}_{name}")
            derived[key] = Derived(_named(derive_bulk(aggregate, own), key), many=True)
    return derived


def _named(handler: Handler, name: str) -> Handler:
    handler.__name__ = handler.__qualname__ = name
    return handler


def takes(command: type[Command]) -> Callable[[Handler], Handler]:
    """Declares the input of a domain's handler if it is derived: a variable, which annotations cannot name."""

    def annotate(handler: Handler) -> Handler:
        handler.__annotations__["command"] = command
        return handler

    return annotate


def row_command(
    row: type[Table], doc: str, more: Fields = MappingProxyType({}), *, check: RowCheck | None = None
) -> Callable[[Handler], Handler]:
    """Declares the input of a domain's handler for one row: its id, its version, and ``more`` fields.

    The input has the name of the handler, which is that of the mutation. If it has invalid values, the errors of the
    row and of ``check`` are reported too; for a valid input, the handler passes the same check to ``lock_row``. A
    handler that finds its row in another way has a check of its own (``@reports``).
    """

    def annotate(handler: Handler) -> Handler:
        name = "".join(map(str.capitalize, handler.__name__.split("_")))
        if registered_check(handler) is None:
            reports(row_check(row, *([check] if check else [])))(handler)
        return takes(command_input(aggregates[row], name, doc, more))(handler)

    return annotate
