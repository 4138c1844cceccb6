"""Writes the demo data: all of it in one transaction, so that it is there as a whole or not at all."""

import datetime as dt
from collections.abc import Callable
from uuid import UUID

from repositories.administration import RoleGrants, Roles
from repositories.aggregates.event_store import EventStore
from repositories.aggregates.repository import LOAD_BATCH
from repositories.client_management import Clients, Contacts
from repositories.core import clock as calendar
from repositories.core.clock import now
from repositories.core.viewer import SERVICE
from repositories.demo.clients import clients_of
from repositories.demo.partners import partners_of
from repositories.demo.people import EPOCH, PLAIN_USERS, STAFF, people
from repositories.demo.points import Earnings, earn, rewards
from repositories.demo.tasks import PAST_DAYS, Rows, plan_of
from repositories.engines.database import Database, WriteConnection
from repositories.gamification.achievements import Achievements, UserAchievements
from repositories.gamification.points import Points
from repositories.gamification.rewards import Redemptions, Rewards
from repositories.identity import Users
from repositories.life_lock.analytics import Analytics
from repositories.life_lock.categories import Categories
from repositories.life_lock.statistics import DashboardStats
from repositories.life_lock.tasks import Tasks
from repositories.partnership import Partners, Referrals
from repositories.permissions import RoleName
from repositories.sql.filters import Compare, Op

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
    """Loads ``users`` plain users and the staff with ``tasks`` tasks each, what those earned, clients and partners.

    Says how many tasks. A database that has users already is left alone: None. ``done`` is told of tasks written.
    """
    today = day or now().date()
    async with database.transaction(SERVICE) as write:
        if await Users(write).are_there_any():
            return None
        everybody = list(people(users))
        await Users(write).add_missing(everybody)
        await Rewards(write).add_missing(list(rewards()))
        achievements = await Achievements(write).find(limit=100)
        waiting: Rows = []
        earned = Earnings()
        for person in everybody:
            categories, more = plan_of(person["email"], person["id"], tasks, today)
            await Categories(write).add_missing(categories)
            waiting += more
            earn(earned, person, more, achievements, today)
            if len(waiting) >= LOAD_BATCH or person is everybody[-1]:
                await Tasks(write).add_missing(waiting)
                await _load_earnings(write, earned)
                done(len(waiting))
                waiting, earned = [], Earnings()
        await _load_clients(write, everybody, today)
        await _load_partners(write, everybody[-STAFF]["id"], everybody[-1]["id"], today)
        for person in everybody:
            days = calendar.days(today, _HISTORY, calendar.time_zone(person["time_zone"]))
            await Analytics(write).recompute(person["id"], days)
        await DashboardStats(write).refresh()
    return len(everybody) * tasks


async def _load_partners(write: WriteConnection, manager: UUID, admin: UUID, today: dt.date) -> None:
    """The manager's role, granted by the admin, and what is to be managed."""
    (found,) = await Roles(write).find(Compare("name", Op.EQ, RoleName.PARTNERSHIP_MANAGER.value), limit=1)
    await RoleGrants(write).add(user_id=manager, role_id=found.id, granted_by=admin, granted_at=EPOCH)
    partners, referrals = partners_of(manager, today)
    await Partners(write).add_missing(partners)
    await Referrals(write).add_missing(referrals)


async def _load_earnings(write: WriteConnection, earned: Earnings) -> None:
    """Events come before the entries that name them."""
    await EventStore(write).load(earned.events)
    await Points(write).add_missing(earned.entries)
    await UserAchievements(write).add_missing(earned.unlocked)
    await Redemptions(write).add_missing(earned.redemptions)


async def _load_clients(write: WriteConnection, everybody: Rows, today: dt.date) -> None:
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
