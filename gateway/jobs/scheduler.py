"""When jobs run by themselves: APScheduler, in every process that serves; gateway/jobs.py decides which one does it.

A process that starts looks at once for what was due while nobody served. A moment that passes while the process is too
busy is made up for as soon as it can; several of them are one run. One that comes while the job's last run is still
going on is left out, with a warning.
"""

import asyncio
import datetime as dt
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from apscheduler.executors.base import BaseExecutor
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from gateway.jobs.runner import AlreadyRunning, JobFailed, Runner, is_due, trigger_of
from repositories.core.errors import GatewayError
from repositories.tables.administration import JobRun
from resolvers.services.job import Job

log = logging.getLogger(__name__)

PAUSE = 0.5
"""Seconds until it is looked again whether who has a job's lock has written down that a run began."""


class _Tasks(BaseExecutor):  # type: ignore[misc]  # APScheduler has no types
    """Runs jobs in tasks that can be waited for; APScheduler's own executor can only cancel them."""

    def __init__(self) -> None:
        super().__init__()
        self.running: set[asyncio.Task[None]] = set()

    def _do_submit_job(self, job: Any, run_times: list[dt.datetime]) -> None:
        task = asyncio.get_running_loop().create_task(job.func(*job.args))
        self.running.add(task)
        task.add_done_callback(lambda ended: self._ended(job.id, ended))

    def _ended(self, name: str, task: "asyncio.Task[None]") -> None:
        self.running.discard(task)
        self._run_job_success(name, [])


@asynccontextmanager
async def scheduled(runner: Runner, jobs: Iterable[Job], patience: float) -> AsyncIterator[None]:
    """Runs the jobs when it is time, until the end of the block.

    What is still running then may take ``patience`` seconds more, after which it is stopped and left abandoned.
    """
    tasks = _Tasks()
    scheduler = AsyncIOScheduler(
        timezone=dt.UTC, executors={"default": tasks}, job_defaults={"misfire_grace_time": None, "coalesce": True}
    )
    for job in jobs:
        scheduler.add_job(
            run_if_due,
            trigger_of(job),
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
        await asyncio.sleep(0)  # that is when it happens
        await _end(tasks.running, patience)


async def _end(running: "set[asyncio.Task[None]]", patience: float) -> None:
    if running:
        _, late = await asyncio.wait(running, timeout=patience)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


async def run_if_due(runner: Runner, job: Job) -> None:
    """Runs the job if no process has yet, and says in the log how it went."""
    try:
        run = await _run(runner, job)
    except JobFailed as failed:
        log.error(  # noqa: TRY400 (what is of interest is the cause)
            "job %s failed (error %s)", job.name, failed.error_id, exc_info=failed.__cause__
        )
    except GatewayError as error:
        log.warning("job %s could not be run: %s, %r", job.name, error.code, error.__cause__)
    except asyncio.CancelledError:
        log.warning("job %s was stopped, because the gateway stops", job.name)
        raise
    except Exception:
        log.exception("job %s could not be run", job.name)
    else:
        if run is not None:
            log.info("job %s %s", job.name, summary(run))


async def _run(runner: Runner, job: Job) -> JobRun | None:
    """The run, None if there is none to do.

    Who has the lock and has not written down that a run has begun is about to, or is just done with the last one:
    which of both, shows soon.
    """
    while True:
        try:
            return await runner.run(job, only_if_due=True)
        except AlreadyRunning as other:
            if other.run is not None:
                if is_due(job, other.run, runner.clock()):
                    log.warning("job %s is left out: it has been running since %s", job.name, other.run.started_at)
                return None
        await asyncio.sleep(PAUSE)


def summary(run: JobRun) -> str:
    """How many things a run that succeeded did, and how long it took."""
    assert run.finished_at is not None  # noqa: S101 (the database sees to it)
    return f"succeeded: {run.processed} processed in {(run.finished_at - run.started_at).total_seconds():.2f} s"
