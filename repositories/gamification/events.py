"""What happens with achievements and rewards."""

from dataclasses import dataclass
from uuid import UUID

from repositories.core.event import Event


@dataclass(frozen=True, slots=True)
class AchievementCreated(Event, aggregate="achievement"):
    """An achievement was made."""


@dataclass(frozen=True, slots=True)
class AchievementUpdated(Event, aggregate="achievement"):
    """Some fields of an achievement were changed; ``fields`` names them."""

    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AchievementUnlocked(Event, aggregate="user_achievement"):
    """A person has an achievement from now on."""

    achievement_id: UUID
    points: int


@dataclass(frozen=True, slots=True)
class RewardCreated(Event, aggregate="reward"):
    """A reward was made."""


@dataclass(frozen=True, slots=True)
class RewardUpdated(Event, aggregate="reward"):
    """Some fields of a reward were changed; ``fields`` names them."""

    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RewardRedeemed(Event, aggregate="reward_redemption"):
    """A person paid for a reward."""

    reward_id: UUID
    cost: int


@dataclass(frozen=True, slots=True)
class RedemptionFulfilled(Event, aggregate="reward_redemption"):
    """A person has got a reward."""

    reward_id: UUID


@dataclass(frozen=True, slots=True)
class RedemptionRefunded(Event, aggregate="reward_redemption"):
    """A person got the points for a reward back."""

    reward_id: UUID
    cost: int
