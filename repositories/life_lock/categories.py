"""The repository of categories."""

from repositories.aggregates.repository import Repository
from repositories.tables.life_lock import Category


class Categories(Repository[Category], table=Category):
    """Categories of tasks."""
