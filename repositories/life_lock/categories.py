"""Headings for tasks."""

from repositories.aggregates.repository import Repository
from repositories.sql.filters import Order
from repositories.tables.life_lock import Category


class Categories(Repository[Category], table=Category):
    """Headings."""

    default_order = (Order("name"),)
    searched = ("name",)
