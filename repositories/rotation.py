"""Rotation of encryption keys: encrypts all values again with the current key while the gateway serves requests.

The header of a ciphertext contains the id of its key, so an interrupted rotation can simply be started again. A value
is replaced only if it has not changed since it was read. A value written in the meantime stays as it was written.
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
from repositories.sql.table import declared
from repositories.tables import metadata

BATCH = 200
"""Values per transaction."""

_header = sa.bindparam("header", type_=types.Text())
_FIRST = UUID(int=0)


class RotationResult(NamedTuple):
    """Numbers of values: encrypted again, not decryptable with any key, and still encrypted with an old key."""

    rotated: int
    unreadable: int
    remaining: int


class _Value(NamedTuple):
    id: UUID
    ciphertext: str


class _EncryptedColumn:
    """The statements for one encrypted column."""

    def __init__(self, column: sa.Column[Any]) -> None:
        key, self.column = column.table.c.id, column
        has_old_key = (column.is_not(None), sa.func.substr(column, 1, sa.func.length(_header)) != _header)
        self.count: Statement[int] = Statement(sa.select(sa.func.count(column)).where(*has_old_key), scalar(int))
        batch = sa.select(key, column).where(*has_old_key, key > sa.bindparam("after", type_=types.Id()))
        self.batch: Statement[_Value] = Statement(batch.order_by(key).limit(BATCH), RowFactory(_Value._make))
        self.changes = [
            sa.Column("id", types.Id()),
            sa.Column("old", types.Text()),
            sa.Column("new", types.Text()),
        ]
        self.replace: Statement[UUID] = Statement(self._replace, scalar(UUID))

    def _replace(self, engine: Engine) -> sa.Executable:
        source, table = records(engine, "rows", self.changes), self.column.table
        unchanged = sa.update(table).where(table.c.id == source.c.id, self.column == source.c.old)
        return unchanged.values({self.column.name: source.c.new}).returning(table.c.id)


def _columns() -> Iterator[_EncryptedColumn]:
    for table in metadata.sorted_tables:
        yield from (_EncryptedColumn(column) for column in table.columns if declared(column).encrypted)


async def count_outdated(database: Database) -> int:
    """The number of values that are not encrypted with the current key."""
    async with database.snapshot(SERVICE) as snapshot:
        return sum([await snapshot.one(each.count, header=database.cipher.header) for each in _columns()])


async def rotate(
    database: Database, *, on_progress: Callable[[int], None], on_unreadable: Callable[[DecryptionError], None]
) -> RotationResult:
    """Encrypts all values with the current key.

    After each batch, ``on_progress`` receives the number of its values. ``on_unreadable`` receives the error of each
    value that no key decrypts.
    """
    rotated = unreadable = 0
    for column in _columns():
        after: UUID | None = _FIRST
        while after is not None:
            after, succeeded, failed = await _rotate_batch(database, column, after, on_unreadable)
            rotated, unreadable = rotated + succeeded, unreadable + failed
            if succeeded or failed:
                on_progress(succeeded + failed)
    return RotationResult(rotated, unreadable, await count_outdated(database) - unreadable)


async def _rotate_batch(
    database: Database, column: _EncryptedColumn, after: UUID, on_unreadable: Callable[[DecryptionError], None]
) -> tuple[UUID | None, int, int]:
    """Rotates the values of the next rows after an id.

    Returns the id of the last row, or None after the last batch, and the numbers of rotated and of unreadable values.
    """
    cipher, changes, unreadable = database.cipher, [], 0
    async with database.transaction(SERVICE) as write:
        values = await write.rows(column.batch, after=after, header=cipher.header)
        for value in values:
            try:
                plain = cipher.decrypt(column.column, value.id, value.ciphertext)
            except DecryptionError as error:
                unreadable += 1
                on_unreadable(error)
            else:
                new = cipher.encrypt(column.column, value.id, plain)
                changes.append({"id": value.id, "old": value.ciphertext, "new": new})
        rows = records_parameter(write.engine, column.changes, changes)
        replaced = await write.rows(column.replace, rows=rows) if rows else []
    return values[-1].id if len(values) == BATCH else None, len(replaced), unreadable
