"""What can be asked about notes."""

from uuid import UUID

from repositories.identity import Users
from repositories.kit.page import PageRequest
from resolvers.kit.connections import Connection, listing
from resolvers.kit.context import Context
from resolvers.kit.edges import get, one
from tests.example.data import Notes
from tests.example.tables import Note

author_of_note = one(Users.by_id, key=Note.user_id)


async def note(context: Context, key: UUID) -> Note:
    """A note the viewer may see, or NotFound."""
    return await get(context, Notes, key)


async def notes(context: Context, request: PageRequest) -> Connection[Note]:
    """The notes the viewer may see, those that were changed last first."""
    return await listing(context, Notes, request)
