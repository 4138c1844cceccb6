"""The event store: what happened, in the order in which it was written."""

import datetime as dt
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa

from repositories.aggregates.repository import ADD_BATCH, LOAD_BATCH, Repository
from repositories.core.event import Event
from repositories.sql.filters import And, Compare, Direction, Filter, Op, Order
from repositories.sql.statements import Engine, RowFactory, Statement, records, records_parameter, scalar
from repositories.tables.events import DomainEvent

_TABLE = DomainEvent.__table__
_APPENDED = [made for made in _TABLE.columns if made.name != "sequence"]


def _append(engine: Engine) -> sa.Executable:
    """SQLite has no identity columns beside the primary key; with its single writer the next number is max + 1."""
    source = records(engine, "rows", _APPENDED)
    values: list[sa.ColumnElement[Any]] = [source.c[made.name] for made in _APPENDED]
    names = [made.name for made in _APPENDED]
    if not engine.is_postgresql:
        highest: sa.Select[Any] = sa.select(sa.func.coalesce(sa.func.max(sa.column("sequence")), 0)).select_from(
            sa.table("domain_events")
        )
        values.append(highest.scalar_subquery() + sa.func.row_number().over())
        names.append("sequence")
    return sa.insert(_TABLE).from_select(names, sa.select(*values)).returning(_TABLE.c.sequence)


_append_rows: Statement[int] = Statement(_append, scalar(int))


class EventHorizon(NamedTuple):
    """How far the events can be read: no event up to ``readable_up_to`` is still to come; ``highest`` is the highest number."""

    readable_up_to: int
    highest: int


def _horizon_of(engine: Engine) -> sa.Executable:
    """On PostgreSQL a transaction marks what it may still commit by a lock (migration 0008); SQLite has one writer."""
    if engine.is_postgresql:
        return sa.text("SELECT horizon, drawn FROM public.domain_events_horizon()")
    highest: sa.ColumnElement[int] = sa.func.coalesce(sa.func.max(_TABLE.c.sequence), 0)
    return sa.select(highest, highest)


_horizon: Statement[EventHorizon] = Statement(_horizon_of, RowFactory(EventHorizon._make))

CHANNEL = "siso_events"
"""Where PostgreSQL announces that events were committed; the payload says by which process."""

_announce: Statement[Any] = Statement(
    sa.select(sa.func.pg_notify(CHANNEL, sa.bindparam("origin", type_=sa.Text()))), scalar(str)
)


def row_of_event(event: Event, *, actor: UUID, at: dt.datetime) -> dict[str, Any]:
    """An event as it is stored."""
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
    """Whose aggregate a stored event is about; None if it does not say.

    The policies let people store events of their own without the gateway, so there may be anything in them.
    """
    data: Any = event.event_data
    try:
        return UUID(data["owner_id"])
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


class EventStore(Repository[DomainEvent], table=DomainEvent, noun="event"):
    """Events are appended and read, never changed."""

    async def append(self, events: Sequence[Event], *, actor: UUID | None, at: dt.datetime) -> None:
        """Stores events in their order, one statement for every 100. Work of the service is booked on the owner."""
        rows = [row_of_event(event, actor=actor or event.owner_id, at=at) for event in events]
        for part in self._parts(rows, ADD_BATCH):
            await self.connection.execute_later(_append_rows, rows=part)

    async def load(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Stores events of the past, for bulk loads; one statement for every 1000."""
        for part in self._parts(rows, LOAD_BATCH):
            await self.connection.rows(_append_rows, rows=part)

    def _parts(self, rows: Sequence[Mapping[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
        for start in range(0, len(rows), size):
            yield records_parameter(self.connection.engine, _APPENDED, rows[start : start + size])

    async def export(
        self, since: dt.datetime | None, until: dt.datetime | None, types: Sequence[str] = ()
    ) -> AsyncIterator[DomainEvent]:
        """Events in the order in which they were written, from ``since`` on and before ``until``, of some types or all.

        One statement for every 1000, each from where the last one ended, so that no number of events is too many.
        """
        conditions = [
            *([Compare("timestamp", Op.GTE, since)] if since else []),
            *([Compare("timestamp", Op.LT, until)] if until else []),
            *([Compare("event_type", Op.IN, tuple(types))] if types else []),
        ]
        last = 0
        while True:
            beyond = And((Compare("sequence", Op.GT, last), *conditions))
            found = await self.find(beyond, [Order("sequence")], limit=LOAD_BATCH)
            for event in found:
                yield event
            if len(found) < LOAD_BATCH:
                return
            last = found[-1].sequence

    async def horizon(self) -> EventHorizon:
        """How far the events can be read.

        What is read up to there must be read by a snapshot that was opened later: of a transaction that ended in
        between, this one knows nothing.
        """
        return await self.connection.one(_horizon)

    async def between(
        self, after: int, until: int, given: Sequence[Filter] = (), *, limit: int = LOAD_BATCH
    ) -> list[DomainEvent]:
        """The events after one sequence number and up to another, in their order."""
        conditions = (Compare("sequence", Op.GT, after), Compare("sequence", Op.LTE, until), *given)
        return await self.find(And(conditions), [Order("sequence")], limit=limit)

    async def announce(self, origin: str) -> None:
        """Tells all processes, once this transaction is committed, that there are new events; PostgreSQL only."""
        await self.connection.execute_later(_announce, origin=origin)

    async def of_aggregate(self, aggregate_id: UUID, *, limit: int) -> list[DomainEvent]:
        """An aggregate's history, oldest first."""
        return await self.find(Compare("aggregate_id", Op.EQ, aggregate_id), [Order("sequence")], limit=limit)

    async def of_type(self, event_type: str, *, limit: int) -> list[DomainEvent]:
        """The latest events of a type, newest first."""
        newest = [Order("timestamp", Direction.DESC), Order("sequence", Direction.DESC)]
        return await self.find(Compare("event_type", Op.EQ, event_type), newest, limit=limit)

    async def of_user(self, user_id: UUID, *, limit: int) -> list[DomainEvent]:
        """What a user did last, newest first."""
        newest = [Order("timestamp", Direction.DESC), Order("sequence", Direction.DESC)]
        return await self.find(Compare("user_id", Op.EQ, user_id), newest, limit=limit)
