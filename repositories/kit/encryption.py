"""Encrypted columns: what is personal and need not be searched in plain sight.

    sealed = cipher.seal(Contact.email, contact_id, "ada@example.com")     # "1.2026a.<base64>"
    cipher.open(Contact.email, contact_id, sealed)                          # "ada@example.com"
    cipher.blind_index(Contact.email, "ada@example.com")                    # equal for equal addresses

AES-256-GCM with a random nonce of 96 bits (NIST SP 800-38D). The key is derived per table and column (HKDF-SHA256,
RFC 5869); table, column and row id are authenticated, so that a ciphertext moved to another row, column or table is
refused. The id of the key stands in the header, so that keys rotate: the first key seals, every key opens.

Equality and uniqueness go through a blind index: HMAC-SHA256 of the value under a key of its own, which does not rotate
with the others. The caller normalises the value first.
"""

import base64
import hashlib
import hmac
import os
from collections.abc import Mapping
from functools import cache
from typing import Any
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
"""Of every key: AES-256."""

_FORMAT = "1"
_NONCE_BYTES = 12


class Unreadable(Exception):
    """A ciphertext that was changed, moved, or sealed with an unknown key. Names its place, not its content."""


class MissingKeys(Exception):
    """An encrypted column is used and there are no keys; the settings give them."""

    def __init__(self) -> None:
        super().__init__("an encrypted column is used, but no keys are configured for it")


class Cipher:
    """Seals and opens values of encrypted columns. ``keys`` by id, the first one seals; each has 32 bytes.

    Without keys it refuses to do anything, so that nothing is stored in plain sight by accident.
    """

    def __init__(self, keys: Mapping[str, bytes], index_key: bytes) -> None:
        self._keys = dict(keys)
        self._index_key = index_key
        self.current = next(iter(keys), "")
        self.header = f"{_FORMAT}.{self.current}."
        self._derive = cache(_derive)

    def seal(self, column: Any, row_id: UUID, text: str) -> str:
        """The ciphertext to store in ``column`` of the row."""
        if not self.current:
            raise MissingKeys
        nonce = os.urandom(_NONCE_BYTES)
        aead = AESGCM(self._derive(self._keys[self.current], "encrypt", _place(column)))
        sealed = nonce + aead.encrypt(nonce, text.encode(), _bound_to(column, row_id))
        return self.header + base64.urlsafe_b64encode(sealed).decode()

    def open(self, column: Any, row_id: UUID, sealed: str) -> str:
        """The value that was sealed for this very place, or Unreadable."""
        try:
            version, key_id, body = sealed.split(".")
            raw = base64.b64decode(body, altchars=b"-_", validate=True)
            key = {_FORMAT: self._keys}[version][key_id]
            aead = AESGCM(self._derive(key, "encrypt", _place(column)))
            return aead.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _bound_to(column, row_id)).decode()
        except (InvalidTag, KeyError, ValueError) as error:
            message = f"{_place(column)} of row {row_id} cannot be decrypted ({type(error).__name__})"
            raise Unreadable(message) from None

    def is_current(self, sealed: str) -> bool:
        """Whether a ciphertext was sealed with the key that seals now; if not, it is due for rotation."""
        return sealed.startswith(self.header)

    def blind_index(self, column: Any, text: str) -> str:
        """64 hexadecimal digits, equal for equal values of one column."""
        if not self._index_key:
            raise MissingKeys
        key = self._derive(self._index_key, "index", _place(column))
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _derive(key: bytes, purpose: str, place: str) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=f"siso-gateway/{purpose}/{place}".encode()).derive(key)


def _place(column: Any) -> str:
    return f"{column.table.name}.{column.name}"


def _bound_to(column: Any, row_id: UUID) -> bytes:
    return f"{_place(column)}:{row_id}".encode()
