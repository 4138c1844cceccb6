"""What the gateway does by itself, when it is time: how a job is declared."""

import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from repositories.engines.database import Database


def say_nothing(done: int) -> None:
    """For runs that nobody watches."""


@dataclass(frozen=True, slots=True)
class JobContext:
    """A run of a job: when it began, and when the last one did that succeeded, None if there is none.

    ``progress`` is to be called with how much is done so far, where it takes long.
    """

    database: Database
    at: dt.datetime
    since: dt.datetime | None = None
    progress: Callable[[int], None] = say_nothing


@dataclass(frozen=True, slots=True)
class Job:
    """``when`` is a crontab line (minute, hour, day of month, month, day of week) in UTC.

    Days of the week are named (``mon``): APScheduler's numbers begin with Monday, cron's with Sunday.

    ``run`` works as the service, in transactions of its own, and says how many things it did. It may be stopped at any
    moment and must be safe to repeat.
    """

    name: str
    when: str
    description: str
    run: Callable[[JobContext], Awaitable[int]]
