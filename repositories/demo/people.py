"""The people of the demo data. Ids depend on the e-mail address only, so that a token outlives a reload."""

import datetime as dt
from collections.abc import Iterator
from random import Random
from typing import Any
from uuid import UUID

from repositories.tables.identity import UserRole

EPOCH = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)

_KNOWN = (
    ("ada", "Ada", "Byron", "Europe/London"),
    ("grace", "Grace", "Hopper", "America/New_York"),
    ("alan", "Alan", "Turing", "Europe/Berlin"),
    ("katherine", "Katherine", "Johnson", "America/Chicago"),
    ("radia", "Radia", "Perlman", "America/Los_Angeles"),
    ("chiaki", "Chiaki", "Mukai", "Asia/Tokyo"),
)
_FIRST = ("Amina", "Bruno", "Carla", "Dmitri", "Elif", "Farid", "Hana", "Ivan", "Jonas", "Keiko", "Lucia", "Mateo")
_LAST = (
    "Abebe",
    "Becker",
    "Costa",
    "Dubois",
    "Eriksen",
    "Fischer",
    "Garcia",
    "Haddad",
    "Ito",
    "Jansen",
    "Kaya",
    "Lopez",
)
_ZONES = ("Europe/Berlin", "America/Sao_Paulo", "Asia/Kolkata", "Africa/Nairobi", "Australia/Sydney", "America/Denver")

PLAIN_USERS = len(_KNOWN)
"""How many plain users a demo has by default."""
STAFF = 2
"""How many people a demo has besides: the partnership manager and, last, the admin."""


def demo_id(source: Random, at: dt.datetime) -> UUID:
    """A UUIDv7 of that moment whose random part comes from ``source``, so that it can be made again."""
    milliseconds = int(at.timestamp() * 1000)
    return UUID(int=milliseconds << 80 | 0x7 << 76 | source.getrandbits(12) << 64 | 0b10 << 62 | source.getrandbits(62))


def people(count: int) -> Iterator[dict[str, Any]]:
    """``count`` plain users, ada@ and grace@example.com first, then the manager of partners and the admin."""
    for index in range(count):
        if index < len(_KNOWN):
            yield _person(*_KNOWN[index])
        else:
            first, last = _FIRST[index % len(_FIRST)], _LAST[index // len(_FIRST) % len(_LAST)]
            yield _person(f"{first}.{last}.{index}".lower(), first, last, _ZONES[index % len(_ZONES)])
    yield _person("manager", "Mary", "Jackson", "America/New_York")
    yield _person("admin", "Margaret", "Hamilton", "UTC") | {"role": UserRole.ADMIN}


def _person(name: str, first: str, last: str, zone: str) -> dict[str, Any]:
    email = f"{name}@example.com"
    return {
        "id": demo_id(Random(email), EPOCH),  # noqa: S311 (it shall be guessable)
        "email": email,
        "first_name": first,
        "last_name": last,
        "email_verified": True,
        "time_zone": zone,
        "created_at": EPOCH,
        "updated_at": EPOCH,
    }
