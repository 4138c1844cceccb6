"""Reads the stored rows as the service, which sees all of them."""

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
from repositories.partnership import Partners, Referrals
from repositories.sql.filters import SortKey
from repositories.tables.events import DomainEvent
from repositories.tables.life_lock import Task


async def stored_task(database: Database, task: Task) -> Task:
    """The current state of a task, which may be deleted."""
    async with database.transaction(SERVICE) as write:
        tasks = Tasks(write)
        found = await tasks.by_id([task.id])
        return found[task.id] if task.id in found else await tasks.lock_deleted(task.id)


async def life_lock_rows(database: Database) -> Any:
    """All tasks, categories, days and events. Two results are equal if nothing has changed in between."""
    snapshot = database.snapshot(SERVICE)
    try:
        by_id = [SortKey("id")]
        return [
            await repository(snapshot).find(order=by_id, limit=10_000)
            for repository in (Tasks, Categories, Analytics, EventStore)
        ]
    finally:
        await snapshot.close()


async def client_rows(database: Database) -> Any:
    """The same for clients, contacts and events, without deleted clients and contacts."""
    snapshot = database.snapshot(SERVICE)
    try:
        by_id = [SortKey("id")]
        return [await kind(snapshot).find(order=by_id, limit=10_000) for kind in (Clients, Contacts, EventStore)]
    finally:
        await snapshot.close()


async def partnership_rows(database: Database) -> Any:
    """The same for partners, referrals and events."""
    snapshot = database.snapshot(SERVICE)
    try:
        by_id = [SortKey("id")]
        return [await kind(snapshot).find(order=by_id, limit=10_000) for kind in (Partners, Referrals, EventStore)]
    finally:
        await snapshot.close()


async def gamification_rows(database: Database) -> Any:
    """The same for achievements, point entries, rewards, redemptions and events."""
    snapshot = database.snapshot(SERVICE)
    try:
        kinds = (Achievements, UserAchievements, Points, Rewards, Redemptions, EventStore)
        return [await kind(snapshot).find(order=[SortKey("id")], limit=10_000) for kind in kinds]
    finally:
        await snapshot.close()


async def stored_events(database: Database) -> list[DomainEvent]:
    """All events, oldest first."""
    snapshot = database.snapshot(SERVICE)
    try:
        return await EventStore(snapshot).find(order=[SortKey("sequence")], limit=10_000)
    finally:
        await snapshot.close()


async def event_summaries(database: Database) -> list[tuple[Any, ...]]:
    """Type, aggregate type, aggregate, actor and data of all events except AchievementUnlocked, oldest first."""
    return [
        (event.event_type, event.aggregate_type, event.aggregate_id, event.user_id, event.event_data)
        for event in await stored_events(database)
        if event.event_type != "AchievementUnlocked"
    ]
