"""A unit of work is committed with its events and all reactions, or is rolled back completely."""

import datetime as dt
from dataclasses import dataclass
from typing import Any

import pytest

from repositories.aggregates.event_store import EventStore
from repositories.aggregates.unit_of_work import Reaction, UnitOfWork, open_unit_of_work
from repositories.core.clock import now
from repositories.core.errors import Conflict
from repositories.core.event import Event
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.life_lock.categories import Categories
from repositories.life_lock.events import CategoryCreated, TaskCreated, TaskReopened
from repositories.life_lock.tasks import Tasks
from repositories.sql.filters import SortKey
from repositories.sql.statements import Engine
from repositories.tables.events import DomainEvent
from repositories.tables.identity import User
from repositories.tables.life_lock import Task
from tests.factories import make_category, make_task, make_user, viewer_of
from tests.repositories.support import open_snapshot


async def _titles(database: Database) -> list[str]:
    async with open_snapshot(database) as snapshot:
        return [task.title for task in await Tasks(snapshot).find(order=[SortKey("id")], limit=100)]


async def _events(database: Database) -> list[DomainEvent]:
    async with open_snapshot(database) as snapshot:
        return await EventStore(snapshot).find(order=[SortKey("sequence")], limit=500)


async def _create(work: UnitOfWork, user: User, title: str) -> Task:
    task = await work.repository(Tasks).add(user_id=user.id, title=title)
    work.record(TaskCreated(task.id, user.id, task.created_at, None, task.priority_level, None))
    return task


async def test_rows_and_events_are_visible_after_the_commit(database: Database, statements: list[str]) -> None:
    """Other transactions do not see them before. Storing the events costs one statement."""
    ada = await make_user(database)
    at = dt.datetime(2024, 2, 29, 12, 0, 0, 1, tzinfo=dt.UTC)
    statements.clear()
    async with open_unit_of_work(database, viewer_of(ada), (), at) as work:
        assert (work.now, work.viewer_id) == (at, ada.id)
        task = await _create(work, ada, "First")
        await _create(work, ada, "Second")
        assert len(statements) == 3
        assert await _titles(database) == []
        statements.clear()
    assert len(statements) == 2
    assert ("pg_notify" in statements[1]) == (database.engine is Engine.POSTGRESQL)
    assert await _titles(database) == ["First", "Second"]
    stored = await _events(database)
    assert [event.sequence for event in stored] == [1, 2]
    first = stored[0]
    assert (first.aggregate_id, first.aggregate_type, first.event_type) == (task.id, "task", "TaskCreated")
    assert (first.user_id, first.timestamp, first.version) == (ada.id, at, 1)
    assert first.event_data == {
        "owner_id": str(ada.id),
        "created_at": first.event_data["created_at"],
        "category_id": None,
        "priority_level": 3,
        "due_date": None,
    }
    assert dt.datetime.fromisoformat(first.event_data["created_at"]) == task.created_at


async def test_a_failure_in_the_second_aggregate_rolls_back_both(database: Database) -> None:
    """Neither rows nor events are stored, and the next unit of work is not affected."""
    ada = await make_user(database)
    taken = await make_category(database, ada)
    with pytest.raises(Conflict):
        async with open_unit_of_work(database, viewer_of(ada), ()) as work:
            await _create(work, ada, "Lost")
            work.record(CategoryCreated(taken.id, ada.id))
            await work.repository(Categories).add(user_id=ada.id, name=taken.name, color="#000000")
    assert await _titles(database) == []
    assert await _events(database) == []
    async with open_snapshot(database) as snapshot:
        assert await Categories(snapshot).find(limit=5) == [taken]
    async with open_unit_of_work(database, viewer_of(ada), ()) as work:
        await _create(work, ada, "Kept")
    assert await _titles(database) == ["Kept"]
    assert len(await _events(database)) == 1


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt])
async def test_any_error_rolls_the_transaction_back(database: Database, error: type[BaseException]) -> None:
    """This includes errors that are not from the database, before and after a row is written."""
    ada = await make_user(database)
    for writes in (False, True):
        with pytest.raises(error):
            async with open_unit_of_work(database, viewer_of(ada), ()) as work:
                if writes:
                    await _create(work, ada, "Lost")
                raise error
    assert await _titles(database) == []
    assert await _events(database) == []
    assert database.pool_state().used == 0


async def test_an_error_in_a_savepoint_rolls_back_only_its_block(database: Database) -> None:
    """It rolls back rows and removes events, and the caller receives the error."""
    ada = await make_user(database)
    async with open_unit_of_work(database, viewer_of(ada), ()) as work:
        await _create(work, ada, "Before")
        with pytest.raises(LookupError):
            async with work.savepoint():
                await _create(work, ada, "Lost")
                raise LookupError
        async with work.savepoint():
            await _create(work, ada, "Kept")
        await _create(work, ada, "After")
    assert await _titles(database) == ["Before", "Kept", "After"]
    assert [event.sequence for event in await _events(database)] == [1, 2, 3]


async def test_savepoints_can_be_nested(database: Database) -> None:
    """An error in the inner block does not affect the outer one. An error in the outer block rolls back both."""
    ada = await make_user(database)
    async with open_unit_of_work(database, viewer_of(ada), ()) as work:
        async with work.savepoint():
            await _create(work, ada, "Outer")
            with pytest.raises(LookupError):
                async with work.savepoint():
                    await _create(work, ada, "Inner lost")
                    raise LookupError
            async with work.savepoint():
                await _create(work, ada, "Inner kept")
        with pytest.raises(LookupError):
            async with work.savepoint():
                await _create(work, ada, "Outer lost")
                async with work.savepoint():
                    await _create(work, ada, "Inner lost, too")
                raise LookupError
    assert await _titles(database) == ["Outer", "Inner kept"]
    assert len(await _events(database)) == 2


@dataclass(frozen=True, slots=True)
class Noted(Event, aggregate="note"):
    """An event that a reaction records. ``text`` names the event to which it reacts."""

    text: str
    format_version = 3


async def test_reactions_run_in_the_transaction(database: Database) -> None:
    """They see its rows and events, and may record events to which other reactions react."""
    ada = await make_user(database)
    seen: list[tuple[str, list[str]]] = []

    async def note(work: UnitOfWork, events: list[Any]) -> None:
        seen.append(("note", [event.type for event in events]))
        assert await work.repository(Tasks).count() == 2
        stored = await work.repository(EventStore).by_id([event.id for event in events])
        assert [stored[event.id].event_type for event in events] == [event.type for event in events]
        for event in events:
            work.record(Noted(new_id(), ada.id, f"after {event.type}"))

    async def write(work: UnitOfWork, events: list[Any]) -> None:
        seen.append(("write", [event.text for event in events]))
        await work.repository(Tasks).add(user_id=ada.id, title="By a reaction")

    reactions = (Reaction((Noted,), write), Reaction((TaskCreated, TaskReopened), note))
    async with open_unit_of_work(database, viewer_of(ada), reactions) as work:
        await _create(work, ada, "First")
        work.record(CategoryCreated(new_id(), ada.id))
        second = await _create(work, ada, "Second")
        work.record(TaskReopened(second.id, ada.id, None))
        assert seen == []
    assert seen == [
        ("note", ["TaskCreated", "TaskCreated", "TaskReopened"]),
        ("write", ["after TaskCreated", "after TaskCreated", "after TaskReopened"]),
    ]
    assert await _titles(database) == ["First", "Second", "By a reaction"]
    stored = await _events(database)
    assert [event.event_type for event in stored] == [
        "TaskCreated", "CategoryCreated", "TaskCreated", "TaskReopened", "Noted", "Noted", "Noted",
    ]  # fmt: skip
    assert (stored[-1].aggregate_type, stored[-1].version) == ("note", 3)
    assert stored[-1].event_data == {"owner_id": str(ada.id), "text": "after TaskReopened"}


async def test_an_error_in_a_reaction_rolls_the_transaction_back(database: Database) -> None:
    ada = await make_user(database)

    async def fail(work: UnitOfWork, events: list[Any]) -> None:
        await work.repository(Tasks).add(user_id=ada.id, title="By a reaction")
        raise LookupError(len(events))

    with pytest.raises(LookupError):
        async with open_unit_of_work(database, viewer_of(ada), [Reaction((TaskCreated,), fail)]) as work:
            await _create(work, ada, "Lost")
    assert await _titles(database) == []
    assert await _events(database) == []


async def test_many_events_are_stored_in_batches(database: Database, statements: list[str]) -> None:
    """250 events are three statements. The events are stored in the order in which they were recorded."""
    ada = await make_user(database)
    async with open_unit_of_work(database, viewer_of(ada), ()) as work:
        for index in range(250):
            work.record(Noted(new_id(), ada.id, f"Note {index}"))
        statements.clear()
        await work.store_events_and_react(())
        work.events.clear()
        assert len(statements) == 3
    stored = await _events(database)
    assert [event.event_data["text"] for event in stored] == [f"Note {index}" for index in range(250)]
    assert [event.sequence for event in stored] == list(range(1, 251))


async def test_the_viewer_is_the_actor_of_the_events(database: Database) -> None:
    """For work of the service, the actor is the owner of the aggregate."""
    ada = await make_user(database)
    task = await make_task(database, ada)
    for viewer in (viewer_of(ada), SERVICE):
        async with open_unit_of_work(database, viewer, ()) as work:
            work.record(TaskReopened(task.id, ada.id, None))
    assert [event.user_id for event in await _events(database)] == [ada.id, ada.id]
    async with open_unit_of_work(database, SERVICE, ()) as work:
        with pytest.raises(TypeError, match="needs a signed-in viewer"):
            work.viewer_id  # noqa: B018 (the property raises)
        assert work.now <= now()
