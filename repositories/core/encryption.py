"""Encryption of columns with personal data that need no search in plain text.

    ciphertext = cipher.encrypt(Contact.email, contact_id, "ada@example.com")     # "1.2026a.<base64>"
    cipher.decrypt(Contact.email, contact_id, ciphertext)                          # "ada@example.com"
    cipher.blind_index(Contact.email, "ada@example.com")                    # equal for equal addresses

Values are encrypted by AES-256-GCM with a random nonce of 96 bits (NIST SP 800-38D). Every column has its own key,
derived by HKDF-SHA256 (RFC 5869). Table, column and row id are authenticated data: decryption fails if a ciphertext
was moved to another row, column or table. The header of a ciphertext contains the id of its key, so that keys can be
rotated: the first key encrypts, every key decrypts.

A blind index allows look-ups and unique constraints: HMAC-SHA256 of the value with a separate key that is not rotated.
The caller normalizes the value first.
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
"""Length of every key, as AES-256 requires."""

_FORMAT = "1"
_NONCE_BYTES = 12


class DecryptionError(Exception):
    """A ciphertext was changed or moved, or its key is unknown. The message names column and row, never the value."""


class MissingKeysError(Exception):
    """An encrypted column is used, but the settings contain no keys."""

    def __init__(self) -> None:
        super().__init__("an encrypted column is used, but no keys are configured for it")


class _ColumnKeys(NamedTuple):
    """The keys of one column by the header of their ciphertexts. ``prefix`` begins the authenticated data."""

    keys: Mapping[str, AESGCM]
    prefix: str


class Cipher:
    """Encrypts and decrypts values of encrypted columns.

    ``keys`` are keys of 32 bytes by their ids; the first one encrypts. Without keys every operation raises
    MissingKeysError, so that no value is ever stored unencrypted by accident.
    """

    def __init__(self, keys: Mapping[str, bytes], index_key: bytes) -> None:
        self._keys = dict(keys)
        self._index_key = index_key
        self.current_key_id = next(iter(keys), "")
        self.header = _header(self.current_key_id)
        self._column_keys = cache(self._derive_column_keys)
        self._column_index_key = cache(self._derive_index_key)

    def encrypt(self, column: Any, row_id: UUID, text: str) -> str:
        """The ciphertext to store in ``column`` of the row."""
        if not self.current_key_id:
            raise MissingKeysError
        (keys, prefix), nonce = self._column_keys(column), os.urandom(_NONCE_BYTES)
        ciphertext = nonce + keys[self.header].encrypt(nonce, text.encode(), (prefix + str(row_id)).encode())
        return self.header + base64.urlsafe_b64encode(ciphertext).decode()

    def decrypt(self, column: Any, row_id: UUID, ciphertext: str) -> str:
        """The value of ``column`` in the row, or DecryptionError."""
        return self.decryptor(column)(row_id, ciphertext)

    def decryptor(self, column: Any) -> Callable[[UUID, str], str]:
        """A function that decrypts many values of one column; see :meth:`decrypt`."""
        keys, prefix = self._column_keys(column)

        def decrypt(row_id: UUID, ciphertext: str) -> str:
            end = ciphertext.rfind(".") + 1
            try:
                aead = keys[ciphertext[:end]]
                raw = binascii.a2b_base64(ciphertext[end:].replace("-", "+").replace("_", "/"), strict_mode=True)
                return aead.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], (prefix + str(row_id)).encode()).decode()
            except (InvalidTag, KeyError, ValueError) as error:
                message = f"{_name(column)} of row {row_id} cannot be decrypted ({type(error).__name__})"
                raise DecryptionError(message) from None

        return decrypt

    def blind_index(self, column: Any, text: str) -> str:
        """64 hexadecimal digits, equal for equal values of one column."""
        return hmac.digest(self._column_index_key(column), text.encode(), "sha256").hex()

    def _derive_column_keys(self, column: Any) -> _ColumnKeys:
        name = _name(column)
        keys = {_header(key_id): AESGCM(_derive(key, "encrypt", name)) for key_id, key in self._keys.items()}
        return _ColumnKeys(keys, f"{name}:")

    def _derive_index_key(self, column: Any) -> bytes:
        if not self._index_key:
            raise MissingKeysError
        return _derive(self._index_key, "index", _name(column))


def _header(key_id: str) -> str:
    return f"{_FORMAT}.{key_id}."


def _derive(key: bytes, purpose: str, name: str) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=f"siso-gateway/{purpose}/{name}".encode()).derive(key)


def _name(column: Any) -> str:
    return f"{column.table.name}.{column.name}"
