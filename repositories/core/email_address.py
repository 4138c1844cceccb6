"""The normal form of e-mail addresses. Accounts and contacts are stored, found and counted by it.

The normal form has no differences of case, and is in Unicode's form NFC. Its domain is in Unicode (IDNA 2008 with the
mapping of UTS 46, as the package email-validator applies it), so ``xn--bcher-kva.example`` and ``BÜCHER.example`` are
the same domain, also with full-width dots, while ``straße.example`` and ``strasse.example`` are two.
"""

import re
import unicodedata

from email_validator import EmailNotValidError, validate_email

MAX_BYTES = 254
"""The length of an address in UTF-8 (RFC 5321, section 4.5.3.1, with erratum 1690 of RFC 3696)."""
_TOO_LONG = "The e-mail address is too long."


def parse_email(text: str) -> str:
    """The normal form of a valid address. ValueError for any other text.

    Spaces around the address are removed. An address that contains white space or control characters is not valid.
    """
    text = text.strip(" ")
    if len(text) > MAX_BYTES:
        raise ValueError(_TOO_LONG)
    try:
        parts = validate_email(text, check_deliverability=False)
    except EmailNotValidError as error:
        raise ValueError(str(error)) from None
    normal = f"{_fold(parts.local_part)}@{parts.domain}"
    if len(normal.encode()) > MAX_BYTES:
        raise ValueError(_TOO_LONG)
    return normal


def normalize_email(text: str) -> str:
    """The normal form of an address to look for. A text that is no address is only folded: it equals no address."""
    try:
        return parse_email(text)
    except ValueError:
        return _fold(text)


def normalize_search_word(word: str) -> str:
    """The word, with the domain or the whole address that it may be in the normal form."""
    local, at, domain = word.rpartition("@")
    try:
        normal = parse_email(f"{local or 'x'}@{domain}")
    except ValueError:
        return word
    return normal if local else at + normal.removeprefix("x@")


def _fold(text: str) -> str:
    """The text for a comparison that ignores case (Unicode 3.13, D145), except that ß and ss are two.

    Each letter is folded for itself, while lower case depends on the letters beside it for the Greek sigma.
    """
    parts = re.split("[ßẞ]", unicodedata.normalize("NFC", text))
    folded = "ß".join(unicodedata.normalize("NFD", part).casefold() for part in parts)
    return unicodedata.normalize("NFC", folded)
