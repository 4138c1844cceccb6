"""When a run is due, what is written down of it, and that several processes do it once."""

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
from tests.jobs.running import counting, rows_of, runner_of, runs_of
from tests.repositories.support import connect_database

TEN = dt.datetime(2026, 6, 15, 10, tzinfo=dt.UTC)
MICROSECOND = dt.timedelta(microseconds=1)
HOUR = dt.timedelta(hours=1)


class Clock:
    """A clock that the test sets."""

    def __init__(self, at: dt.datetime) -> None:
        self.at = at

    def __call__(self) -> dt.datetime:
        """What it shows."""
        return self.at


async def test_a_moment_is_served_once(database: Database) -> None:
    """The first run is due at once; then each moment of the schedule, however late, and several together as one."""
    began: list[JobContext] = []
    job, clock = counting("hourly", 4, began), Clock(TEN - MICROSECOND)
    runner = runner_of(database, clock)
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
    assert [(context.started_at, context.last_success_at) for context in began] == [
        (TEN - MICROSECOND, None),
        (TEN, TEN - MICROSECOND),
        (TEN + HOUR + MICROSECOND, TEN),
        (TEN + HOUR * 9, TEN + HOUR + MICROSECOND),
    ]
    assert [(run.started_at, run.finished_at, run.outcome, run.processed) for run in await rows_of(database)] == [
        (context.started_at, context.started_at, JobOutcome.SUCCEEDED, 4) for context in reversed(began)
    ]


async def test_by_hand_a_job_always_runs(database: Database) -> None:
    """And the moment that it comes after is served by it; jobs do not know of each other's runs."""
    clock = Clock(TEN + MICROSECOND)
    runner = runner_of(database, clock)
    for _ in range(2):
        assert await runner.run(counting("a", 1)) is not None
    assert await runner.run(counting("a", 1), only_if_due=True) is None
    assert await runner.run(counting("b", 2), only_if_due=True) is not None
    assert sorted(await runs_of(database)) == [("a", "succeeded", 1), ("a", "succeeded", 1), ("b", "succeeded", 2)]


async def test_a_failing_job(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    """It has an id in the log and in the table, and no word of what it was; the next moment is served again."""

    async def fail(context: JobContext) -> int:
        raise LookupError("ada@example.com")

    job, clock = Job("sad", "0 * * * *", "Fails.", fail), Clock(TEN)
    runner = runner_of(database, clock)
    await runner.run(counting("sad", 1))
    clock.at += HOUR
    with caplog.at_level(logging.INFO):
        await run_if_due(runner, job)
        await run_if_due(runner, job)
    run, before = await rows_of(database)
    assert (run.outcome, run.finished_at, run.processed) == (JobOutcome.FAILED, clock.at, None)
    (record,) = caplog.records
    assert record.message == f"job sad failed (error {run.error_id})"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], LookupError)
    assert "ada@example.com" not in repr(tuple(run))
    clock.at += HOUR
    began: list[JobContext] = []
    with caplog.at_level(logging.INFO):
        await run_if_due(runner, counting("sad", 2, began))
    assert caplog.messages[1:] == ["job sad succeeded: 2 processed in 0.00 s"]
    assert [context.last_success_at for context in began] == [before.started_at]
    clock.at += HOUR
    with pytest.raises(JobFailed) as caught:
        await runner.run(job)
    assert caught.value.error_id == (await rows_of(database))[0].error_id


async def test_a_failure_that_cannot_be_written_down_is_told(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """With what failed first; the run looks as if its process had died."""
    runner = runner_of(database)

    async def fail(context: JobContext) -> int:
        runner.database = open_database(DatabaseOptions(url="postgresql://nobody@127.0.0.1:1/nothing"))
        raise LookupError

    await run_if_due(runner, Job("sad", "0 * * * *", "Fails.", fail))
    (record,) = caplog.records
    assert record.message.startswith("job sad failed (error ")
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], LookupError)
    assert record.exc_info[1].__notes__ == ["The failure could not be recorded: SERVICE_UNAVAILABLE"]
    assert await runs_of(database) == [("sad", JobOutcome.RUNNING, None)]


@pytest.mark.parametrize("pgbouncer", [False, True])
async def test_many_processes_run_a_moment_once(options: DatabaseOptions, *, pgbouncer: bool) -> None:
    """Each with connections of its own, all at the same moment; then all again at the next."""
    began: list[JobContext] = []
    clock = Clock(TEN)
    async with AsyncExitStack() as stack:
        databases = [
            await stack.enter_async_context(connect_database(options, pgbouncer=pgbouncer, connect_timeout=60))
            for _ in range(6)
        ]
        runners = [runner_of(each, clock) for each in databases]
        for moment in range(1, 4):
            ran = await asyncio.gather(
                *(runner.run(counting("one", 1, began), only_if_due=True) for runner in runners), return_exceptions=True
            )
            assert len(began) == moment, ran
            others = [run for run in ran if not isinstance(run, JobRun)]
            assert len(others) == 5
            assert all(run is None or isinstance(run, JobAlreadyRunning) for run in others), ran
            clock.at += HOUR
    assert len({context.started_at for context in began}) == 3


async def test_many_schedulers_run_what_is_due_once(options: DatabaseOptions) -> None:
    """All start at once and find that the job was never run."""
    began: list[JobContext] = []
    ended = asyncio.Event()

    async def run(context: JobContext) -> int:
        began.append(context)
        ended.set()
        return 1

    job = Job("one", "0 0 1 1 *", "Runs.", run)
    async with AsyncExitStack() as stack:
        databases = [await stack.enter_async_context(connect_database(options)) for _ in range(4)]
        for each in databases:
            await stack.enter_async_context(run_scheduler(JobRunner(each), [job], shutdown_timeout=30))
        await ended.wait()
    assert len(began) == 1
    async with connect_database(options) as database:
        assert await runs_of(database) == [("one", JobOutcome.SUCCEEDED, 1)]


async def test_the_scheduler_comes_back(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each moment of the schedule: here every second, for which the clock of runs is an hour."""
    monkeypatch.setattr(scheduler, "cron_trigger", lambda _: CronTrigger(second="*", timezone=dt.UTC))
    began: list[JobContext] = []
    thrice, clock = asyncio.Event(), Clock(TEN)

    async def run(context: JobContext) -> int:
        began.append(context)
        clock.at += HOUR
        if len(began) == 3:
            thrice.set()
        return 1

    async with run_scheduler(
        runner_of(database, clock), [Job("often", "0 * * * *", "Runs.", run)], shutdown_timeout=30
    ):
        await asyncio.wait_for(thrice.wait(), 30)
    assert [context.started_at for context in began] == [TEN, TEN + HOUR, TEN + HOUR * 2]
    assert await runs_of(database) == [("often", JobOutcome.SUCCEEDED, 1)] * 3


async def test_the_end_waits_for_a_run(database: Database) -> None:
    """Within its patience."""
    begun = asyncio.Event()

    async def run(context: JobContext) -> int:
        begun.set()
        for _ in range(100):
            await asyncio.sleep(0)
        return 5

    async with run_scheduler(JobRunner(database), [Job("slow", "0 * * * *", "Runs.", run)], shutdown_timeout=30):
        await begun.wait()
    assert await runs_of(database) == [("slow", JobOutcome.SUCCEEDED, 5)]


async def test_the_end_stops_a_run(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    """That takes longer than its patience; the run is left abandoned and its lock is free."""
    begun = asyncio.Event()

    async def run(context: JobContext) -> int:
        begun.set()
        await asyncio.Event().wait()
        return 5

    async with run_scheduler(JobRunner(database), [Job("endless", "0 * * * *", "Runs.", run)], shutdown_timeout=0.01):
        await begun.wait()
    assert await runs_of(database) == [("endless", JobOutcome.ABANDONED, None)]
    assert caplog.messages == ["job endless was stopped because the gateway is shutting down"]
    async with database.try_lock("endless") as is_free:
        assert is_free


async def test_a_run_that_takes_longer_than_until_the_next_is_told(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """While a moment that only another process serves is no word worth."""
    clock = Clock(TEN)
    runner = runner_of(database, clock)
    seen: list[str] = []

    async def run(context: JobContext) -> int:
        for hours in (0, 1):
            clock.at = TEN + HOUR * hours
            await run_if_due(runner, counting("long"))
            seen.extend(caplog.messages)
            caplog.clear()
            with pytest.raises(JobAlreadyRunning) as caught:
                await runner.run(counting("long"))
            assert caught.value.run is not None
            assert caught.value.run.started_at == TEN
        return 1

    with caplog.at_level(logging.INFO):
        await runner.run(Job("long", "0 * * * *", "Runs.", run))
    assert seen == [f"job long was skipped: its run that started at {TEN} has not finished"]
    assert await runs_of(database) == [("long", JobOutcome.SUCCEEDED, 1)]


async def test_a_moment_is_not_lost_to_whoever_is_just_done(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is still taken when the moment comes, and nothing is running any more."""
    monkeypatch.setattr(scheduler, "LOCK_RETRY_INTERVAL", 0.001)
    clock = Clock(TEN - MICROSECOND)
    runner = runner_of(database, clock)
    await runner.run(counting("a", 1))
    clock.at = TEN
    tried = asyncio.Event()
    began: list[JobContext] = []
    async with database.try_lock("a"):
        database.statement_listeners.append(lambda text: tried.set() if "job_runs" in text else None)
        waiting = asyncio.ensure_future(run_if_due(runner, counting("a", 2, began)))
        await tried.wait()
        assert began == []
    await waiting
    assert [context.started_at for context in began] == [TEN]


async def test_a_database_out_of_reach_is_told(
    postgres_only: DatabaseOptions, caplog: pytest.LogCaptureFixture
) -> None:
    """And not the end of the scheduler."""
    async with connect_database(postgres_only) as database:
        database.options = DatabaseOptions(url="postgresql://nobody@127.0.0.1:1/nothing")
        await run_if_due(JobRunner(database), counting("a"))
    (message,) = caplog.messages
    assert message.startswith("job a could not be run: SERVICE_UNAVAILABLE, ConnectionRefusedError")
    assert ServiceUnavailable.code in message


_WRONG: list[dict[str, Any]] = [
    {"job": ""},
    {"job": "x" * 101},
    {"outcome": JobOutcome.SUCCEEDED, "finished_at": TEN},
    {"outcome": JobOutcome.SUCCEEDED, "processed": 1},
    {"outcome": JobOutcome.FAILED, "finished_at": TEN},
    {"outcome": JobOutcome.RUNNING, "finished_at": TEN},
    {"outcome": JobOutcome.ABANDONED, "error_id": new_id()},
]


@pytest.mark.parametrize("values", _WRONG)
async def test_the_database_refuses_what_no_run_can_be(database: Database, values: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        async with database.transaction(SERVICE) as write:
            await JobRuns(write).add(**{"job": "a", "started_at": TEN} | values)
    assert await rows_of(database) == []


def test_schedules_are_in_utc() -> None:
    """Every job's moments after a Monday's noon."""
    noon = dt.datetime(2026, 6, 15, 12, tzinfo=dt.UTC)
    assert {job.name: next_run(job, noon).isoformat() for job in jobs_by_name(Settings()).values()} == {
        "refresh-user-dashboard-stats": "2026-06-15T12:05:00+00:00",
        "roll-days": "2026-06-15T12:15:00+00:00",
        "clean-sessions": "2026-06-16T03:20:00+00:00",
        "retain-analytics": "2026-06-16T03:40:00+00:00",
        "clean-job-runs": "2026-06-16T03:50:00+00:00",
    }
