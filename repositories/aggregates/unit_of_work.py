"""The unit of work: one transaction with the changes of one mutation, their events, and the reactions to the events.

A handler changes rows and records events; it never commits. At the end of the block the events are stored, the
reactions run, and the transaction is committed. If anything fails, the whole transaction is rolled back.

    async with open_unit_of_work(database, viewer, reactions) as work:
        note = await work.add(Note, text="...")
        note = await work.change(note, text="...")

``add``, ``change``, ``delete``, ``restore`` and ``purge`` write a row of an aggregate and record its event together, so
that every change of a row is in the row's events. A row that is written in another way needs an event of its own
(``record``).
"""

import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from repositories.aggregates.derived import change_of, event_for, event_type, repository_of
from repositories.aggregates.event_store import EventStore
from repositories.core.clock import now
from repositories.core.errors import NotFound
from repositories.core.event import Change, Created, Deleted, Event, Purged, Restored, Updated
from repositories.core.viewer import Viewer
from repositories.engines.database import Database, WriteConnection
from repositories.sql.aggregate import aggregates
from repositories.sql.table import Table

R = TypeVar("R", bound=Table)
Repo = TypeVar("Repo")


@dataclass(frozen=True, slots=True)
class Reaction:
    """A function that runs after events of the types ``to``, in the same unit of work.

    ``run`` receives all events of these types that the handler, or the reactions before, have recorded.
    """

    to: tuple[type[Event], ...]
    run: Callable[["UnitOfWork", list[Any]], Awaitable[None]]


class UnitOfWork:
    """The transaction, the viewer and the recorded events. ``now`` is the same moment for the whole unit of work."""

    def __init__(self, connection: WriteConnection, viewer: Viewer, at: dt.datetime) -> None:
        self.connection = connection
        self.viewer = viewer
        self.now = at
        self.events: list[Event] = []
        self.commit_callbacks: list[Callable[[], None]] = []
        """Called after the commit, and not at all after a rollback."""
        self.outcome: Any = None
        """What the mutation returns, for its repetition with the same idempotency key."""
        self._stored_count = 0
        self._owners: dict[UUID, UUID] = {}

    def repository(self, repository: Callable[[WriteConnection], Repo]) -> Repo:
        """The repository, using this transaction."""
        return repository(self.connection)

    def record(self, event: Event) -> None:
        """Records an event. It is stored in this transaction and announced after the commit."""
        self.events.append(event)

    async def add(self, row: type[R], event: type[Event] | None = None, **values: Any) -> R:
        """Inserts a row of an aggregate and records the event, by default the derived one."""
        added: R = await self.repository(repository_of(row)).add(**values)
        await self.load_owners([added])
        self.record_added([added], event)
        return added

    def record_added(self, rows: Sequence[R], event: type[Event] | None = None) -> None:
        """Records the events of rows that were inserted."""
        for row in rows:
            self.record(event_for(event or event_type(type(row), Created), row, self.owner_of(row)))

    async def change(self, row: R, event: type[Event] | None = None, **values: Any) -> R:
        """Changes values of a row of an aggregate and records the event, by default the derived one."""
        await self.load_owners([row.replace(**values)])
        changed: R = await self.repository(repository_of(type(row))).change(row, **values)
        self.record_changed(row, changed, event)
        return changed

    def record_changed(self, before: R, after: R, event: type[Event] | None = None) -> None:
        """Records the event of a row that was changed, with the names of the columns that differ."""
        kind = event or event_type(type(after), Updated)
        self.record(event_for(kind, after, self.owner_of(after), change_of(before, after)))

    async def delete(self, row: R, **values: Any) -> R:
        """Marks a row as deleted, and records the event; a row of a table without ``deleted_at`` is deleted.

        Returns the row with its ``deleted_at``, or as it was. ``values`` are changed with it.
        """
        await self.load_owners([row])
        removed: R | None = await self.repository(repository_of(type(row))).remove(row, at=self.now, **values)
        deleted = row if removed is None else removed
        self.record_deleted(deleted, change_of(row, row.replace(**values)) if values else None)
        return deleted

    async def delete_many(self, rows: Sequence[R], **values: Any) -> list[R]:
        """:meth:`delete` for several rows of one table, with the same number of statements."""
        await self.load_owners(rows)
        removed: list[R] = await self.repository(repository_of(type(rows[0]))).remove_many(rows, at=self.now, **values)
        for row, deleted in zip(rows, removed, strict=True):
            self.record_deleted(deleted, change_of(row, row.replace(**values)) if values else None)
        return removed

    def record_deleted(self, row: Table, change: Change | None = None) -> None:
        """Records the event of a row that was deleted, and what else of it has changed."""
        found = change if change is not None and change.fields else None
        self.record(event_for(event_type(type(row), Deleted), row, self.owner_of(row), found))

    async def restore(self, row: R) -> R:
        """Restores a row that is marked as deleted, and records the event."""
        restored: R = await self.repository(repository_of(type(row))).restore(row)
        await self.load_owners([restored])
        self.record_restored(restored)
        return restored

    async def restore_many(self, rows: Sequence[R]) -> list[R]:
        """:meth:`restore` for several rows of one table, with the same number of statements."""
        restored: list[R] = await self.repository(repository_of(type(rows[0]))).restore_many(rows)
        await self.load_owners(restored)
        for row in restored:
            self.record_restored(row)
        return restored

    def record_restored(self, row: Table) -> None:
        """Records the event of a row that was restored."""
        self.record(event_for(event_type(type(row), Restored), row, self.owner_of(row)))

    async def purge(self, row: Table) -> None:
        """Deletes a row permanently that is marked as deleted, and records the event."""
        await self.load_owners([row])
        await self.repository(repository_of(type(row))).purge(row.id)
        self.record_purged(row)

    def record_purged(self, row: Table) -> None:
        """Records the event of a row that was deleted permanently."""
        self.record(event_for(event_type(type(row), Purged), row, self.owner_of(row)))

    def owner_of(self, row: Table) -> UUID:
        """The owner of a row, by the declaration of the aggregate: the value of a column, or the viewer who acts.

        The owners of rows that belong to other rows must be loaded before (``load_owners``).
        """
        found = aggregates[type(row)]
        if found.owner_reference is not None:
            return self._owners[getattr(row, found.owner_reference)]
        owner: UUID = self.viewer_id if found.owner is None else getattr(row, found.owner)
        return owner

    async def load_owners(self, rows: Sequence[Table]) -> None:
        """Loads the owners of rows of one table that belong to other rows. For other tables it does nothing.

        Executes one statement. Raises NotFound if one of the other rows does not exist.
        """
        if await self.find_missing_owners(rows):
            found = aggregates[type(rows[0])]
            assert found.owner_reference is not None  # noqa: S101 (otherwise none is missing)
            raise NotFound.of(repository_of(found.references[found.owner_reference].target).noun)

    async def find_missing_owners(self, rows: Sequence[Table]) -> set[UUID]:
        """Loads the owners of rows like ``load_owners``. Returns the ids of the other rows that do not exist."""
        found = aggregates[type(rows[0])] if rows else None
        if found is None or found.owner_reference is None:
            return set()
        column = found.owner_reference
        wanted = {getattr(row, column) for row in rows} - self._owners.keys()
        if not wanted:
            return set()
        others = await self.repository(repository_of(found.references[column].target)).by_id(sorted(wanted))
        await self.load_owners(list(others.values()))
        self._owners |= {key: self.owner_of(other) for key, other in others.items()}
        return wanted - others.keys()

    @property
    def viewer_id(self) -> UUID:
        """The id of the signed-in viewer. Commands that use it require a permission, so the viewer has an id."""
        if self.viewer.id is None:
            message = "this command needs a signed-in viewer"
            raise TypeError(message)
        return self.viewer.id

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """If an error leaves the block, rolls back its changes, removes its events and raises the error again."""
        count = len(self.events)
        try:
            async with self.connection.savepoint():
                yield
        except BaseException:
            del self.events[count:]
            raise

    async def store_events_and_react(self, reactions: Sequence[Reaction]) -> None:
        """Stores the recorded events and runs the reactions to them; repeats this for events that reactions record.

        The events are stored before the reactions run, so that a reaction that counts events counts these too.
        """
        while new_events := self.events[self._stored_count :]:
            self._stored_count = len(self.events)
            await EventStore(self.connection).append(new_events, actor=self.viewer.id, at=self.now)
            for reaction in reactions:
                matching = [event for event in new_events if isinstance(event, reaction.to)]
                if matching:
                    await reaction.run(self, matching)


@asynccontextmanager
async def open_unit_of_work(
    database: Database, viewer: Viewer, reactions: Sequence[Reaction], at: dt.datetime | None = None
) -> AsyncIterator[UnitOfWork]:
    """A unit of work that is committed at the end of the block, or rolled back if an error leaves it."""
    async with database.transaction(viewer) as connection:
        work = UnitOfWork(connection, viewer, at or now())
        yield work
        await work.store_events_and_react(reactions)
        if work.events and database.announces_events:
            await EventStore(connection).announce(database.process_id)
    for callback in work.commit_callbacks:
        callback()
    if work.events:
        for notify in database.commit_listeners:
            await notify(work.events)
