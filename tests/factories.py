"""Factories for tests: one function per type of row. The service writes the rows."""

import datetime as dt
from decimal import Decimal
from typing import Any
from uuid import UUID

from repositories.administration import RoleGrants, Roles
from repositories.aggregates.event_store import EventStore
from repositories.client_management import Clients, Contacts
from repositories.commerce.catalog import ProductCategories, Products
from repositories.commerce.orders import OrderItems, Orders, copy_product, new_number, totals_of
from repositories.commerce.stock import StockMovements
from repositories.core.clock import now
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE, Viewer
from repositories.engines.database import Database
from repositories.gamification.achievements import Achievements, UserAchievements
from repositories.gamification.points import Points
from repositories.gamification.rewards import Redemptions, Rewards
from repositories.identity import Sessions, Users
from repositories.life_lock.categories import Categories
from repositories.life_lock.events import TaskCompleted
from repositories.life_lock.tasks import Tasks
from repositories.partnership import Partners, Referrals
from repositories.permissions import RoleName
from repositories.sql.filters import Compare, Op
from repositories.tables.administration import RoleGrant
from repositories.tables.client_management import Client, Contact
from repositories.tables.commerce import MovementKind, Order, OrderStatus, Product, ProductCategory
from repositories.tables.gamification import (
    Achievement,
    PointEntry,
    PointReason,
    Reward,
    RewardRedemption,
    UserAchievement,
)
from repositories.tables.identity import Session, User
from repositories.tables.life_lock import Category, Task
from repositories.tables.partnership import Partner, PartnerKind, Referral


async def make_user(database: Database, **values: Any) -> User:
    key = new_id()
    values = {"id": key, "email": f"{key.hex}@example.com", "first_name": "Ada", "last_name": "Byron"} | values
    async with database.transaction(SERVICE) as write:
        return await Users(write).add(**values)


def viewer_of(user: User | UUID, *roles: RoleName) -> Viewer:
    """The viewer of requests for which the user is signed in."""
    return Viewer(user if isinstance(user, UUID) else user.id, frozenset({RoleName.USER, *roles}))


async def make_session(database: Database, user: User, **values: Any) -> Session:
    """A session that ends in an hour. It has no valid refresh token."""
    at = now()
    times = {"created_at": at, "last_seen_at": at, "expires_at": at + dt.timedelta(hours=1)}
    async with database.transaction(SERVICE) as write:
        return await Sessions(write).add(
            **{"user_id": user.id, "refresh_token_hash": new_id().hex * 2} | times | values,
        )


async def make_category(database: Database, user: User, **values: Any) -> Category:
    values = {"user_id": user.id, "name": f"Category {new_id().hex[-6:]}", "color": "#3B82F6"} | values
    async with database.transaction(SERVICE) as write:
        return await Categories(write).add(**values)


async def make_task(database: Database, user: User, **values: Any) -> Task:
    async with database.transaction(SERVICE) as write:
        return await Tasks(write).add(**{"user_id": user.id, "title": "Something"} | values)


async def make_tasks(database: Database, user: User, count: int, **values: Any) -> list[Task]:
    """``count`` tasks of the user with the titles Task 0, Task 1, ..."""
    rows = [{"user_id": user.id, "title": f"Task {index}"} | values for index in range(count)]
    async with database.transaction(SERVICE) as write:
        return await Tasks(write).add_many(rows)


async def make_partner(database: Database, manager: User, **values: Any) -> Partner:
    defaults = {
        "name": "Acme",
        "kind": PartnerKind.REFERRAL,
        "commission_rate": Decimal("0.1"),
        "manager_id": manager.id,
    }
    async with database.transaction(SERVICE) as write:
        return await Partners(write).add(**defaults | values)


async def make_referral(database: Database, partner: Partner, **values: Any) -> Referral:
    async with database.transaction(SERVICE) as write:
        return await Referrals(write).add(**{"partner_id": partner.id, "client_name": "Client"} | values)


async def make_points(database: Database, user: User, points: int, **values: Any) -> PointEntry:
    """An entry of points with the event for which they are awarded."""
    event = TaskCompleted(new_id(), user.id, now(), None)
    async with database.transaction(SERVICE) as write:
        await EventStore(write).append([event], actor=user.id, at=values.get("created_at", event.completed_at))
        defaults = {"reason": PointReason.TASK_COMPLETED, "source_event_id": event.id}
        return await Points(write).add(**{"user_id": user.id, "points": points} | defaults | values)


async def make_achievement(database: Database, **values: Any) -> Achievement:
    """An achievement that requires 999 completed tasks, so that tests do not unlock it by accident."""
    defaults = {
        "name": "Hero",
        "description": "Be one.",
        "points": 7,
        "criteria": {"event": "TaskCompleted", "count": 999},
    }
    async with database.transaction(SERVICE) as write:
        return await Achievements(write).add(**{"code": f"hero_{new_id().hex[-8:]}"} | defaults | values)


async def make_user_achievement(database: Database, user: User, achievement: Achievement) -> UserAchievement:
    """An achievement that the user has reached, without the event and the points."""
    async with database.transaction(SERVICE) as write:
        return await UserAchievements(write).add(user_id=user.id, achievement_id=achievement.id, unlocked_at=now())


async def make_reward(database: Database, **values: Any) -> Reward:
    """A reward with unlimited stock."""
    async with database.transaction(SERVICE) as write:
        return await Rewards(write).add(**{"name": "A cup of tea", "cost": 10} | values)


async def make_redemption(database: Database, user: User, reward: Reward, **values: Any) -> RewardRedemption:
    """A redemption without the entry that deducts its points."""
    defaults = {"user_id": user.id, "reward_id": reward.id, "cost": reward.cost, "redeemed_at": now()}
    async with database.transaction(SERVICE) as write:
        return await Redemptions(write).add(**defaults | values)


async def make_client(database: Database, user: User, **values: Any) -> Client:
    async with database.transaction(SERVICE) as write:
        return await Clients(write).add(**{"created_by": user.id, "company_name": "Acme"} | values)


async def make_contact(database: Database, client: Client, **values: Any) -> Contact:
    (contact,) = await make_contacts(database, client, 1, **values)
    return contact


async def make_contacts(database: Database, client: Client, count: int, **values: Any) -> list[Contact]:
    """Contacts of the client. If one is primary, the client refers to it."""
    defaults = {"client_id": client.id, "user_id": client.created_by, "first_name": "Joan", "last_name": "Clarke"}
    rows = [{"id": (key := new_id()), "email": f"{key.hex}@example.org"} | defaults | values for _ in range(count)]
    async with database.transaction(SERVICE) as write:
        contacts = await Contacts(write).add_many(rows)
        await Clients(write).link_primaries([client.id])
    return contacts


async def make_grant(database: Database, user: User, role: RoleName, *, by: User) -> RoleGrant:
    """A grant of the role to ``user``, made by the user ``by``."""
    async with database.transaction(SERVICE) as write:
        (row,) = await Roles(write).find(Compare("name", Op.EQ, role.value), limit=1)
        return await RoleGrants(write).add(user_id=user.id, role_id=row.id, granted_by=by.id, granted_at=now())


async def make_product_category(database: Database, **values: Any) -> ProductCategory:
    defaults = {"name": "Books", "slug": f"books-{new_id().hex}"}
    async with database.transaction(SERVICE) as write:
        return await ProductCategories(write).add(**defaults | values)


async def make_product(database: Database, *, stock: int = 0, **values: Any) -> Product:
    """A product for EUR 10.00 and 19 % tax, with so many pieces in stock."""
    key = new_id()
    defaults = {
        "id": key,
        "sku": key.hex,
        "slug": key.hex,
        "name": "Tea",
        "price_amount": 1000,
        "price_currency": "EUR",
    }
    async with database.transaction(SERVICE) as write:
        product = await Products(write).add(**defaults | {"tax_rate": Decimal("0.19")} | values)
        if stock:
            received = {"product_id": product.id, "quantity": stock, "kind": MovementKind.RECEIVED}
            await StockMovements(write).add(order_item_id=None, note=None, actor_id=None, **received)
    return product


async def make_order(database: Database, user: User, *products: Product, quantity: int = 1, **values: Any) -> Order:
    """A draft with some pieces of each product. It has no events."""
    async with database.transaction(SERVICE) as write:
        order = await Orders(write).add(**{"user_id": user.id, "number": new_number(), "currency": "EUR"} | values)
        items = [
            await OrderItems(write).add(
                order_id=order.id, user_id=user.id, product_id=product.id, **copy_product(product, quantity)
            )
            for product in products
        ]
        return await Orders(write).change(order, **totals_of(items)._asdict())


async def make_reserved(database: Database, order: Order) -> None:
    """Reserves the stock of an order, as its owner does by placing it."""
    async with database.transaction(SERVICE) as write:
        for item in await OrderItems(write).of_order(order.id):
            values = {"product_id": item.product_id, "quantity": item.quantity, "kind": MovementKind.RESERVED}
            await StockMovements(write).add(order_item_id=item.id, note=None, actor_id=order.user_id, **values)


async def make_paid(database: Database, order: UUID) -> None:
    """Pays a PLACED order, without an event."""
    async with database.transaction(SERVICE) as write:
        values: Any = {"status": OrderStatus.PAID, "paid_at": now(), "payment_id": new_id()}
        await Orders(write).change(await Orders(write).get(order), **values)
