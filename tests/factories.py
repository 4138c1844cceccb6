"""Rows for tests, made by the service: plain functions, one per kind of row."""

from decimal import Decimal
from typing import Any
from uuid import UUID

from repositories.administration import RoleGrants, Roles
from repositories.aggregates.event_store import EventStore
from repositories.client_management import Clients, Contacts
from repositories.core.clock import now
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE, Viewer
from repositories.engines.database import Database
from repositories.gamification.achievements import Achievements
from repositories.gamification.points import Points
from repositories.gamification.rewards import Redemptions, Rewards
from repositories.identity import Users
from repositories.life_lock.categories import Categories
from repositories.life_lock.events import TaskCompleted
from repositories.life_lock.tasks import Tasks
from repositories.partnership import Partners, Referrals
from repositories.permissions import RoleName
from repositories.sql.filters import Compare, Op
from repositories.tables.administration import RoleGrant
from repositories.tables.client_management import Client, Contact
from repositories.tables.gamification import Achievement, PointEntry, PointReason, Reward, RewardRedemption
from repositories.tables.identity import User
from repositories.tables.life_lock import Category, Task
from repositories.tables.partnership import Partner, PartnerKind, Referral


async def make_user(database: Database, **values: Any) -> User:
    """A user."""
    key = new_id()
    values = {"id": key, "email": f"{key.hex}@example.com", "first_name": "Ada", "last_name": "Byron"} | values
    async with database.transaction(SERVICE) as write:
        return await Users(write).add(**values)


def viewer_of(user: User | UUID, *roles: RoleName) -> Viewer:
    """The viewer that a user is when signed in."""
    return Viewer(user if isinstance(user, UUID) else user.id, frozenset({RoleName.USER, *roles}))


async def make_category(database: Database, user: User, **values: Any) -> Category:
    """A category of the user's."""
    values = {"user_id": user.id, "name": f"Category {new_id().hex[-6:]}", "color": "#3B82F6"} | values
    async with database.transaction(SERVICE) as write:
        return await Categories(write).add(**values)


async def make_task(database: Database, user: User, **values: Any) -> Task:
    """A task of the user's."""
    async with database.transaction(SERVICE) as write:
        return await Tasks(write).add(**{"user_id": user.id, "title": "Something"} | values)


async def make_tasks(database: Database, user: User, count: int, **values: Any) -> list[Task]:
    """Many tasks of the user's, titled Task 0, Task 1, ..."""
    rows = [{"user_id": user.id, "title": f"Task {index}"} | values for index in range(count)]
    async with database.transaction(SERVICE) as write:
        return await Tasks(write).add_many(rows)


async def make_partner(database: Database, manager: User, **values: Any) -> Partner:
    """A partner that the manager looks after."""
    standard = {
        "name": "Acme",
        "kind": PartnerKind.REFERRAL,
        "commission_rate": Decimal("0.1"),
        "manager_id": manager.id,
    }
    async with database.transaction(SERVICE) as write:
        return await Partners(write).add(**standard | values)


async def make_referral(database: Database, partner: Partner, **values: Any) -> Referral:
    """A client that the partner brings."""
    async with database.transaction(SERVICE) as write:
        return await Referrals(write).add(**{"partner_id": partner.id, "client_name": "Client"} | values)


async def make_points(database: Database, user: User, points: int, **values: Any) -> PointEntry:
    """Points of the user's, from an event that brought them."""
    event = TaskCompleted(new_id(), user.id, now(), None)
    async with database.transaction(SERVICE) as write:
        await EventStore(write).append([event], actor=user.id, at=values.get("created_at", event.completed_at))
        given = {"user_id": user.id, "points": points, "reason": PointReason.TASK_COMPLETED}
        return await Points(write).add(**given | {"source_event_id": event.id} | values)


async def make_achievement(database: Database, **values: Any) -> Achievement:
    """An achievement that nobody reaches by accident."""
    given = {
        "name": "Hero",
        "description": "Be one.",
        "points": 7,
        "criteria": {"event": "TaskCompleted", "count": 999},
    }
    async with database.transaction(SERVICE) as write:
        return await Achievements(write).add(**{"code": f"hero_{new_id().hex[-8:]}"} | given | values)


async def make_reward(database: Database, **values: Any) -> Reward:
    """A reward of which there is any number."""
    async with database.transaction(SERVICE) as write:
        return await Rewards(write).add(**{"name": "A cup of tea", "cost": 10} | values)


async def make_redemption(database: Database, user: User, reward: Reward, **values: Any) -> RewardRedemption:
    """A redemption of the user's, without the entry that pays for it."""
    given = {"user_id": user.id, "reward_id": reward.id, "cost": reward.cost, "redeemed_at": now()}
    async with database.transaction(SERVICE) as write:
        return await Redemptions(write).add(**given | values)


async def make_client(database: Database, user: User, **values: Any) -> Client:
    """A client of the user's."""
    async with database.transaction(SERVICE) as write:
        return await Clients(write).add(**{"created_by": user.id, "company_name": "Acme"} | values)


async def make_contact(database: Database, client: Client, **values: Any) -> Contact:
    """A contact of the client."""
    (made,) = await make_contacts(database, client, 1, **values)
    return made


async def make_contacts(database: Database, client: Client, count: int, **values: Any) -> list[Contact]:
    """Contacts of the client; a primary one is known to it."""
    fixed = {"client_id": client.id, "user_id": client.created_by, "first_name": "Joan", "last_name": "Clarke"}
    rows = [{"id": (key := new_id()), "email": f"{key.hex}@example.org"} | fixed | values for _ in range(count)]
    async with database.transaction(SERVICE) as write:
        made = await Contacts(write).add_many(rows)
        await Clients(write).link_primaries([client.id])
    return made


async def make_grant(database: Database, user: User, role: RoleName, *, by: User) -> RoleGrant:
    """A role that one user gave another."""
    async with database.transaction(SERVICE) as write:
        (found,) = await Roles(write).find(Compare("name", Op.EQ, role.value), limit=1)
        return await RoleGrants(write).add(user_id=user.id, role_id=found.id, granted_by=by.id, granted_at=now())
