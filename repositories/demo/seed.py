"""Writes the demo data in one transaction, so that an interrupted run writes nothing."""

import datetime as dt
from collections.abc import Callable
from uuid import UUID

from repositories.administration import RoleGrants, Roles
from repositories.aggregates.event_store import EventStore
from repositories.aggregates.repository import LOAD_BATCH
from repositories.client_management import Clients, Contacts
from repositories.commerce.catalog import ProductCategories, Products
from repositories.commerce.orders import OrderItems, Orders
from repositories.commerce.stock import StockMovements
from repositories.core import clock as calendar
from repositories.core.clock import now
from repositories.core.viewer import SERVICE
from repositories.demo.clients import generate_clients
from repositories.demo.orders import generate_shop
from repositories.demo.partners import generate_partners
from repositories.demo.points import Earnings, add_earnings, generate_rewards
from repositories.demo.tasks import PAST_DAYS, Rows, generate_tasks
from repositories.demo.users import EPOCH, PLAIN_USERS, STAFF, generate_users
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
_HISTORY_DAYS = PAST_DAYS + 15
"""The maximum age of a task."""
_CLIENT_BATCH = 50


async def load_demo(
    database: Database,
    *,
    users: int = PLAIN_USERS,
    tasks: int = TASKS_PER_USER,
    day: dt.date | None = None,
    on_progress: Callable[[int], None] = lambda _count: None,
) -> int | None:
    """Loads ``users`` plain users and the staff, with ``tasks`` tasks each, and all data that belongs to them.

    Returns the number of tasks. If the database has users already, it changes nothing and returns None. Calls
    ``on_progress`` with the number of tasks of each batch that it has written.
    """
    today = day or now().date()
    async with database.transaction(SERVICE) as write:
        if await Users(write).are_there_any():
            return None
        all_users = list(generate_users(users))
        await Users(write).add_missing(all_users)
        await Rewards(write).add_missing(list(generate_rewards()))
        await _load_tasks(write, all_users, tasks, today, on_progress)
        await _load_clients(write, all_users, today)
        await _load_partners(write, all_users[-STAFF]["id"], all_users[-1]["id"], today)
        await _load_shop(write, all_users, today)
        for user in all_users:
            days = calendar.days(today, _HISTORY_DAYS, calendar.time_zone(user["time_zone"]))
            await Analytics(write).recompute(user["id"], days)
        await DashboardStats(write).refresh()
    return len(all_users) * tasks


async def _load_tasks(
    write: WriteConnection, users: Rows, count: int, today: dt.date, on_progress: Callable[[int], None]
) -> None:
    """Loads the categories of each user, and the tasks and earnings in batches."""
    achievements = await Achievements(write).find(limit=100)
    batch: Rows = []
    earnings = Earnings()
    for user in users:
        categories, tasks = generate_tasks(user["email"], user["id"], count, today)
        await Categories(write).add_missing(categories)
        batch += tasks
        add_earnings(earnings, user, tasks, achievements, today)
        if len(batch) >= LOAD_BATCH or user is users[-1]:
            await Tasks(write).add_missing(batch)
            await _load_earnings(write, earnings)
            on_progress(len(batch))
            batch, earnings = [], Earnings()


async def _load_partners(write: WriteConnection, manager: UUID, admin: UUID, today: dt.date) -> None:
    """Grants the manager the role, as the admin, and loads the partners and referrals."""
    (role,) = await Roles(write).find(Compare("name", Op.EQ, RoleName.PARTNERSHIP_MANAGER.value), limit=1)
    await RoleGrants(write).add(user_id=manager, role_id=role.id, granted_by=admin, granted_at=EPOCH)
    partners, referrals = generate_partners(manager, today)
    await Partners(write).add_missing(partners)
    await Referrals(write).add_missing(referrals)


async def _load_shop(write: WriteConnection, users: Rows, today: dt.date) -> None:
    """Loads the catalogue, receives its stock, and loads the orders with the movements of their items."""
    shop = generate_shop(users, today)
    await ProductCategories(write).add_missing(shop.categories)
    await Products(write).add_missing(shop.products)
    await StockMovements(write).add_missing(shop.received)
    await Orders(write).add_missing(shop.orders)
    await OrderItems(write).add_missing(shop.items)
    await StockMovements(write).add_missing(shop.movements)


async def _load_earnings(write: WriteConnection, earnings: Earnings) -> None:
    """Loads the events first, because the entries refer to them."""
    await EventStore(write).load(earnings.events)
    await Points(write).add_missing(earnings.entries)
    await UserAchievements(write).add_missing(earnings.unlocked)
    await Redemptions(write).add_missing(earnings.redemptions)


async def _load_clients(write: WriteConnection, users: Rows, today: dt.date) -> None:
    """Loads the clients first, because the contacts refer to them, and sets the primary contacts last."""
    for start in range(0, len(users), _CLIENT_BATCH):
        clients: Rows = []
        contacts: Rows = []
        for user in users[start : start + _CLIENT_BATCH]:
            user_clients, user_contacts = generate_clients(user["email"], user["id"], today)
            clients += user_clients
            contacts += user_contacts
        await Clients(write).add_missing(clients)
        await Contacts(write).add_missing(contacts)
        await Clients(write).link_primaries([client["id"] for client in clients])
