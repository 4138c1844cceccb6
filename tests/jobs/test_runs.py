"""When a run is due, what is recorded about it, and that several processes run it only once."""

import asyncio
import datetime as dt
import logging
from contextlib import AsyncExitStack
from typing import Any

import pytest
from apscheduler.triggers.cron import CronTrigger

from gateway.jobs import scheduler
from gateway.jobs.runner import JobAlreadyRunning, JobFailed, JobRunner, jobs_by_name, next_run
from gateway.jobs.scheduler import run_if_due, run_scheduler
from gateway.settings import Settings
from repositories.core.errors import InputError, ServiceUnavailable
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database, DatabaseOptions
from repositories.engines.factory import open_database
from repositories.job_runs import JobRuns
from repositories.tables.administration import JobOutcome, JobRun
from resolvers.services.job import Job, JobContext
from tests.jobs.support import find_outcomes, find_runs, make_job
from tests.repositories.support import connect_database

TEN = dt.datetime(2026, 6, 15, 10, tzinfo=dt.UTC)
MICROSECOND = dt.timedelta(microseconds=1)
HOUR = dt.timedelta(hours=1)


class Clock:
    """A clock that the test sets. It returns ``at``."""

    def __init__(self, at: dt.datetime) -> None:
        self.at = at

    def __call__(self) -> dt.datetime:
        return self.at


async def test_a_scheduled_time_is_run_once(database: Database) -> None:
    """The first run is due immediately. Several missed times of the schedule cause one run."""
    contexts: list[JobContext] = []
    job, clock = make_job("hourly", 4, contexts), Clock(TEN - MICROSECOND)
    runner = JobRunner(database, clock)
    for at, is_due in (
        (TEN - MICROSECOND, True),
        (TEN - MICROSECOND, False),
        (TEN, True),
        (TEN, False),
        (TEN + HOUR - MICROSECOND, False),
        (TEN + HOUR + MICROSECOND, True),
        (TEN + HOUR * 2 - MICROSECOND, False),
        (TEN + HOUR * 9, True),
        (TEN + HOUR * 9, False),
    ):
        clock.at = at
        run = await runner.run(job, only_if_due=True)
        assert (run is not None) is is_due, at
    assert [(context.started_at, context.last_success_at) for context in contexts] == [
        (TEN - MICROSECOND, None),
        (TEN, TEN - MICROSECOND),
        (TEN + HOUR + MICROSECOND, TEN),
        (TEN + HOUR * 9, TEN + HOUR + MICROSECOND),
    ]
    assert [(run.started_at, run.finished_at, run.outcome, run.processed) for run in await find_runs(database)] == [
        (context.started_at, context.started_at, JobOutcome.SUCCEEDED, 4) for context in reversed(contexts)
    ]


async def test_a_manual_run_is_always_due(database: Database) -> None:
    """It also counts as the run of the last scheduled time. Runs of other jobs have no influence."""
    clock = Clock(TEN + MICROSECOND)
    runner = JobRunner(database, clock)
    for _ in range(2):
        assert await runner.run(make_job("a", 1)) is not None
    assert await runner.run(make_job("a", 1), only_if_due=True) is None
    assert await runner.run(make_job("b", 2), only_if_due=True) is not None
    assert sorted(await find_outcomes(database)) == [
        ("a", "succeeded", 1),
        ("a", "succeeded", 1),
        ("b", "succeeded", 2),
    ]


async def test_a_failed_run_is_logged_and_recorded_with_an_error_id(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """The table contains no text of the error. The job runs again at the next scheduled time."""

    async def fail(context: JobContext) -> int:
        raise LookupError("ada@example.com")

    job, clock = Job("faulty", "0 * * * *", "Fails.", fail), Clock(TEN)
    runner = JobRunner(database, clock)
    await runner.run(make_job("faulty", 1))
    clock.at += HOUR
    with caplog.at_level(logging.INFO):
        await run_if_due(runner, job)
        await run_if_due(runner, job)
    run, before = await find_runs(database)
    assert (run.outcome, run.finished_at, run.processed) == (JobOutcome.FAILED, clock.at, None)
    (record,) = caplog.records
    assert record.message == f"Job faulty failed (error {run.error_id})."
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], LookupError)
    assert "ada@example.com" not in repr(tuple(run))
    clock.at += HOUR
    contexts: list[JobContext] = []
    with caplog.at_level(logging.INFO):
        await run_if_due(runner, make_job("faulty", 2, contexts))
    assert caplog.messages[1:] == ["Job faulty succeeded: 2 processed in 0.00 s."]
    assert [context.last_success_at for context in contexts] == [before.started_at]
    clock.at += HOUR
    with pytest.raises(JobFailed) as raised:
        await runner.run(job)
    assert raised.value.error_id == (await find_runs(database))[0].error_id


async def test_a_failure_that_cannot_be_recorded_is_logged(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """The log contains the job's error. The run stays in the state RUNNING."""
    runner = JobRunner(database)

    async def fail(context: JobContext) -> int:
        runner.database = open_database(DatabaseOptions(url="postgresql://nobody@127.0.0.1:1/nothing"))
        raise LookupError

    await run_if_due(runner, Job("faulty", "0 * * * *", "Fails.", fail))
    (record,) = caplog.records
    assert record.message.startswith("Job faulty failed (error ")
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], LookupError)
    assert record.exc_info[1].__notes__ == ["The failure could not be recorded: SERVICE_UNAVAILABLE"]
    assert await find_outcomes(database) == [("faulty", JobOutcome.RUNNING, None)]


@pytest.mark.parametrize("pgbouncer", [False, True])
async def test_concurrent_runners_run_a_scheduled_time_once(options: DatabaseOptions, *, pgbouncer: bool) -> None:
    """Six runners with separate connections start at the same time, for three scheduled times."""
    contexts: list[JobContext] = []
    clock = Clock(TEN)
    async with AsyncExitStack() as stack:
        databases = [
            await stack.enter_async_context(connect_database(options, pgbouncer=pgbouncer, connect_timeout=60))
            for _ in range(6)
        ]
        runners = [JobRunner(each, clock) for each in databases]
        for count in range(1, 4):
            runs = await asyncio.gather(
                *(runner.run(make_job("one", 1, contexts), only_if_due=True) for runner in runners),
                return_exceptions=True,
            )
            assert len(contexts) == count, runs
            others = [run for run in runs if not isinstance(run, JobRun)]
            assert len(others) == 5
            assert all(run is None or isinstance(run, JobAlreadyRunning) for run in others), runs
            clock.at += HOUR
    assert len({context.started_at for context in contexts}) == 3


async def test_concurrent_schedulers_run_a_due_job_once(options: DatabaseOptions) -> None:
    """They start at the same time, and the job has never run."""
    contexts: list[JobContext] = []
    ended = asyncio.Event()

    async def run(context: JobContext) -> int:
        contexts.append(context)
        ended.set()
        return 1

    job = Job("one", "0 0 1 1 *", "Runs.", run)
    async with AsyncExitStack() as stack:
        databases = [await stack.enter_async_context(connect_database(options)) for _ in range(4)]
        for each in databases:
            await stack.enter_async_context(run_scheduler(JobRunner(each), [job], shutdown_timeout=30))
        await ended.wait()
    assert len(contexts) == 1
    async with connect_database(options) as database:
        assert await find_outcomes(database) == [("one", JobOutcome.SUCCEEDED, 1)]


async def test_the_scheduler_runs_a_job_repeatedly(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The schedule is every second, and the test's clock advances by an hour with each run."""
    monkeypatch.setattr(scheduler, "cron_trigger", lambda _: CronTrigger(second="*", timezone=dt.UTC))
    contexts: list[JobContext] = []
    ran_three_times, clock = asyncio.Event(), Clock(TEN)

    async def run(context: JobContext) -> int:
        contexts.append(context)
        clock.at += HOUR
        if len(contexts) == 3:
            ran_three_times.set()
        return 1

    async with run_scheduler(
        JobRunner(database, clock), [Job("often", "0 * * * *", "Runs.", run)], shutdown_timeout=30
    ):
        await asyncio.wait_for(ran_three_times.wait(), 30)
    assert [context.started_at for context in contexts] == [TEN, TEN + HOUR, TEN + HOUR * 2]
    assert await find_outcomes(database) == [("often", JobOutcome.SUCCEEDED, 1)] * 3


async def test_shutdown_waits_for_a_run(database: Database) -> None:
    started = asyncio.Event()

    async def run(context: JobContext) -> int:
        started.set()
        for _ in range(100):
            await asyncio.sleep(0)
        return 5

    async with run_scheduler(JobRunner(database), [Job("slow", "0 * * * *", "Runs.", run)], shutdown_timeout=30):
        await started.wait()
    assert await find_outcomes(database) == [("slow", JobOutcome.SUCCEEDED, 5)]


async def test_shutdown_cancels_a_run_after_the_timeout(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    """The run is recorded as abandoned, and its lock is released."""
    started = asyncio.Event()

    async def run(context: JobContext) -> int:
        started.set()
        await asyncio.Event().wait()
        return 5

    async with run_scheduler(JobRunner(database), [Job("endless", "0 * * * *", "Runs.", run)], shutdown_timeout=0.01):
        await started.wait()
    assert await find_outcomes(database) == [("endless", JobOutcome.ABANDONED, None)]
    assert caplog.messages == ["Job endless was stopped because the gateway is shutting down."]
    async with database.try_lock("endless") as is_free:
        assert is_free


async def test_a_run_that_lasts_until_the_next_scheduled_time_is_logged(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """A scheduled time that another process is already running is not logged."""
    clock = Clock(TEN)
    runner = JobRunner(database, clock)
    messages: list[str] = []

    async def run(context: JobContext) -> int:
        for hours in (0, 1):
            clock.at = TEN + HOUR * hours
            await run_if_due(runner, make_job("long"))
            messages.extend(caplog.messages)
            caplog.clear()
            with pytest.raises(JobAlreadyRunning) as raised:
                await runner.run(make_job("long"))
            assert raised.value.run is not None
            assert raised.value.run.started_at == TEN
        return 1

    with caplog.at_level(logging.INFO):
        await runner.run(Job("long", "0 * * * *", "Runs.", run))
    assert messages == [f"Job long was skipped: its run that started at {TEN} has not finished."]
    assert await find_outcomes(database) == [("long", JobOutcome.SUCCEEDED, 1)]


async def test_a_run_waits_for_the_lock_of_a_run_that_is_just_finishing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the scheduled time the lock is still taken, but no run is in progress."""
    monkeypatch.setattr(scheduler, "LOCK_RETRY_INTERVAL", 0.001)
    clock = Clock(TEN - MICROSECOND)
    runner = JobRunner(database, clock)
    await runner.run(make_job("a", 1))
    clock.at = TEN
    has_tried = asyncio.Event()
    contexts: list[JobContext] = []
    async with database.try_lock("a"):
        database.statement_listeners.append(lambda text: has_tried.set() if "job_runs" in text else None)
        waiting = asyncio.ensure_future(run_if_due(runner, make_job("a", 2, contexts)))
        await has_tried.wait()
        assert contexts == []
    await waiting
    assert [context.started_at for context in contexts] == [TEN]


async def test_an_unreachable_database_is_logged(
    postgres_only: DatabaseOptions, caplog: pytest.LogCaptureFixture
) -> None:
    """The scheduler continues."""
    async with connect_database(postgres_only) as database:
        database.options = DatabaseOptions(url="postgresql://nobody@127.0.0.1:1/nothing")
        await run_if_due(JobRunner(database), make_job("a"))
    (message,) = caplog.messages
    assert message.startswith("Job a could not be run: SERVICE_UNAVAILABLE, ConnectionRefusedError")
    assert ServiceUnavailable.code in message


_INVALID_RUNS: list[dict[str, Any]] = [
    {"job": ""},
    {"job": "x" * 101},
    {"outcome": JobOutcome.SUCCEEDED, "finished_at": TEN},
    {"outcome": JobOutcome.SUCCEEDED, "processed": 1},
    {"outcome": JobOutcome.FAILED, "finished_at": TEN},
    {"outcome": JobOutcome.RUNNING, "finished_at": TEN},
    {"outcome": JobOutcome.ABANDONED, "error_id": new_id()},
]


@pytest.mark.parametrize("values", _INVALID_RUNS)
async def test_the_database_rejects_invalid_runs(database: Database, values: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        async with database.transaction(SERVICE) as write:
            await JobRuns(write).add(**{"job": "a", "started_at": TEN} | values)
    assert await find_runs(database) == []


def test_schedules_are_in_utc() -> None:
    """The next scheduled time of each job after noon on a Monday."""
    noon = dt.datetime(2026, 6, 15, 12, tzinfo=dt.UTC)
    assert {job.name: next_run(job, noon).isoformat() for job in jobs_by_name(Settings()).values()} == {
        "refresh-user-dashboard-stats": "2026-06-15T12:05:00+00:00",
        "roll-days": "2026-06-15T12:15:00+00:00",
        "recount-days": "2026-06-15T12:07:00+00:00",
        "expire-orders": "2026-06-15T12:01:00+00:00",
        "clean-idempotency-keys": "2026-06-15T12:25:00+00:00",
        "clean-sessions": "2026-06-16T03:20:00+00:00",
        "clean-messages": "2026-06-16T03:30:00+00:00",
        "retain-analytics": "2026-06-16T03:40:00+00:00",
        "clean-job-runs": "2026-06-16T03:50:00+00:00",
    }
