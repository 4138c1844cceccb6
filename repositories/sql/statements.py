"""Statements that are built once and only bound per request.

A :class:`Statement` wraps SQLAlchemy Core: it is written at import (or once per shape, see kit/filters.py), compiled
once for each engine, and from then on is a text, an order of parameters and a function that makes rows. Texts never
depend on how many keys there are: a list is one parameter (:func:`in_list`), many rows are one parameter
(:func:`records`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from functools import cache, lru_cache, partial
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from repositories.core.viewer import Viewer
from repositories.sql import types
from repositories.sql.dialects import PostgresDialect, SqliteDialect, apply_policy
from repositories.sql.policy import Roles

R = TypeVar("R")
RowType_co = TypeVar("RowType_co", covariant=True)
Values = Sequence[Any]


class Engine(Enum):
    """Which SQL is spoken."""

    POSTGRESQL = "postgresql"
    SQLITE = "sqlite"

    @property
    def is_postgresql(self) -> bool:
        """Whether PostgreSQL's own constructs may be used."""
        return self is Engine.POSTGRESQL


class Scope:
    """What a statement is compiled for: an engine, and viewers with the same roles (None for the service)."""

    __slots__ = ("dialect", "engine", "roles")

    def __init__(self, engine: Engine, roles: Roles | None) -> None:
        self.engine = engine
        self.roles = roles
        self.dialect: Dialect = PostgresDialect(roles) if engine.is_postgresql else SqliteDialect(roles)


@cache
def _scope(engine: Engine, roles: Roles | None) -> Scope:
    return Scope(engine, roles)


def scope_of(engine: Engine, viewer: Viewer) -> Scope:
    """The one scope of an engine and a viewer's roles."""
    return _scope(engine, None if viewer.is_service else viewer.roles)


class RowType(Protocol[RowType_co]):
    """What makes a row of a tuple of values: a Table, a NamedTuple, :class:`RowFactory` or :func:`scalar`."""

    def _make(self, values: Any, /) -> RowType_co: ...


class RowFactory(Generic[R]):
    """A row that a function makes of the values."""

    def __init__(self, make: Callable[[Sequence[Any]], R]) -> None:
        self._make = make


_FIRST: RowFactory[Any] = RowFactory(lambda values: values[0])


def scalar(kind: type[R]) -> RowType[R]:
    """For statements with one column: the row is its value."""
    del kind
    return _FIRST


class Compiled(NamedTuple):
    """A statement for one engine: ``bind`` makes the driver's arguments, ``make`` turns records into rows.

    ``checked`` says that the record's last value tells whether the new row satisfies its write policy (SQLite).
    """

    text: str
    bind: Callable[[Mapping[str, Any]], list[Any]]
    make: Callable[[Sequence[Values]], list[Any]]
    checked: bool


class Statement(Generic[R]):
    """SQL whose rows are of type R. Give a function of the engine where the engines need different SQL."""

    __slots__ = ("_build", "_compiled", "_row")

    def __init__(self, sql: sa.Executable | Callable[[Engine], sa.Executable], row: RowType[R]) -> None:
        self._build = sql
        self._row = row
        self._compiled: dict[Scope, Compiled] = {}

    def compile_for(self, scope: Scope) -> Compiled:
        """The statement for ``scope``, compiled at the first call."""
        known = self._compiled.get(scope)
        if known is None:
            known = self._compiled[scope] = self._compile(scope)
        return known

    def _compile(self, scope: Scope) -> Compiled:
        sql = self._build if isinstance(self._build, sa.Executable) else self._build(scope.engine)
        checked = False
        if scope.engine is Engine.SQLITE and scope.roles is not None:
            sql, checked = apply_policy(sql, scope.roles)
        compiled = cast("SQLCompiler", sql.compile(dialect=scope.dialect))  # type: ignore[attr-defined]
        columns = [entry.type for entry in compiled._result_columns]  # noqa: SLF001 (there is no public way to the types)
        return Compiled(
            str(compiled),
            _binder(compiled, scope.dialect),
            _maker(self._row, columns[: -1 if checked else None], scope.dialect),
            checked,
        )


def _binder(compiled: SQLCompiler, dialect: Dialect) -> Callable[[Mapping[str, Any]], list[Any]]:
    """Puts named values into the order of the text; constants in the SQL are converted once."""
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


def _maker(
    row: RowType[R], columns: Sequence[sa.types.TypeEngine[Any]], dialect: Dialect
) -> Callable[[Sequence[Values]], list[R]]:
    """A function from records to rows, with a conversion only where the driver does not convert itself."""
    make = partial(tuple.__new__, row) if isinstance(row, type) and issubclass(row, tuple) else row._make
    converters = [_converter(kind, dialect) for kind in columns]
    names = {f"c{index}": convert for index, convert in enumerate(converters) if convert}
    values = ", ".join(
        f"c{index}(r[{index}])" if convert else f"r[{index}]" for index, convert in enumerate(converters)
    )
    text = f"lambda records: [make({f'({values},)' if names else 'r'}) for r in records]"
    made: Callable[[Sequence[Values]], list[R]] = eval(text, {"make": make, **names})  # noqa: S307 (our own text)
    return made


def _converter(kind: sa.types.TypeEngine[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    if isinstance(kind, types.Converted):
        return kind.result_processor(dialect, None)
    if isinstance(kind, sa.Boolean) and dialect.name == "sqlite":
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
    """``item`` is one of a list given as one parameter: ``= ANY($1)``, on SQLite ``json_each``."""
    return _AnyOf(item, sa.bindparam(parameter, type_=types.ListOf(item.type)))


class _Folded(sa.ColumnElement[str]):
    inherit_cache = False
    type = sa.Text()

    def __init__(self, text: sa.ColumnElement[Any]) -> None:
        self.text = text


@compiles(_Folded, "postgresql")
def _(element: _Folded, compiler: SQLCompiler, **kw: Any) -> str:
    return f'lower({compiler.process(element.text, **kw)}) COLLATE "C"'


@compiles(_Folded, "sqlite")
def _(element: _Folded, compiler: SQLCompiler, **kw: Any) -> str:
    return f"fold({compiler.process(element.text, **kw)})"


def fold(text: str | None) -> str | None:
    """Text without its case as PostgreSQL's ``lower`` has it: each character by itself, into exactly one."""
    return text and (text.lower() if text.isascii() else "".join([character.lower()[0] for character in text]))


def folded(text: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    """Text without its case, compared by code point, so that both engines find and sort alike."""
    return _Folded(text)


def records(engine: Engine, parameter: str, columns: Sequence[sa.Column[Any]]) -> sa.FromClause:
    """Many rows as one JSON parameter (see :func:`records_parameter`), to be selected from under the name ``r``."""
    if engine.is_postgresql:
        source = sa.func.jsonb_to_recordset(sa.bindparam(parameter, type_=types.Json()))
        return source.table_valued(*(sa.column(made.name, made.type) for made in columns), name="r").render_derived(
            name="r", with_types=True
        )
    each = sa.func.json_each(sa.bindparam(parameter, type_=types.Json())).table_valued("key", "value", name="each")
    parts = [sa.func.json_extract(each.c.value, f"$.{made.name}", type_=made.type).label(made.name) for made in columns]
    return sa.select(*parts).order_by(each.c.key).subquery("r")


def records_parameter(
    engine: Engine, columns: Sequence[sa.Column[Any]], rows: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The value for :func:`records`: each row's values in the form that the engine stores."""
    converters = _parameter_converters(engine, tuple(columns))
    return [
        {name: convert(row[name]) if convert else row[name] for name, convert in converters.items()} for row in rows
    ]


@lru_cache(maxsize=1024)
def _parameter_converters(
    engine: Engine, columns: tuple[sa.Column[Any], ...]
) -> Mapping[str, Callable[[Any], Any] | None]:
    dialect = _scope(engine, None).dialect
    return {
        str(made.name): made.type.bind_processor(dialect)
        if not engine.is_postgresql and isinstance(made.type, types.Converted) and not isinstance(made.type, types.Json)
        else None
        for made in columns
    }
