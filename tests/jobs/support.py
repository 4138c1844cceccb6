"""Jobs for tests, and their recorded runs."""

from repositories.engines.database import Database
from repositories.job_runs import JobRuns
from repositories.tables.administration import JobOutcome, JobRun
from resolvers.services.job import Job, JobContext
from tests.repositories.support import open_snapshot


def make_job(
    name: str, processed: int = 0, contexts: list[JobContext] | None = None, schedule: str = "0 * * * *"
) -> Job:
    """Returns a job that does nothing and returns ``processed``. It appends the contexts of its runs to a list."""

    async def run(context: JobContext) -> int:
        if contexts is not None:
            contexts.append(context)
        return processed

    return Job(name, schedule, "Counts.", run)


async def find_runs(database: Database) -> list[JobRun]:
    """Returns all runs, the latest first."""
    async with open_snapshot(database) as snapshot:
        return await JobRuns(snapshot).find(limit=100)


async def find_outcomes(database: Database) -> list[tuple[str, JobOutcome, int | None]]:
    """Returns the name, the outcome and the processed count of all runs, the latest first."""
    return [(run.job, run.outcome, run.processed) for run in await find_runs(database)]
