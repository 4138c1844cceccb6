"""Writes the demo data: all of it in one transaction, so that it is there as a whole or not at all."""

import datetime as dt
from collections.abc import Callable

from repositories.demo.people import PLAIN_USERS, people
from repositories.demo.tasks import PAST_DAYS, Rows, plan_of
from repositories.identity import Users
from repositories.kit import calendar
from repositories.kit.database import Database
from repositories.kit.repository import LOAD_BATCH, now
from repositories.kit.viewer import SERVICE
from repositories.life_lock import Analytics, Categories, DashboardStats, Tasks

TASKS_PER_USER = 300
_HISTORY = PAST_DAYS + 15
"""How many days back the oldest task was made, at most."""


async def load_demo(
    database: Database,
    *,
    users: int = PLAIN_USERS,
    tasks: int = TASKS_PER_USER,
    day: dt.date | None = None,
    done: Callable[[int], None] = lambda _count: None,
) -> int | None:
    """Loads ``users`` plain users and an admin with ``tasks`` tasks each, and says how many tasks that made.

    A database that has users already is left alone: None. ``done`` is told how many more tasks were written.
    """
    today = day or now().date()
    async with database.transaction(SERVICE) as write:
        if await Users(write).are_there_any():
            return None
        everybody = list(people(users))
        await Users(write).add_missing(everybody)
        waiting: Rows = []
        for person in everybody:
            categories, more = plan_of(person["email"], person["id"], tasks, today)
            await Categories(write).add_missing(categories)
            waiting += more
            if len(waiting) >= LOAD_BATCH or person is everybody[-1]:
                await Tasks(write).add_missing(waiting)
                done(len(waiting))
                waiting = []
        for person in everybody:
            days = calendar.days(today, _HISTORY, calendar.time_zone(person["time_zone"]))
            await Analytics(write).recompute(person["id"], days)
        await DashboardStats(write).refresh()
    return len(everybody) * tasks
