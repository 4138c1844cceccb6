"""Ciphertexts that were stored earlier can be decrypted, and changed ciphertexts cannot."""

from uuid import UUID

import pytest

from repositories.core.encryption import Cipher, DecryptionError
from repositories.tables.client_management import Contact
from tests.databases import KEYS

_CIPHER = Cipher(KEYS["encryption_keys"], KEYS["index_key"])
_ROW = UUID("01a1f989-dd92-73ca-b69c-189f7fbfe336")
_STORED = "1.new.GzOtz1Wc-qmWNvzZ_Qs0CgHY30MMnhjkn94Khe2XJS9XVlxiCZT5vclXSw=="
_INDEX = "ea4392622c509f9b8932a9efcaf21d73265f824c1faf3cda8bb724e67a0af4cd"


def test_stored_values_stay_readable() -> None:
    """The constants are a ciphertext and a blind index as existing databases contain them."""
    assert _CIPHER.decrypt(Contact.email, _ROW, _STORED) == "ada@example.com"
    assert _CIPHER.blind_index(Contact.email, "ada@example.com") == _INDEX


@pytest.mark.parametrize(
    "changed",
    [
        "",
        "1.new.",
        "1.new.!!!!",
        "1.new.é",
        "1.new.AAAA",
        "2" + _STORED[1:],
        _STORED.replace("new", "gone"),
        _STORED.replace("new", "old"),
        _STORED[:-1],
        _STORED.rstrip("="),
        _STORED + "\n",
        _STORED.replace("Gz", "Gy", 1),
        _STORED.removeprefix("1."),
        f"{_STORED}.",
    ],
)
def test_a_changed_ciphertext_is_a_decryption_error(changed: str) -> None:
    """The error names the column and the row, and contains nothing of the value."""
    with pytest.raises(DecryptionError, match=f"^contacts.email of row {_ROW} cannot be decrypted \\([A-Za-z]+\\)$"):
        _CIPHER.decrypt(Contact.email, _ROW, changed)
