"""The demo data are the same for the same day, consistent, and loaded in one transaction."""

import datetime as dt
from decimal import Decimal

import pytest

from repositories.administration import granted_roles
from repositories.client_management import Clients, Contacts
from repositories.commerce.catalog import StockLevels
from repositories.commerce.orders import OrderItems, Orders, totals_of
from repositories.commerce.stock import StockMovements
from repositories.core.viewer import SERVICE
from repositories.demo.clients import CLIENTS_PER_USER, generate_clients
from repositories.demo.seed import TASKS_PER_USER, load_demo
from repositories.demo.tasks import CATEGORIES, generate_tasks
from repositories.demo.users import PLAIN_USERS, STAFF, generate_users
from repositories.engines.database import Database
from repositories.identity import Users
from repositories.life_lock.analytics import Analytics
from repositories.life_lock.categories import Categories
from repositories.life_lock.statistics import DashboardStats
from repositories.life_lock.tasks import Tasks
from repositories.partnership import Partners, Referrals, commission_of
from repositories.permissions import RoleName
from repositories.sql.filters import SortKey
from repositories.tables.client_management import Contact
from repositories.tables.commerce import STOCK_EFFECTS
from repositories.tables.life_lock import CLOSED, TaskStatus
from repositories.tables.partnership import Partner, PartnerStatus, ReferralStatus

DAY = dt.date(2026, 3, 30)
START = dt.datetime(2026, 3, 30, tzinfo=dt.UTC)


async def test_all_users_have_categories_tasks_and_days(database: Database) -> None:
    progress: list[int] = []
    count = await load_demo(database, day=DAY, on_progress=progress.append)
    assert count == sum(progress) == (PLAIN_USERS + STAFF) * TASKS_PER_USER
    snapshot = database.snapshot(SERVICE)
    ada = await Users(snapshot).of_email("ada@example.com")
    admin = await Users(snapshot).of_email("admin@example.com")
    assert ada is not None
    assert admin is not None
    assert (ada.role.value, admin.role.value) == ("user", "admin")
    assert await Users(snapshot).of_email("grace@example.com")
    totals = {row.user_id: row.total_tasks for row in await DashboardStats(snapshot).find(limit=100)}
    assert set(totals.values()) == {TASKS_PER_USER}
    assert await Categories(snapshot).count() == len(CATEGORIES) * len(totals)
    days = [row for row in await Analytics(snapshot).find(limit=10_000) if row.user_id == ada.id]
    assert max(row.date for row in days) == DAY
    assert sum(row.tasks_created for row in days) == TASKS_PER_USER
    assert any(row.productivity_score > 0 for row in days)
    clients, contacts = await Clients(snapshot).find(limit=100), await Contacts(snapshot).find(limit=1000)
    assert {row.created_by for row in clients} == set(totals)
    assert len(clients) == CLIENTS_PER_USER * len(totals)
    primary = {row.client_id: row.id for row in contacts if row.is_primary}
    assert {row.id: row.primary_contact_id for row in clients} == primary
    assert all(database.cipher.decrypt(Contact.email, row.id, row.email).endswith(".example") for row in contacts)
    await snapshot.close()


async def test_partners_have_a_manager_and_commissions_by_their_rates(database: Database) -> None:
    """The manager has the role of partnership managers."""
    await load_demo(database, users=1, tasks=0, day=DAY)
    snapshot = database.snapshot(SERVICE)
    manager = await Users(snapshot).of_email("manager@example.com")
    assert manager is not None
    assert await granted_roles(snapshot, manager.id) == {RoleName.PARTNERSHIP_MANAGER}
    partners = {row.id: row for row in await Partners(snapshot).find(limit=100)}
    assert {row.manager_id for row in partners.values()} == {manager.id}
    assert {row.status for row in partners.values()} >= {PartnerStatus.PROSPECT, PartnerStatus.ACTIVE}
    referrals = await Referrals(snapshot).find(limit=1000)
    won = [row for row in referrals if row.status is ReferralStatus.WON]
    assert won
    for row in won:
        assert row.commission == commission_of(row.value or Decimal(0), partners[row.partner_id].commission_rate)
    addresses = [
        database.cipher.decrypt(Partner.contact_email, row.id, row.contact_email or "") for row in partners.values()
    ]
    assert all(address.endswith(".example") for address in addresses)
    await snapshot.close()


async def test_demo_data_are_not_loaded_into_a_database_with_users(database: Database) -> None:
    assert await load_demo(database, users=1, tasks=2, day=DAY) == 6
    assert await load_demo(database, users=5, tasks=9, day=DAY) is None
    snapshot = database.snapshot(SERVICE)
    assert await Tasks(snapshot).count() == 6
    await snapshot.close()


async def test_an_interrupted_load_is_rolled_back(database: Database) -> None:
    def stop(count: int) -> None:
        raise KeyboardInterrupt(count)

    with pytest.raises(KeyboardInterrupt):
        await load_demo(database, users=1, tasks=2, day=DAY, on_progress=stop)
    snapshot = database.snapshot(SERVICE)
    assert not await Users(snapshot).are_there_any()
    await snapshot.close()


def test_the_demo_data_are_the_same_for_the_same_day() -> None:
    (ada, *_) = generate_users(1)
    assert generate_tasks(ada["email"], ada["id"], 50, DAY) == generate_tasks(ada["email"], ada["id"], 50, DAY)
    assert generate_clients(ada["email"], ada["id"], DAY) == generate_clients(ada["email"], ada["id"], DAY)
    later = generate_tasks(ada["email"], ada["id"], 50, DAY + dt.timedelta(days=1))
    assert later != generate_tasks(ada["email"], ada["id"], 50, DAY)
    assert [row["id"] for row in generate_users(3)] == [row["id"] for row in generate_users(3)]


def test_users_have_unique_ids_and_addresses() -> None:
    users = list(generate_users(2000))
    assert len({row["email"] for row in users}) == len({row["id"] for row in users}) == 2000 + STAFF
    assert {row["id"].version for row in users} == {7}
    assert users[-1]["email"] == "admin@example.com"


def test_every_client_has_contacts_with_unique_addresses() -> None:
    for person in generate_users(300):
        clients, contacts = generate_clients(person["email"], person["id"], DAY)
        assert {row["client_id"] for row in contacts} == {row["id"] for row in clients}
        assert len({row["email"] for row in contacts}) == len(contacts)
        assert max(row["created_at"] for row in clients) < START


def test_statuses_and_dates_of_tasks_are_consistent() -> None:
    (ada, *_) = generate_users(1)
    categories, tasks = generate_tasks(ada["email"], ada["id"], 2000, DAY)
    known = {row["id"] for row in categories}
    assert {row["status"] for row in tasks} == set(TaskStatus)
    assert {row["priority_level"] for row in tasks} == {1, 2, 3, 4, 5}
    for row in tasks:
        assert row["category_id"] in known
        assert (row["completed_at"] is not None) == (row["status"] is TaskStatus.COMPLETED)
        assert row["created_at"] <= row["updated_at"] <= START
        assert row["created_at"] <= (row["completed_at"] or START) <= START
    overdue = [row for row in tasks if row["due_date"] and row["due_date"] < START and row["status"] not in CLOSED]
    upcoming = [row for row in tasks if row["due_date"] and row["due_date"] >= START]
    assert 0 < len(overdue) < len(tasks) / 10
    assert len(upcoming) > len(tasks) / 4


async def test_products_are_in_stock_and_orders_have_the_sums_of_their_items(database: Database) -> None:
    await load_demo(database, users=2, tasks=3)
    async with database.snapshot(SERVICE) as snapshot:
        levels = await StockLevels(snapshot).find(limit=100, order=(SortKey("id"),))
        orders = await Orders(snapshot).find(limit=100)
        moved = await StockMovements(snapshot).find(limit=500)
        for order in orders:
            assert totals_of(await OrderItems(snapshot).of_order(order.id)) == (order.subtotal, order.tax, order.total)
    assert len({order.user_id for order in orders}) == 4
    assert sorted(level.available > 9_000 for level in levels) == [False] + [True] * 7
    for level in levels:
        of_product = [(STOCK_EFFECTS[row.kind], row.quantity) for row in moved if row.product_id == level.id]
        assert level.on_hand == sum(count for effect, count in of_product if effect.on_hand)
        assert level.reserved == sum(count for effect, count in of_product if effect.reserved)
