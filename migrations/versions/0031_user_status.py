"""The transitions of a user's status, as a trigger: a suspended account cannot be closed by its owner."""

from migrations.helpers import allow_transitions, limit_transitions

revision = "0031"
down_revision = "0021"
branch_labels = None
depends_on = None

_TRANSITIONS = ("active>suspended", "active>deactivated", "suspended>active", "deactivated>active")


def upgrade() -> None:
    limit_transitions("identity", "users", "status", _TRANSITIONS)


def downgrade() -> None:
    allow_transitions("identity", "users", "status")
