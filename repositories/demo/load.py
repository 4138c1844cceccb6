"""Writes the demo data: all of it in one transaction, so that it is there as a whole or not at all."""

import datetime as dt
from collections.abc import Callable

from repositories.client_management import Clients, Contacts
from repositories.demo.clients import clients_of
from repositories.demo.people import PLAIN_USERS, people
from repositories.demo.tasks import PAST_DAYS, Rows, plan_of
from repositories.identity import Users
from repositories.kit import calendar
from repositories.kit.database import Database, Write
from repositories.kit.repository import LOAD_BATCH, now
from repositories.kit.viewer import SERVICE
from repositories.life_lock import Analytics, Categories, DashboardStats, Tasks

TASKS_PER_USER = 300
_HISTORY = PAST_DAYS + 15
"""How many days back the oldest task was made, at most."""
_PEOPLE_AT_ONCE = 50


async def load_demo(
    database: Database,
    *,
    users: int = PLAIN_USERS,
    tasks: int = TASKS_PER_USER,
    day: dt.date | None = None,
    done: Callable[[int], None] = lambda _count: None,
) -> int | None:
    """Loads ``users`` plain users and an admin with ``tasks`` tasks each and a few clients; says how many tasks.

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
        await _load_clients(write, everybody, today)
        for person in everybody:
            days = calendar.days(today, _HISTORY, calendar.time_zone(person["time_zone"]))
            await Analytics(write).recompute(person["id"], days)
        await DashboardStats(write).refresh()
    return len(everybody) * tasks


async def _load_clients(write: Write, everybody: Rows, today: dt.date) -> None:
    """Clients come before their contacts, and learn afterwards which of them is the primary one."""
    for start in range(0, len(everybody), _PEOPLE_AT_ONCE):
        clients: Rows = []
        contacts: Rows = []
        for person in everybody[start : start + _PEOPLE_AT_ONCE]:
            own, people_there = clients_of(person["email"], person["id"], today)
            clients += own
            contacts += people_there
        await Clients(write).add_missing(clients)
        await Contacts(write).add_missing(contacts)
        await Clients(write).link_primaries([client["id"] for client in clients])
