"""What keeps sessions, tokens and messages from piling up."""

import datetime as dt

from repositories.account_messages import AccountTokens, OutboxMessages
from repositories.core.viewer import SERVICE
from repositories.identity import Sessions
from resolvers.services.job import JobContext

MESSAGES_KEPT = dt.timedelta(days=30)
"""How long the outcome of a message can be looked up."""


async def clean_messages(context: JobContext) -> int:
    """Deletes expired tokens, and messages that were finished 30 days ago; says how many."""
    async with context.database.transaction(SERVICE) as write:
        tokens = await AccountTokens(write).purge_expired(context.started_at)
        return tokens + await OutboxMessages(write).purge_finished(context.started_at - MESSAGES_KEPT)


async def clean_sessions(context: JobContext) -> int:
    """Deletes sessions that have come to their end, revoked or not; says how many."""
    async with context.database.transaction(SERVICE) as write:
        return await Sessions(write).purge_expired(context.started_at)
