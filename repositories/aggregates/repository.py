"""What every aggregate's repository can do.

A repository belongs to one connection and speaks for one table:

    class Tasks(Repository[Task], table=Task):
        @batch
        async def of_category(self, ids: Sequence[UUID]) -> Mapping[UUID, list[Task]]: ...

    await Tasks(connection).get(task_id)

Reads take any connection, writes need one in a transaction (a unit of work). No method filters by owner: who may see a
row is the database's business (kit/policy.py). Soft-deleted rows are out of sight unless a method says otherwise.
Values of encrypted columns are given in plain sight, stored sealed, and read sealed. Every method is one statement,
except where it says so.
"""

import datetime as dt
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar, cast
from uuid import UUID

from repositories.aggregates.batch import batch
from repositories.core.clock import now
from repositories.core.errors import InputError, InputErrors, NotFound, StaleVersion
from repositories.core.ids import new_id
from repositories.engines.database import ReadConnection
from repositories.sql import filters
from repositories.sql.filters import NO_FILTER, Filter, Order
from repositories.sql.lists import KeysetQuery, ShapeKey, build_count, build_counts, build_page
from repositories.sql.page import Page, PageRequest
from repositories.sql.row_statements import RowStatements, update, update_many
from repositories.sql.statements import records_parameter
from repositories.sql.table import Table

R = TypeVar("R", bound=Table)
K = TypeVar("K")
V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)

ADD_BATCH = 100
CHANGE_BATCH = 50
LOAD_BATCH = 1000


class Repository(Generic[R]):
    """Base of all repositories; see the module."""

    table: type[R]
    noun: ClassVar[str]
    """What a row is called in messages."""
    default_order: ClassVar[tuple[Order, ...]] = ()
    searched: ClassVar[tuple[str, ...]] = ()
    """The columns that a search looks into."""
    _statements: ClassVar["RowStatements"]

    def __init_subclass__(cls, *, table: type[Table], noun: str = "") -> None:
        super().__init_subclass__()
        cls.table = cast("type[Any]", table)
        cls.noun = noun or table.__name__.lower()
        cls._statements = RowStatements(table)

    def __init__(self, connection: ReadConnection) -> None:
        self.connection = connection

    # reads

    async def get(self, key: UUID) -> R:
        """The row, or NotFound."""
        found = await self.connection.row(self._statements.by_id, id=key)
        if found is None:
            raise NotFound.of(self.noun)
        return cast("R", found)

    async def lock(self, key: UUID) -> R:
        """The row, kept from others until the transaction ends, or NotFound."""
        found = await self.connection.row(self._statements.lock, id=key)
        if found is None:
            raise NotFound.of(self.noun)
        return cast("R", found)

    async def lock_many(self, keys: Sequence[UUID]) -> Mapping[UUID, R]:
        """The rows that there are, kept from others until the transaction ends; locked in the order of their ids."""
        found = await self.connection.rows(self._statements.lock_many, ids=list(keys))
        return {row.id: cast("R", row) for row in found}

    async def lock_for_reference(self, keys: Sequence[UUID]) -> Mapping[UUID, R]:
        """The rows that there are, kept from deletion until the transaction ends, so that others may refer to them."""
        found = await self.connection.rows(self._statements.lock_for_reference, ids=list(keys))
        return {row.id: cast("R", row) for row in found}

    @batch
    async def by_id(self, keys: Sequence[UUID]) -> Mapping[UUID, R]:
        """The rows of many ids."""
        found = await self.connection.rows(self._statements.by_ids, ids=list(keys))
        return {row.id: cast("R", row) for row in found}

    async def visible_ids(self, keys: Sequence[UUID]) -> set[UUID]:
        """Those of the ids whose rows the viewer may see, softly deleted ones included."""
        return set(await self.connection.rows(self._statements.visible_ids, ids=list(keys)))

    async def exists(self, key: UUID) -> bool:
        """Whether there is such a row for the viewer."""
        return await self.connection.one(self._statements.exists, id=key)

    async def first(self, given: Filter = NO_FILTER, order: Sequence[Order] | None = None) -> R | None:
        """The first row of a list, or None."""
        found = await self.find(given, order, limit=1)
        return found[0] if found else None

    async def find(self, given: Filter = NO_FILTER, order: Sequence[Order] | None = None, *, limit: int) -> list[R]:
        """The first ``limit`` rows of a list."""
        values = filters.parameters_of(given)
        shaped = ShapeKey(filters.shape_of(given), given)
        statement = build_page(self.table, None, shaped, self._order(order), None, backwards=False)
        return await self.connection.rows(statement, limit=limit, offset=0, **values)

    async def page(
        self, request: PageRequest, given: Filter = NO_FILTER, order: Sequence[Order] | None = None
    ) -> Page[R]:
        """One page of a list; reads one row more than the page has, to know whether there are others."""
        walk = KeysetQuery(self.table, request, given, self._order(order))
        return walk.page(await self.connection.rows(walk.statement(), **walk.values))

    async def pages_of(
        self,
        keys: Sequence[UUID],
        column: str,
        request: PageRequest,
        given: Filter = NO_FILTER,
        order: Sequence[Order] | None = None,
    ) -> Mapping[UUID, Page[R]]:
        """For each key, one page of the rows whose ``column`` is that key; all pages in one statement."""
        walk = KeysetQuery(self.table, request, given, self._order(order))
        found: dict[UUID, list[R]] = {key: [] for key in keys}
        for row in await self.connection.rows(walk.statement(column), keys=list(keys), **walk.values):
            found[getattr(row, column)].append(row)
        return {key: walk.page(rows) for key, rows in found.items()}

    async def counts_of(self, keys: Sequence[UUID], column: str, given: Filter = NO_FILTER) -> Mapping[UUID, int]:
        """For each key, how many rows have it in ``column``."""
        values = filters.parameters_of(given)
        statement = build_counts(self.table, column, ShapeKey(filters.shape_of(given), given))
        counted = await self.connection.rows(statement, keys=list(keys), **values)
        return dict.fromkeys(keys, 0) | dict(counted)

    async def count(self, given: Filter = NO_FILTER) -> int:
        """How many rows a list has."""
        values = filters.parameters_of(given)
        statement = build_count(self.table, ShapeKey(filters.shape_of(given), given))
        return await self.connection.one(statement, **values)

    def _order(self, order: Sequence[Order] | None) -> tuple[Order, ...]:
        return tuple(order) if order else self.default_order

    # writes

    async def add(self, **values: Any) -> R:
        """A new row. ``id``, ``created_at`` and columns with a default may be left out."""
        row = await self.connection.row(self._statements.insert, **self._complete(values, now()))
        return cast("R", row)

    async def add_many(self, rows: Sequence[Mapping[str, Any]]) -> list[R]:
        """New rows, in the order given; one statement for every 100."""
        at = now()
        complete = [self._complete(row, at) for row in rows]
        made: dict[UUID, R] = {}
        columns = list(self.table.__table__.columns)
        for start in range(0, len(complete), ADD_BATCH):
            parameter = records_parameter(self.connection.engine, columns, complete[start : start + ADD_BATCH])
            for row in await self.connection.rows(self._statements.insert_many, rows=parameter):
                made[row.id] = cast("R", row)
        return [made[row["id"]] for row in complete]

    async def add_missing(self, rows: Sequence[Mapping[str, Any]]) -> set[UUID]:
        """Those of the rows that nothing unique forbids, for imports and bulk loads; says which ones were new.

        One statement for every 1000; the rows are not handed back, which is what makes it fast.
        """
        at = now()
        columns = list(self.table.__table__.columns)
        added: set[UUID] = set()
        for start in range(0, len(rows), LOAD_BATCH):
            complete = [self._complete(row, at) for row in rows[start : start + LOAD_BATCH]]
            parameter = records_parameter(self.connection.engine, columns, complete)
            added.update(await self.connection.rows(self._statements.insert_missing, rows=parameter))
        return added

    async def change(self, row: R, *, expected: int | None = None, **values: Any) -> R:
        """The row with other values, its version one higher.

        ``expected`` is the version the caller saw, by default that of ``row``; if the row has another by now,
        StaleVersion with the current one (a second statement), or NotFound if it is gone.
        """
        values = self._encrypted(row.id, values)
        changed = await self.connection.row(
            update(self.table, tuple(sorted(values))),
            id=row.id,
            version=row_version(row) if expected is None else expected,
            **{f"new_{name}": value for name, value in (values | {"updated_at": now()}).items()},
        )
        if changed is None:
            raise await self._missed(row.id)
        return cast("R", changed)

    async def change_many(self, changes: Sequence[tuple[R, Mapping[str, Any]]]) -> list[R]:
        """Many rows changed, all or nothing, in the order given; one statement for every 50.

        A row that another transaction changed in between is reported with its index, all of them at once.
        """
        changes = [(row, self._encrypted(row.id, values)) for row, values in changes]
        names = tuple(sorted({name for _, values in changes for name in values}))
        columns = [self.table.__table__.c[name] for name in ("id", "version", *names, "updated_at")]
        at = now()
        done: dict[UUID, R] = {}
        for start in range(0, len(changes), CHANGE_BATCH):
            rows = [
                {name: values.get(name, getattr(row, name)) for name in ("id", "version", *names)} | {"updated_at": at}
                for row, values in changes[start : start + CHANGE_BATCH]
            ]
            parameter = records_parameter(self.connection.engine, columns, rows)
            for row in await self.connection.rows(update_many(self.table, names), rows=parameter):
                done[row.id] = cast("R", row)
        missed = [(index, row) for index, (row, _) in enumerate(changes) if row.id not in done]
        if missed:
            raise InputErrors([(await self._missed(row.id)).prefix_path(index) for index, row in missed])
        return [done[row.id] for row, _ in changes]

    async def remove(self, row: R) -> R | None:
        """Deletes the row: softly where the table has ``deleted_at`` (then the row is handed back), else for good."""
        if hasattr(self.table, "deleted_at"):
            return await self.change(row, deleted_at=now())
        await self.purge(row.id)
        return None

    async def restore(self, row: R) -> R:
        """Brings a softly deleted row back."""
        return await self.change(row, deleted_at=None)

    async def lock_deleted(self, key: UUID) -> R:
        """A softly deleted row, kept from others until the transaction ends, or NotFound."""
        found = await self.connection.row(self._statements.lock_deleted, id=key)
        if found is None:
            raise NotFound.of(self.noun)
        return cast("R", found)

    async def purge(self, key: UUID) -> None:
        """Deletes the row for good, softly deleted or not, or NotFound."""
        if await self.connection.row(self._statements.purge, id=key) is None:
            raise NotFound.of(self.noun)

    async def _missed(self, key: UUID) -> InputError:
        """Why a change found no row."""
        current = await self.connection.row(self._statements.by_id, id=key)
        return NotFound.of(self.noun) if current is None else StaleVersion(current)

    def _complete(self, values: Mapping[str, Any], at: dt.datetime) -> dict[str, Any]:
        complete = {**self._statements.defaults, "id": None, "created_at": at, "updated_at": at, **values}
        if complete["id"] is None:
            complete["id"] = new_id()
        return self._encrypted(complete["id"], complete)

    def _encrypted(self, key: UUID, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values as they are stored: encrypted where the column is, with the blind index beside it."""
        stored, cipher = dict(values), self.connection.cipher
        for column in self._statements.encrypted:
            plain, index = values.get(column.name), f"{column.name}_index"
            if plain is not None:
                stored[column.name] = cipher.encrypt(column, key, plain)
            if column.name in values and index in self.table.__fields__:
                stored[index] = None if plain is None else cipher.blind_index(column, normalize_for_index(plain))
        return stored


def normalize_for_index(text: str) -> str:
    """What a blind index is made of: two spellings that mean the same are equal."""
    return unicodedata.normalize("NFC", text.strip()).lower()


def row_version(row: Table) -> int:
    """The version of a row, 1 for tables without one."""
    version: int = getattr(row, "version", 1)
    return version
