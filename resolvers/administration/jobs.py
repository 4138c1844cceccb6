"""What keeps the administration's tables small."""

import datetime as dt

from repositories.core.viewer import SERVICE
from repositories.job_runs import JobRuns
from resolvers.services.job import JobContext

KEPT = dt.timedelta(days=90)


async def clean_job_runs(occasion: JobContext) -> int:
    """Deletes what is known of old runs; says of how many."""
    async with occasion.database.transaction(SERVICE) as write:
        return await JobRuns(write).purge_before(occasion.at - KEPT)
