"""The job that deletes old records of administration."""

import datetime as dt

from repositories.core.viewer import SERVICE
from repositories.idempotency_keys import IdempotencyKeys
from repositories.job_runs import JobRuns
from resolvers.services.job import JobContext

KEPT = dt.timedelta(days=90)


async def clean_job_runs(context: JobContext) -> int:
    """Deletes the records of job runs that started more than 90 days ago. Returns their number."""
    async with context.database.transaction(SERVICE) as write:
        return await JobRuns(write).purge_before(context.started_at - KEPT)


async def clean_idempotency_keys(context: JobContext) -> int:
    """Deletes expired idempotency keys, in short transactions. Returns their number."""
    deleted = 0
    while True:
        async with context.database.transaction(SERVICE) as write:
            found = await IdempotencyKeys(write).purge_expired(context.started_at)
        deleted += found
        context.progress(deleted)
        if not found:
            return deleted
