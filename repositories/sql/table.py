"""The declaration of tables and their rows.

A :class:`Table` subclass is a SQL table: ``Note.text`` is a column with which statements are built. Its instances are
the rows: light, immutable tuples whose values have the same names. There is no identity map, no lazy loading and no
relationship; an edge between rows is a dataloader.

    class Note(Table, schema="notebook", name="notes"):
        user_id: Column[UUID] = column("The user who wrote the note.", references="identity.users.id")
        text: Column[str] = column("The text of the note.", length=(1, 10_000), searched=True)

The annotation determines the SQL type and nullability (``Column[str | None]`` is nullable). Lengths, ranges and choices
become CHECK constraints, so that the database enforces the same bounds as the input models. So does the range of times
and dates (repositories/core/clock.py), for every column with one.

A column with a description is published: clients see it in the GraphQL type of the row. The module aggregate.py says
what else is derived from the declarations. A declaration that contradicts itself raises DeclarationError at import.
"""

import datetime as dt
import inspect
import types as python_types
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, Union, get_args, get_origin, overload
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.types import NullType, TypeEngine

from repositories.sql import types
from repositories.sql.column_checks import is_web_address_sql, single_line_check, value_checks
from repositories.sql.contradictions import check_column
from repositories.sql.declarations import (
    DeclarationError,
    Declared,
    Format,
    Inverse,
    Pattern,
    Writer,
    declared,
)

__all__ = [
    "Column",
    "DeclarationError",
    "Declared",
    "Format",
    "Inverse",
    "Pattern",
    "SoftDeleted",
    "Table",
    "Versioned",
    "Writer",
    "column",
    "declared",
    "is_web_address_sql",
    "metadata",
]

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
"""The tables of all domains."""

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
    """The SQL column when read on the class, and its value when read on a row.

    It is a property with an itemgetter, so that reading a value of a row runs no Python code.
    """

    def __init__(self, build: Callable[[str, Any], sa.Column[Any]], index: int = -1) -> None:
        super().__init__(itemgetter(index))
        self._build = build
        self.index = index
        self.sql: sa.Column[T]

    def bind(self, name: str, annotation: Any, index: int) -> "Column[T]":
        """A copy of this declaration for the column ``name`` of one table. Tables share the declarations of mixins."""
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
    """Returns the SQL column when a column is read on the class."""

    if not TYPE_CHECKING:

        def __getattribute__(cls, name: str) -> Any:
            value = super().__getattribute__(name)
            return value.sql if isinstance(value, Column) else value


def _sql_type(annotation: Any) -> TypeEngine[Any]:
    """The type for an annotation; NullType, which `check_column` rejects, if there is none."""
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return types.Choice(annotation)
    return _TYPES.get(get_origin(annotation) or annotation, NullType())


def _unwrap_optional(annotation: Any) -> tuple[Any, bool]:
    """The type without None, and whether it contained None."""
    if get_origin(annotation) in {Union, python_types.UnionType}:
        inner = [part for part in get_args(annotation) if part is not type(None)]
        return inner[0], True
    return annotation, False


def column(  # noqa: PLR0913 (one keyword per property of a column)
    description: str = "",
    sql_type: TypeEngine[Any] | None = None,
    *,
    references: str | None = None,
    inverse: Inverse | None = None,
    length: tuple[int, int] | None = None,
    single_line: bool = False,
    range: tuple[int | None, int | None] | None = None,  # noqa: A002 (the standard term)
    input_range: tuple[int | None, int | None] | None = None,
    format: Format | Pattern | None = None,  # noqa: A002 (the standard term)
    check: str | None = None,
    default: object = None,
    input_default: object = None,
    unique: bool = False,
    index: bool = False,
    identity: bool = False,
    writer: Writer | None = None,
    searched: bool = False,
    filtered: bool = False,
    sorted: bool = False,  # noqa: A002 (beside searched and filtered)
    encrypted: bool = False,
    secret: bool = False,
    history: bool = False,
    transitions: Mapping[Any, Sequence[Any]] | None = None,
    info: dict[str, str] | None = None,
) -> Any:
    """Declares a column. Its type and nullability are read from the annotation ``Column[...]``.

    - ``description``: what the value is, for frontend developers. A column without one is not published.
    - ``inverse``: the field of the referenced row that lists the rows of this table.
    - ``length``: minimum and maximum number of characters.
    - ``single_line``: a text without control characters, line breaks and characters without width. Spaces around it are
      removed from inputs.
    - ``range``: minimum and maximum value, both inclusive; None means unlimited.
    - ``input_range``: the range of inputs, for a column without ``range`` that can leave it by other changes.
    - ``format``: what a text must be. It becomes a check of inputs, and for web addresses and currencies a
      CHECK constraint.
    - ``check``: a condition in SQL that both engines understand.
    - ``default``: a constant, used by the repository and by the database.
    - ``input_default``: a default of the input that creates rows only. By default it is ``default``.
    - ``identity``: the database numbers the rows.
    - ``writer``: the inputs that contain the column; by default those that create and change rows if it has a
      description, else none.
    - ``searched``, ``filtered``, ``sorted``: whether searches look into it, filters have conditions on it, and lists
      can be sorted by it.
    - ``encrypted``: the column contains ciphertexts (repositories/core/encryption.py). Repositories encrypt the value
      that they write into ``email``, and write its blind index into ``email_index`` if the table has such a column.
      The value of such a column is an e-mail address. A CHECK constraint rejects values that are not encrypted.
    - ``secret``: only the gateway reads the column. Encrypted columns are secret too.
    - ``history``: events contain the values before and after a change. Not for free text and secret values.
    - ``transitions``: the values that may follow each value. A trigger rejects other changes.
    - ``info``: the message for a violated unique constraint (``violation`` in repositories/sql/constraints.py).
    """
    is_web_address = format is Format.WEB_ADDRESS

    def build(name: str, annotation: Any) -> sa.Column[Any]:
        inner, nullable = _unwrap_optional(annotation)
        column_type = sql_type if sql_type is not None else _sql_type(inner)
        condition = f"substr({name}, 1, 2) = '1.'" if encrypted else check
        if is_web_address and check is None:
            condition = is_web_address_sql(name)
        if format is Format.CURRENCY:
            condition = f"length({name}) = 3 AND ltrim({name}, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ') = ''"
        constraints = (
            *([single_line_check(name)] if single_line else []),
            *value_checks(name, column_type, length, range, condition),
            *([sa.UniqueConstraint(name, info=info or {})] if unique else []),
        )
        facts = Declared(
            kind=get_origin(inner) or inner,
            description=description,
            default=default,
            input_default=default if input_default is None else input_default,
            writer=writer or (Writer.CLIENT if description else Writer.GATEWAY),
            length=length,
            range=range or input_range,
            single_line=single_line,
            format=format,
            searched=searched,
            filtered=filtered,
            sorted=sorted,
            encrypted=encrypted,
            secret=secret or encrypted,
            history=history,
            transitions=transitions,
            inverse=inverse,
            constraints=constraints,
        )
        return sa.Column(
            name,
            column_type,
            *([sa.ForeignKey(references)] if references else []),
            *([sa.Identity(always=True)] if identity else []),
            nullable=nullable,
            index=index or None,
            server_default=None if default is None else sa.text(_literal(default)),
            info={"declared": facts},
        )

    return Column(build)


def _literal(value: object) -> str:
    """A constant in SQL for both engines. Booleans are '1' and '0', which PostgreSQL reads as booleans too."""
    if isinstance(value, bool):
        return f"'{int(value)}'"
    return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"


def _declared_columns(cls: type, *, timestamps: bool, is_view: bool) -> dict[str, Column[Any]]:
    """The columns in order: the id, those of the class, those of its mixins, and those of :class:`Table`.

    A view has only the columns that its class and its mixins declare.
    """
    columns: dict[str, Column[Any]] = {} if is_view else {"id": Table.__dict__["id"].bind("id", UUID, 0)}
    for base in cls.__mro__:
        for field, annotation in inspect.get_annotations(base).items():
            declaration = base.__dict__.get(field)
            if base is Table and (is_view or not timestamps):
                continue
            if isinstance(declaration, Column) and field not in columns:
                columns[field] = declaration.bind(field, get_args(annotation)[0], len(columns))
    if not is_view:
        columns["id"].sql.primary_key = True
    return columns


class Table(tuple[Any, ...], metaclass=_TableType):
    """Base of all rows. Every table has ``id``, ``created_at`` and ``updated_at``, which the application sets.

    ``timestamps=False`` omits the last two, for rows that never change. ``is_view`` declares a database view, which has
    only the columns that are declared.
    """

    __slots__ = ()
    __table__: ClassVar[sa.Table]
    __fields__: ClassVar[tuple[str, ...]]

    id: Column[UUID] = column()
    created_at: Column[dt.datetime] = column(
        "The time when the row was created.", writer=Writer.GATEWAY, filtered=True, sorted=True
    )
    updated_at: Column[dt.datetime] = column(
        "The time of the last change.", writer=Writer.GATEWAY, filtered=True, sorted=True
    )

    def __init_subclass__(
        cls, *, schema: str = "", name: str = "", timestamps: bool = True, is_view: bool = False
    ) -> None:
        super().__init_subclass__()
        if not name:
            return
        bound_columns = _declared_columns(cls, timestamps=timestamps, is_view=is_view)
        cls.__fields__ = tuple(bound_columns)
        for field, bound in bound_columns.items():
            setattr(cls, field, bound)
        columns = [bound.sql for bound in bound_columns.values()]
        if name in {table.name for table in metadata.tables.values()}:
            raise DeclarationError(name, "another table has this name; SQLite has no schemas")
        cls.__table__ = sa.Table(
            name,
            metadata,
            *columns,
            *(constraint for each in columns for constraint in declared(each).constraints),
            *getattr(cls, "__table_args__", ()),
            schema=schema or None,
            info={"row": cls, "is_view": is_view},
        )
        for each in columns:
            check_column(each)

    @classmethod
    def _make(cls, values: Iterable[Any]) -> Self:
        """A row from its values in the order of the columns."""
        return tuple.__new__(cls, values)

    def replace(self, **changes: Any) -> Self:
        """A copy of the row with other values in some columns."""
        return self._make(changes.get(field, value) for field, value in zip(self.__fields__, self, strict=True))

    def __repr__(self) -> str:
        """Contains class and id only, so that a logged row contains no personal data."""
        return f"<{type(self).__name__} {self[0]}>"


class Versioned:
    """For aggregates. Every change increments the version, and a change that is based on an older version fails."""

    __slots__ = ()
    version: Column[int] = column(
        "Increases by 1 with every change. Mutations that change the row compare it with the version that they get.",
        writer=Writer.GATEWAY,
        default=1,
    )


class SoftDeleted:
    """For tables whose deleted rows are only marked as deleted, so that they can be restored."""

    __slots__ = ()
    deleted_at: Column[dt.datetime | None] = column(
        "The time when the row was deleted. Null if it is not deleted.", writer=Writer.GATEWAY, sorted=True
    )
