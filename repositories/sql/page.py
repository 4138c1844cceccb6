"""Keyset pagination. A cursor contains the sort values of a row instead of a number of rows to skip.

Pages therefore stay correct while rows are added and removed. The last sort value is the row's id, which breaks ties. A
cursor also contains a fingerprint of its filter and order; with another filter or order it is a ValidationError. For
tables with page numbers, ``page`` skips rows instead.
"""

import base64
import datetime as dt
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Generic, TypeVar

import orjson
import sqlalchemy as sa

from repositories.core.byte_budget import bounded_cache
from repositories.core.errors import Path, ValidationError
from repositories.core.ids import as_uuid
from repositories.sql import filters, types
from repositories.sql.filters import Direction, Filter, Nulls, SortKey
from repositories.sql.statements import folded
from repositories.sql.types import to_json

R = TypeVar("R")

DEFAULT_SIZE = 50
MAX_SIZE = 500
MAX_PAGE = 10_000
INT_BITS = 32
BIGINT_BITS = 64


def check_size(size: int, name: str = "first", *, path: Path = ()) -> int:
    """The size of a list or a page. ValidationError if it is out of range."""
    if not 1 <= size <= MAX_SIZE:
        raise ValidationError(f"`{name}` must be between 1 and {MAX_SIZE}.", path=path)
    return size


@dataclass(frozen=True, slots=True)
class PageRequest:
    """The requested part of a list: forwards (first, after), backwards (last, before), or by number (page, first).

    Raises ValidationError for sizes out of range and for arguments that contradict each other.
    """

    first: int | None = None
    after: str | None = None
    last: int | None = None
    before: str | None = None
    page: int | None = None

    def __post_init__(self) -> None:
        for name, size in (("first", self.first), ("last", self.last)):
            if size is not None:
                check_size(size, name, path=(name,))
        if self.first is not None and self.last is not None:
            raise ValidationError("Give `first` or `last`, not both.", path=("last",))
        if self.after is not None and self.before is not None:
            raise ValidationError("Give `after` or `before`, not both.", path=("before",))
        if (self.last is not None and self.after is not None) or (self.first is not None and self.before is not None):
            raise ValidationError("Use `first` with `after`, or `last` with `before`.", path=("before",))
        if self.page is not None:
            if not 1 <= self.page <= MAX_PAGE:
                raise ValidationError(f"`page` must be between 1 and {MAX_PAGE}.", path=("page",))
            if self.after is not None or self.before is not None or self.last is not None:
                raise ValidationError("Use `page` with `first` only.", path=("page",))

    @property
    def size(self) -> int:
        """The largest number of rows that the page may have."""
        return self.first or self.last or DEFAULT_SIZE

    @property
    def backwards(self) -> bool:
        """Whether the page is the last part of the list, or the part before a cursor."""
        return self.last is not None or self.before is not None

    @property
    def offset(self) -> int:
        return (self.page - 1) * self.size if self.page else 0


@dataclass(frozen=True, slots=True)
class Page(Generic[R]):
    """Rows in the requested order. ``cursor`` returns the cursor of a row.

    ``has_next`` or ``has_previous`` is None if another statement has to find out, because rows on the other side of the
    cursor may have been deleted (``has_rows_behind`` in repositories/aggregates/repository.py).
    """

    rows: Sequence[R]
    has_next: bool | None
    has_previous: bool | None
    cursor: Callable[[R], str]


class Ordering:
    """A total order of a table's rows: the keys of a list, with the id as the last key. Encodes and decodes cursors."""

    def __init__(self, table: sa.Table, keys: Sequence[SortKey]) -> None:
        columns = [key.column for key in keys]
        self.table = table
        self.keys = (*keys, *([] if "id" in columns else [SortKey("id")]))
        self._indexes = [list(table.c.keys()).index(key.column) for key in self.keys]

    def fingerprint(self, where: Filter) -> str:
        """A hash of the table, this order and the filter with its values."""
        parameters = sorted(filters.parameters_of(where).items())
        text = repr((self.table.name, self.keys, filters.shape_of(where), parameters))
        return hashlib.blake2s(text.encode(), digest_size=6).hexdigest()

    def cursor_encoder(self, where: Filter) -> Callable[[Any], str]:
        """A function that returns the cursor of a row. It computes the fingerprint at its first call."""
        fingerprint: str | None = None

        def encode(row: Any) -> str:
            nonlocal fingerprint
            if fingerprint is None:
                fingerprint = self.fingerprint(where)
            values = [row[index] for index in self._indexes]
            return base64.urlsafe_b64encode(to_json([fingerprint, *values]).encode()).decode().rstrip("=")

        return encode

    def decode_cursor(self, cursor: str, where: Filter, argument: str) -> list[Any]:
        """The sort values of a cursor. ValidationError of ``argument`` for a broken cursor or one of another list."""
        try:
            fingerprint, *values = orjson.loads(
                base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            )
            if fingerprint == self.fingerprint(where) and len(values) == len(self.keys):
                return [_parse(self.table.c[key.column], value) for key, value in zip(self.keys, values, strict=True)]
        except (ValueError, TypeError, AttributeError, ArithmeticError):
            message = "This is not a cursor of this list; take one from a page of it."
            raise ValidationError(message, path=(argument,)) from None
        message = "This cursor belongs to another filter or order; start again without it."
        raise ValidationError(message, path=(argument,))

    def after_cursor(
        self, nulls: Sequence[bool], *, backwards: bool, inclusive: bool = False
    ) -> sa.ColumnElement[bool]:
        """The condition for rows after a cursor, or before it if ``backwards``. ``inclusive`` adds the cursor's row.

        The parameters k0, k1, ... are the cursor's values, and ``nulls`` says which of them are NULL. SQL's row
        comparison ``(a, b) > (x, y)`` knows neither different directions nor the position of NULLs. The condition is
        therefore ``a > x OR (a = x AND b > y)``, and so on.
        """
        alternatives = []
        for index in range(len(self.keys)):
            equal = [self._equal(i, is_null=nulls[i]) for i in range(index)]
            alternatives.append(sa.and_(*equal, self._after(index, is_null=nulls[index], backwards=backwards)))
        if inclusive:
            alternatives.append(sa.and_(*(self._equal(i, is_null=is_null) for i, is_null in enumerate(nulls))))
        return sa.or_(*alternatives)

    def _column(self, index: int) -> tuple[sa.Column[Any], sa.ColumnElement[Any], sa.ColumnElement[Any]]:
        column = self.table.c[self.keys[index].column]
        key = filters.sort_key(column)
        if key is column:
            return column, key, sa.bindparam(f"k{index}", type_=column.type)
        return column, key, folded(sa.cast(sa.bindparam(f"k{index}", type_=sa.Text()), sa.Text()))

    def _equal(self, index: int, *, is_null: bool) -> sa.ColumnElement[bool]:
        column, key, parameter = self._column(index)
        return column.is_(None) if is_null else key == parameter

    def _after(self, index: int, *, is_null: bool, backwards: bool) -> sa.ColumnElement[bool]:
        key = self.keys[index]
        column, sort_key, parameter = self._column(index)
        descending = (key.direction is Direction.DESC) != backwards
        nulls_first = (key.nulls is Nulls.FIRST) != backwards
        if is_null:
            return column.is_not(None) if nulls_first else sa.false()
        after = sort_key < parameter if descending else sort_key > parameter
        return sa.or_(after, column.is_(None)) if column.nullable and not nulls_first else after


@bounded_cache(lambda order: 100 + 100 * len(order.keys))
def ordering(table: sa.Table, keys: tuple[SortKey, ...]) -> Ordering:
    return Ordering(table, keys)


def _parse(column: sa.Column[Any], value: Any) -> Any:  # noqa: C901 (one case for each type)
    """A sort value from its JSON form. Raises ValueError unless the database can compare it with the column."""
    column_type = column.type
    if value is None and column.nullable:
        return None
    match column_type:
        case types.Id():
            return as_uuid(value)
        case types.Timestamp() if dt.datetime.fromisoformat(value).utcoffset() == dt.timedelta():
            return dt.datetime.fromisoformat(value)
        case types.Day():
            return dt.date.fromisoformat(value)
        case types.Fixed() if column_type.fits(Decimal(value)):
            return Decimal(value)
        case types.Choice():
            return column_type.choices(value)
        case types.Flag() if isinstance(value, bool):
            return value
        case sa.BigInteger() if type(value) is int and value.bit_length() < BIGINT_BITS:
            return value
        case sa.Integer() if type(value) is int and value.bit_length() < INT_BITS:
            return value
        case sa.Text() | types.Email() if isinstance(value, str) and "\0" not in value:
            return value
    raise ValueError(column_type)
