"""Starts jobs on their schedules with APScheduler, in every process that serves.

Every process starts every job; gateway/jobs/runner.py decides which process runs it. A process that starts also runs
the jobs that became due while no process was running. If the process is too busy at a scheduled time, the job starts as
soon as possible, and several missed times become one run. A scheduled time that comes while the job's previous run has
not finished is skipped with a warning.
"""

import asyncio
import datetime as dt
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from apscheduler.executors.base import BaseExecutor
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from gateway.jobs.runner import JobAlreadyRunning, JobFailed, JobRunner, cron_trigger, is_due
from repositories.core.background_tasks import end_tasks
from repositories.core.errors import GatewayError
from repositories.tables.administration import JobRun
from resolvers.services.job import Job

log = logging.getLogger(__name__)

LOCK_RETRY_INTERVAL = 0.5
"""Seconds between two attempts to take a job's lock while its holder has no running record."""


class _TaskExecutor(BaseExecutor):  # type: ignore[misc]  # APScheduler has no types
    """Runs jobs in tasks that the shutdown can wait for; APScheduler's own executor can only cancel them."""

    def __init__(self) -> None:
        super().__init__()
        self.running: set[asyncio.Task[None]] = set()

    def _do_submit_job(self, job: Any, run_times: list[dt.datetime]) -> None:
        task = asyncio.get_running_loop().create_task(job.func(*job.args))
        self.running.add(task)
        task.add_done_callback(lambda done: self._on_done(job.id, done))

    def _on_done(self, name: str, task: "asyncio.Task[None]") -> None:
        self.running.discard(task)
        self._run_job_success(name, [])


@asynccontextmanager
async def run_scheduler(runner: JobRunner, jobs: Iterable[Job], shutdown_timeout: float) -> AsyncIterator[None]:
    """Runs the jobs on their schedules until the end of the block.

    A run that has not finished by then gets ``shutdown_timeout`` more seconds. After that it is cancelled and recorded
    as abandoned.
    """
    executor = _TaskExecutor()
    scheduler = AsyncIOScheduler(
        timezone=dt.UTC, executors={"default": executor}, job_defaults={"misfire_grace_time": None, "coalesce": True}
    )
    for job in jobs:
        scheduler.add_job(
            run_if_due,
            cron_trigger(job),
            (runner, job),
            id=job.name,
            name=job.name,
            next_run_time=dt.datetime.now(dt.UTC),
        )
    scheduler.start()
    try:
        yield
    finally:
        scheduler.shutdown()
        await asyncio.sleep(0)  # APScheduler shuts down in a callback of the event loop
        await _finish(executor.running, shutdown_timeout)


async def _finish(running: "set[asyncio.Task[None]]", timeout: float) -> None:  # noqa: ASYNC109 (cancels only those that are late)
    if running:
        _, late = await asyncio.wait(running, timeout=timeout)
        await end_tasks(late)


async def run_if_due(runner: JobRunner, job: Job) -> None:
    """Runs the job unless another process has, and logs the outcome."""
    try:
        run = await _run(runner, job)
    except JobFailed as failure:
        log.error(  # noqa: TRY400 (the traceback to log is that of the cause)
            "Job %s failed (error %s).", job.name, failure.error_id, exc_info=failure.__cause__
        )
    except GatewayError as error:
        log.warning("Job %s could not be run: %s, %r.", job.name, error.code, error.__cause__)
    except asyncio.CancelledError:
        log.warning("Job %s was stopped because the gateway is shutting down.", job.name)
        raise
    except Exception:
        log.exception("Job %s could not be run.", job.name)
    else:
        if run is not None:
            log.info("Job %s %s.", job.name, describe_success(run))


async def _run(runner: JobRunner, job: Job) -> JobRun | None:
    """The record of the run, None if there is nothing to do.

    A lock holder without a running record is either about to write it or has just finished its run. Retries until one
    of the two is visible.
    """
    while True:
        try:
            return await runner.run(job, only_if_due=True)
        except JobAlreadyRunning as other:
            if other.run is not None:
                if is_due(job, other.run, runner.clock()):
                    log.warning(
                        "Job %s was skipped: its run that started at %s has not finished.",
                        job.name,
                        other.run.started_at,
                    )
                return None
        await asyncio.sleep(LOCK_RETRY_INTERVAL)


def describe_success(run: JobRun) -> str:
    """How many items a successful run processed, and how long it took."""
    assert run.finished_at is not None  # noqa: S101 (a CHECK constraint of the table)
    return f"succeeded: {run.processed} processed in {(run.finished_at - run.started_at).total_seconds():.2f} s"
