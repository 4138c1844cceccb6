"""Values of encrypted columns, opened when somebody asks for them."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from repositories.kit.encryption import Unreadable
from repositories.kit.table import Table
from resolvers.kit.context import Context


class Sealed:
    """From a row to what its encrypted ``column`` says.

    A ciphertext that was changed or moved is Unreadable: a mistake of ours, masked and logged, of this field alone.
    """

    def __init__(self, column: Any) -> None:
        self.column = column
        self._of = attrgetter(column.name)

    async def load(self, context: Context, row: Table) -> str | None:
        """What one row says."""
        return self._open(context, row)

    async def load_many(self, context: Context, rows: Sequence[Table]) -> list[str | Exception | None]:
        """What all rows of a level say, or the errors in their place."""
        return [self._open_or_tell(context, row) for row in rows]

    def _open(self, context: Context, row: Table) -> str | None:
        sealed: str | None = self._of(row)
        return None if sealed is None else context.database.cipher.open(self.column, row.id, sealed)

    def _open_or_tell(self, context: Context, row: Table) -> str | Exception | None:
        try:
            return self._open(context, row)
        except Unreadable as error:
            return error
