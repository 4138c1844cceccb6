"""Values of encrypted columns, opened when somebody asks for them."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from repositories.core.encryption import DecryptionError
from repositories.sql.table import Table
from resolvers.request.context import Context


class EncryptedField:
    """From a row to what its encrypted ``column`` says.

    A ciphertext that was changed or moved is Unreadable: a mistake of ours, masked and logged, of this field alone.
    """

    def __init__(self, column: Any) -> None:
        self.column = column
        self._of = attrgetter(column.name)

    async def load(self, context: Context, row: Table) -> str | None:
        """What one row says."""
        ciphertext: str | None = self._of(row)
        return None if ciphertext is None else context.database.cipher.decrypt(self.column, row.id, ciphertext)

    async def load_many(self, context: Context, rows: Sequence[Table]) -> list[str | Exception | None]:
        """What all rows of a level say, or the errors in their place."""
        opened = context.database.cipher.decryptor(self.column)
        said: list[str | Exception | None] = []
        for row, ciphertext in zip(rows, map(self._of, rows), strict=True):
            try:
                said.append(None if ciphertext is None else opened(row.id, ciphertext))
            except DecryptionError as error:
                said.append(error)
        return said
