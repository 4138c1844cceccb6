"""Positions in the order of everything a PostgreSQL server has written (its WAL), and how clients carry them.

A state of the database at a position shows everything that was committed before it. Positions of one server and its
replicas compare; 0 comes before everything.
"""

import re

_TOKEN = re.compile(r"[0-9A-F]{1,8}/[0-9A-F]{1,8}")
_LOW = 32


def token_of(position: int) -> str:
    """The position as text, such as ``0/16B3748``; clients bring it back as it is."""
    return f"{position >> _LOW:X}/{position & 0xFFFFFFFF:X}"


def position_of(token: str) -> int:
    """The position that a token names, or ValueError."""
    if not _TOKEN.fullmatch(token):
        message = "not a position"
        raise ValueError(message)
    high, _, low = token.partition("/")
    return (int(high, 16) << _LOW) + int(low, 16)
