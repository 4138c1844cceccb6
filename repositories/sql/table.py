"""Tables and their rows, declared once.

A :class:`Table` subclass is two things. As a class it is a SQL table: ``Task.title`` is a column to build statements
with. Its instances are the rows: light, immutable tuples whose values are read by the same names. There is no identity
map, no lazy loading and no relationship; an edge between rows is a dataloader.

    class Category(Table, schema="life_lock", name="categories"):
        user_id: Column[UUID] = column(references="identity.users.id")
        name: Column[str] = column(length=(1, 100))

SQL type and nullability follow from the annotation (``Column[str | None]`` is nullable); lengths, ranges and choices
become CHECK constraints, so that the database holds what the input models promise.
"""

import datetime as dt
import inspect
import types as python_types
from collections.abc import Callable, Iterable
from enum import StrEnum
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, Union, get_args, get_origin, overload
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from repositories.sql import types

T = TypeVar("T")

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)
"""Every table of every domain."""

_TYPES: dict[Any, TypeEngine[Any]] = {
    UUID: types.Id(),
    str: types.Text(),
    int: types.Integer(),
    bool: types.Flag(),
    dt.datetime: types.Timestamp(),
    dt.date: types.Day(),
    dict: types.Json(),
    list: types.Json(),
}


class Column(property, Generic[T]):
    """A column on the class, its value on a row: a property of an itemgetter, so that reading it runs no Python."""

    def __init__(self, build: Callable[[str, Any], sa.Column[Any]], index: int = -1) -> None:
        super().__init__(itemgetter(index))
        self._build = build
        self.index = index
        self.sql: sa.Column[T]

    def bind(self, name: str, annotation: Any, index: int) -> "Column[T]":
        """This declaration as the column ``name`` of one table; mixins share declarations, tables do not."""
        bound: Column[T] = Column(self._build, index)
        bound.sql = self._build(name, annotation)
        return bound

    if TYPE_CHECKING:

        @overload  # type: ignore[override]
        def __get__(self, row: None, owner: Any) -> sa.Column[T]: ...
        @overload
        def __get__(self, row: "Table", owner: Any) -> T: ...
        def __get__(self, row: Any, owner: Any) -> Any: ...


class _TableType(type):
    """Shows the columns of a class as what statements are built with."""

    if not TYPE_CHECKING:

        def __getattribute__(cls, name: str) -> Any:
            found = super().__getattribute__(name)
            return found.sql if isinstance(found, Column) else found


def _sql_type(annotation: Any) -> TypeEngine[Any]:
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return types.Choice(annotation)
    return _TYPES[get_origin(annotation) or annotation]


def _unwrap_optional(annotation: Any) -> tuple[Any, bool]:
    """The type without None, and whether None was there."""
    if get_origin(annotation) in {Union, python_types.UnionType}:
        inner = [part for part in get_args(annotation) if part is not type(None)]
        return inner[0], True
    return annotation, False


def column(  # noqa: PLR0913 (one keyword for each thing a column can be)
    sql_type: TypeEngine[Any] | None = None,
    *,
    references: str | None = None,
    length: tuple[int, int] | None = None,
    range: tuple[int | None, int | None] | None = None,  # noqa: A002 (the word for it)
    check: str | None = None,
    default: object = None,
    unique: bool = False,
    index: bool = False,
    identity: bool = False,
    encrypted: bool = False,
    info: dict[str, str] | None = None,
) -> Any:
    """Declares a column; its type and nullability are read from the annotation ``Column[...]``.

    ``length`` is (least, most) characters, ``range`` (least, most) inclusive with None for open, ``check`` a condition
    in SQL that both engines know, ``default`` a constant that both the repository and the database use, ``info`` what
    the violation of its uniqueness means (kit/constraints.py). An ``identity`` column is numbered by the database. A
    ``encrypted`` one holds ciphertexts (kit/encryption.py): repositories seal what they write into ``email``, and write
    the blind index of it into ``email_index`` if there is such a column; the database refuses what is not sealed.
    """

    def build(name: str, annotation: Any) -> sa.Column[Any]:
        inner, nullable = _unwrap_optional(annotation)
        kind = sql_type if sql_type is not None else _sql_type(inner)
        made: sa.Column[Any] = sa.Column(
            name,
            kind,
            *([sa.ForeignKey(references)] if references else []),
            *([sa.Identity(always=True)] if identity else []),
            nullable=nullable,
            index=index or None,
            server_default=None if default is None else sa.text(_literal(default)),
            info={
                "default": default,
                "encrypted": encrypted,
                "constraints": [
                    *_checks(name, kind, length, range, f"substr({name}, 1, 2) = '1.'" if encrypted else check),
                    *([sa.UniqueConstraint(name, info=info or {})] if unique else []),
                ],
            },
        )
        return made

    return Column(build)


def _literal(value: object) -> str:
    """A constant as SQL on both engines; PostgreSQL reads '1' and '0' as booleans too."""
    if isinstance(value, bool):
        return f"'{int(value)}'"
    return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"


def _checks(
    name: str,
    kind: TypeEngine[Any],
    length: tuple[int, int] | None,
    limits: tuple[int | None, int | None] | None,
    check: str | None,
) -> Iterable[sa.CheckConstraint]:
    if length:
        yield sa.CheckConstraint(f"length({name}) BETWEEN {length[0]} AND {length[1]}", name=f"{name}_length")
    if limits:
        least, most = limits
        value: sa.ColumnElement[Any] = sa.literal_column(name, kind)
        lower = sa.true() if least is None else value >= least
        upper = sa.true() if most is None else value <= most
        yield sa.CheckConstraint(sa.and_(lower, upper), name=f"{name}_range")
    if check:
        yield sa.CheckConstraint(check, name=f"{name}_shape")
    if isinstance(kind, types.Choice):
        values = ", ".join(f"'{choice.value}'" for choice in kind.choices)
        yield sa.CheckConstraint(f"{name} IN ({values})", name=f"{name}_choice")


def _declared_columns(cls: type, *, timestamps: bool, is_view: bool) -> dict[str, Column[Any]]:
    """The columns of a table in order: id, its own, then those of its mixins and of :class:`Table`; a view's own."""
    found: dict[str, Column[Any]] = {} if is_view else {"id": Table.__dict__["id"].bind("id", UUID, 0)}
    for base in cls.__mro__:
        for field, annotation in inspect.get_annotations(base).items():
            declaration = base.__dict__.get(field)
            if base is Table and (is_view or not timestamps):
                continue
            if isinstance(declaration, Column) and field not in found:
                found[field] = declaration.bind(field, get_args(annotation)[0], len(found))
    if not is_view:
        found["id"].sql.primary_key = True
    return found


class Table(tuple[Any, ...], metaclass=_TableType):
    """Base of all rows. Every table has ``id``, ``created_at`` and ``updated_at``, given by the application.

    ``timestamps=False`` leaves the latter two out, for rows that never change; ``is_view`` is for rows that are
    computed, which have the columns that are declared and no others.
    """

    __slots__ = ()
    __table__: ClassVar[sa.Table]
    __fields__: ClassVar[tuple[str, ...]]

    id: Column[UUID] = column()
    created_at: Column[dt.datetime] = column()
    updated_at: Column[dt.datetime] = column()

    def __init_subclass__(
        cls, *, schema: str = "", name: str = "", timestamps: bool = True, is_view: bool = False
    ) -> None:
        super().__init_subclass__()
        if not name:
            return
        declared = _declared_columns(cls, timestamps=timestamps, is_view=is_view)
        cls.__fields__ = tuple(declared)
        for field, bound in declared.items():
            setattr(cls, field, bound)
        columns = [bound.sql for bound in declared.values()]
        cls.__table__ = sa.Table(
            name,
            metadata,
            *columns,
            *(constraint for made in columns for constraint in made.info["constraints"]),
            *getattr(cls, "__table_args__", ()),
            schema=schema or None,
            info={"row": cls, "is_view": is_view},
        )

    @classmethod
    def _make(cls, values: Iterable[Any]) -> Self:
        """A row from its values in the order of the columns."""
        return tuple.__new__(cls, values)

    def replace(self, **changes: Any) -> Self:
        """The same row with other values in some columns."""
        return self._make(changes.get(field, value) for field, value in zip(self.__fields__, self, strict=True))

    def __repr__(self) -> str:
        """Class and id only: a row in a log must not carry personal data there."""
        return f"<{type(self).__name__} {self[0]}>"


class Versioned:
    """For aggregates: a change names the version it saw, and a stale one is refused."""

    __slots__ = ()
    version: Column[int] = column(default=1)


class SoftDeleted:
    """For rows that are only marked as deleted, and can be restored."""

    __slots__ = ()
    deleted_at: Column[dt.datetime | None] = column()
