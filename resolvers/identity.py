"""Who is asking."""

from uuid import UUID

from repositories.identity import Users
from repositories.tables.identity import User
from resolvers.kit.context import Context
from resolvers.kit.edges import load


async def viewer(context: Context) -> User | None:
    """The signed-in user's account, None for anonymous callers."""
    return await user(context, context.viewer.id) if context.viewer.id is not None else None


async def user(context: Context, key: UUID) -> User | None:
    """A user whom the viewer may see, or None."""
    return await load(context, Users.by_id, key, lambda: None)
