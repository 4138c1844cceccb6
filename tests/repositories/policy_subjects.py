"""The rows of the policy matrix: how its tests insert, find and change a row of each table."""

import datetime as dt
import hashlib
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from repositories.account_messages import AccountTokens, OutboxMessages
from repositories.administration import RoleGrants, Roles
from repositories.aggregates.derived import repository_of
from repositories.aggregates.event_store import EventStore
from repositories.client_management import Clients, Contacts
from repositories.commerce.catalog import ProductCategories, Products, StockLevels
from repositories.commerce.orders import OrderItems, Orders, new_number
from repositories.commerce.stock import StockMovements
from repositories.engines.database import WriteConnection
from repositories.gamification.achievements import Achievements, UserAchievements
from repositories.gamification.points import Points
from repositories.gamification.rewards import Redemptions, Rewards
from repositories.idempotency_keys import IdempotencyKeys
from repositories.identity import Preferences, Sessions, Usages, Users
from repositories.job_runs import JobRuns
from repositories.life_lock.analytics import Analytics
from repositories.life_lock.categories import Categories
from repositories.life_lock.events import TaskReopened
from repositories.life_lock.tasks import Tasks
from repositories.partnership import Partners, Referrals
from repositories.sql.aggregate import Aggregate, aggregates
from repositories.sql.table import Table, Writer
from repositories.tables.administration import JobRun, Role, RoleGrant
from repositories.tables.client_management import Client, Contact
from repositories.tables.commerce import (
    MovementKind,
    Order,
    OrderItem,
    Product,
    ProductCategory,
    StockLevel,
    StockMovement,
)
from repositories.tables.events import DomainEvent
from repositories.tables.gamification import (
    Achievement,
    PointEntry,
    PointReason,
    Reward,
    RewardRedemption,
    Standing,
    UserAchievement,
)
from repositories.tables.idempotency import IdempotencyRecord
from repositories.tables.identity import (
    AccountToken,
    AccountUsage,
    MessageKind,
    OutboxMessage,
    Session,
    TokenPurpose,
    User,
    UserPreferences,
)
from repositories.tables.life_lock import Category, Task, TaskAnalytics, TaskNames, UserDashboardStats
from repositories.tables.partnership import Partner, PartnerKind, Referral
from tests.derived import stored_sample

_AT = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


async def insert_user(write: WriteConnection, key: UUID, owner: UUID) -> None:
    del key
    await Users(write).add(id=owner, email=f"{owner.hex}@example.com", first_name="Ada", last_name="Byron")


async def _insert_category(write: WriteConnection, key: UUID, owner: UUID) -> None:
    await Categories(write).add(id=key, user_id=owner, name="Home", color="#00FF00")


async def _insert_task(write: WriteConnection, key: UUID, owner: UUID) -> None:
    await Tasks(write).add(id=key, user_id=owner, title="Water", assignee_id=ASSIGNEES.get(owner))


ASSIGNEES: dict[UUID, UUID] = {}
"""The user to whom tasks are assigned, by owner."""


async def _insert_day(write: WriteConnection, key: UUID, owner: UUID) -> None:
    await Analytics(write).add(id=key, user_id=owner, date=dt.date(2024, 1, 1), tasks_created=3)


async def _insert_session(write: WriteConnection, key: UUID, owner: UUID) -> None:
    hashed = hashlib.sha256(key.bytes).hexdigest()
    await Sessions(write).add(
        id=key, user_id=owner, refresh_token_hash=hashed, user_agent="browser", expires_at=_AT, last_seen_at=_AT
    )


async def _insert_token(write: WriteConnection, key: UUID, owner: UUID) -> None:
    values = {"token_hash": hashlib.sha256(key.bytes).hexdigest(), "email": "ada@example.com", "expires_at": _AT}
    await AccountTokens(write).add(id=key, user_id=owner, purpose=TokenPurpose.VERIFY_EMAIL, **values)


async def _insert_usage(write: WriteConnection, key: UUID, owner: UUID) -> None:
    del key
    await Usages(write).add(id=owner, row_count=3, byte_count=100)


async def _insert_message(write: WriteConnection, key: UUID, owner: UUID) -> None:
    values = {"kind": MessageKind.VERIFY_EMAIL, "recipient": "ada@example.com", "next_attempt_at": _AT}
    await OutboxMessages(write).add(id=key, user_id=owner, **values)


async def _insert_preferences(write: WriteConnection, key: UUID, owner: UUID) -> None:
    del key
    await Preferences(write).add(id=owner, user_id=owner, theme="dark")


async def _insert_event(write: WriteConnection, key: UUID, owner: UUID) -> None:
    event = TaskReopened(aggregate_id=key, owner_id=owner, completed_at=None)
    await EventStore(write).append([event], actor=owner, at=_AT)


async def _insert_partner(write: WriteConnection, key: UUID, owner: UUID) -> None:
    await Partners(write).add(
        id=key, name="Acme", kind=PartnerKind.REFERRAL, commission_rate=Decimal("0.1"), manager_id=owner
    )


async def _prepare_partner(write: WriteConnection, key: UUID, owner: UUID) -> None:
    await _insert_partner(write, owner, owner)


async def _insert_referral(write: WriteConnection, key: UUID, owner: UUID) -> None:
    """Adds a referral of the partner whose id is that of the owner."""
    await Referrals(write).add(id=key, partner_id=owner, client_name="Client")


async def _insert_client(write: WriteConnection, key: UUID, owner: UUID) -> None:
    await Clients(write).add(id=key, created_by=owner, company_name="Acme")


async def _insert_contact(write: WriteConnection, key: UUID, owner: UUID) -> None:
    client = CLIENTS[owner]
    email = f"{key.hex}@example.com"
    values = {"client_id": client, "user_id": owner, "first_name": "Joan", "last_name": "Clarke", "email": email}
    await Contacts(write).add(id=key, **values)


CLIENTS: dict[UUID, UUID] = {}
"""The client to which contacts are added, by owner."""


async def _prepare_client(write: WriteConnection, key: UUID, owner: UUID) -> None:
    CLIENTS[owner] = (await Clients(write).add(created_by=owner, company_name="Acme")).id


async def _insert_role(write: WriteConnection, key: UUID, owner: UUID) -> None:
    del owner
    await Roles(write).add(id=key, name=key.hex, description="Before")


async def _prepare_role(write: WriteConnection, key: UUID, owner: UUID) -> None:
    del key
    await _insert_role(write, owner, owner)


async def _insert_grant(write: WriteConnection, key: UUID, owner: UUID) -> None:
    """Adds a grant of the role whose id is that of the owner."""
    await RoleGrants(write).add(id=key, user_id=owner, role_id=owner, granted_by=owner, granted_at=_AT)


async def _insert_run(write: WriteConnection, key: UUID, owner: UUID) -> None:
    del owner
    await JobRuns(write).add(id=key, job="Before", started_at=_AT)


async def _insert_record(write: WriteConnection, key: UUID, owner: UUID) -> None:
    await IdempotencyKeys(write).add_missing(
        [
            {
                "id": key,
                "viewer_id": owner,
                "key": key.hex,
                "field": "before",
                "fingerprint": "ab" * 32,
                "outcome": {},
                "created_at": _AT,
                "expires_at": _AT,
            }
        ]
    )


async def _prepare_nothing(write: WriteConnection, key: UUID, owner: UUID) -> None:
    del write, owner


async def _insert_achievement(write: WriteConnection, key: UUID, owner: UUID) -> None:
    criteria = {"event": "TaskCompleted", "count": 999}
    await Achievements(write).add(
        id=key, code=f"hero_{key.hex}", name="Hero", description="Be one.", points=3, criteria=criteria
    )


async def _insert_unlocked(write: WriteConnection, key: UUID, owner: UUID) -> None:
    await UserAchievements(write).add(
        id=key, user_id=owner, achievement_id=_FIRST_TASK, unlocked_at=_AT, created_at=_AT
    )


async def _record_event(write: WriteConnection, key: UUID, owner: UUID) -> None:
    event = TaskReopened(key, owner, None, id=key)
    await EventStore(write).append([event], actor=owner, at=_AT)


async def _insert_entry(write: WriteConnection, key: UUID, owner: UUID) -> None:
    reason = PointReason.TASK_COMPLETED
    await Points(write).add(id=key, user_id=owner, points=10, reason=reason, source_event_id=key)


async def _insert_reward(write: WriteConnection, key: UUID, owner: UUID) -> None:
    await Rewards(write).add(id=key, name="Tea", cost=10, stock=5)


async def _insert_redemption(write: WriteConnection, key: UUID, owner: UUID) -> None:
    await Redemptions(write).add(id=key, user_id=owner, reward_id=key, cost=10, redeemed_at=_AT)


async def _insert_standing(write: WriteConnection, key: UUID, owner: UUID) -> None:
    await Users(write).change(await Users(write).get(owner), first_name=str(key))
    await _record_event(write, key, owner)
    await _insert_entry(write, key, owner)


_FIRST_TASK = UUID("019b76da-a800-7000-8000-000000000001")
"""An achievement that the migrations create."""


async def _insert_product_category(write: WriteConnection, key: UUID, owner: UUID) -> None:
    del owner
    await ProductCategories(write).add(id=key, name="Books", slug=key.hex)


async def _insert_product(write: WriteConnection, key: UUID, owner: UUID) -> None:
    """A trigger adds the stock level."""
    del owner
    values = {"sku": key.hex, "name": "Tea", "slug": key.hex, "price_amount": 5, "price_currency": "EUR"}
    await Products(write).add(id=key, tax_rate=Decimal(0), **values)


async def _insert_level(write: WriteConnection, key: UUID, owner: UUID) -> None:
    del owner
    await StockLevels(write).add(id=key)


async def _prepare_product(write: WriteConnection, key: UUID, owner: UUID) -> None:
    """Without its stock level."""
    await _insert_product(write, key, owner)
    await StockLevels(write).purge(key)


async def _insert_movement(write: WriteConnection, key: UUID, owner: UUID) -> None:
    """The owner is the actor, who is no manager, so only movements for orders are possible."""
    values = {"product_id": owner, "quantity": 1, "kind": MovementKind.RESERVED, "order_item_id": owner}
    await StockMovements(write).add(id=key, note="Before", actor_id=owner, **values)


async def _prepare_movement(write: WriteConnection, key: UUID, owner: UUID) -> None:
    """A product in stock, and an item of an order, which have the id of the owner."""
    await _insert_product(write, owner, owner)
    received = {"product_id": owner, "quantity": 5, "kind": MovementKind.RECEIVED, "order_item_id": None}
    await StockMovements(write).add(note=None, actor_id=None, **received)
    await _insert_order(write, owner, owner)
    await _insert_item(write, owner, owner)


async def _insert_order(write: WriteConnection, key: UUID, owner: UUID) -> None:
    await Orders(write).add(id=key, number=new_number(), user_id=owner, currency="EUR")


async def _prepare_item(write: WriteConnection, key: UUID, owner: UUID) -> None:
    """A product and an order, which have the id of the owner."""
    await _insert_product(write, owner, owner)
    await _insert_order(write, owner, owner)


async def _insert_item(write: WriteConnection, key: UUID, owner: UUID) -> None:
    copies = {"sku": "A", "name": "Tea", "currency": "EUR", "unit_price": 5, "tax_rate": Decimal(0)}
    values = {"order_id": owner, "user_id": owner, "product_id": owner, "quantity": 1, "line_total": 5}
    await OrderItems(write).add(id=key, **copies, **values)


class Subject(NamedTuple):
    """How the test inserts, finds and changes a row of a table. ``prepare`` adds the rows to which it refers."""

    insert: Callable[[WriteConnection, UUID, UUID], Awaitable[None]]
    key: str
    column: str
    before: Any
    after: Any
    prepare: Callable[[WriteConnection, UUID, UUID], Awaitable[None]] = _prepare_nothing
    known_by: Callable[[UUID], Any] = lambda key: key


SUBJECTS: dict[type[Table], Subject] = {
    Role: Subject(_insert_role, "id", "description", "Before", "Changed"),
    RoleGrant: Subject(
        _insert_grant,
        "id",
        "granted_at",
        _AT,
        _AT + dt.timedelta(days=366),
        prepare=_prepare_role,
    ),
    JobRun: Subject(_insert_run, "id", "job", "Before", "Changed"),
    IdempotencyRecord: Subject(_insert_record, "id", "field", "before", "changed"),
    User: Subject(insert_user, "id", "first_name", "Ada", "Changed"),
    Category: Subject(_insert_category, "id", "name", "Home", "Changed"),
    Task: Subject(_insert_task, "id", "title", "Water", "Changed"),
    TaskNames: Subject(_insert_task, "id", "owner_name", "Ada B.", "Ada B."),
    TaskAnalytics: Subject(_insert_day, "id", "tasks_created", 3, 7),
    AccountUsage: Subject(_insert_usage, "id", "row_count", 3, 7),
    AccountToken: Subject(_insert_token, "id", "expires_at", _AT, _AT + dt.timedelta(days=1)),
    OutboxMessage: Subject(_insert_message, "id", "attempts", 0, 1),
    Session: Subject(_insert_session, "id", "user_agent", "browser", "Changed"),
    UserPreferences: Subject(_insert_preferences, "user_id", "theme", "dark", "light"),
    Client: Subject(_insert_client, "id", "company_name", "Acme", "Changed"),
    Contact: Subject(_insert_contact, "id", "first_name", "Joan", "Changed", _prepare_client),
    DomainEvent: Subject(_insert_event, "aggregate_id", "event_type", "TaskReopened", "Changed"),
    Partner: Subject(_insert_partner, "id", "name", "Acme", "Changed"),
    Referral: Subject(_insert_referral, "id", "client_name", "Client", "Changed", prepare=_prepare_partner),
    ProductCategory: Subject(_insert_product_category, "id", "name", "Books", "Changed"),
    Product: Subject(_insert_product, "id", "name", "Tea", "Changed"),
    StockLevel: Subject(_insert_level, "id", "on_hand", 0, 0, prepare=_prepare_product),
    StockMovement: Subject(_insert_movement, "id", "note", "Before", "Changed", prepare=_prepare_movement),
    Order: Subject(_insert_order, "id", "currency", "EUR", "USD"),
    OrderItem: Subject(_insert_item, "id", "name", "Tea", "Changed", prepare=_prepare_item),
    Achievement: Subject(_insert_achievement, "id", "points", 3, 7),
    UserAchievement: Subject(_insert_unlocked, "id", "created_at", _AT, _AT + dt.timedelta(days=1)),
    PointEntry: Subject(_insert_entry, "id", "points", 10, 1000, prepare=_record_event),
    Reward: Subject(_insert_reward, "id", "stock", 5, 500),
    RewardRedemption: Subject(_insert_redemption, "id", "cost", 10, 1, prepare=_insert_reward),
    Standing: Subject(_insert_standing, "display_name", "points", 10, 10, known_by=lambda key: f"{key} B."),
    UserDashboardStats: Subject(insert_user, "id", "total_tasks", 0, 0),
}


def subject_of(table: type[Table]) -> Subject:
    """The subject of a table. That of an aggregate without references but to its owner is derived."""
    return SUBJECTS.get(table) or _derived_subject(aggregates[table])


def _derived_subject(found: Aggregate) -> Subject:
    """Inserts samples of all columns that clients write. The test changes the first of them that has two samples."""
    columns = [column for column in found.written(Writer.ON_CREATE) if column.name not in found.references]
    stored = [{column.name: stored_sample(column, number) for column in columns} for number in (1, 2)]

    async def insert(write: WriteConnection, key: UUID, owner: UUID) -> None:
        owned = {found.owner: owner} if found.owner else {}
        await repository_of(found.row)(write).add(id=key, **owned, **stored[0])

    column = next(name for name in stored[0] if stored[0][name] != stored[1][name])
    return Subject(insert, "id", column, stored[0][column], stored[1][column])
