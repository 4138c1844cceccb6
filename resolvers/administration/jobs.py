"""The job that deletes old records of administration."""

import datetime as dt

from repositories.core.viewer import SERVICE
from repositories.job_runs import JobRuns
from resolvers.services.job import JobContext

KEPT = dt.timedelta(days=90)


async def clean_job_runs(context: JobContext) -> int:
    """Deletes the records of job runs that started more than 90 days ago. Returns their number."""
    async with context.database.transaction(SERVICE) as write:
        return await JobRuns(write).purge_before(context.started_at - KEPT)
