"""Runs a job in one process at a time, once for each time that it is due, and records every run.

A job is due if no run has started since its last scheduled time, whatever the outcome of that run. Any number of
processes can therefore try at the same moment: the first one takes the lock and records its run, and the others find
that record.
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
from resolvers.jobs import create_jobs
from resolvers.services.job import Job, JobContext, ignore_progress


def jobs_by_name(settings: Settings) -> Mapping[str, Job]:
    return {job.name: job for job in create_jobs(dt.timedelta(days=settings.analytics_retention_days))}


def cron_trigger(job: Job) -> CronTrigger:
    return CronTrigger.from_crontab(job.schedule, timezone=dt.UTC)


def next_run(job: Job, after: dt.datetime) -> dt.datetime:
    """The first scheduled time of the job later than ``after``, in UTC."""
    scheduled: dt.datetime = cron_trigger(job).get_next_fire_time(None, after + dt.timedelta(microseconds=1))
    return scheduled


def is_due(job: Job, last: JobRun | None, at: dt.datetime) -> bool:
    """Whether a scheduled time of the job has passed since its last run started."""
    return last is None or next_run(job, last.started_at) <= at


class JobAlreadyRunning(Exception):
    """This or another process holds the job's lock; ``run`` is its record, None if it has not been written yet."""

    def __init__(self, run: JobRun | None) -> None:
        super().__init__()
        self.run = run


class JobFailed(Exception):
    """The job raised an error, which is the cause of this one; ``error_id`` is recorded with the run."""

    def __init__(self, error_id: UUID) -> None:
        super().__init__(str(error_id))
        self.error_id = error_id


class _StartedRun(NamedTuple):
    """``since`` is the time at which the last successful run started."""

    run: JobRun
    since: dt.datetime | None


class JobRunner:
    """Runs jobs over a connected database."""

    def __init__(self, database: Database, clock: Callable[[], dt.datetime] = now) -> None:
        self.database = database
        self.clock = clock

    async def run(
        self, job: Job, *, only_if_due: bool = False, progress: Callable[[int], None] = ignore_progress
    ) -> JobRun | None:
        """Runs the job and returns the record of the run, None if the job is not due.

        Raises JobAlreadyRunning if the job's lock is taken, and JobFailed if the job raises an error.
        """
        async with self.database.try_lock(job.name) as is_ours:
            if not is_ours:
                raise JobAlreadyRunning(await self._find_running(job))
            started = await self._start(job, only_if_due=only_if_due)
            return None if started is None else await self._execute(job, started, progress)

    async def _execute(self, job: Job, started: _StartedRun, progress: Callable[[int], None]) -> JobRun:
        run = started.run
        try:
            processed = await job.run(JobContext(self.database, run.started_at, started.since, progress))
        except asyncio.CancelledError:
            await asyncio.shield(self._finish(run, outcome=JobOutcome.ABANDONED))
            raise
        except Exception as error:
            failure = JobFailed(uuid4())
            await self._record_failure(run, failure, error)
            raise failure from error
        return await self._finish(run, outcome=JobOutcome.SUCCEEDED, finished_at=self.clock(), processed=processed)

    async def _record_failure(self, run: JobRun, failure: JobFailed, error: Exception) -> None:
        """Records that the run failed. If that fails too, the job's own error is still the one to report."""
        try:
            await self._finish(run, outcome=JobOutcome.FAILED, finished_at=self.clock(), error_id=failure.error_id)
        except GatewayError as not_recorded:
            error.add_note(f"The failure could not be recorded: {not_recorded.code}")

    async def _find_running(self, job: Job) -> JobRun | None:
        async with self.database.snapshot(SERVICE) as snapshot:
            last = await JobRuns(snapshot).latest(job.name)
        return last if last is not None and last.outcome is JobOutcome.RUNNING else None

    async def _start(self, job: Job, *, only_if_due: bool) -> _StartedRun | None:
        """Records that a run has started, unless the job is not due.

        The caller holds the job's lock, so any run that is still recorded as running has been abandoned.
        """
        at = self.clock()
        async with self.database.transaction(SERVICE) as write:
            runs = JobRuns(write)
            if only_if_due and not is_due(job, await runs.latest(job.name), at):
                return None
            await runs.abandon(job.name)
            succeeded = await runs.latest(job.name, [JobOutcome.SUCCEEDED])
            run = await runs.add(job=job.name, started_at=at)
            return _StartedRun(run, succeeded.started_at if succeeded else None)

    async def _finish(self, run: JobRun, **values: Any) -> JobRun:
        async with self.database.transaction(SERVICE) as write:
            return await JobRuns(write).change(run, **values)
