"""What keeps the administration's tables small."""

import datetime as dt

from repositories.core.viewer import SERVICE
from repositories.job_runs import JobRuns
from resolvers.services.job import JobContext

KEPT = dt.timedelta(days=90)


async def clean_job_runs(context: JobContext) -> int:
    """Deletes what is known of old runs; says of how many."""
    async with context.database.transaction(SERVICE) as write:
        return await JobRuns(write).purge_before(context.started_at - KEPT)
