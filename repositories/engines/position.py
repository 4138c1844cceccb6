"""Positions in PostgreSQL's write-ahead log (LSNs), and the tokens in which clients carry them.

A snapshot at a position shows everything that was committed before it. Positions of a server and its replicas can be
compared. 0 comes before every other position.
"""

import re

_TOKEN = re.compile(r"[0-9A-F]{1,8}/[0-9A-F]{1,8}")
_LOW_BITS = 32


def format_position(position: int) -> str:
    """Returns the position in PostgreSQL's own text form, such as ``0/16B3748``."""
    return f"{position >> _LOW_BITS:X}/{position & 0xFFFFFFFF:X}"


def parse_position(token: str) -> int:
    """Returns the position of a token. Raises ValueError for any other text."""
    if not _TOKEN.fullmatch(token):
        message = "not a WAL position"
        raise ValueError(message)
    high, _, low = token.partition("/")
    return (int(high, 16) << _LOW_BITS) + int(low, 16)
