"""The users of the demo data.

Their ids depend only on the e-mail address, so tokens stay valid after the demo data is loaded into a new database.
"""

import datetime as dt
from collections.abc import Iterator
from random import Random
from typing import Any
from uuid import UUID

from repositories.tables.identity import UserRole

EPOCH = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
"""When the users and their categories were created."""

_NAMED_USERS = (
    ("ada", "Ada", "Byron", "Europe/London"),
    ("grace", "Grace", "Hopper", "America/New_York"),
    ("alan", "Alan", "Turing", "Europe/Berlin"),
    ("katherine", "Katherine", "Johnson", "America/Chicago"),
    ("radia", "Radia", "Perlman", "America/Los_Angeles"),
    ("chiaki", "Chiaki", "Mukai", "Asia/Tokyo"),
)
_FIRST_NAMES = (
    "Amina",
    "Bruno",
    "Carla",
    "Dmitri",
    "Elif",
    "Farid",
    "Hana",
    "Ivan",
    "Jonas",
    "Keiko",
    "Lucia",
    "Mateo",
)
_LAST_NAMES = (
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
_TIME_ZONES = (
    "Europe/Berlin",
    "America/Sao_Paulo",
    "Asia/Kolkata",
    "Africa/Nairobi",
    "Australia/Sydney",
    "America/Denver",
)

PLAIN_USERS = len(_NAMED_USERS)
"""The default number of users without special roles."""
STAFF = 2
"""The number of additional users: the partnership manager and, last, the admin."""


def demo_id(source: Random, at: dt.datetime) -> UUID:
    """Returns a UUIDv7 for the time ``at`` whose random part comes from ``source``, so that it is reproducible."""
    milliseconds = int(at.timestamp() * 1000)
    return UUID(int=milliseconds << 80 | 0x7 << 76 | source.getrandbits(12) << 64 | 0b10 << 62 | source.getrandbits(62))


def generate_users(count: int) -> Iterator[dict[str, Any]]:
    """Yields ``count`` plain users (ada@example.com and grace@example.com first), then the manager and the admin."""
    for index in range(count):
        if index < len(_NAMED_USERS):
            yield _user(*_NAMED_USERS[index])
        else:
            first, last = (
                _FIRST_NAMES[index % len(_FIRST_NAMES)],
                _LAST_NAMES[index // len(_FIRST_NAMES) % len(_LAST_NAMES)],
            )
            yield _user(f"{first}.{last}.{index}".lower(), first, last, _TIME_ZONES[index % len(_TIME_ZONES)])
    yield _user("manager", "Mary", "Jackson", "America/New_York")
    yield _user("admin", "Margaret", "Hamilton", "UTC") | {"role": UserRole.ADMIN}


def _user(name: str, first: str, last: str, zone: str) -> dict[str, Any]:
    email = f"{name}@example.com"
    return {
        "id": demo_id(Random(email), EPOCH),  # noqa: S311 (the ids are public)
        "email": email,
        "first_name": first,
        "last_name": last,
        "email_verified": True,
        "time_zone": zone,
        "created_at": EPOCH,
        "updated_at": EPOCH,
    }
