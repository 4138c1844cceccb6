"""The event store: all events, in the order in which they were written."""

import datetime as dt
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa

from repositories.aggregates.repository import ADD_BATCH, LOAD_BATCH, Repository
from repositories.core.event import Event
from repositories.sql.filters import And, Compare, Direction, Filter, Op, SortKey
from repositories.sql.statements import Engine, RowFactory, Statement, records, records_parameter, scalar
from repositories.tables.events import DomainEvent

_TABLE = DomainEvent.__table__
_APPENDED = [column for column in _TABLE.columns if column.name != "sequence"]


def _append(engine: Engine) -> sa.Executable:
    """SQLite numbers only primary keys. It has a single writer, so the next sequence number is max + 1."""
    source = records(engine, "rows", _APPENDED)
    names = [column.name for column in _APPENDED]
    values: list[sa.ColumnElement[Any]] = [source.c[name] for name in names]
    if not engine.is_postgresql:
        highest: sa.Select[Any] = sa.select(sa.func.coalesce(sa.func.max(sa.column("sequence")), 0)).select_from(
            sa.table("domain_events")
        )
        values.append(highest.scalar_subquery() + sa.func.row_number().over())
        names.append("sequence")
    return sa.insert(_TABLE).from_select(names, sa.select(*values)).returning(_TABLE.c.sequence)


_append_rows: Statement[int] = Statement(_append, scalar(int))


class EventHorizon(NamedTuple):
    """The sequence numbers up to which the events can be read.

    All events up to ``readable_up_to`` are committed or rolled back, so no transaction will add one of them later.
    ``highest`` is the highest number that was ever assigned; events above ``readable_up_to`` may still be uncommitted.
    """

    readable_up_to: int
    highest: int


def _build_horizon(engine: Engine) -> sa.Executable:
    """On PostgreSQL, open transactions hold a lock for the numbers they use (migration 0008). SQLite has one writer."""
    if engine.is_postgresql:
        return sa.text("SELECT horizon, drawn FROM public.domain_events_horizon()")
    highest: sa.ColumnElement[int] = sa.func.coalesce(sa.func.max(_TABLE.c.sequence), 0)
    return sa.select(highest, highest)


_horizon: Statement[EventHorizon] = Statement(_build_horizon, RowFactory(EventHorizon._make))

CHANNEL = "siso_events"
"""The PostgreSQL channel on which committed events are announced. The payload identifies the writing process."""

_announce: Statement[Any] = Statement(
    sa.select(sa.func.pg_notify(CHANNEL, sa.bindparam("origin", type_=sa.Text()))), scalar(str)
)


def row_of_event(event: Event, *, actor: UUID, at: dt.datetime) -> dict[str, Any]:
    """The values of the row that stores an event."""
    return {
        "id": event.id,
        "aggregate_id": event.aggregate_id,
        "aggregate_type": event.aggregate,
        "event_type": event.type,
        "event_data": event.data(),
        "user_id": actor,
        "timestamp": at,
        "version": event.format_version,
    }


def owner_id_of(event: DomainEvent) -> UUID | None:
    """The owner of the aggregate of a stored event, or None if its data contain no valid ``owner_id``.

    The policies allow users to insert their own events without the gateway, so the data may have any content.
    """
    data: Any = event.event_data
    try:
        return UUID(data["owner_id"])
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


_NEWEST_FIRST = (SortKey("timestamp", Direction.DESC), SortKey("sequence", Direction.DESC))


class EventStore(Repository[DomainEvent], table=DomainEvent, noun="event"):
    """Appends and reads events. Events are never changed."""

    async def append(self, events: Sequence[Event], *, actor: UUID | None, at: dt.datetime) -> None:
        """Stores events in their order, with one statement per 100 events.

        Without an ``actor`` (work of the service), the owner of the aggregate is stored as the actor.
        """
        rows = [row_of_event(event, actor=actor or event.owner_id, at=at) for event in events]
        for part in self._parts(rows, ADD_BATCH):
            await self.connection.execute_later(_append_rows, rows=part)

    async def load(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Stores rows of past events in a bulk load, with one statement per 1000 events."""
        for part in self._parts(rows, LOAD_BATCH):
            await self.connection.rows(_append_rows, rows=part)

    def _parts(self, rows: Sequence[Mapping[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
        for start in range(0, len(rows), size):
            yield records_parameter(self.connection.engine, _APPENDED, rows[start : start + size])

    async def export(
        self, since: dt.datetime | None, until: dt.datetime | None, types: Sequence[str] = ()
    ) -> AsyncIterator[DomainEvent]:
        """Events from ``since`` (inclusive) to ``until`` (exclusive), in the order in which they were written.

        Empty ``types`` mean all types. The events are read in batches of 1000, so their number is not limited.
        """
        conditions = [
            *([Compare("timestamp", Op.GTE, since)] if since else []),
            *([Compare("timestamp", Op.LT, until)] if until else []),
            *([Compare("event_type", Op.IN, tuple(types))] if types else []),
        ]
        last = 0
        while True:
            next_batch = And((Compare("sequence", Op.GT, last), *conditions))
            events = await self.find(next_batch, [SortKey("sequence")], limit=LOAD_BATCH)
            for event in events:
                yield event
            if len(events) < LOAD_BATCH:
                return
            last = events[-1].sequence

    async def horizon(self) -> EventHorizon:
        """The sequence numbers up to which the events can be read.

        The events must be read in a snapshot that is opened after this call. This connection's own snapshot may lack
        the events of a transaction that was committed in the meantime.
        """
        return await self.connection.one(_horizon)

    async def between(
        self, after: int, until: int, where: Sequence[Filter] = (), *, limit: int = LOAD_BATCH
    ) -> list[DomainEvent]:
        """The events with sequence numbers above ``after`` and up to ``until``, in their order."""
        conditions = (Compare("sequence", Op.GT, after), Compare("sequence", Op.LTE, until), *where)
        return await self.find(And(conditions), [SortKey("sequence")], limit=limit)

    async def announce(self, origin: str) -> None:
        """Notifies all processes of new events as soon as this transaction is committed. PostgreSQL only."""
        await self.connection.execute_later(_announce, origin=origin)

    async def of_aggregate(self, aggregate_id: UUID, *, limit: int) -> list[DomainEvent]:
        """The events of an aggregate, oldest first."""
        return await self.find(Compare("aggregate_id", Op.EQ, aggregate_id), [SortKey("sequence")], limit=limit)

    async def of_type(self, event_type: str, *, limit: int) -> list[DomainEvent]:
        """The events of a type, newest first."""
        return await self.find(Compare("event_type", Op.EQ, event_type), _NEWEST_FIRST, limit=limit)

    async def of_user(self, user_id: UUID, *, limit: int) -> list[DomainEvent]:
        """The events that a user caused, newest first."""
        return await self.find(Compare("user_id", Op.EQ, user_id), _NEWEST_FIRST, limit=limit)
