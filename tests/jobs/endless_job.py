"""A process that runs a job which never ends.

Usage: `python -m tests.jobs.endless_job NAME URL SERVICE_URL PATH PGBOUNCER`.
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.jobs.runner import JobRunner
from repositories.engines.database import DatabaseOptions
from repositories.engines.factory import open_database
from resolvers.services.job import Job, JobContext


async def _wait(context: JobContext) -> int:
    print("started", flush=True)  # noqa: T201 (the test waits for it)
    await asyncio.Event().wait()
    return 0


async def _main(name: str, url: str, service_url: str, path: str, pgbouncer: str) -> None:
    options = DatabaseOptions(
        url=url or None, service_url=service_url or None, sqlite_path=Path(path), pgbouncer=pgbouncer == "True"
    )
    database = open_database(options)
    await database.connect()
    await JobRunner(database).run(Job(name, "* * * * *", "Waits.", _wait))


@contextmanager
def run_endless_job(name: str, options: DatabaseOptions) -> Iterator["subprocess.Popen[str]"]:
    """Starts the process, waits until the job runs, and kills the process at the end of the block."""
    arguments = (name, options.url or "", options.service_url or "", str(options.sqlite_path), str(options.pgbouncer))
    command = [sys.executable, "-m", "tests.jobs.endless_job", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "started\n"
            yield process
        finally:
            process.kill()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
