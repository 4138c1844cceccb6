"""Closed referrals can be reopened."""

from migrations.helpers import allow_transitions, limit_transitions

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None

_FROM_OPEN = ("submitted>qualified", "submitted>won", "submitted>lost", "qualified>won", "qualified>lost")
_REOPENED = ("won>qualified", "lost>qualified")


def upgrade() -> None:
    allow_transitions("partnership", "referrals", "status")
    limit_transitions("partnership", "referrals", "status", (*_FROM_OPEN, *_REOPENED))


def downgrade() -> None:
    allow_transitions("partnership", "referrals", "status")
    limit_transitions("partnership", "referrals", "status", _FROM_OPEN)
