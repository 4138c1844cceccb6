"""Fields of encrypted columns, decrypted only if they are requested."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from repositories.core.encryption import DecryptionError
from repositories.sql.table import Table
from resolvers.request.context import Context


class EncryptedField:
    """From a row to the decrypted value of its ``column``.

    A ciphertext that was changed or moved to another row raises DecryptionError, an internal error of this field only.
    """

    def __init__(self, column: Any) -> None:
        self.column = column
        self._ciphertext = attrgetter(column.name)

    async def load(self, context: Context, row: Table) -> str | None:
        ciphertext: str | None = self._ciphertext(row)
        return None if ciphertext is None else context.database.cipher.decrypt(self.column, row.id, ciphertext)

    async def load_many(self, context: Context, rows: Sequence[Table]) -> list[str | Exception | None]:
        """The values of many rows, with the error in the place of a value that cannot be decrypted."""
        decrypt = context.database.cipher.decryptor(self.column)
        values: list[str | Exception | None] = []
        for row, ciphertext in zip(rows, map(self._ciphertext, rows), strict=True):
            try:
                values.append(None if ciphertext is None else decrypt(row.id, ciphertext))
            except DecryptionError as error:
                values.append(error)
        return values
