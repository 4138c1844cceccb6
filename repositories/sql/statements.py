"""Statements that are compiled once, so that a request only binds their parameters.

A :class:`Statement` wraps SQLAlchemy Core. It is built at import, or once per shape of a filter
(repositories/sql/filters.py), and compiled once per engine and set of roles into a text, the order of its parameters
and a function that makes rows. The text never depends on the number of keys: a list is one parameter
(:func:`in_list`), and many rows are one parameter (:func:`records`).
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from enum import Enum
from functools import cache, partial
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from repositories.core.byte_budget import BoundedCache, bounded_cache
from repositories.core.errors import UnreadableValue
from repositories.core.viewer import Viewer
from repositories.sql import types
from repositories.sql.dialects import PostgresDialect, SqliteDialect, apply_policy
from repositories.sql.policy import Roles

R = TypeVar("R")
RowType_co = TypeVar("RowType_co", covariant=True)
Values = Sequence[Any]


class Engine(Enum):
    """The database system; it decides which SQL is used."""

    POSTGRESQL = "postgresql"
    SQLITE = "sqlite"

    @property
    def is_postgresql(self) -> bool:
        return self is Engine.POSTGRESQL


class Scope:
    """The target of a compilation: an engine, and viewers with the same roles. ``roles`` is None for the service."""

    __slots__ = ("dialect", "engine", "roles")

    def __init__(self, engine: Engine, roles: Roles | None) -> None:
        self.engine = engine
        self.roles = roles
        self.dialect: Dialect = PostgresDialect(roles) if engine.is_postgresql else SqliteDialect(roles)


@cache
def _scope(engine: Engine, roles: Roles | None) -> Scope:
    return Scope(engine, roles)


def scope_of(engine: Engine, viewer: Viewer) -> Scope:
    """The scope of an engine and the viewer's roles. Equal roles give the same object."""
    return _scope(engine, None if viewer.is_service else viewer.roles)


class RowType(Protocol[RowType_co]):
    """Makes rows from tuples of values: a Table, a NamedTuple, a :class:`RowFactory` or :func:`scalar`."""

    def _make(self, values: Any, /) -> RowType_co: ...


class RowFactory(Generic[R]):
    """A row type that calls a function with the values of each row."""

    def __init__(self, make: Callable[[Sequence[Any]], R]) -> None:
        self._make = make


_FIRST: RowFactory[Any] = RowFactory(lambda values: values[0])


def scalar(kind: type[R]) -> RowType[R]:
    """The row type of statements with one column: a row is the value of that column."""
    del kind
    return _FIRST


class Compiled(NamedTuple):
    """A statement compiled for one scope. ``bind`` makes the driver's arguments, ``make`` turns records into rows.

    If ``checks_policy`` is true (SQLite only), the last value of each record tells whether the policy allows the row.
    """

    text: str
    bind: Callable[[Mapping[str, Any]], list[Any]]
    make: Callable[[Sequence[Values]], list[Any]]
    checks_policy: bool


class Statement(Generic[R]):
    """SQL whose rows are of type R. ``sql`` is a function of the engine where the engines need different SQL."""

    __slots__ = ("_build", "_compiled", "_row", "grow")

    def __init__(self, sql: sa.Executable | Callable[[Engine], sa.Executable], row: RowType[R]) -> None:
        self._build = sql
        self._row = row
        self._compiled: dict[Scope, Compiled] = {}
        self.grow: Callable[[int], None] | None = None
        """Adds to the size of a cached statement, because its size is known only when it is compiled."""

    def compile_for(self, scope: Scope) -> Compiled:
        """The statement for ``scope``. It is compiled at the first call."""
        compiled = self._compiled.get(scope)
        if compiled is None:
            compiled = self._compiled[scope] = self._compile(scope)
            if self.grow is not None:
                self.grow(_size_of(compiled.text, is_first=len(self._compiled) == 1))
        return compiled

    def _compile(self, scope: Scope) -> Compiled:
        sql = self._build if isinstance(self._build, sa.Executable) else self._build(scope.engine)
        checks_policy = False
        if scope.engine is Engine.SQLITE and scope.roles is not None:
            sql, checks_policy = apply_policy(sql, scope.roles)
        compiled = cast("SQLCompiler", sql.compile(dialect=scope.dialect))  # type: ignore[attr-defined]
        columns = [entry.type for entry in compiled._result_columns]  # noqa: SLF001 (no public attribute has the types)
        return Compiled(
            str(compiled),
            _compile_binder(compiled, scope.dialect),
            _compile_row_maker(self._row, columns[: -1 if checks_policy else None], scope.dialect),
            checks_policy,
        )


_STATEMENTS: BoundedCache[Hashable, Statement[Any]] = BoundedCache()
_STATEMENT_SIZE = 1000


def cached_statement(key: Hashable, build: Callable[[], Statement[R]]) -> Statement[R]:
    """The statement with this key, which is built if it is not cached. Clients can choose keys."""
    statement = _STATEMENTS.get(key)
    if statement is None:
        statement = _STATEMENTS.put(key, build(), _STATEMENT_SIZE)
        statement.grow = _STATEMENTS.growth_of(key)
    return statement


def _size_of(text: str, *, is_first: bool) -> int:
    """The estimated bytes of a compiled statement and, for the first one, of SQLAlchemy's elements.

    The factors are measured. A subquery with a window function has its own copy of the table's columns.
    """
    parameters = text.count("$") + text.count("?")
    compiled = 4000 + 4 * len(text) + 500 * parameters
    elements = 2000 + 5 * len(text) + 800 * parameters + 60_000 * (" OVER (" in text)
    return compiled + elements if is_first else compiled


def _compile_binder(compiled: SQLCompiler, dialect: Dialect) -> Callable[[Mapping[str, Any]], list[Any]]:
    """A function that puts named values into the order of the text. Constants in the SQL are converted once, here."""
    order: list[tuple[str, Callable[[Any], Any] | None]] = []
    constants: dict[str, Any] = {}
    for name in compiled.positiontup or ():
        parameter = compiled.binds[name]
        convert = parameter.type.dialect_impl(dialect).bind_processor(dialect)
        if not parameter.required:
            constants[name] = convert(parameter.value) if convert else parameter.value
        order.append((name, convert))

    def bind(values: Mapping[str, Any]) -> list[Any]:
        bound = []
        for name, convert in order:
            if name in constants:
                bound.append(constants[name])
            else:
                value = values[name]
                bound.append(convert(value) if convert is not None else value)
        return bound

    return bind


def _compile_row_maker(
    row: RowType[R], columns: Sequence[sa.types.TypeEngine[Any]], dialect: Dialect
) -> Callable[[Sequence[Values]], list[R]]:
    """A function from records to rows. It converts only the values that the driver does not convert.

    If a value cannot be converted, the rows are made again one by one, with an UnreadableValue in its place.
    """
    make: Callable[[Any], Any] = (
        partial(tuple.__new__, row) if isinstance(row, type) and issubclass(row, tuple) else row._make
    )
    converters = [_converter(column_type, dialect) for column_type in columns]
    names = {f"c{index}": convert for index, convert in enumerate(converters) if convert}
    values = ", ".join(
        f"c{index}(r[{index}])" if convert else f"r[{index}]" for index, convert in enumerate(converters)
    )
    text = f"lambda records: [make({f'({values},)' if names else 'r'}) for r in records]"
    make_rows: Callable[[Sequence[Values]], list[R]] = eval(text, {"make": make, **names})  # noqa: S307 (no input in it)
    if not names:
        return make_rows
    tolerant = [_tolerant(convert) for convert in converters]

    def make_readable_rows(records: Sequence[Values]) -> list[R]:
        try:
            return make_rows(records)
        except Exception:  # noqa: BLE001 (if it is an error of ``make``, it is raised again)
            return [
                make(tuple(convert(value) for convert, value in zip(tolerant, record, strict=False)))
                for record in records
            ]

    return make_readable_rows


def _tolerant(convert: Callable[[Any], Any] | None) -> Callable[[Any], Any]:
    """The converter, but with an UnreadableValue as the result where it fails."""

    def convert_or_mark(value: Any) -> Any:
        try:
            return value if convert is None else convert(value)
        except Exception as error:  # noqa: BLE001 (whatever another client has stored)
            return UnreadableValue(f"A stored value cannot be read ({type(error).__name__}).")

    return convert_or_mark


def _converter(column_type: sa.types.TypeEngine[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    if isinstance(column_type, types.Converted):
        return column_type.result_processor(dialect, None)
    if isinstance(column_type, sa.Boolean) and dialect.name == "sqlite":
        return lambda value: None if value is None else bool(value)
    return None


class _AnyOf(sa.ColumnElement[bool]):
    inherit_cache = False
    type = sa.Boolean()

    def __init__(self, item: sa.ColumnElement[Any], values: sa.BindParameter[Any]) -> None:
        self.item = item
        self.values = values


@compiles(_AnyOf, "postgresql")
def _(element: _AnyOf, compiler: SQLCompiler, **kw: Any) -> str:
    return f"{compiler.process(element.item, **kw)} = ANY ({compiler.process(element.values, **kw)})"


@compiles(_AnyOf, "sqlite")
def _(element: _AnyOf, compiler: SQLCompiler, **kw: Any) -> str:
    values = compiler.process(element.values, **kw)
    return f"{compiler.process(element.item, **kw)} IN (SELECT value FROM json_each({values}))"  # noqa: S608 (no values in it)


def in_list(item: sa.ColumnElement[Any], parameter: str) -> sa.ColumnElement[bool]:
    """The condition that ``item`` is in a list that is one parameter: ``= ANY($1)``, or ``json_each`` on SQLite."""
    return _AnyOf(item, sa.bindparam(parameter, type_=types.ListOf(item.type)))


class _Folded(sa.ColumnElement[str]):
    inherit_cache = False
    type = sa.Text()

    def __init__(self, text: sa.ColumnElement[Any]) -> None:
        self.text = text


@compiles(_Folded, "postgresql")
def _(element: _Folded, compiler: SQLCompiler, **kw: Any) -> str:
    return f'public.fold({compiler.process(element.text, **kw)}) COLLATE "C"'


@compiles(_Folded, "sqlite")
def _(element: _Folded, compiler: SQLCompiler, **kw: Any) -> str:
    return f"fold({compiler.process(element.text, **kw)})"


def fold(text: str | None) -> str | None:
    """Lower case as PostgreSQL's function ``public.fold`` computes it (migration 0032).

    Maps each character to exactly one, independent of its neighbours.
    """
    return text and (text.lower() if text.isascii() else "".join([character.lower()[0] for character in text]))


def folded(text: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    """The SQL of :func:`fold`. It is compared by code point, so that both engines find and sort the same way."""
    return _Folded(text)


def records(engine: Engine, parameter: str, columns: Sequence[sa.Column[Any]]) -> sa.FromClause:
    """Many rows as one JSON parameter (see :func:`records_parameter`), as a FROM element with the name ``r``."""
    if engine.is_postgresql:
        source = sa.func.jsonb_to_recordset(sa.bindparam(parameter, type_=types.Json()))
        recordset = source.table_valued(*(sa.column(column.name, column.type) for column in columns), name="r")
        return recordset.render_derived(name="r", with_types=True)
    each = sa.func.json_each(sa.bindparam(parameter, type_=types.Json())).table_valued("key", "value", name="each")
    values = [
        sa.func.json_extract(each.c.value, f"$.{column.name}", type_=column.type).label(column.name)
        for column in columns
    ]
    return sa.select(*values).order_by(each.c.key).subquery("r")


def records_parameter(
    engine: Engine, columns: Sequence[sa.Column[Any]], rows: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The value of the parameter of :func:`records`: each row's values in the form that the engine stores."""
    converters = _parameter_converters(engine, tuple(columns))
    return [
        {name: convert(row[name]) if convert else row[name] for name, convert in converters.items()} for row in rows
    ]


@bounded_cache(lambda converters: 200 + 300 * len(converters))
def _parameter_converters(
    engine: Engine, columns: tuple[sa.Column[Any], ...]
) -> Mapping[str, Callable[[Any], Any] | None]:
    dialect = _scope(engine, None).dialect
    converters = {}
    for column in columns:
        is_converted = isinstance(column.type, types.Converted) and not isinstance(column.type, types.Json)
        converts = is_converted and (not engine.is_postgresql or isinstance(column.type, types.Email))
        converters[str(column.name)] = column.type.bind_processor(dialect) if converts else None
    return converters
