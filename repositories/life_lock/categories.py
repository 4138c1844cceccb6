"""Headings for tasks."""

from repositories.kit.filters import Order
from repositories.kit.repository import Repository
from repositories.tables.life_lock import Category


class Categories(Repository[Category], table=Category):
    """Headings."""

    default_order = (Order("name"),)
    searched = ("name",)
