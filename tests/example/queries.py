"""Queries of notes."""

from uuid import UUID

from repositories.identity import Users
from repositories.sql.page import PageRequest
from resolvers.loading.edges import Connection, get, load_connection, one
from resolvers.request.context import Context
from tests.example.data import Notes
from tests.example.tables import Note

author_of_note = one(Users.by_id, key=Note.user_id)


async def note(context: Context, key: UUID) -> Note:
    """The note with this primary key. NotFound if it does not exist or the viewer may not see it."""
    return await get(context, Notes, key)


async def notes(context: Context, request: PageRequest) -> Connection[Note]:
    """A page of the notes that the viewer may see, the most recently changed first."""
    return await load_connection(context, Notes, request)
