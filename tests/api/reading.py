"""What is in the database, read by the service, whatever a viewer may see."""

from typing import Any

from repositories.aggregates.event_store import EventStore
from repositories.client_management import Clients, Contacts
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.gamification.achievements import Achievements, UserAchievements
from repositories.gamification.points import Points
from repositories.gamification.rewards import Redemptions, Rewards
from repositories.life_lock.analytics import Analytics
from repositories.life_lock.categories import Categories
from repositories.life_lock.tasks import Tasks
from repositories.sql.filters import Order
from repositories.tables.events import DomainEvent
from repositories.tables.life_lock import Task


async def stored_task(database: Database, task: Task) -> Task:
    """The task as it is now, deleted or not."""
    async with database.transaction(SERVICE) as write:
        tasks = Tasks(write)
        found = await tasks.by_id([task.id])
        return found[task.id] if task.id in found else await tasks.lock_deleted(task.id)


async def everything(database: Database) -> Any:
    """Every task, category, day and event: two of these are equal when nothing was changed in between."""
    snapshot = database.snapshot(SERVICE)
    try:
        by_id = [Order("id")]
        return [
            await repository(snapshot).find(order=by_id, limit=10_000)
            for repository in (Tasks, Categories, Analytics, EventStore)
        ]
    finally:
        await snapshot.close()


async def every_client(database: Database) -> Any:
    """Every client, contact and event, as :func:`everything`; deleted clients and contacts are out of sight."""
    snapshot = database.snapshot(SERVICE)
    try:
        by_id = [Order("id")]
        return [await kind(snapshot).find(order=by_id, limit=10_000) for kind in (Clients, Contacts, EventStore)]
    finally:
        await snapshot.close()


async def every_reward(database: Database) -> Any:
    """Every achievement, entry, reward, redemption and event, as :func:`everything`."""
    snapshot = database.snapshot(SERVICE)
    try:
        kinds = (Achievements, UserAchievements, Points, Rewards, Redemptions, EventStore)
        return [await kind(snapshot).find(order=[Order("id")], limit=10_000) for kind in kinds]
    finally:
        await snapshot.close()


async def events(database: Database) -> list[DomainEvent]:
    """Every event, oldest first."""
    snapshot = database.snapshot(SERVICE)
    try:
        return await EventStore(snapshot).find(order=[Order("sequence")], limit=10_000)
    finally:
        await snapshot.close()


async def told(database: Database) -> list[tuple[Any, ...]]:
    """Every event, oldest first: type, aggregate type, aggregate, actor and data; without achievements unlocked."""
    return [
        (event.event_type, event.aggregate_type, event.aggregate_id, event.user_id, event.event_data)
        for event in await events(database)
        if event.event_type != "AchievementUnlocked"
    ]
