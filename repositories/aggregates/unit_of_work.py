"""One unit of work = one transaction: the changes of one mutation, their events, and what reacts to them.

A handler changes rows and records events; it never commits. At the end of the block the events are stored, the
reactions run, and everything is committed at once, or nothing of it is left.

    async with open_unit(database, viewer, reactions) as work:
        task = await work.repository(Tasks).add(...)
        work.record(TaskCreated(...))
"""

import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from repositories.aggregates.event_store import EventStore
from repositories.core.clock import now
from repositories.core.event import Event
from repositories.core.viewer import Viewer
from repositories.engines.database import Database, WriteConnection

Repo = TypeVar("Repo")


@dataclass(frozen=True, slots=True)
class Reaction:
    """What is done because of events of some types; ``run`` gets all of them that one step of the unit recorded."""

    to: tuple[type[Event], ...]
    run: Callable[["UnitOfWork", list[Any]], Awaitable[None]]


class UnitOfWork:
    """What a command's handler works with. ``now`` is one moment for all of it."""

    def __init__(self, connection: WriteConnection, viewer: Viewer, at: dt.datetime) -> None:
        self.connection = connection
        self.viewer = viewer
        self.now = at
        self.events: list[Event] = []
        self._finished = 0

    def repository(self, kind: Callable[[WriteConnection], Repo]) -> Repo:
        """The repository on this unit's transaction."""
        return kind(self.connection)

    def record(self, event: Event) -> None:
        """Notes what happened; stored with the change, announced after the commit."""
        self.events.append(event)

    @property
    def viewer_id(self) -> UUID:
        """The signed-in viewer; commands that need one require a permission first."""
        if self.viewer.id is None:
            message = "this command needs a viewer"
            raise TypeError(message)
        return self.viewer.id

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """What fails inside is undone together with its events, and the error goes on to the caller."""
        recorded = len(self.events)
        try:
            async with self.connection.savepoint():
                yield
        except BaseException:
            del self.events[recorded:]
            raise

    async def store_events_and_react(self, reactions: Sequence[Reaction]) -> None:
        """Stores the events and runs the reactions to them, then the same for the events that those recorded.

        Whoever reacts finds the events in the store, so that counting them counts these too.
        """
        while fresh := self.events[self._finished :]:
            self._finished = len(self.events)
            await EventStore(self.connection).append(fresh, actor=self.viewer.id, at=self.now)
            for reaction in reactions:
                concerned = [event for event in fresh if isinstance(event, reaction.to)]
                if concerned:
                    await reaction.run(self, concerned)


@asynccontextmanager
async def open_unit_of_work(
    database: Database, viewer: Viewer, reactions: Sequence[Reaction], at: dt.datetime | None = None
) -> AsyncIterator[UnitOfWork]:
    """A unit of work that is committed at the end of the block, or rolled back if anything fails."""
    async with database.transaction(viewer) as connection:
        work = UnitOfWork(connection, viewer, at or now())
        yield work
        await work.store_events_and_react(reactions)
        if work.events and database.announces_events:
            await EventStore(connection).announce(database.process_id)
    if work.events:
        for committed in database.commit_listeners:
            await committed(work.events)
