"""Commands on notes."""

from typing import Annotated
from uuid import UUID

from pydantic import StringConstraints

from repositories.aggregates.unit_of_work import UnitOfWork
from resolvers.validation.command import Command, Storable, locate_taken_id
from tests.example.data import Notes, NoteWritten
from tests.example.tables import Note


class WriteNote(Command):
    """The values of a new note."""

    text: Annotated[str, StringConstraints(min_length=1, max_length=10_000), Storable]
    """The text of the note, 1 to 10,000 characters."""
    database_id: UUID | None = None
    """The UUID of the new note, for clients that generate ids. By default the gateway generates it."""


async def write_note(work: UnitOfWork, command: WriteNote) -> Note:
    """Creates a note of the viewer. It can return the error CONFLICT if `databaseId` is taken."""
    with locate_taken_id("database_id"):
        note = await work.repository(Notes).add(id=command.database_id, user_id=work.viewer_id, text=command.text)
    work.record(NoteWritten(note.id, note.user_id))
    return note
