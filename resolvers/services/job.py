"""How a scheduled job is declared."""

import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from repositories.engines.database import Database


def ignore_progress(done: int) -> None:
    """The default for runs whose progress is not shown."""


@dataclass(frozen=True, slots=True)
class JobContext:
    """One run of a job. ``last_success_at`` is when the last successful run started, None if there was none.

    A long job calls ``progress`` from time to time, with the number of items that it has processed so far.
    """

    database: Database
    started_at: dt.datetime
    last_success_at: dt.datetime | None = None
    progress: Callable[[int], None] = ignore_progress


@dataclass(frozen=True, slots=True)
class Job:
    """``schedule`` is a crontab line (minute, hour, day of month, month, day of week) in UTC.

    Name days of the week (``mon``): APScheduler counts them from Monday, cron from Sunday.

    ``run`` works as the service, in transactions of its own, and returns the number of items that it processed. It may
    be stopped at any moment and must be safe to repeat.
    """

    name: str
    schedule: str
    description: str
    run: Callable[[JobContext], Awaitable[int]]
