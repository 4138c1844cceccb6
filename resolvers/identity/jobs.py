"""Jobs that delete old sessions, tokens and messages."""

import datetime as dt

from repositories.account_messages import AccountTokens, OutboxMessages
from repositories.core.viewer import SERVICE
from repositories.identity import Sessions
from resolvers.services.job import JobContext

MESSAGES_KEPT = dt.timedelta(days=30)
"""How long finished messages are kept, with their outcomes."""


async def clean_messages(context: JobContext) -> int:
    """Deletes expired tokens, and messages that were finished more than 30 days ago. Returns their number."""
    async with context.database.transaction(SERVICE) as write:
        tokens = await AccountTokens(write).purge_expired(context.started_at)
        return tokens + await OutboxMessages(write).purge_finished(context.started_at - MESSAGES_KEPT)


async def clean_sessions(context: JobContext) -> int:
    """Deletes expired sessions, revoked or not. Returns their number."""
    async with context.database.transaction(SERVICE) as write:
        return await Sessions(write).purge_expired(context.started_at)
