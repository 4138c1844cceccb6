"""Runs of jobs: in one process at a time, once for each time that they are due, and written down.

A run is due if none has begun since the job's last moment, however that one ended. So it does not matter how many
processes find out at the same moment: the first takes the lock and writes that it began, the others find that written.
"""

import asyncio
import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from apscheduler.triggers.cron import CronTrigger

from gateway.settings import Settings
from repositories.core.clock import now
from repositories.core.errors import GatewayError
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.job_runs import JobRuns
from repositories.tables.administration import JobOutcome, JobRun
from resolvers.jobs import jobs_of
from resolvers.services.job import Job, JobContext, say_nothing


def declared_jobs(settings: Settings) -> Mapping[str, Job]:
    """The jobs by name."""
    return {job.name: job for job in jobs_of(dt.timedelta(days=settings.analytics_retention_days))}


def trigger_of(job: Job) -> CronTrigger:
    """When the job is to run, for the scheduler."""
    return CronTrigger.from_crontab(job.when, timezone=dt.UTC)


def next_run(job: Job, after: dt.datetime) -> dt.datetime:
    """The first of the job's moments after another moment, in UTC."""
    found: dt.datetime = trigger_of(job).get_next_fire_time(None, after + dt.timedelta(microseconds=1))
    return found


def is_due(job: Job, last: JobRun | None, at: dt.datetime) -> bool:
    """Whether one of the job's moments has come since its last run began."""
    return last is None or next_run(job, last.started_at) <= at


class AlreadyRunning(Exception):
    """The job is being run, here or in another process; ``run`` is what is written down of it, if that is by now."""

    def __init__(self, run: JobRun | None) -> None:
        super().__init__()
        self.run = run


class JobFailed(Exception):
    """The run came to an error, which is the cause; ``error_id`` is written down with the run."""

    def __init__(self, error_id: UUID) -> None:
        super().__init__(str(error_id))
        self.error_id = error_id


class _Begun(NamedTuple):
    run: JobRun
    since: dt.datetime | None


class Runner:
    """Runs jobs over a connected database."""

    def __init__(self, database: Database, clock: Callable[[], dt.datetime] = now) -> None:
        self.database = database
        self.clock = clock

    async def run(
        self, job: Job, *, only_if_due: bool = False, progress: Callable[[int], None] = say_nothing
    ) -> JobRun | None:
        """Runs the job and hands back what was written down, None if it is not due; or AlreadyRunning, or JobFailed."""
        async with self.database.exclusively(job.name) as is_ours:
            if not is_ours:
                raise AlreadyRunning(await self._running(job))
            begun = await self._begin(job, only_if_due=only_if_due)
            if begun is None:
                return None
            try:
                processed = await job.run(JobContext(self.database, begun.run.started_at, begun.since, progress))
            except asyncio.CancelledError:
                await asyncio.shield(self._end(begun.run, outcome=JobOutcome.ABANDONED))
                raise
            except Exception as error:
                failed = JobFailed(uuid4())
                ended = {"finished_at": self.clock(), "error_id": failed.error_id}
                try:
                    await self._end(begun.run, outcome=JobOutcome.FAILED, **ended)
                except GatewayError as unwritten:
                    error.add_note(f"This could not be written down: {unwritten.code}")
                raise failed from error
            return await self._end(
                begun.run, outcome=JobOutcome.SUCCEEDED, finished_at=self.clock(), processed=processed
            )

    async def _running(self, job: Job) -> JobRun | None:
        async with self.database.snapshot(SERVICE) as snapshot:
            last = await JobRuns(snapshot).latest(job.name)
        return last if last is not None and last.outcome is JobOutcome.RUNNING else None

    async def _begin(self, job: Job, *, only_if_due: bool) -> _Begun | None:
        """Writes down that a run has begun, unless none is due. Who has the lock knows that no other is going on."""
        at = self.clock()
        async with self.database.transaction(SERVICE) as write:
            runs = JobRuns(write)
            if only_if_due and not is_due(job, await runs.latest(job.name), at):
                return None
            await runs.abandon(job.name)
            succeeded = await runs.latest(job.name, [JobOutcome.SUCCEEDED])
            return _Begun(await runs.add(job=job.name, started_at=at), succeeded.started_at if succeeded else None)

    async def _end(self, run: JobRun, **values: Any) -> JobRun:
        async with self.database.transaction(SERVICE) as write:
            return await JobRuns(write).change(run, **values)
