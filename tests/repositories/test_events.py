"""The event store is append-only and can be read by aggregate, by type and by user."""

import datetime as dt
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa

from repositories.aggregates.event_store import EventStore
from repositories.aggregates.unit_of_work import open_unit_of_work
from repositories.core.errors import Forbidden
from repositories.core.viewer import ANONYMOUS, SERVICE, Viewer
from repositories.engines.database import Database, DatabaseOptions
from repositories.life_lock.events import CategoryCreated, TaskReopened
from repositories.permissions import RoleName
from repositories.sql.filters import SortKey
from repositories.sql.statements import RowFactory, Statement
from repositories.tables.events import DomainEvent
from repositories.tables.identity import User
from tests.databases import Server, database_of
from tests.factories import make_category, make_task, make_user, viewer_of
from tests.repositories.support import connect_database, open_snapshot

START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


async def _record(database: Database, user: User, count: int, *, hours: int = 0) -> Any:
    """Records ``count`` events of one task, two per hour, and finally an event of a category."""
    task, category = await make_task(database, user), await make_category(database, user)
    for index in range(count):
        at = START + dt.timedelta(hours=hours + index // 2)
        async with open_unit_of_work(database, viewer_of(user), (), at) as work:
            work.record(TaskReopened(task.id, user.id, None))
    async with open_unit_of_work(database, viewer_of(user), (), START) as work:
        work.record(CategoryCreated(category.id, user.id))
    return task, category


async def _fetch_all(database: Database) -> list[DomainEvent]:
    async with open_snapshot(database) as snapshot:
        return await EventStore(snapshot).find(order=[SortKey("sequence")], limit=100)


async def test_events_of_an_aggregate_are_returned_oldest_first(database: Database, statements: list[str]) -> None:
    """They are sorted by sequence number. Other users do not see them, except for admins."""
    ada, bob = await make_user(database), await make_user(database)
    task, category = await _record(database, ada, 4)
    await _record(database, bob, 2)
    everything = await _fetch_all(database)
    async with open_snapshot(database, viewer_of(ada)) as snapshot:
        events = EventStore(snapshot)
        await events.count()
        statements.clear()
        expected = [event for event in everything if event.aggregate_id == task.id]
        assert len(expected) == 4
        assert await events.of_aggregate(task.id, limit=10) == expected
        assert await events.of_aggregate(task.id, limit=3) == expected[:3]
        assert [event.event_type for event in await events.of_aggregate(category.id, limit=10)] == ["CategoryCreated"]
        assert len(statements) == 3
    async with open_snapshot(database, viewer_of(bob)) as snapshot:
        assert await EventStore(snapshot).of_aggregate(task.id, limit=10) == []
    async with open_snapshot(database, viewer_of(bob, RoleName.ADMIN)) as snapshot:
        assert await EventStore(snapshot).of_aggregate(task.id, limit=10) == expected


async def test_events_of_a_type_or_a_user_are_returned_newest_first(database: Database) -> None:
    """Events of the same moment are sorted by sequence number."""
    ada, bob = await make_user(database), await make_user(database)
    await _record(database, ada, 3, hours=5)
    await _record(database, bob, 3)
    newest = sorted(await _fetch_all(database), key=lambda event: (event.timestamp, event.sequence), reverse=True)
    async with open_snapshot(database, viewer_of(ada, RoleName.ADMIN)) as snapshot:
        events = EventStore(snapshot)
        reopened = [event for event in newest if event.event_type == "TaskReopened"]
        assert await events.of_type("TaskReopened", limit=100) == reopened
        assert await events.of_type("TaskReopened", limit=2) == reopened[:2]
        assert await events.of_type("Unheard", limit=2) == []
        bobs = [event for event in newest if event.user_id == bob.id]
        assert len(bobs) == 4
        assert await events.of_user(bob.id, limit=100) == bobs
        assert await events.of_user(bob.id, limit=1) == bobs[:1]
    async with open_snapshot(database, viewer_of(ada)) as snapshot:
        mine = [event for event in reopened if event.user_id == ada.id]
        assert await EventStore(snapshot).of_type("TaskReopened", limit=100) == mine
        assert await EventStore(snapshot).of_user(bob.id, limit=100) == []
    async with open_snapshot(database, ANONYMOUS) as snapshot:
        assert await EventStore(snapshot).of_type("TaskReopened", limit=100) == []


async def test_no_viewer_can_record_an_event_of_another_user(database: Database) -> None:
    """Admins cannot do it either."""
    ada, bob = await make_user(database), await make_user(database)
    task = await make_task(database, ada)
    for viewer in (viewer_of(bob), viewer_of(bob, RoleName.ADMIN), ANONYMOUS):
        with pytest.raises(Forbidden):
            async with database.transaction(viewer) as write:
                await EventStore(write).append([TaskReopened(task.id, ada.id, None)], actor=ada.id, at=START)
    assert await _fetch_all(database) == []


CHANGES = ["UPDATE {table} SET event_type = 'Forged'", "DELETE FROM {table}"]


@pytest.mark.parametrize("change", [*CHANGES, "TRUNCATE {table}"], ids=lambda text: text.split()[0].lower())
@pytest.mark.parametrize("name", ["owner", "service"])
async def test_events_cannot_be_changed_or_deleted(options: DatabaseOptions, change: str, name: str) -> None:
    """The database rejects UPDATE, DELETE and TRUNCATE, both by the owner and by the service."""
    if change.startswith("TRUNCATE") and not options.url:
        change = "DELETE FROM {table} WHERE 1"  # SQLite has no TRUNCATE
    async with connect_database(options) as database:
        ada = await make_user(database)
        await _record(database, ada, 2)
        before = await _fetch_all(database)
        viewer: Viewer = {"owner": viewer_of(ada), "service": SERVICE}[name]
        text = change.format(table="public.domain_events" if options.url else "domain_events")
        with pytest.raises(Forbidden):
            async with database.transaction(viewer) as write:
                await write.rows(Statement(sa.text(text), RowFactory(tuple)))
        assert len(before) == 3
        assert await _fetch_all(database) == before


async def test_a_superuser_cannot_change_events(postgres_only: DatabaseOptions, server: Server) -> None:
    """A trigger prevents it, because row-level security does not apply to superusers."""
    async with connect_database(postgres_only) as database:
        await _record(database, await make_user(database), 2)
        connection = await asyncpg.connect(server.login("postgres", database_of(postgres_only)))
        for change in (*CHANGES, "TRUNCATE {table} CASCADE"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
                await connection.execute(change.format(table="domain_events"))
        await connection.close()
        assert len(await _fetch_all(database)) == 3
