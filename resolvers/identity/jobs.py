"""What keeps sessions from piling up."""

from repositories.core.viewer import SERVICE
from repositories.identity import Sessions
from resolvers.services.job import JobContext


async def clean_sessions(context: JobContext) -> int:
    """Deletes sessions that have come to their end, revoked or not; says how many."""
    async with context.database.transaction(SERVICE) as write:
        return await Sessions(write).purge_expired(context.started_at)
