"""Encrypted columns: what is personal and need not be searched in plain sight.

    ciphertext = cipher.encrypt(Contact.email, contact_id, "ada@example.com")     # "1.2026a.<base64>"
    cipher.decrypt(Contact.email, contact_id, ciphertext)                          # "ada@example.com"
    cipher.blind_index(Contact.email, "ada@example.com")                    # equal for equal addresses

AES-256-GCM with a random nonce of 96 bits (NIST SP 800-38D). The key is derived per table and column (HKDF-SHA256,
RFC 5869); table, column and row id are authenticated, so that a ciphertext moved to another row, column or table is
refused. The id of the key stands in the header, so that keys rotate: the first key seals, every key opens.

Equality and uniqueness go through a blind index: HMAC-SHA256 of the value under a key of its own, which does not rotate
with the others. The caller normalises the value first.
"""

import base64
import binascii
import hmac
import os
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
"""Of every key: AES-256."""

_FORMAT = "1"
_NONCE_BYTES = 12


class DecryptionError(Exception):
    """A ciphertext that was changed, moved, or ciphertext with an unknown key. Names its place, not its content."""


class MissingKeysError(Exception):
    """An encrypted column is used and there are no keys; the settings give them."""

    def __init__(self) -> None:
        super().__init__("an encrypted column is used, but no keys are configured for it")


class _Sealing(NamedTuple):
    """What a column's values are ciphertext and opened with, by their header, and what its rows' ids are bound to."""

    keys: Mapping[str, AESGCM]
    place: str


class Cipher:
    """Seals and opens values of encrypted columns. ``keys`` by id, the first one seals; each has 32 bytes.

    Without keys it refuses to do anything, so that nothing is stored in plain sight by accident.
    """

    def __init__(self, keys: Mapping[str, bytes], index_key: bytes) -> None:
        self._keys = dict(keys)
        self._index_key = index_key
        self.current = next(iter(keys), "")
        self.header = _header(self.current)
        self._sealing = cache(self._find_sealing)
        self._indexing = cache(self._find_index_key)

    def encrypt(self, column: Any, row_id: UUID, text: str) -> str:
        """The ciphertext to store in ``column`` of the row."""
        if not self.current:
            raise MissingKeysError
        (keys, place), nonce = self._sealing(column), os.urandom(_NONCE_BYTES)
        ciphertext = nonce + keys[self.header].encrypt(nonce, text.encode(), (place + str(row_id)).encode())
        return self.header + base64.urlsafe_b64encode(ciphertext).decode()

    def decrypt(self, column: Any, row_id: UUID, ciphertext: str) -> str:
        """The value that was ciphertext for this very place, or Unreadable."""
        return self.decryptor(column)(row_id, ciphertext)

    def decryptor(self, column: Any) -> Callable[[UUID, str], str]:
        """:meth:`decrypt` for many values of one column."""
        keys, place = self._sealing(column)

        def opened(row_id: UUID, ciphertext: str) -> str:
            end = ciphertext.rfind(".") + 1
            try:
                aead = keys[ciphertext[:end]]
                raw = binascii.a2b_base64(ciphertext[end:].replace("-", "+").replace("_", "/"), strict_mode=True)
                return aead.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], (place + str(row_id)).encode()).decode()
            except (InvalidTag, KeyError, ValueError) as error:
                message = f"{_name(column)} of row {row_id} cannot be decrypted ({type(error).__name__})"
                raise DecryptionError(message) from None

        return opened

    def is_current(self, ciphertext: str) -> bool:
        """Whether a ciphertext was ciphertext with the key that seals now; if not, it is due for rotation."""
        return ciphertext.startswith(self.header)

    def blind_index(self, column: Any, text: str) -> str:
        """64 hexadecimal digits, equal for equal values of one column."""
        return hmac.digest(self._indexing(column), text.encode(), "sha256").hex()

    def _find_sealing(self, column: Any) -> _Sealing:
        name = _name(column)
        keys = {_header(key_id): AESGCM(_derive(key, "encrypt", name)) for key_id, key in self._keys.items()}
        return _Sealing(keys, f"{name}:")

    def _find_index_key(self, column: Any) -> bytes:
        if not self._index_key:
            raise MissingKeysError
        return _derive(self._index_key, "index", _name(column))


def _header(key_id: str) -> str:
    return f"{_FORMAT}.{key_id}."


def _derive(key: bytes, purpose: str, name: str) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=f"siso-gateway/{purpose}/{name}".encode()).derive(key)


def _name(column: Any) -> str:
    return f"{column.table.name}.{column.name}"
