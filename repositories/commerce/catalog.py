"""Categories and products."""

from collections.abc import Iterator, Sequence
from typing import Annotated, NamedTuple
from uuid import UUID

import sqlalchemy as sa

from repositories.aggregates.repository import Repository
from repositories.sql.filters import NO_FILTER, Compare, Filter, Op, Or, Related, compare_each
from repositories.sql.statements import Statement, fold
from repositories.tables.commerce import MAX_DEPTH, Product, ProductCategory, StockLevel

_categories = ProductCategory.__table__
_all: Statement[ProductCategory] = Statement(sa.select(*_categories.c), ProductCategory)
_lock_all: Statement[ProductCategory] = Statement(
    sa.select(*_categories.c).order_by(_categories.c.id).with_for_update(key_share=True), ProductCategory
)


class CategoryBranch(NamedTuple):
    """A category and its place in the tree."""

    category: Annotated[ProductCategory, "The category."]
    depth: Annotated[int, "The level, 1 to 5."]
    parent_id: Annotated[UUID | None, "The `databaseId` of the category above. Null for a category of the first level."]


class CategoryTree:
    """All categories."""

    def __init__(self, rows: Sequence[ProductCategory]) -> None:
        self._rows = sorted(rows, key=lambda row: (row.position, fold(row.name), row.id))
        self._parents = {row.id: row.parent_id for row in rows}

    def branches(self, parent: UUID | None = None, depth: int = 1) -> Iterator[CategoryBranch]:
        """The categories below a parent, each followed by those below it."""
        for row in self._rows:
            if row.parent_id == parent:
                yield CategoryBranch(row, depth, parent)
                yield from self.branches(row.id, depth + 1)

    def __contains__(self, key: UUID) -> bool:
        return key in self._parents

    def path(self, key: UUID | None) -> list[UUID]:
        """The ids from a category up to the first level."""
        path: list[UUID] = []
        while key is not None:
            path.append(key)
            key = self._parents[key]
        return path

    def height(self, key: UUID) -> int:
        """The number of levels of a category and those below it."""
        depth = len(self.path(key))
        return max(len(path) for each in self._parents if key in (path := self.path(each))) - depth + 1


class ProductCategories(Repository[ProductCategory], table=ProductCategory):
    """Categories of products."""

    async def lock_tree(self) -> CategoryTree:
        """All categories. No other transaction can move or add one below another until this one ends.

        Executes two statements: the second one also sees what the transactions before have added.
        """
        await self.connection.rows(_lock_all)
        return await self.tree()

    async def tree(self) -> CategoryTree:
        return CategoryTree(await self.connection.rows(_all))


class Products(Repository[Product], table=Product):
    """Products."""


class StockLevels(Repository[StockLevel], table=StockLevel):
    """Stock levels. The ids are those of the products."""


def in_stock(comparison: Compare) -> Filter:
    """The products of which pieces can be ordered, or those of which none can. Each product is one or the other."""
    if comparison.op is Op.IS_NULL or comparison.value is None:
        return Or(()) if comparison.value is not False else NO_FILTER
    return Related("id", StockLevel, Compare("available", Op.GT if comparison.value else Op.LTE, 0))


def within_category(comparison: Compare) -> Filter:
    """The products whose category, or a category above it, passes a comparison of its id."""

    def exists(where: Filter) -> Filter:
        inner = where
        for _ in range(MAX_DEPTH - 1):
            inner = Or((where, Related("parent_id", ProductCategory, inner)))
        return Related("category_id", ProductCategory, inner)

    return compare_each(Compare("id", comparison.op, comparison.value), exists)
