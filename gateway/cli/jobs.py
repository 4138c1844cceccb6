"""`siso jobs`."""

import asyncio
import datetime as dt
import difflib
import logging
from collections.abc import Mapping

from gateway.cli.console import CommandError, print_result, progress_bar
from gateway.cli.preconditions import open_migrated_database
from gateway.jobs.runner import JobAlreadyRunning, JobFailed, JobRunner, jobs_by_name, next_run
from gateway.jobs.scheduler import describe_success
from gateway.settings import Settings, load_settings
from repositories.core.clock import now
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.job_runs import JobRuns
from repositories.tables.administration import JobOutcome, JobRun
from resolvers.services.job import Job

logger = logging.getLogger("gateway.cli")

_HEAD = ("name", "schedule", "last run", "outcome", "next run", "what it does")


def list_jobs() -> None:
    """Prints a table with a line for each job. Times are in UTC."""
    settings = load_settings()
    jobs = jobs_by_name(settings).values()

    async def fetch_last_runs() -> list[JobRun | None]:
        async with open_migrated_database(settings) as database:
            return [await _fetch_last_run(database, job) for job in jobs]

    at, is_scheduled = now(), settings.jobs == "on"
    lines = [
        (
            job.name,
            job.schedule,
            *_describe_run(last),
            _format_time(next_run(job, at)) if is_scheduled else "by hand",
            job.description,
        )
        for job, last in zip(jobs, asyncio.run(fetch_last_runs()), strict=True)
    ]
    _print_table([_HEAD, *lines])


async def _fetch_last_run(database: Database, job: Job) -> JobRun | None:
    """The job's last run. If it is recorded as running but its lock is free, its process has died: it is abandoned."""
    async with database.snapshot(SERVICE) as snapshot:
        last = await JobRuns(snapshot).latest(job.name)
    if last is not None and last.outcome is JobOutcome.RUNNING:
        async with database.try_lock(job.name) as is_lock_free:
            return last.replace(outcome=JobOutcome.ABANDONED) if is_lock_free else last
    return last


def _describe_run(last: JobRun | None) -> tuple[str, str]:
    """The start and the outcome of a run."""
    if last is None:
        return "never", ""
    detail = {JobOutcome.SUCCEEDED: f" ({last.processed})", JobOutcome.FAILED: f" (error {last.error_id})"}
    return _format_time(last.started_at), f"{last.outcome.value}{detail.get(last.outcome, '')}"


def _format_time(moment: dt.datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def _print_table(lines: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print_result("  ".join(part.ljust(width) for part, width in zip(line, widths, strict=True)).rstrip())


def run(name: str) -> None:
    settings = load_settings()
    job = _find_job(name, jobs_by_name(settings))
    try:
        done = asyncio.run(_run_with_progress(settings, job))
    except JobAlreadyRunning as other:
        start = f", since {_format_time(other.run.started_at)} UTC" if other.run else ""
        raise CommandError(
            f"Another process is running {name}{start}. Try again when that run has finished."
        ) from other
    except JobFailed as failure:
        is_debug = logger.isEnabledFor(logging.DEBUG)
        details = "See the log above." if is_debug else f"Run `siso --debug jobs run {name}` to see details."
        logger.debug("error %s", failure.error_id, exc_info=failure.__cause__)
        raise CommandError(f"{name} failed (error {failure.error_id}). {details}") from failure
    print_result(f"{name} {describe_success(done)}.")


async def _run_with_progress(settings: Settings, job: Job) -> JobRun:
    async with open_migrated_database(settings) as database:
        with progress_bar() as bar:
            task = bar.add_task(job.name, total=None)
            done = await JobRunner(database).run(job, progress=lambda count: bar.update(task, completed=count))
    assert done is not None  # noqa: S101 (only a run with only_if_due can be None)
    return done


def _find_job(name: str, jobs: Mapping[str, Job]) -> Job:
    if name not in jobs:
        near = difflib.get_close_matches(name, jobs, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise CommandError(f"There is no job {name}.{hint} The jobs are: {', '.join(jobs)}.")
    return jobs[name]
