"""`siso jobs`, and the jobs of processes that serve."""

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


def _listed(siso: Siso) -> dict[str, list[str]]:
    """By name: schedule, last run, outcome, next run and description."""
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


def test_a_job_is_run_by_hand(siso: Siso, options: DatabaseOptions) -> None:
    async def make() -> None:
        async with connect_database(options) as database:
            for zone in ("UTC", "Pacific/Kiritimati"):
                user = await make_user(database, time_zone=zone)
                await make_task(database, user, created_at=now() - DAY * 3, due_date=now() - DAY * 2)

    asyncio.run(make())
    before = _listed(siso)
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
    assert _listed(siso)["roll-days"][1:3] == [f"{second.started_at:%Y-%m-%d %H:%M}", "succeeded (0)"]
    siso.settings["GATEWAY_JOBS"] = "off"
    assert {line[-2] for line in _listed(siso).values()} == {"by hand"}


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


def test_a_second_process_is_refused(siso: Siso, options: DatabaseOptions) -> None:
    """While the first runs; when that was killed, its run is abandoned, and the next one goes on."""
    options = replace(options, encryption_keys={}, index_key=b"")
    with run_endless_job("roll-days", options) as process:
        (run,) = _rows(options)
        began = f"{run.started_at:%Y-%m-%d %H:%M}"
        assert siso.expect_error("jobs", "run", "roll-days") == (
            f"siso: Another process is running roll-days, since {began} UTC. Try again when that run has finished."
        )
        assert _rows(options) == [run]
        assert _listed(siso)["roll-days"][1:3] == [began, "running"]
        assert siso.expect_output("jobs", "run", "clean-sessions").startswith("clean-sessions succeeded")
        process.kill()
        process.wait()
    until = time.monotonic() + TIMEOUT
    while _listed(siso)["roll-days"][2] != "abandoned":
        assert time.monotonic() < until, "the lock stays"
    assert siso.expect_output("jobs", "run", "roll-days").startswith("roll-days succeeded: 0 processed in 0.")
    assert [run.outcome for run in _rows(options) if run.job == "roll-days"] == [
        JobOutcome.SUCCEEDED,
        JobOutcome.ABANDONED,
    ]


def test_a_job_that_fails(on_sqlite: Siso, sqlite_only: DatabaseOptions) -> None:
    """One line with the id that is written down; details are for who asks for them."""
    with closing(sqlite3.connect(sqlite_only.sqlite_path)) as database:
        database.executescript("ALTER TABLE sessions RENAME TO somewhere_else")
    error = on_sqlite.expect_error("jobs", "run", "clean-sessions")
    (run,) = _rows(sqlite_only)
    assert run.outcome is JobOutcome.FAILED
    details = "Run `siso --debug jobs run clean-sessions` to see details."
    assert error == f"siso: clean-sessions failed (error {run.error_id}). {details}"
    assert _listed(on_sqlite)["clean-sessions"][2] == f"failed (error {run.error_id})"
    with on_sqlite.start("--debug", "jobs", "run", "clean-sessions") as process:
        _, err = process.communicate()
    assert process.returncode == 2
    assert "(SQLITE_ERROR) in: DELETE FROM sessions" in err
    assert f"error {_rows(sqlite_only)[0].error_id}" in err


def _until_all_ran(options: DatabaseOptions) -> list[JobRun]:
    """Waits for a run of every job."""
    until = time.monotonic() + TIMEOUT
    while True:
        rows = _rows(options)
        if len({run.job for run in rows if run.outcome is JobOutcome.SUCCEEDED}) == len(NAMES):
            return rows
        assert time.monotonic() < until, rows
        time.sleep(0.05)


def test_processes_that_serve_run_what_was_never_run_once(siso: Siso, options: DatabaseOptions) -> None:
    """Two workers, and a third process; each run has its line in the log. Nothing is due for who comes later."""
    with siso.serving("--workers", "2") as served, siso.serving() as other:
        _until_all_ran(options)
        ended = [_ended(served), _ended(other)]
    rows = _rows(options)
    assert sorted(run.job for run in rows if run.job not in _due_meanwhile(rows)) == sorted(
        name for name in NAMES if name not in _due_meanwhile(rows)
    )
    log = "".join(ended)
    for name in NAMES:
        runs = [run for run in rows if run.job == name]
        assert log.count(f"INFO gateway.jobs.scheduler: job {name} succeeded: 0 processed in ") == len(runs)
    assert "apscheduler" not in log


def _due_meanwhile(rows: list[JobRun]) -> set[str]:
    """Jobs one of whose moments came while the test ran."""
    first = min(run.started_at for run in rows)
    return {name for name, job in jobs_by_name(Settings()).items() if next_run(job, first) <= now()}


def _ended(served: RunningGateway) -> str:
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


def test_what_is_known_of_old_runs_can_be_read(siso: Siso, options: DatabaseOptions) -> None:
    """The latest run of a job is shown, whichever was written down last."""

    async def make() -> None:
        async with connect_database(options) as database, database.transaction(SERVICE) as write:
            for days in (1, 3, 2):
                at = now() - DAY * days
                values = {"outcome": JobOutcome.SUCCEEDED, "finished_at": at, "processed": days}
                await JobRuns(write).add(job="roll-days", started_at=at, **values)

    asyncio.run(make())
    assert _listed(siso)["roll-days"][2] == "succeeded (1)"
