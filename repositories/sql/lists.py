"""The statements for pages and counts of lists. They are built once per shape of filter and order."""

from typing import Any, Generic, TypeVar
from uuid import UUID

import sqlalchemy as sa

from repositories.sql import filters
from repositories.sql.filters import NO_FILTER, Filter, Scoped, SortKey, deletion_condition
from repositories.sql.page import Page, PageRequest, ordering
from repositories.sql.statements import RowFactory, Statement, cached_statement, in_list, scalar
from repositories.sql.table import Table

R = TypeVar("R", bound=Table)


class KeysetQuery(Generic[R]):
    """The query for one page request: its statement, the statement's values, and the page made from the result.

    It reads one row more than the page has, to find out whether further rows exist. ``behind_statement`` finds out
    whether rows exist on the other side of the page. Cursors are bound to ``where`` and not to ``within``, whose values
    may differ in each request.
    """

    def __init__(
        self,
        table: type[R],
        request: PageRequest,
        where: Filter,
        order: tuple[SortKey, ...],
        within: Filter = NO_FILTER,
    ) -> None:
        self.table = table
        self.request = request
        self.where = where if within is NO_FILTER else Scoped((within, where))
        self.ordering = ordering(table.__table__, order)
        self.encode_cursor = self.ordering.cursor_encoder(where)
        self.cursor_nulls: tuple[bool, ...] | None = None
        """Which of the cursor's values are NULL; None without a cursor."""
        self.limits = {"limit": request.size + 1, "offset": request.offset}
        """The values that only :meth:`statement` has."""
        self.values = filters.parameters_of(self.where)
        cursor = request.before if request.backwards else request.after
        if cursor is not None:
            decoded = self.ordering.decode_cursor(cursor, where, "before" if request.backwards else "after")
            self.cursor_nulls = tuple(value is None for value in decoded)
            self.values |= {f"k{index}": value for index, value in enumerate(decoded)}

    def statement(self, partition: str | None = None) -> Statement[R]:
        """The statement for one page or, with the name of a column, for one page per value of ``keys`` in it."""
        return build_page(
            self.table, partition, self.where, self.ordering.keys, self.cursor_nulls, backwards=self.request.backwards
        )

    def behind_statement(self, partition: str | None = None) -> Statement[Any]:
        """The statement that tells whether rows exist behind the page; with ``partition``, the values that have some.

        The cursor's own row is behind the page. Without a cursor, all rows are.
        """
        return build_behind(
            self.table, partition, self.where, self.ordering.keys, self.cursor_nulls, backwards=self.request.backwards
        )

    def page(self, result: list[R]) -> Page[R]:
        """The page made from the rows that the statement returned."""
        request = self.request
        has_more, rows = len(result) > request.size, result[: request.size]
        has_behind: bool | None = None
        if self.cursor_nulls is None and (rows or not request.offset):
            has_behind = request.offset > 0
        if request.backwards:
            rows.reverse()
            return Page(rows, has_behind, has_more, self.encode_cursor)
        return Page(rows, has_more, has_behind, self.encode_cursor)


def build_page(  # noqa: PLR0913 (the parts of one query)
    owner: type[Table],
    partition: str | None,
    where: Filter,
    order: tuple[SortKey, ...],
    cursor_nulls: tuple[bool, ...] | None,
    *,
    backwards: bool,
) -> Statement[Any]:
    """The statement for one page or, with ``partition``, for one page per value of ``keys`` in that column."""

    def build() -> Statement[Any]:
        table = owner.__table__
        total_order = ordering(table, order)
        conditions = [deletion_condition(table, where), filters.build_condition(table, where)]
        if cursor_nulls is not None:
            conditions.append(total_order.after_cursor(cursor_nulls, backwards=backwards))
        terms = filters.order_by(table, total_order.keys, backwards=backwards)
        limit, offset = sa.bindparam("limit", type_=sa.Integer()), sa.bindparam("offset", type_=sa.Integer())
        if partition is None:
            return Statement(sa.select(*table.c).where(*conditions).order_by(*terms).limit(limit).offset(offset), owner)
        place = sa.func.row_number().over(partition_by=table.c[partition], order_by=terms).label("place")
        ranked = sa.select(*table.c, place).where(in_list(table.c[partition], "keys"), *conditions).subquery("ranked")
        rows = sa.select(*(ranked.c[column.name] for column in table.columns))
        return Statement(
            rows.where(ranked.c.place > offset, ranked.c.place <= offset + limit).order_by(ranked.c.place), owner
        )

    key = (build_page, owner, partition, filters.shape_of(where), order, cursor_nulls, backwards)
    return cached_statement(key, build)


def build_behind(  # noqa: PLR0913 (the parts of one query)
    owner: type[Table],
    partition: str | None,
    where: Filter,
    order: tuple[SortKey, ...],
    cursor_nulls: tuple[bool, ...] | None,
    *,
    backwards: bool,
) -> Statement[Any]:
    """The statement that tells whether rows exist up to a cursor, or which values of ``partition`` have such rows."""

    def build() -> Statement[Any]:
        table = owner.__table__
        conditions = [deletion_condition(table, where), filters.build_condition(table, where)]
        if cursor_nulls is not None:
            total_order = ordering(table, order)
            conditions.append(total_order.after_cursor(cursor_nulls, backwards=not backwards, inclusive=True))
        if partition is None:
            return Statement(sa.select(sa.exists().where(*conditions)), scalar(bool))
        key = table.c[partition]
        return Statement(sa.select(key).distinct().where(in_list(key, "keys"), *conditions), scalar(UUID))

    key = (build_behind, owner, partition, filters.shape_of(where), order, cursor_nulls, backwards)
    return cached_statement(key, build)


def build_count(owner: type[Any], where: Filter) -> Statement[int]:
    """The statement that counts the rows of a list."""

    def build() -> Statement[int]:
        table = owner.__table__
        conditions = deletion_condition(table, where), filters.build_condition(table, where)
        return Statement(sa.select(sa.func.count()).select_from(table).where(*conditions), scalar(int))

    return cached_statement((build_count, owner, filters.shape_of(where)), build)


def build_counts(owner: type[Any], column: str, where: Filter) -> Statement[tuple[UUID, int]]:
    """The statement that counts the rows of a list per value of ``keys`` in ``column``."""

    def build() -> Statement[tuple[UUID, int]]:
        table = owner.__table__
        key = table.c[column]
        statement = sa.select(key, sa.func.count()).where(
            in_list(key, "keys"), deletion_condition(table, where), filters.build_condition(table, where)
        )
        return Statement(statement.group_by(key), RowFactory(tuple))

    return cached_statement((build_counts, owner, column, filters.shape_of(where)), build)


def build_groups(owner: type[Any], by: str, column: str | None, where: Filter) -> Statement[Any]:
    """The statement that counts the rows of a list per value of the column ``by``.

    Its rows are pairs of a value and a count, the most frequent value first, at most ``limit``. With ``column``, they
    are triples that begin with one of the values of ``keys`` in that column, and are counted separately for each.
    """

    def build() -> Statement[Any]:
        table = owner.__table__
        count = sa.func.count()
        keys = [table.c[column]] if column is not None else []
        statement = (
            sa.select(*keys, table.c[by], count)
            .where(deletion_condition(table, where), filters.build_condition(table, where))
            .group_by(*keys, table.c[by])
            .order_by(count.desc(), table.c[by])
        )
        if column is not None:
            return Statement(statement.where(in_list(table.c[column], "keys")), RowFactory(tuple))
        return Statement(statement.limit(sa.bindparam("limit", type_=sa.Integer())), RowFactory(tuple))

    return cached_statement((build_groups, owner, by, column, filters.shape_of(where)), build)
