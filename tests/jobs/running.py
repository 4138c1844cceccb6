"""Jobs for tests, and what is written down of them."""

import datetime as dt
from collections.abc import Callable

from gateway.jobs.runner import JobRunner
from repositories.core.clock import now
from repositories.engines.database import Database
from repositories.job_runs import JobRuns
from repositories.tables.administration import JobOutcome, JobRun
from resolvers.services.job import Job, JobContext
from tests.repositories.support import open_snapshot


def runner_of(database: Database, clock: Callable[[], dt.datetime] = now) -> JobRunner:
    """A runner with a clock of the test's."""
    return JobRunner(database, clock)


def counting(name: str, processed: int = 0, began: list[JobContext] | None = None, when: str = "0 * * * *") -> Job:
    """A job that does nothing but to say how much it did; it adds its occasions to a list."""

    async def run(context: JobContext) -> int:
        if began is not None:
            began.append(context)
        return processed

    return Job(name, when, "Counts.", run)


async def rows_of(database: Database) -> list[JobRun]:
    """All runs, the latest first."""
    async with open_snapshot(database) as snapshot:
        return await JobRuns(snapshot).find(limit=100)


async def runs_of(database: Database) -> list[tuple[str, JobOutcome, int | None]]:
    """The same without moments and ids."""
    return [(run.job, run.outcome, run.processed) for run in await rows_of(database)]
