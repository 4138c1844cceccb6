"""Values of encrypted columns, opened when somebody asks for them."""

from collections.abc import Awaitable, Callable
from typing import Any

from repositories.kit.table import Table
from resolvers.kit.context import Context


def opened(column: Any) -> Callable[[Context, Table], Awaitable[str | None]]:
    """From a row to what its encrypted ``column`` says.

    A ciphertext that was changed or moved is Unreadable: a mistake of ours, masked and logged, of this field alone.
    """

    async def read(context: Context, row: Table) -> str | None:
        sealed: str | None = getattr(row, column.name)
        return None if sealed is None else context.database.cipher.open(column, row.id, sealed)

    return read
