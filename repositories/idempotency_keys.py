"""The store of idempotency keys: which mutations of a viewer took effect, and what they returned."""

import datetime as dt
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from repositories.aggregates.repository import Repository
from repositories.core.ids import new_id
from repositories.sql import types
from repositories.sql.statements import Engine, Statement, scalar
from repositories.tables.idempotency import IdempotencyRecord

_records = IdempotencyRecord.__table__
_owner = sa.bindparam("owner", type_=types.Id())
_key = sa.bindparam("key", type_=types.Text())
_CLEANED_AT_ONCE = 1000


def _claim_of(engine: Engine) -> sa.Executable:
    """Waits for a transaction that has claimed the same key. It returns no row if that one was committed."""
    insert = postgresql_insert(_records) if engine.is_postgresql else sqlite_insert(_records)
    values = {column.name: sa.bindparam(f"new_{column.name}", type_=column.type) for column in _records.columns}
    statement = insert.values(values)
    replaced = {name: statement.excluded[name] for name in values if name not in {"viewer_id", "key", "field"}}
    return statement.on_conflict_do_update(
        index_elements=["viewer_id", "key", "field"],
        set_=replaced,
        where=_records.c.expires_at <= statement.excluded.created_at,
    ).returning(_records.c.id)


_claim: Statement[UUID] = Statement(_claim_of, scalar(UUID))
_complete: Statement[UUID] = Statement(
    sa.update(_records)
    .where(_records.c.id == sa.bindparam("id", type_=types.Id()))
    .values(outcome=sa.bindparam("outcome", type_=types.Json()))
    .returning(_records.c.id),
    scalar(UUID),
)
_of_key: Statement[IdempotencyRecord] = Statement(
    sa.select(*_records.c).where(
        _records.c.viewer_id == _owner,
        _records.c.key == _key,
        _records.c.expires_at > sa.bindparam("now", type_=types.Timestamp()),
    ),
    IdempotencyRecord,
)
_expired = (
    sa.select(_records.c.id)
    .where(_records.c.expires_at <= sa.bindparam("now", type_=types.Timestamp()))
    .limit(_CLEANED_AT_ONCE)
)
_purge_expired: Statement[UUID] = Statement(
    sa.delete(_records).where(_records.c.id.in_(_expired)).returning(_records.c.id), scalar(UUID)
)


class IdempotencyKeys(Repository[IdempotencyRecord], table=IdempotencyRecord):
    """The records of keys, one for each mutation field."""

    async def claim(  # noqa: PLR0913 (the values of a record)
        self, viewer: UUID, key: str, field: str, *, fingerprint: str, at: dt.datetime, until: dt.datetime
    ) -> UUID | None:
        """Adds a record without an outcome and returns its id; None if there is one that has not expired.

        A concurrent transaction with the same key waits until this one ends.
        """
        record = IdempotencyRecord._make((new_id(), viewer, key, field, fingerprint, None, at, until))
        values = {f"new_{name}": value for name, value in zip(record.__fields__, record, strict=True)}
        return await self.connection.row(_claim, **values)

    async def complete(self, record: UUID, outcome: Mapping[str, Any]) -> None:
        """Stores the outcome, at the latest with the commit."""
        await self.connection.execute_later(_complete, id=record, outcome=dict(outcome))

    async def of_key(self, viewer: UUID, key: str, at: dt.datetime) -> Mapping[str, IdempotencyRecord]:
        """The records of a key that have not expired, by field."""
        found = await self.connection.rows(_of_key, owner=viewer, key=key, now=at)
        return {record.field: record for record in found}

    async def purge_expired(self, at: dt.datetime) -> int:
        """Deletes at most 1,000 expired records. Returns their number."""
        return len(await self.connection.rows(_purge_expired, now=at))
