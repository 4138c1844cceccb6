"""`siso jobs`."""

import asyncio
import datetime as dt
import difflib
import logging
from collections.abc import Mapping

from gateway.cli.console import CommandError, progress_bar, say
from gateway.cli.ready import migrated_database
from gateway.jobs.runner import JobAlreadyRunning, JobFailed, JobRunner, jobs_by_name, next_run
from gateway.jobs.scheduler import describe_success
from gateway.settings import load_settings
from repositories.core.clock import now
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.job_runs import JobRuns
from repositories.tables.administration import JobOutcome, JobRun
from resolvers.services.job import Job

logger = logging.getLogger("gateway.cli")

_HEAD = ("name", "schedule", "last run", "outcome", "next run", "what it does")


def show() -> None:
    """Prints a line for each job, times in UTC."""
    settings = load_settings()
    jobs = jobs_by_name(settings).values()

    async def look() -> list[JobRun | None]:
        async with migrated_database(settings) as database:
            return [await _last(database, job) for job in jobs]

    at, is_on = now(), settings.jobs == "on"
    lines = [
        (job.name, job.schedule, *_told(last), _moment(next_run(job, at)) if is_on else "by hand", job.description)
        for job, last in zip(jobs, asyncio.run(look()), strict=True)
    ]
    _table([_HEAD, *lines])


async def _last(database: Database, job: Job) -> JobRun | None:
    """The last run; one that is said to be running while nobody has the lock was abandoned."""
    async with database.snapshot(SERVICE) as snapshot:
        last = await JobRuns(snapshot).latest(job.name)
    if last is not None and last.outcome is JobOutcome.RUNNING:
        async with database.try_lock(job.name) as nobody_runs_it:
            return last.replace(outcome=JobOutcome.ABANDONED) if nobody_runs_it else last
    return last


def _told(last: JobRun | None) -> tuple[str, str]:
    """When it began, and what became of it."""
    if last is None:
        return "never", ""
    detail = {JobOutcome.SUCCEEDED: f" ({last.processed})", JobOutcome.FAILED: f" (error {last.error_id})"}
    return _moment(last.started_at), f"{last.outcome.value}{detail.get(last.outcome, '')}"


def _moment(moment: dt.datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def _table(lines: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        say("  ".join(part.ljust(width) for part, width in zip(line, widths, strict=True)).rstrip())


def run(name: str) -> None:
    """Runs a job and says how it went."""
    settings = load_settings()
    job = _named(name, jobs_by_name(settings))

    async def work() -> JobRun:
        async with migrated_database(settings) as database:
            with progress_bar() as bar:
                task = bar.add_task(job.name, total=None)
                done = await JobRunner(database).run(job, progress=lambda count: bar.update(task, completed=count))
        assert done is not None  # noqa: S101 (by hand it always runs)
        return done

    try:
        done = asyncio.run(work())
    except JobAlreadyRunning as other:
        since = f" since {_moment(other.run.started_at)} UTC" if other.run else ""
        raise CommandError(
            f"{name} is being run{since}, and only one process may. Try again when it is done."
        ) from other
    except JobFailed as failed:
        details = "see the log above" if logger.isEnabledFor(logging.DEBUG) else "`siso --debug jobs run` shows details"
        logger.debug("error %s", failed.error_id, exc_info=failed.__cause__)
        raise CommandError(f"{name} failed (error {failed.error_id}); {details}.") from failed
    say(f"{name} {describe_success(done)}.")


def _named(name: str, jobs: Mapping[str, Job]) -> Job:
    if name not in jobs:
        near = difflib.get_close_matches(name, jobs, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise CommandError(f"There is no job {name}.{hint} There are: {', '.join(jobs)}.")
    return jobs[name]
