"""The base class of all repositories.

A repository reads and writes one table on one connection:

    class Notes(Repository[Note], table=Note):
        @batch
        async def of_user(self, ids: Sequence[UUID]) -> Mapping[UUID, list[Note]]: ...

    await Notes(connection).get(note_id)

Reads accept any connection, writes need the connection of a transaction (a unit of work). No method filters by owner:
the database applies the policies (repositories/sql/policy.py). Soft-deleted rows are ignored unless a method says
otherwise. Values of encrypted columns are passed in plain text, stored encrypted, and returned encrypted. Every method
executes one statement unless it says otherwise.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar, cast
from uuid import UUID

from repositories.aggregates.batch import batch
from repositories.core.clock import now
from repositories.core.email_address import normalize_email
from repositories.core.errors import InputError, InputErrors, NotFound, StaleVersion
from repositories.core.ids import new_id
from repositories.engines.database import ReadConnection
from repositories.sql import filters
from repositories.sql.aggregate import aggregates
from repositories.sql.filters import NO_FILTER, Filter, SortKey
from repositories.sql.lists import KeysetQuery, build_count, build_counts, build_groups, build_page
from repositories.sql.page import Page, PageRequest
from repositories.sql.row_statements import RowStatements, update, update_many, update_many_columns
from repositories.sql.statements import records_parameter
from repositories.sql.table import Table

R = TypeVar("R", bound=Table)
K = TypeVar("K")
V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)

ADD_BATCH = 100
"""Rows per statement of ``add_many``."""
CHANGE_BATCH = 50
"""Rows per statement of ``change_many``."""
LOAD_BATCH = 1000
"""Rows per statement of bulk loads."""
MAX_GROUPS = 500
"""Groups of one list."""


class Repository(Generic[R]):
    """Reads and writes the rows of ``table``; see the module's docstring."""

    table: type[R]
    noun: ClassVar[str]
    """The word for a row in error messages."""
    default_order: ClassVar[tuple[SortKey, ...]] = ()
    searched: ClassVar[tuple[str, ...]] = ()
    """The columns in which a search looks for its words."""
    of_tables: ClassVar[dict[type[Table], type["Repository[Any]"]]] = {}
    """The repositories by table."""
    _statements: ClassVar["RowStatements"]

    def __init_subclass__(cls, *, table: type[Table], noun: str = "") -> None:
        """Takes the noun, the default order and the searched columns from the declaration of an aggregate."""
        super().__init_subclass__()
        declared = aggregates.get(table)
        cls.table = cast("type[Any]", table)
        cls.noun = noun or (declared.noun if declared else table.__name__.lower())
        if declared is not None:
            cls.default_order = declared.order
            cls.searched = declared.searched
        cls._statements = RowStatements(table)
        Repository.of_tables[table] = cls

    def __init__(self, connection: ReadConnection) -> None:
        self.connection = connection

    # reads

    async def get(self, key: UUID) -> R:
        """The row, or NotFound."""
        row = await self.connection.row(self._statements.by_id, id=key)
        if row is None:
            raise NotFound.of(self.noun)
        return cast("R", row)

    async def lock(self, key: UUID) -> R:
        """The row, or NotFound. Locks the row until the transaction ends."""
        row = await self.connection.row(self._statements.lock, id=key)
        if row is None:
            raise NotFound.of(self.noun)
        return cast("R", row)

    async def lock_many(self, keys: Sequence[UUID]) -> Mapping[UUID, R]:
        """The existing rows. Locks them until the transaction ends, in the order of their ids to avoid deadlocks."""
        rows = await self.connection.rows(self._statements.lock_many, ids=list(keys))
        return {row.id: cast("R", row) for row in rows}

    async def lock_for_reference(self, keys: Sequence[UUID]) -> Mapping[UUID, R]:
        """The existing rows. Other transactions cannot delete them until this one ends, so it can refer to them."""
        rows = await self.connection.rows(self._statements.lock_for_reference, ids=list(keys))
        return {row.id: cast("R", row) for row in rows}

    @batch
    async def by_id(self, keys: Sequence[UUID]) -> Mapping[UUID, R]:
        """The existing rows by id."""
        rows = await self.connection.rows(self._statements.by_ids, ids=list(keys))
        return {row.id: cast("R", row) for row in rows}

    async def visible_ids(self, keys: Sequence[UUID]) -> set[UUID]:
        """The ids of the rows that the viewer may see, including soft-deleted rows."""
        return set(await self.connection.rows(self._statements.visible_ids, ids=list(keys)))

    async def exists(self, key: UUID) -> bool:
        """Whether the row exists and the viewer may see it."""
        return await self.connection.one(self._statements.exists, id=key)

    async def first(self, where: Filter = NO_FILTER, order: Sequence[SortKey] | None = None) -> R | None:
        """The first row that passes the filter, or None."""
        rows = await self.find(where, order, limit=1)
        return rows[0] if rows else None

    async def find(self, where: Filter = NO_FILTER, order: Sequence[SortKey] | None = None, *, limit: int) -> list[R]:
        """The first ``limit`` rows that pass the filter."""
        values = filters.parameters_of(where)
        statement = build_page(self.table, None, where, self._order(order), None, backwards=False)
        return await self.connection.rows(statement, limit=limit, offset=0, **values)

    async def page(
        self,
        request: PageRequest,
        where: Filter = NO_FILTER,
        order: Sequence[SortKey] | None = None,
        within: Filter = NO_FILTER,
    ) -> Page[R]:
        """One page of the rows that pass the filter, and ``within``, to which cursors are not bound."""
        query = KeysetQuery(self.table, request, where, self._order(order), within)
        return query.page(await self.connection.rows(query.statement(), **query.limits, **query.values))

    async def has_rows_behind(
        self,
        request: PageRequest,
        where: Filter = NO_FILTER,
        order: Sequence[SortKey] | None = None,
        within: Filter = NO_FILTER,
    ) -> bool:
        """Whether rows exist before a page that is read forwards, or after one that is read backwards."""
        query = KeysetQuery(self.table, request, where, self._order(order), within)
        return await self.connection.one(query.behind_statement(), **query.values)

    async def pages_of(
        self,
        keys: Sequence[UUID],
        column: str,
        request: PageRequest,
        where: Filter = NO_FILTER,
        order: Sequence[SortKey] | None = None,
    ) -> Mapping[UUID, Page[R]]:
        """One page per key: of the rows that have the key in ``column``. Reads all pages with one statement."""
        query = KeysetQuery(self.table, request, where, self._order(order))
        rows_by_key: dict[UUID, list[R]] = {key: [] for key in keys}
        values = query.limits | query.values
        for row in await self.connection.rows(query.statement(column), keys=list(keys), **values):
            rows_by_key[getattr(row, column)].append(row)
        return {key: query.page(rows) for key, rows in rows_by_key.items()}

    async def have_rows_behind(
        self,
        keys: Sequence[UUID],
        column: str,
        request: PageRequest,
        where: Filter = NO_FILTER,
        order: Sequence[SortKey] | None = None,
    ) -> Mapping[UUID, bool]:
        """:meth:`has_rows_behind` for each page of :meth:`pages_of`."""
        query = KeysetQuery(self.table, request, where, self._order(order))
        found = await self.connection.rows(query.behind_statement(column), keys=list(keys), **query.values)
        return dict.fromkeys(keys, False) | dict.fromkeys(found, True)

    async def counts_of(self, keys: Sequence[UUID], column: str, where: Filter = NO_FILTER) -> Mapping[UUID, int]:
        """The number of rows per key in ``column``, 0 included."""
        values = filters.parameters_of(where)
        statement = build_counts(self.table, column, where)
        counts = await self.connection.rows(statement, keys=list(keys), **values)
        return dict.fromkeys(keys, 0) | dict(counts)

    async def groups(self, by: str, where: Filter = NO_FILTER) -> list[tuple[Any, int]]:
        """The values of the column ``by`` with their numbers of rows, the most frequent first, at most 500 values."""
        values = filters.parameters_of(where)
        return await self.connection.rows(build_groups(self.table, by, None, where), limit=MAX_GROUPS, **values)

    async def groups_of(
        self, keys: Sequence[UUID], column: str, by: str, where: Filter = NO_FILTER
    ) -> Mapping[UUID, list[tuple[Any, int]]]:
        """:meth:`groups` of the rows of each key in ``column``, with one statement."""
        values = filters.parameters_of(where)
        found: dict[UUID, list[tuple[Any, int]]] = {key: [] for key in keys}
        statement = build_groups(self.table, by, column, where)
        for key, value, count in await self.connection.rows(statement, keys=list(keys), **values):
            if len(found[key]) < MAX_GROUPS:
                found[key].append((value, count))
        return found

    async def count(self, where: Filter = NO_FILTER) -> int:
        """The number of rows that pass the filter."""
        values = filters.parameters_of(where)
        statement = build_count(self.table, where)
        return await self.connection.one(statement, **values)

    def _order(self, order: Sequence[SortKey] | None) -> tuple[SortKey, ...]:
        return tuple(order) if order else self.default_order

    # writes

    async def add(self, **values: Any) -> R:
        """Inserts a row. ``id``, ``created_at``, ``updated_at`` and columns with a default may be omitted."""
        row = await self.connection.row(self._statements.insert, **self._with_defaults(values, now()))
        return cast("R", row)

    async def add_many(self, rows: Sequence[Mapping[str, Any]]) -> list[R]:
        """Inserts rows and returns them in the same order. Executes one statement per 100 rows."""
        at = now()
        complete = [self._with_defaults(row, at) for row in rows]
        added: dict[UUID, R] = {}
        columns = list(self.table.__table__.columns)
        for start in range(0, len(complete), ADD_BATCH):
            parameter = records_parameter(self.connection.engine, columns, complete[start : start + ADD_BATCH])
            for row in await self.connection.rows(self._statements.insert_many, rows=parameter):
                added[row.id] = cast("R", row)
        return [added[row["id"]] for row in complete]

    async def add_missing(self, rows: Sequence[Mapping[str, Any]]) -> set[UUID]:
        """Inserts the rows that violate no unique constraint, for imports and bulk loads. Returns their ids.

        Executes one statement per 1000 rows. It is fast because the database does not return the rows.
        """
        at = now()
        columns = list(self.table.__table__.columns)
        added: set[UUID] = set()
        for start in range(0, len(rows), LOAD_BATCH):
            complete = [self._with_defaults(row, at) for row in rows[start : start + LOAD_BATCH]]
            parameter = records_parameter(self.connection.engine, columns, complete)
            added.update(await self.connection.rows(self._statements.insert_missing, rows=parameter))
        return added

    async def change(self, row: R, *, expected: int | None = None, **values: Any) -> R:
        """Changes values of a row, increments its version and returns the changed row.

        ``expected`` is the version that the caller read, by default that of ``row``. If the row has another version,
        the error is StaleVersion with the current row, and if it does not exist, NotFound (a second statement).
        """
        values = self._encrypt(row.id, values)
        changed = await self.connection.row(
            update(self.table, tuple(sorted(values))),
            id=row.id,
            version=row_version(row) if expected is None else expected,
            **{f"new_{name}": value for name, value in (values | {"updated_at": now()}).items()},
        )
        if changed is None:
            raise await self._explain_failed_change(row.id)
        return cast("R", changed)

    async def change_many(self, changes: Sequence[tuple[R, Mapping[str, Any]]]) -> list[R]:
        """Changes many rows and returns them in the same order. Executes one statement per 50 rows.

        If another transaction has changed or deleted some of the rows, the InputErrors name each of them by its index,
        and the caller's transaction must be rolled back.
        """
        changes = [(row, self._encrypt(row.id, values)) for row, values in changes]
        names = tuple(sorted({name for _, values in changes for name in values}))
        columns = [self.table.__table__.c[name] for name in update_many_columns(self.table, names)]
        copied = tuple(column.name for column in columns if column.name != "updated_at")
        at = now()
        changed: dict[UUID, R] = {}
        for start in range(0, len(changes), CHANGE_BATCH):
            rows = [
                {name: values.get(name, getattr(row, name)) for name in copied} | {"updated_at": at}
                for row, values in changes[start : start + CHANGE_BATCH]
            ]
            parameter = records_parameter(self.connection.engine, columns, rows)
            for row in await self.connection.rows(update_many(self.table, names), rows=parameter):
                changed[row.id] = cast("R", row)
        failed = [(index, row) for index, (row, _) in enumerate(changes) if row.id not in changed]
        if failed:
            raise InputErrors([(await self._explain_failed_change(row.id)).prefix_path(index) for index, row in failed])
        return [changed[row.id] for row, _ in changes]

    async def remove(self, row: R, *, at: dt.datetime | None = None, **values: Any) -> R | None:
        """Soft-deletes the row and returns it if the table has ``deleted_at``, else deletes it and returns None.

        ``at`` is the time of the deletion, by default now. ``values`` of a soft-deleted row are changed with it.
        """
        if hasattr(self.table, "deleted_at"):
            return await self.change(row, deleted_at=at or now(), **values)
        await self.purge(row.id)
        return None

    async def remove_many(self, rows: Sequence[R], *, at: dt.datetime, **values: Any) -> list[R]:
        """:meth:`remove` for several rows. Returns them, with their ``deleted_at`` if the table has it."""
        if hasattr(self.table, "deleted_at"):
            return await self.change_many([(row, {"deleted_at": at, **values}) for row in rows])
        deleted = set(await self.connection.rows(self._statements.purge_many, ids=[row.id for row in rows]))
        if len(deleted) < len(rows):
            raise NotFound.of(self.noun)
        return list(rows)

    async def restore(self, row: R) -> R:
        return await self.change(row, deleted_at=None)

    async def restore_many(self, rows: Sequence[R]) -> list[R]:
        """:meth:`restore` for several rows."""
        return await self.change_many([(row, {"deleted_at": None}) for row in rows])

    async def lock_deleted(self, key: UUID) -> R:
        """The soft-deleted row, or NotFound. Locks the row until the transaction ends."""
        row = await self.connection.row(self._statements.lock_deleted, id=key)
        if row is None:
            raise NotFound.of(self.noun)
        return cast("R", row)

    async def lock_many_deleted(self, keys: Sequence[UUID]) -> Mapping[UUID, R]:
        """The soft-deleted rows among these. Locks them until the transaction ends, in the order of their ids."""
        rows = await self.connection.rows(self._statements.lock_many_deleted, ids=list(keys))
        return {row.id: cast("R", row) for row in rows}

    async def purge(self, key: UUID) -> None:
        """Deletes the row permanently, whether it is soft-deleted or not. Raises NotFound if it does not exist."""
        if await self.connection.row(self._statements.purge, id=key) is None:
            raise NotFound.of(self.noun)

    async def _explain_failed_change(self, key: UUID) -> InputError:
        """The reason why an UPDATE matched no row."""
        current = await self.connection.row(self._statements.by_id, id=key)
        return NotFound.of(self.noun) if current is None else StaleVersion(current)

    def _with_defaults(self, values: Mapping[str, Any], at: dt.datetime) -> dict[str, Any]:
        complete = {**self._statements.defaults, "id": None, "created_at": at, "updated_at": at, **values}
        if complete["id"] is None:
            complete["id"] = new_id()
        return self._encrypt(complete["id"], complete)

    def _encrypt(self, key: UUID, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values as they are stored: encrypted columns are encrypted, and their blind indexes are added."""
        stored, cipher = dict(values), self.connection.cipher
        for column in self._statements.encrypted:
            plain, index = values.get(column.name), f"{column.name}_index"
            if plain is not None:
                stored[column.name] = cipher.encrypt(column, key, plain)
            if column.name in values and index in self.table.__fields__:
                stored[index] = None if plain is None else cipher.blind_index(column, normalize_email(plain))
        return stored


def row_version(row: Table) -> int:
    """The version of a row; 1 for tables without versions."""
    version: int = getattr(row, "version", 1)
    return version
