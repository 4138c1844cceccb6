"""Rotation of keys: encrypted values are sealed anew with the current key, while the gateway goes on serving.

What is not sealed with the current key is found by the header of its ciphertext, so that an interrupted run is simply
run again. A value is replaced only if it still is what was read; one that somebody changes in between is left to them.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa

from repositories.core.encryption import DecryptionError
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.sql import types
from repositories.sql.statements import Engine, RowFactory, Statement, records, records_parameter, scalar
from repositories.tables import metadata

BATCH = 200
"""How many values one transaction replaces."""

_header = sa.bindparam("header", type_=types.Text())
_FIRST = UUID(int=0)


class RotationResult(NamedTuple):
    """What became of the values: sealed anew, not readable with any key, or still due because they were changed."""

    renewed: int
    unreadable: int
    left: int


class _Value(NamedTuple):
    id: UUID
    encrypted: str


class _EncryptedColumn:
    """The statements for one encrypted column."""

    def __init__(self, column: sa.Column[Any]) -> None:
        key, self.column = column.table.c.id, column
        count_due = (column.is_not(None), sa.func.substr(column, 1, sa.func.length(_header)) != _header)
        self.count: Statement[int] = Statement(sa.select(sa.func.count(column)).where(*count_due), scalar(int))
        batch = sa.select(key, column).where(*count_due, key > sa.bindparam("after", type_=types.Id()))
        self.batch: Statement[_Value] = Statement(batch.order_by(key).limit(BATCH), RowFactory(_Value._make))
        self.changes = [
            sa.Column("id", types.Id()),
            sa.Column("old", types.Text()),
            sa.Column("new", types.Text()),
        ]
        self.replace: Statement[UUID] = Statement(self._replace, scalar(UUID))

    def _replace(self, engine: Engine) -> sa.Executable:
        source, table = records(engine, "rows", self.changes), self.column.table
        found = sa.update(table).where(table.c.id == source.c.id, self.column == source.c.old)
        return found.values({self.column.name: source.c.new}).returning(table.c.id)


def _columns() -> Iterator[_EncryptedColumn]:
    for table in metadata.sorted_tables:
        yield from (_EncryptedColumn(made) for made in table.columns if made.info["encrypted"])


async def count_due(database: Database) -> int:
    """How many values are not sealed with the current key."""
    async with database.snapshot(SERVICE) as snapshot:
        return sum([await snapshot.one(each.count, header=database.cipher.header) for each in _columns()])


async def rotate(
    database: Database, *, done: Callable[[int], None], refuse: Callable[[DecryptionError], None]
) -> RotationResult:
    """Seals anew what is due. ``done`` is told how many values were looked at, ``refuse`` of those nobody can read."""
    renewed = unreadable = 0
    for each in _columns():
        after: UUID | None = _FIRST
        while after is not None:
            after, fresh, refused = await _rotate_batch(database, each, after, refuse)
            renewed, unreadable = renewed + fresh, unreadable + refused
            if fresh or refused:
                done(fresh + refused)
    return RotationResult(renewed, unreadable, await count_due(database) - unreadable)


async def _rotate_batch(
    database: Database, each: _EncryptedColumn, after: UUID, refuse: Callable[[DecryptionError], None]
) -> tuple[UUID | None, int, int]:
    """Where to go on, if there is more, how many values were sealed anew and how many could not be read."""
    cipher, changes, refused = database.cipher, [], 0
    async with database.transaction(SERVICE) as write:
        found = await write.rows(each.batch, after=after, header=cipher.header)
        for value in found:
            try:
                plain = cipher.decrypt(each.column, value.id, value.encrypted)
            except DecryptionError as error:
                refused += 1
                refuse(error)
            else:
                new = cipher.encrypt(each.column, value.id, plain)
                changes.append({"id": value.id, "old": value.encrypted, "new": new})
        rows = records_parameter(write.engine, each.changes, changes)
        fresh = await write.rows(each.replace, rows=rows) if rows else []
    return found[-1].id if len(found) == BATCH else None, len(fresh), refused
