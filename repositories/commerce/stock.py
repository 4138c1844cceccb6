"""The ledger of stock."""

from repositories.aggregates.repository import Repository
from repositories.tables.commerce import StockMovement


class StockMovements(Repository[StockMovement], table=StockMovement):
    """Movements of stock, which are never changed. A trigger changes the level with each of them."""
