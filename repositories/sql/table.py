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
import re
import sys
import types as python_types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, StrEnum
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, Union, get_args, get_origin, overload
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from repositories.core.clock import EARLIEST, LATEST
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
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return types.Choice(annotation)
    return _TYPES[get_origin(annotation) or annotation]


def _unwrap_optional(annotation: Any) -> tuple[Any, bool]:
    """The type without None, and whether it contained None."""
    if get_origin(annotation) in {Union, python_types.UnionType}:
        inner = [part for part in get_args(annotation) if part is not type(None)]
        return inner[0], True
    return annotation, False


class Writer(Enum):
    """Which inputs of mutations contain a column."""

    CLIENT = "the inputs that create and change rows"
    ON_CREATE = "the input that creates rows"
    ON_UPDATE = "the input that changes rows"
    GATEWAY = "no input: only the gateway writes the column"


class Format(Enum):
    """Formats of texts that need more than a length."""

    EMAIL = "an e-mail address"
    PHONE = "a phone number in E.164"
    WEB_ADDRESS = "an absolute http or https URL"
    TIME_ZONE = "the name of an IANA time zone"
    CURRENCY = "the code of a currency in ISO 4217"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A format that a regular expression describes. ``message`` tells users the format in words."""

    regex: str
    message: str


@dataclass(frozen=True, slots=True)
class Inverse:
    """The field of the referenced row with the rows that refer to it, a connection."""

    field: str
    description: str


@dataclass(frozen=True, slots=True)
class Declared:
    """What :func:`column` declares, apart from what SQLAlchemy keeps itself."""

    kind: Any
    """The Python type of the values, without None."""
    description: str
    default: Any
    input_default: Any
    writer: Writer
    length: tuple[int, int] | None
    range: tuple[int | None, int | None] | None
    single_line: bool
    format: Format | Pattern | None
    searched: bool
    filtered: bool
    sorted: bool
    encrypted: bool
    secret: bool
    history: bool
    transitions: Mapping[Any, Sequence[Any]] | None
    inverse: Inverse | None
    constraints: tuple[sa.Constraint, ...]


def declared(column: Any) -> Declared:
    """The declaration of a column of a :class:`Table`."""
    found: Declared = column.info["declared"]
    return found


class DeclarationError(Exception):
    """A declaration contradicts itself. Raised at import; the message names the table and the column."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}")


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
            *([_single_line_check(name)] if single_line else []),
            *_checks(name, column_type, length, range, condition),
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


def is_web_address_sql(name: str) -> str:
    """A condition in SQL: the column begins like an absolute http or https URL."""
    return f"(substr(lower({name}), 1, 7) = 'http://' OR substr(lower({name}), 1, 8) = 'https://')"


def contradiction(column: sa.Column[Any]) -> str | None:
    """Why the declaration of a column cannot be meant as it stands, None if it can."""
    facts = declared(column)
    is_text = facts.kind is str
    rules = {
        "only texts can be encrypted": facts.encrypted and not is_text,
        "an encrypted column cannot be searched, filtered or sorted": facts.encrypted
        and (facts.searched or facts.filtered or facts.sorted),
        "a secret column cannot be published": facts.secret and not facts.encrypted and bool(facts.description),
        "only texts can be searched": facts.searched and not is_text,
        "only texts have a length, a format or a single line": not is_text
        and bool(facts.length or facts.format or facts.single_line),
        "only numbers have a range": facts.range is not None and facts.kind not in {int, Decimal},
        "only enums have transitions": facts.transitions is not None and not isinstance(column.type, types.Choice),
        "the history must not contain texts and secret values": facts.history and (is_text or facts.secret),
        "a column that clients write, filter, sort or search needs a description": not facts.description
        and (facts.writer is not Writer.GATEWAY or facts.searched or facts.filtered or facts.sorted),
        "a length or a range must not end before it starts": any(
            limits is not None and None not in limits and limits[0] > limits[1]  # type: ignore[operator]
            for limits in (facts.length, facts.range)
        ),
        "only a column that references a table has an inverse": facts.inverse is not None and facts.kind is not UUID,
    }
    broken = next((reason for reason, is_broken in rules.items() if is_broken), None)
    defaults = [value for value in (facts.default, facts.input_default) if value is not None]
    return broken or next((reason for value in defaults if (reason := _contradiction_of_default(column, value))), None)


_TYPES_OF_DEFAULTS = {str: (str,), int: (int,), bool: (bool,), Decimal: (int, Decimal)}


def _contradiction_of_default(column: sa.Column[Any], default: Any) -> str | None:
    """Why a default cannot be a value of the column, None if it can."""
    facts = declared(column)
    low, high = facts.range or (None, None)
    shortest, longest = facts.length or (0, sys.maxsize)
    is_text = facts.kind is str
    if type(default) not in _TYPES_OF_DEFAULTS.get(facts.kind, (type(default),)):
        return f"the default {default!r} is of another type"
    rules = {
        "is not in its range": (low is not None and default < low) or (high is not None and default > high),
        "has another length": is_text and not shortest <= len(default) <= longest,
        "has another format": isinstance(facts.format, Pattern) and not re.fullmatch(facts.format.regex, default),
        "has several lines": facts.single_line and len(default.splitlines()) > 1,
        "is none of its values": isinstance(column.type, types.Choice)
        and str(default) not in {member.value for member in column.type.choices},
    }
    return next((f"the default {default!r} {reason}" for reason, is_broken in rules.items() if is_broken), None)


def _literal(value: object) -> str:
    """A constant in SQL for both engines. Booleans are '1' and '0', which PostgreSQL reads as booleans too."""
    if isinstance(value, bool):
        return f"'{int(value)}'"
    return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"


def _single_line_check(name: str) -> sa.CheckConstraint:
    """Only on PostgreSQL. SQLite has no regular expressions, and only the gateway writes there."""
    condition = rf"{name} !~ '[\u0001-\u001F\u007F-\u009F\u2028\u2029\u200B\u2060\uFEFF]'"
    return sa.CheckConstraint(condition, name=f"{name}_line").ddl_if(dialect="postgresql")


def _checks(
    name: str,
    column_type: TypeEngine[Any],
    length: tuple[int, int] | None,
    limits: tuple[int | None, int | None] | None,
    check: str | None,
) -> Iterable[sa.CheckConstraint]:
    if length:
        yield sa.CheckConstraint(f"length({name}) BETWEEN {length[0]} AND {length[1]}", name=f"{name}_length")
    if limits:
        minimum, maximum = limits
        value: sa.ColumnElement[Any] = sa.literal_column(name, column_type)
        lower = sa.true() if minimum is None else value >= minimum
        upper = sa.true() if maximum is None else value <= maximum
        yield sa.CheckConstraint(sa.and_(lower, upper), name=f"{name}_range")
    if check:
        yield sa.CheckConstraint(check, name=f"{name}_shape")
    if isinstance(column_type, types.Timestamp | types.Day):
        low, high = (f"{limit:{column_type.literal_format}}" for limit in (EARLIEST, LATEST))
        yield sa.CheckConstraint(f"{name} >= '{low}' AND {name} < '{high}'", name=f"{name}_range")
    if isinstance(column_type, types.Fixed):
        yield sa.CheckConstraint(f"{name} <> 'NaN'", name=f"{name}_finite").ddl_if(dialect="postgresql")
    if isinstance(column_type, types.Choice):
        values = ", ".join(f"'{choice.value}'" for choice in column_type.choices)
        yield sa.CheckConstraint(f"{name} IN ({values})", name=f"{name}_choice")


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
        for each in columns:
            if reason := contradiction(each):
                raise DeclarationError(f"{name}.{each.name}", reason)
        cls.__table__ = sa.Table(
            name,
            metadata,
            *columns,
            *(constraint for each in columns for constraint in declared(each).constraints),
            *getattr(cls, "__table_args__", ()),
            schema=schema or None,
            info={"row": cls, "is_view": is_view},
        )

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
