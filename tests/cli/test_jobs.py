"""`siso jobs`, and the scheduler of `siso serve`."""

import asyncio
import datetime as dt
import sqlite3
import time
from contextlib import closing
from dataclasses import replace

import pytest

from gateway.jobs.runner import jobs_by_name, next_run
from gateway.settings import Settings
from repositories.core.clock import now
from repositories.core.viewer import SERVICE
from repositories.engines.database import DatabaseOptions
from repositories.job_runs import JobRuns
from repositories.tables.administration import JobOutcome, JobRun
from tests.cli.siso import TIMEOUT, RunningGateway, Siso
from tests.factories import make_task, make_user
from tests.jobs.endless_job import run_endless_job
from tests.jobs.support import find_runs
from tests.repositories.support import connect_database

NAMES = list(jobs_by_name(Settings()))
DAY = dt.timedelta(days=1)


def _list_jobs(siso: Siso) -> dict[str, list[str]]:
    """Returns schedule, last run, outcome, next run and description of each job by its name."""
    head, *lines = (line.split("  ") for line in siso.expect_output("jobs", "list").splitlines())
    assert [part.strip() for part in head if part] == [
        "name",
        "schedule",
        "last run",
        "outcome",
        "next run",
        "what it does",
    ]
    return {name: [part.strip() for part in parts if part.strip()] for name, *parts in lines}


def _rows(options: DatabaseOptions) -> list[JobRun]:
    async def read() -> list[JobRun]:
        async with connect_database(options) as database:
            return await find_runs(database)

    return asyncio.run(read())


def test_a_manual_run(siso: Siso, options: DatabaseOptions) -> None:
    async def make() -> None:
        async with connect_database(options) as database:
            for zone in ("UTC", "Pacific/Kiritimati"):
                user = await make_user(database, time_zone=zone)
                await make_task(database, user, created_at=now() - DAY * 3, due_date=now() - DAY * 2)

    asyncio.run(make())
    before = _list_jobs(siso)
    assert list(before) == NAMES
    assert before["roll-days"][:2] == ["*/15 * * * *", "never"]
    assert before["roll-days"][-1] == "Recounts yesterday and today for users for whom a new day has begun."
    assert siso.expect_output("jobs", "run", "roll-days").startswith("roll-days succeeded: 4 processed in 0.")
    assert siso.expect_output("jobs", "run", "roll-days").startswith("roll-days succeeded: 0 processed in 0.")
    second, first = _rows(options)
    assert [(run.job, run.outcome, run.processed) for run in (first, second)] == [
        ("roll-days", JobOutcome.SUCCEEDED, 4),
        ("roll-days", JobOutcome.SUCCEEDED, 0),
    ]
    assert _list_jobs(siso)["roll-days"][1:3] == [f"{second.started_at:%Y-%m-%d %H:%M}", "succeeded (0)"]
    siso.settings["GATEWAY_JOBS"] = "off"
    assert {line[-2] for line in _list_jobs(siso).values()} == {"by hand"}


@pytest.mark.parametrize("name", NAMES)
def test_every_job_can_be_run(siso: Siso, options: DatabaseOptions, name: str) -> None:
    assert siso.expect_output("jobs", "run", name).startswith(f"{name} succeeded: 0 processed in 0.")
    assert [run.job for run in _rows(options)] == [name]


def test_an_unknown_job(on_sqlite: Siso, sqlite_only: DatabaseOptions) -> None:
    assert on_sqlite.expect_error("jobs", "run", "rol-day") == (
        f"siso: There is no job rol-day. Did you mean roll-days? The jobs are: {', '.join(NAMES)}."
    )
    assert on_sqlite.expect_error("jobs", "run", "x") == f"siso: There is no job x. The jobs are: {', '.join(NAMES)}."
    assert "Missing argument" in on_sqlite.expect_error("jobs", "run")
    assert _rows(sqlite_only) == []


def test_a_job_that_another_process_runs_is_an_error(siso: Siso, options: DatabaseOptions) -> None:
    """After that process was killed, its run is abandoned, and the next run succeeds."""
    options = replace(options, encryption_keys={}, index_key=b"")
    with run_endless_job("roll-days", options) as process:
        (run,) = _rows(options)
        began = f"{run.started_at:%Y-%m-%d %H:%M}"
        assert siso.expect_error("jobs", "run", "roll-days") == (
            f"siso: Another process is running roll-days, since {began} UTC. Try again when that run has finished."
        )
        assert _rows(options) == [run]
        assert _list_jobs(siso)["roll-days"][1:3] == [began, "running"]
        assert siso.expect_output("jobs", "run", "clean-sessions").startswith("clean-sessions succeeded")
        process.kill()
        process.wait()
    deadline = time.monotonic() + TIMEOUT
    while _list_jobs(siso)["roll-days"][2] != "abandoned":
        assert time.monotonic() < deadline, "the lock was not released"
    assert siso.expect_output("jobs", "run", "roll-days").startswith("roll-days succeeded: 0 processed in 0.")
    assert [run.outcome for run in _rows(options) if run.job == "roll-days"] == [
        JobOutcome.SUCCEEDED,
        JobOutcome.ABANDONED,
    ]


def test_a_failing_job(on_sqlite: Siso, sqlite_only: DatabaseOptions) -> None:
    """The error is one line with the recorded id. `--debug` adds the details."""
    with closing(sqlite3.connect(sqlite_only.sqlite_path)) as database:
        database.executescript("ALTER TABLE sessions RENAME TO somewhere_else")
    error = on_sqlite.expect_error("jobs", "run", "clean-sessions")
    (run,) = _rows(sqlite_only)
    assert run.outcome is JobOutcome.FAILED
    details = "Run `siso --debug jobs run clean-sessions` to see details."
    assert error == f"siso: clean-sessions failed (error {run.error_id}). {details}"
    assert _list_jobs(on_sqlite)["clean-sessions"][2] == f"failed (error {run.error_id})"
    with on_sqlite.start("--debug", "jobs", "run", "clean-sessions") as process:
        _, err = process.communicate()
    assert process.returncode == 2
    assert "(SQLITE_ERROR) in: DELETE FROM sessions" in err
    assert f"error {_rows(sqlite_only)[0].error_id}" in err


def _wait_until_all_ran(options: DatabaseOptions) -> list[JobRun]:
    """Waits until each job has run, and returns the runs."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        rows = _rows(options)
        if len({run.job for run in rows if run.outcome is JobOutcome.SUCCEEDED}) == len(NAMES):
            return rows
        assert time.monotonic() < deadline, rows
        time.sleep(0.05)


def test_gateways_run_due_jobs_once(siso: Siso, options: DatabaseOptions) -> None:
    """Two workers and another process share the runs. Each run is logged."""
    with siso.serving("--workers", "2") as served, siso.serving() as other:
        _wait_until_all_ran(options)
        ended = [_stop(served), _stop(other)]
    rows = _rows(options)
    assert sorted(run.job for run in rows if run.job not in _due_during_the_test(rows)) == sorted(
        name for name in NAMES if name not in _due_during_the_test(rows)
    )
    log = "".join(ended)
    for name in NAMES:
        runs = [run for run in rows if run.job == name]
        assert log.count(f"INFO gateway.jobs.scheduler: Job {name} succeeded: 0 processed in ") == len(runs)
    assert "apscheduler" not in log


def _due_during_the_test(rows: list[JobRun]) -> set[str]:
    """Returns the jobs with a scheduled time during the test, which may have run twice."""
    first = min(run.started_at for run in rows)
    return {name for name, job in jobs_by_name(Settings()).items() if next_run(job, first) <= now()}


def _stop(served: RunningGateway) -> str:
    ended = served.stop()
    assert ended.code == 0, ended
    assert "Traceback" not in ended.err
    return ended.err


def test_jobs_can_be_switched_off(on_sqlite: Siso, sqlite_only: DatabaseOptions) -> None:
    with on_sqlite.serving(GATEWAY_JOBS="off") as served:
        assert served.ask("{ __typename }") == {"__typename": "Query"}
        assert served.stop().code == 0
    assert _rows(sqlite_only) == []
    assert "GATEWAY_JOBS" in on_sqlite.expect_error("jobs", "list", GATEWAY_JOBS="maybe")
    assert "GATEWAY_ANALYTICS_RETENTION_DAYS" in on_sqlite.expect_error(
        "jobs", "list", GATEWAY_ANALYTICS_RETENTION_DAYS="399"
    )


def test_the_list_shows_the_latest_run(siso: Siso, options: DatabaseOptions) -> None:
    """The order of insertion does not matter."""

    async def make() -> None:
        async with connect_database(options) as database, database.transaction(SERVICE) as write:
            for days in (1, 3, 2):
                at = now() - DAY * days
                values = {"outcome": JobOutcome.SUCCEEDED, "finished_at": at, "processed": days}
                await JobRuns(write).add(job="roll-days", started_at=at, **values)

    asyncio.run(make())
    assert _list_jobs(siso)["roll-days"][2] == "succeeded (1)"
