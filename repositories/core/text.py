"""The normal form of all texts that people enter."""

import unicodedata


def normalize_text(text: str) -> str:
    """The text in NFC, in which an accented letter is one character, so that equal texts are equal in the database.

    Unicode Standard Annex 15. Keyboards of macOS and file names from it often have NFD.
    """
    return text if text.isascii() else unicodedata.normalize("NFC", text)
