"""Every table, the type of its rows, and who may see them: one module per domain.

The migrations import from here only, so the column types are at hand here too.
"""

from repositories.kit.policy import policies, row_level_security
from repositories.kit.table import metadata
from repositories.kit.types import Day, Fixed, Flag, Id, Json, Timestamp
from repositories.tables import (
    administration,
    client_management,
    events,
    gamification,
    identity,
    life_lock,
    partnership,
)

__all__ = [
    "Day",
    "Fixed",
    "Flag",
    "Id",
    "Json",
    "Timestamp",
    "administration",
    "client_management",
    "events",
    "gamification",
    "identity",
    "life_lock",
    "metadata",
    "partnership",
    "policies",
    "row_level_security",
]
