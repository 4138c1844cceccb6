"""All tables with their row types and policies, one module per domain."""

from repositories.sql.policy import policies, row_level_security
from repositories.sql.table import metadata
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
