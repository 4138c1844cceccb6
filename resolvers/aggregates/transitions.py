"""Commands that change the status of one row, or other values that follow from the row alone.

    @transition(Note, NotePublished, "The draft to publish.", errors="CONFLICT if the note is archived")
    def publish_note(work: UnitOfWork, note: Note) -> Values:
        '''Publishes a note. A published note stays as it is.'''
        if note.status is NoteStatus.ARCHIVED:
            raise Conflict("This note is archived. Restore it first.", path=("id",))
        return {"status": NoteStatus.PUBLISHED}

The function returns the new values, or raises the error of a row that must not be changed. Everything else is derived:
the input `PublishNoteInput`, the lock, the check of the version, the event, and the list of errors in the description.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.core.event import Event
from repositories.sql.aggregate import aggregates
from repositories.sql.table import Table
from resolvers.aggregates.command_descriptions import transition_text
from resolvers.aggregates.derived_commands import row_command
from resolvers.aggregates.handlers import CommandHandler, lock_row
from resolvers.aggregates.rules import Values, rules_of
from resolvers.validation.command import changed_fields

R = TypeVar("R", bound=Table)


def transition(
    row: type[R], event: type[Event], doc: str, *, errors: str = ""
) -> Callable[[Callable[[UnitOfWork, R], Values]], CommandHandler]:
    """Makes the handler of a mutation from a function with the name of the mutation.

    The function gets the locked row and returns values. A row that has these values stays as it is. Otherwise the
    values are changed, with those that follow from them (``Rules.complete``), and the event is recorded.

    - ``doc``: the description of the input, such as "The draft to publish."
    - ``errors``: the codes of the errors that the function raises, with their causes, for the description.
    """

    def derive(values_of: Callable[[UnitOfWork, R], Values]) -> CommandHandler:
        async def handle(work: UnitOfWork, command: Any) -> R:
            before = await lock_row(work, row, command)
            values = changed_fields(work, before, values_of(work, before))
            if not values:
                return before
            return await work.change(before, event, **{**values, **rules_of(row).complete(work, before, values)})

        handle.__name__ = handle.__qualname__ = values_of.__name__
        handle.__doc__ = transition_text(aggregates[row], values_of.__doc__ or "", errors)
        handle.__annotations__["return"] = row
        return row_command(row, doc)(handle)

    return derive
