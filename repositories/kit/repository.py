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
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, Generic, Protocol, TypeVar, cast, overload
from uuid import UUID

import sqlalchemy as sa
import uuid_utils
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from repositories.kit import filters
from repositories.kit.database import Read
from repositories.kit.errors import NotFound, Refusal, Refusals, StaleVersion
from repositories.kit.filters import EVERYTHING, Filter, Order
from repositories.kit.page import Ordering, Page, PageRequest
from repositories.kit.statements import Engine, MadeBy, Statement, any_of, records, records_parameter, scalar
from repositories.kit.table import Table

R = TypeVar("R", bound=Table)
K = TypeVar("K")
V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)

ADD_BATCH = 100
CHANGE_BATCH = 50
LOAD_BATCH = 1000


def new_id() -> UUID:
    """A UUIDv7: unique, and sorting by the time it was made."""
    return UUID(bytes=uuid_utils.uuid7().bytes)


def now() -> dt.datetime:
    """The present moment in UTC."""
    return dt.datetime.now(dt.UTC)


class Batch(Generic[K, V_co]):
    """A method that answers for many keys at once, bound to the repository class: what an edge needs to know."""

    def __init__(self, repository: Callable[[Read], Any], method: Callable[..., Awaitable[Mapping[K, V_co]]]) -> None:
        self.repository = repository
        self.method = method

    async def __call__(self, connection: Read, keys: Sequence[K], **arguments: Any) -> Mapping[K, V_co]:
        """The values by key; a key without a value is left out."""
        return await self.method(self.repository(connection), keys, **arguments)


class _BatchMethod(Protocol[K, V_co]):
    async def __call__(self, keys: Sequence[K], /, **arguments: Any) -> Mapping[K, V_co]: ...


class batch(Generic[K, V]):  # noqa: N801 (used as a decorator)
    """Marks a repository method as a batch; on the class it is a :class:`Batch`, on an instance the method."""

    def __init__(self, method: Callable[..., Awaitable[Mapping[K, V]]]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, instance: None, owner: Any) -> Batch[K, V]: ...
    @overload
    def __get__(self, instance: object, owner: Any) -> _BatchMethod[K, V]: ...
    def __get__(self, instance: object | None, owner: Any) -> Batch[K, V] | _BatchMethod[K, V]:
        if instance is None:
            return Batch(owner, self._method)
        return cast("_BatchMethod[K, V]", self._method.__get__(instance, owner))


class Repository(Generic[R]):
    """Base of all repositories; see the module."""

    table: type[R]
    what: ClassVar[str]
    """What a row is called in messages."""
    default_order: ClassVar[tuple[Order, ...]] = ()
    searched: ClassVar[tuple[str, ...]] = ()
    """The columns that a search looks into."""
    _statements: ClassVar["_Statements"]

    def __init_subclass__(cls, *, table: type[Table], what: str = "") -> None:
        super().__init_subclass__()
        cls.table = cast("type[Any]", table)
        cls.what = what or table.__name__.lower()
        cls._statements = _Statements(table)

    def __init__(self, connection: Read) -> None:
        self.connection = connection

    # reads

    async def get(self, key: UUID) -> R:
        """The row, or NotFound."""
        found = await self.connection.row(self._statements.by_id, id=key)
        if found is None:
            raise NotFound.of(self.what)
        return cast("R", found)

    async def locked(self, key: UUID) -> R:
        """The row, kept from others until the transaction ends, or NotFound."""
        found = await self.connection.row(self._statements.locked, id=key)
        if found is None:
            raise NotFound.of(self.what)
        return cast("R", found)

    async def locked_many(self, keys: Sequence[UUID]) -> Mapping[UUID, R]:
        """The rows that there are, kept from others until the transaction ends; locked in the order of their ids."""
        found = await self.connection.rows(self._statements.locked_many, ids=list(keys))
        return {row.id: cast("R", row) for row in found}

    @batch
    async def by_id(self, keys: Sequence[UUID]) -> Mapping[UUID, R]:
        """The rows of many ids."""
        found = await self.connection.rows(self._statements.by_ids, ids=list(keys))
        return {row.id: cast("R", row) for row in found}

    async def exists(self, key: UUID) -> bool:
        """Whether there is such a row for the viewer."""
        return await self.connection.one(self._statements.exists, id=key)

    async def first(self, given: Filter = EVERYTHING, order: Sequence[Order] | None = None) -> R | None:
        """The first row of a list, or None."""
        found = await self.find(given, order, limit=1)
        return found[0] if found else None

    async def find(self, given: Filter = EVERYTHING, order: Sequence[Order] | None = None, *, limit: int) -> list[R]:
        """The first ``limit`` rows of a list."""
        values = filters.parameters(given)
        shaped = _ByShape(filters.shape(given), given)
        statement = _build_page(self.table, None, shaped, self._order(order), None, backwards=False)
        return await self.connection.rows(statement, limit=limit, offset=0, **values)

    async def page(
        self, request: PageRequest, given: Filter = EVERYTHING, order: Sequence[Order] | None = None
    ) -> Page[R]:
        """One page of a list; reads one row more than the page has, to know whether there are others."""
        walk = _Walk(self.table, request, given, self._order(order))
        return walk.page(await self.connection.rows(walk.statement(), **walk.values))

    async def pages_of(
        self,
        keys: Sequence[UUID],
        column: str,
        request: PageRequest,
        given: Filter = EVERYTHING,
        order: Sequence[Order] | None = None,
    ) -> Mapping[UUID, Page[R]]:
        """For each key, one page of the rows whose ``column`` is that key; all pages in one statement."""
        walk = _Walk(self.table, request, given, self._order(order))
        found: dict[UUID, list[R]] = {key: [] for key in keys}
        for row in await self.connection.rows(walk.statement(column), keys=list(keys), **walk.values):
            found[getattr(row, column)].append(row)
        return {key: walk.page(rows) for key, rows in found.items()}

    async def counts_of(self, keys: Sequence[UUID], column: str, given: Filter = EVERYTHING) -> Mapping[UUID, int]:
        """For each key, how many rows have it in ``column``."""
        values = filters.parameters(given)
        statement = _build_counts(self.table, column, _ByShape(filters.shape(given), given))
        counted = await self.connection.rows(statement, keys=list(keys), **values)
        return dict.fromkeys(keys, 0) | dict(counted)

    async def count(self, given: Filter = EVERYTHING) -> int:
        """How many rows a list has."""
        values = filters.parameters(given)
        statement = _build_count(self.table, _ByShape(filters.shape(given), given))
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
        values = self._sealed(row.id, values)
        changed = await self.connection.row(
            _update(self.table, tuple(sorted(values))),
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
        changes = [(row, self._sealed(row.id, values)) for row, values in changes]
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
            for row in await self.connection.rows(_update_many(self.table, names), rows=parameter):
                done[row.id] = cast("R", row)
        missed = [(index, row) for index, (row, _) in enumerate(changes) if row.id not in done]
        if missed:
            raise Refusals([(await self._missed(row.id)).at(index) for index, row in missed])
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

    async def deleted(self, key: UUID) -> R:
        """A softly deleted row, kept from others until the transaction ends, or NotFound."""
        found = await self.connection.row(self._statements.deleted, id=key)
        if found is None:
            raise NotFound.of(self.what)
        return cast("R", found)

    async def purge(self, key: UUID) -> None:
        """Deletes the row for good, softly deleted or not, or NotFound."""
        if await self.connection.row(self._statements.purge, id=key) is None:
            raise NotFound.of(self.what)

    async def _missed(self, key: UUID) -> Refusal:
        """Why a change found no row."""
        current = await self.connection.row(self._statements.by_id, id=key)
        return NotFound.of(self.what) if current is None else StaleVersion(current)

    def _complete(self, values: Mapping[str, Any], at: dt.datetime) -> dict[str, Any]:
        complete: dict[str, Any] = {made.name: made.info.get("default") for made in self.table.__table__.columns}
        complete |= {"id": None, "created_at": at, "updated_at": at}
        complete |= values
        if complete["id"] is None:
            complete["id"] = new_id()
        return self._sealed(complete["id"], complete)

    def _sealed(self, key: UUID, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values as they are stored: encrypted where the column is, with the blind index beside it."""
        stored, cipher = dict(values), self.connection.cipher
        for column in self._statements.sealed:
            plain, index = values.get(column.name), f"{column.name}_index"
            if plain is not None:
                stored[column.name] = cipher.seal(column, key, plain)
            if column.name in values and index in self.table.__fields__:
                stored[index] = None if plain is None else cipher.blind_index(column, normalised(plain))
        return stored


def normalised(text: str) -> str:
    """What a blind index is made of: two spellings that mean the same are equal."""
    return unicodedata.normalize("NFC", text.strip()).lower()


def row_version(row: Table) -> int:
    """The version of a row, 1 for tables without one."""
    version: int = getattr(row, "version", 1)
    return version


class _Statements:
    """The statements that depend on the table alone."""

    def __init__(self, owner: type[Table]) -> None:
        table = owner.__table__
        self.sealed = [made for made in table.columns if made.info["sealed"]]
        alive = _alive(table)
        key = table.c.id == sa.bindparam("id", type_=table.c.id.type)
        rows = sa.select(*table.c)
        self.by_id = Statement(rows.where(key, alive), owner)
        self.by_ids = Statement(rows.where(any_of(table.c.id, "ids"), alive), owner)
        self.locked = Statement(rows.where(key, alive).with_for_update(), owner)
        self.locked_many = Statement(
            rows.where(any_of(table.c.id, "ids"), alive).order_by(table.c.id).with_for_update(), owner
        )
        self.exists = Statement(sa.select(sa.exists().where(key, alive)), scalar(bool))
        self.insert = Statement(
            sa.insert(table)
            .values({made.name: sa.bindparam(made.name, type_=made.type) for made in _given(table)})
            .returning(*table.c),
            owner,
        )
        self.insert_many = Statement(lambda engine: _insert_many(table, engine), owner)
        self.insert_missing = Statement(lambda engine: _insert_missing(table, engine), scalar(UUID))
        self.purge = Statement(sa.delete(table).where(key).returning(table.c.id), scalar(UUID))
        if "deleted_at" in table.c:
            self.deleted = Statement(rows.where(key, table.c.deleted_at.is_not(None)).with_for_update(), owner)


def _given(table: sa.Table) -> list[sa.Column[Any]]:
    """The columns the application gives a value for; an identity column is the database's."""
    return [made for made in table.columns if made.identity is None]


def _alive(table: sa.Table) -> sa.ColumnElement[bool]:
    return table.c.deleted_at.is_(None) if "deleted_at" in table.c else sa.true()


def _insert_many(table: sa.Table, engine: Engine) -> sa.Executable:
    columns = _given(table)
    source = records(engine, "rows", columns)
    return (
        sa.insert(table)
        .from_select([made.name for made in columns], sa.select(*(source.c[made.name] for made in columns)))
        .returning(*table.c)
    )


def _insert_missing(table: sa.Table, engine: Engine) -> sa.Executable:
    columns = _given(table)
    source = records(engine, "rows", columns)
    insert = postgresql_insert(table) if engine.is_postgresql else sqlite_insert(table)
    return (
        insert.from_select(
            [made.name for made in columns], sa.select(*(source.c[made.name] for made in columns)).where(sa.true())
        )
        .on_conflict_do_nothing()
        .returning(table.c.id)
    )


@lru_cache(maxsize=1024)
def _update(owner: type[Table], names: tuple[str, ...]) -> Statement[Any]:
    table = owner.__table__
    values: dict[str, Any] = {
        name: sa.bindparam(f"new_{name}", type_=table.c[name].type) for name in (*names, "updated_at")
    }
    statement = sa.update(table).where(table.c.id == sa.bindparam("id", type_=table.c.id.type))
    if "version" in table.c:
        statement = statement.where(table.c.version == sa.bindparam("version", type_=sa.Integer()))
        values["version"] = table.c.version + 1
    if "deleted_at" in table.c and "deleted_at" not in names:
        statement = statement.where(table.c.deleted_at.is_(None))
    return Statement(statement.values(values).returning(*table.c), owner)


@lru_cache(maxsize=1024)
def _update_many(owner: type[Table], names: tuple[str, ...]) -> Statement[Any]:
    table = owner.__table__

    def build(engine: Engine) -> sa.Executable:
        source = records(engine, "rows", [table.c[name] for name in ("id", "version", *names, "updated_at")])
        values: dict[str, Any] = {name: source.c[name] for name in (*names, "updated_at")}
        values["version"] = table.c.version + 1
        return (
            sa.update(table)
            .where(table.c.id == source.c.id, table.c.version == source.c.version, _alive(table))
            .values(values)
            .returning(*table.c)
        )

    return Statement(build, owner)


class _ByShape:
    """A cache key that carries a value: equal shapes are one entry, the value of the first is used to build."""

    __slots__ = ("key", "value")

    def __init__(self, key: Any, value: Any) -> None:
        self.key = key
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByShape) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


class _Walk(Generic[R]):
    """A request for a page as a statement, its values, and the page made of the rows found.

    One row more than the page has is read, to know whether there are others.
    """

    def __init__(self, table: type[R], request: PageRequest, given: Filter, order: tuple[Order, ...]) -> None:
        self.table = table
        self.request = request
        self.given = given
        self.ordering = Ordering(table.__table__, order)
        self.nulls: tuple[bool, ...] | None = None
        self.values = filters.parameters(given) | {"limit": request.size + 1, "offset": request.offset}
        cursor = request.before if request.backwards else request.after
        if cursor is not None:
            place = self.ordering.place(cursor, given, "before" if request.backwards else "after")
            self.nulls = tuple(value is None for value in place)
            self.values |= {f"k{index}": value for index, value in enumerate(place)}

    def statement(self, partition: str | None = None) -> Statement[R]:
        """One page or, with the name of a column, one for each of its values in ``keys``."""
        shaped = _ByShape(filters.shape(self.given), self.given)
        return _build_page(
            self.table, partition, shaped, self.ordering.keys, self.nulls, backwards=self.request.backwards
        )

    def page(self, found: list[R]) -> Page[R]:
        """The page that the rows found make."""
        request = self.request
        more, rows = len(found) > request.size, found[: request.size]
        beyond = self.nulls is not None or request.offset > 0
        if request.backwards:
            rows.reverse()
            more, beyond = beyond, more
        return Page(rows, more, beyond, self.ordering.cursor(self.given))


@lru_cache(maxsize=1024)
def _build_page(  # noqa: PLR0913 (the parts of one query)
    owner: type[Table],
    partition: str | None,
    given: _ByShape,
    order: tuple[Order, ...],
    nulls: tuple[bool, ...] | None,
    *,
    backwards: bool,
) -> Statement[Any]:
    table = owner.__table__
    ordering = Ordering(table, order)
    conditions = [_alive(table), filters.condition(table, given.value)]
    if nulls is not None:
        conditions.append(ordering.beyond(nulls, backwards=backwards))
    sorting = filters.order_by(table, ordering.keys, backwards=backwards)
    limit, offset = sa.bindparam("limit", type_=sa.Integer()), sa.bindparam("offset", type_=sa.Integer())
    if partition is None:
        return Statement(sa.select(*table.c).where(*conditions).order_by(*sorting).limit(limit).offset(offset), owner)
    place = sa.func.row_number().over(partition_by=table.c[partition], order_by=sorting).label("place")
    ranked = sa.select(*table.c, place).where(any_of(table.c[partition], "keys"), *conditions).subquery("ranked")
    rows = sa.select(*(ranked.c[made.name] for made in table.columns))
    return Statement(
        rows.where(ranked.c.place > offset, ranked.c.place <= offset + limit).order_by(ranked.c.place), owner
    )


@lru_cache(maxsize=1024)
def _build_count(owner: type[Any], given: _ByShape) -> Statement[int]:
    table = owner.__table__
    statement = sa.select(sa.func.count()).select_from(table)
    return Statement(statement.where(_alive(table), filters.condition(table, given.value)), scalar(int))


@lru_cache(maxsize=1024)
def _build_counts(owner: type[Any], column: str, given: _ByShape) -> Statement[tuple[UUID, int]]:
    table = owner.__table__
    key = table.c[column]
    statement = sa.select(key, sa.func.count()).where(
        any_of(key, "keys"), _alive(table), filters.condition(table, given.value)
    )
    return Statement(statement.group_by(key), MadeBy(tuple))
