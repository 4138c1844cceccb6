"""Lists: the statements behind pages and counts, built once per shape of filter and order."""

from functools import lru_cache
from typing import Any, Generic, TypeVar
from uuid import UUID

import sqlalchemy as sa

from repositories.sql import filters
from repositories.sql.filters import Filter, Order
from repositories.sql.page import Page, PageRequest, ordering
from repositories.sql.row_statements import is_not_deleted
from repositories.sql.statements import RowFactory, Statement, in_list, scalar
from repositories.sql.table import Table

R = TypeVar("R", bound=Table)


class ShapeKey:
    """A cache key that carries a value: equal shapes are one entry, the value of the first is used to build."""

    __slots__ = ("key", "value")

    def __init__(self, key: Any, value: Any) -> None:
        self.key = key
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ShapeKey) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


class KeysetQuery(Generic[R]):
    """A request for a page as a statement, its values, and the page made of the rows found.

    One row more than the page has is read, to know whether there are others.
    """

    def __init__(self, table: type[R], request: PageRequest, given: Filter, order: tuple[Order, ...]) -> None:
        self.table = table
        self.request = request
        self.given = given
        self.ordering = ordering(table.__table__, order)
        self.cursor = self.ordering.cursor(given)
        self.nulls: tuple[bool, ...] | None = None
        self.values = filters.parameters_of(given) | {"limit": request.size + 1, "offset": request.offset}
        cursor = request.before if request.backwards else request.after
        if cursor is not None:
            place = self.ordering.place(cursor, given, "before" if request.backwards else "after")
            self.nulls = tuple(value is None for value in place)
            self.values |= {f"k{index}": value for index, value in enumerate(place)}

    def statement(self, partition: str | None = None) -> Statement[R]:
        """One page or, with the name of a column, one for each of its values in ``keys``."""
        shaped = ShapeKey(filters.shape_of(self.given), self.given)
        return build_page(
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
        return Page(rows, more, beyond, self.cursor)


@lru_cache(maxsize=1024)
def build_page(  # noqa: PLR0913 (the parts of one query)
    owner: type[Table],
    partition: str | None,
    given: ShapeKey,
    order: tuple[Order, ...],
    nulls: tuple[bool, ...] | None,
    *,
    backwards: bool,
) -> Statement[Any]:
    """One page or, with ``partition``, one for each of the ``keys`` in that column."""
    table = owner.__table__
    total = ordering(table, order)
    conditions = [is_not_deleted(table), filters.build_condition(table, given.value)]
    if nulls is not None:
        conditions.append(total.beyond(nulls, backwards=backwards))
    sorting = filters.order_by(table, total.keys, backwards=backwards)
    limit, offset = sa.bindparam("limit", type_=sa.Integer()), sa.bindparam("offset", type_=sa.Integer())
    if partition is None:
        return Statement(sa.select(*table.c).where(*conditions).order_by(*sorting).limit(limit).offset(offset), owner)
    place = sa.func.row_number().over(partition_by=table.c[partition], order_by=sorting).label("place")
    ranked = sa.select(*table.c, place).where(in_list(table.c[partition], "keys"), *conditions).subquery("ranked")
    rows = sa.select(*(ranked.c[made.name] for made in table.columns))
    return Statement(
        rows.where(ranked.c.place > offset, ranked.c.place <= offset + limit).order_by(ranked.c.place), owner
    )


@lru_cache(maxsize=1024)
def build_count(owner: type[Any], given: ShapeKey) -> Statement[int]:
    """How many rows a list has."""
    table = owner.__table__
    statement = sa.select(sa.func.count()).select_from(table)
    return Statement(statement.where(is_not_deleted(table), filters.build_condition(table, given.value)), scalar(int))


@lru_cache(maxsize=1024)
def build_counts(owner: type[Any], column: str, given: ShapeKey) -> Statement[tuple[UUID, int]]:
    """How many rows of a list have each of the ``keys`` in ``column``."""
    table = owner.__table__
    key = table.c[column]
    statement = sa.select(key, sa.func.count()).where(
        in_list(key, "keys"), is_not_deleted(table), filters.build_condition(table, given.value)
    )
    return Statement(statement.group_by(key), RowFactory(tuple))
