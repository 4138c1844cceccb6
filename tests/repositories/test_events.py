"""The event store: it is only ever added to, and read in three ways."""

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
from repositories.sql.filters import Order
from repositories.sql.statements import RowFactory, Statement
from repositories.tables.events import DomainEvent
from repositories.tables.identity import User
from tests.databases import Server, database_of
from tests.factories import make_category, make_task, make_user, viewer_of
from tests.repositories.support import connect_database, open_snapshot

START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


async def _record(database: Database, user: User, count: int, *, hours: int = 0) -> Any:
    """Some events of one task, an hour apart, two of them at one moment; and the category's at the end."""
    task, category = await make_task(database, user), await make_category(database, user)
    for index in range(count):
        at = START + dt.timedelta(hours=hours + index // 2)
        async with open_unit_of_work(database, viewer_of(user), (), at) as work:
            work.record(TaskReopened(task.id, user.id, None))
    async with open_unit_of_work(database, viewer_of(user), (), START) as work:
        work.record(CategoryCreated(category.id, user.id))
    return task, category


async def _everything(database: Database) -> list[DomainEvent]:
    async with open_snapshot(database) as snapshot:
        return await EventStore(snapshot).find(order=[Order("sequence")], limit=100)


async def test_of_an_aggregate(database: Database, statements: list[str]) -> None:
    """Oldest first, in the order in which they were written, limited; nobody else's."""
    ada, bob = await make_user(database), await make_user(database)
    task, category = await _record(database, ada, 4)
    await _record(database, bob, 2)
    everything = await _everything(database)
    async with open_snapshot(database, viewer_of(ada)) as snapshot:
        events = EventStore(snapshot)
        await events.count()
        statements.clear()
        wanted = [event for event in everything if event.aggregate_id == task.id]
        assert len(wanted) == 4
        assert await events.of_aggregate(task.id, limit=10) == wanted
        assert await events.of_aggregate(task.id, limit=3) == wanted[:3]
        assert [event.event_type for event in await events.of_aggregate(category.id, limit=10)] == ["CategoryCreated"]
        assert len(statements) == 3
    async with open_snapshot(database, viewer_of(bob)) as snapshot:
        assert await EventStore(snapshot).of_aggregate(task.id, limit=10) == []
    async with open_snapshot(database, viewer_of(bob, RoleName.ADMIN)) as snapshot:
        assert await EventStore(snapshot).of_aggregate(task.id, limit=10) == wanted


async def test_of_a_type_and_of_a_user(database: Database) -> None:
    """Newest first, the later written first at one moment, limited."""
    ada, bob = await make_user(database), await make_user(database)
    await _record(database, ada, 3, hours=5)
    await _record(database, bob, 3)
    newest = sorted(await _everything(database), key=lambda event: (event.timestamp, event.sequence), reverse=True)
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


async def test_nothing_can_be_recorded_in_another_name(database: Database) -> None:
    """Not even by an admin."""
    ada, bob = await make_user(database), await make_user(database)
    task = await make_task(database, ada)
    for viewer in (viewer_of(bob), viewer_of(bob, RoleName.ADMIN), ANONYMOUS):
        with pytest.raises(Forbidden):
            async with database.transaction(viewer) as write:
                await EventStore(write).append([TaskReopened(task.id, ada.id, None)], actor=ada.id, at=START)
    assert await _everything(database) == []


CHANGES = ["UPDATE {table} SET event_type = 'Forged'", "DELETE FROM {table}"]


@pytest.mark.parametrize("change", [*CHANGES, "TRUNCATE {table}"], ids=lambda text: text.split()[0].lower())
@pytest.mark.parametrize("name", ["owner", "service"])
async def test_what_happened_cannot_be_changed(options: DatabaseOptions, change: str, name: str) -> None:
    """Update, delete and truncate are refused by the database itself, to the owner and to the service."""
    if change.startswith("TRUNCATE") and not options.url:
        change = "DELETE FROM {table} WHERE 1"  # SQLite's truncate
    async with connect_database(options) as database:
        ada = await make_user(database)
        await _record(database, ada, 2)
        before = await _everything(database)
        viewer: Viewer = {"owner": viewer_of(ada), "service": SERVICE}[name]
        text = change.format(table="public.domain_events" if options.url else "domain_events")
        with pytest.raises(Forbidden):
            async with database.transaction(viewer) as write:
                await write.rows(Statement(sa.text(text), RowFactory(tuple)))
        assert len(before) == 3
        assert await _everything(database) == before


async def test_the_tables_owner_cannot_change_them_either(postgres_only: DatabaseOptions, server: Server) -> None:
    """The trigger binds even a superuser, whom row-level security does not."""
    async with connect_database(postgres_only) as database:
        await _record(database, await make_user(database), 2)
        connection = await asyncpg.connect(server.login("postgres", database_of(postgres_only)))
        for change in (*CHANGES, "TRUNCATE {table} CASCADE"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
                await connection.execute(change.format(table="domain_events"))
        await connection.close()
        assert len(await _everything(database)) == 3
