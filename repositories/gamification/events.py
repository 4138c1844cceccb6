"""The events of achievements, rewards and redemptions."""

from dataclasses import dataclass
from uuid import UUID

from repositories.core.event import Created, Event, Updated


@dataclass(frozen=True, slots=True)
class AchievementCreated(Created, aggregate="achievement"):
    """An achievement was created."""


@dataclass(frozen=True, slots=True)
class AchievementUpdated(Updated, aggregate="achievement"):
    """An achievement was changed."""


@dataclass(frozen=True, slots=True)
class AchievementUnlocked(Event, aggregate="user_achievement"):
    """A user reached an achievement."""

    achievement_id: UUID
    points: int


@dataclass(frozen=True, slots=True)
class RewardCreated(Created, aggregate="reward"):
    """A reward was created."""


@dataclass(frozen=True, slots=True)
class RewardUpdated(Updated, aggregate="reward"):
    """A reward was changed, possibly only its stock by a redemption or a refund."""


@dataclass(frozen=True, slots=True)
class RewardRedeemed(Created, aggregate="reward_redemption"):
    """A user redeemed points for a reward."""

    reward_id: UUID
    cost: int


@dataclass(frozen=True, slots=True)
class RedemptionFulfilled(Event, aggregate="reward_redemption"):
    """A user received a reward."""

    reward_id: UUID


@dataclass(frozen=True, slots=True)
class RedemptionRefunded(Event, aggregate="reward_redemption"):
    """A user received the points for a reward back."""

    reward_id: UUID
    cost: int
