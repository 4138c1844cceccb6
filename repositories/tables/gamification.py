"""Achievements, points and what they buy."""

import datetime as dt
from enum import StrEnum
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from repositories.permissions import RoleName
from repositories.sql.constraints import violation
from repositories.sql.policy import Rule, owner, policy, role, signed_in
from repositories.sql.table import Column, Table, Versioned, column

MAX_COUNT = 1_000_000
MAX_STREAK = 100
"""The longest streak, in days, that an achievement may ask for."""


class CountedEvent(StrEnum):
    """Which events achievements can be for, by the names of their types."""

    TASK_COMPLETED = "TaskCompleted"


_CRITERIA = (
    "coalesce(criteria ->> 'event', '') = 'TaskCompleted' "
    "AND (criteria ->> 'count' IS NULL) <> (criteria ->> 'streak_days' IS NULL) "
    f"AND coalesce(CAST(criteria ->> 'count' AS INTEGER), 1) BETWEEN 1 AND {MAX_COUNT} "
    f"AND coalesce(CAST(criteria ->> 'streak_days' AS INTEGER), 1) BETWEEN 1 AND {MAX_STREAK}"
)


class Achievement(Versioned, Table, schema="gamification", name="achievements"):
    """Something to be proud of, and the points it pays once.

    ``criteria`` names a type of event and how many different things it must have happened to (``count``), or on how
    many days in a row it must have happened (``streak_days``).
    """

    __slots__ = ()
    code: Column[str] = column(
        length=(1, 50),
        check="ltrim(code, 'abcdefghijklmnopqrstuvwxyz0123456789_') = ''",
        unique=True,
        info=violation("code", "There is already an achievement of this code."),
    )
    name: Column[str] = column(length=(1, 100), single_line=True)
    description: Column[str] = column(length=(1, 500))
    points: Column[int] = column(range=(1, 100_000))
    criteria: Column[dict[str, Any]] = column(check=_CRITERIA)
    is_active: Column[bool] = column(default=True)

    __table_args__ = (sa.Index("ix_achievements_points", "points", "code"),)


class UserAchievement(Table, schema="gamification", name="user_achievements"):
    """An achievement that a person has."""

    __slots__ = ()
    user_id: Column[UUID] = column(references="identity.users.id")
    achievement_id: Column[UUID] = column(references="gamification.achievements.id", index=True)
    unlocked_at: Column[dt.datetime] = column()

    __table_args__ = (sa.UniqueConstraint("user_id", "achievement_id"),)


class PointReason(StrEnum):
    """What points were given or taken for."""

    TASK_COMPLETED = "task_completed"
    TASK_REOPENED = "task_reopened"
    TASK_DELETED = "task_deleted"
    TASK_RESTORED = "task_restored"
    ACHIEVEMENT_UNLOCKED = "achievement_unlocked"
    REWARD_REDEEMED = "reward_redeemed"
    REDEMPTION_REFUNDED = "redemption_refunded"


EARNED = (
    PointReason.TASK_COMPLETED,
    PointReason.TASK_REOPENED,
    PointReason.TASK_DELETED,
    PointReason.TASK_RESTORED,
    PointReason.ACHIEVEMENT_UNLOCKED,
)
"""The reasons that count on the leaderboard. Redemptions do not count."""


class PointEntry(Table, schema="gamification", name="point_entries"):
    """Points given or taken because of one event. Append-only; a person's balance is the sum."""

    __slots__ = ()
    user_id: Column[UUID] = column(references="identity.users.id")
    points: Column[int] = column(check="points <> 0")
    reason: Column[PointReason] = column()
    source_event_id: Column[UUID] = column(references="public.domain_events.id", unique=True)

    __table_args__ = (
        sa.Index("ix_point_entries_user_id_created_at", "user_id", "created_at", "id"),
        sa.Index("ix_point_entries_created_at", "created_at"),
    )


class Reward(Versioned, Table, schema="gamification", name="rewards"):
    """What points buy. ``stock`` is what is left, None for any number; redemptions take from it by a trigger."""

    __slots__ = ()
    name: Column[str] = column(length=(1, 100), single_line=True)
    description: Column[str | None] = column(length=(0, 2000))
    cost: Column[int] = column(range=(1, 1_000_000))
    stock: Column[int | None] = column()
    is_active: Column[bool] = column(default=True)

    __table_args__ = (
        sa.CheckConstraint(
            "stock >= 0", name="stock_range", info=violation("reward_id", "This reward is sold out; choose another.")
        ),
        sa.Index("ix_rewards_cost", "cost", "id"),
    )


class RedemptionStatus(StrEnum):
    """What became of a redemption."""

    REDEEMED = "redeemed"
    FULFILLED = "fulfilled"
    REFUNDED = "refunded"


REDEMPTION_TRANSITIONS = {
    RedemptionStatus.REDEEMED: (RedemptionStatus.FULFILLED, RedemptionStatus.REFUNDED),
    RedemptionStatus.FULFILLED: (RedemptionStatus.REFUNDED,),
    RedemptionStatus.REFUNDED: (),
}


class RewardRedemption(Table, schema="gamification", name="reward_redemptions"):
    """A reward that a person paid ``cost`` points for."""

    __slots__ = ()
    user_id: Column[UUID] = column(references="identity.users.id")
    reward_id: Column[UUID] = column(references="gamification.rewards.id", index=True)
    cost: Column[int] = column(range=(1, 1_000_000))
    redeemed_at: Column[dt.datetime] = column()
    status: Column[RedemptionStatus] = column(default=RedemptionStatus.REDEEMED, transitions=REDEMPTION_TRANSITIONS)

    __table_args__ = (
        sa.Index("ix_reward_redemptions_user_id_redeemed_at", "user_id", "redeemed_at", "id"),
        sa.Index("ix_reward_redemptions_status", "status", "redeemed_at", "id"),
    )


class LeaderboardPeriod(StrEnum):
    """Since when points count."""

    WEEK = "week"
    MONTH = "month"
    ALL = "all"


class Standing(Table, schema="gamification", name="leaderboard", is_view=True):
    """What a person earned in a period: a first name, the initial of the last name and points, nothing else.

    Everybody who is signed in may read it, which is why no id and no address is in it.
    """

    __slots__ = ()
    period: Column[LeaderboardPeriod] = column()
    display_name: Column[str] = column()
    points: Column[int] = column()


def _owned(user_id: sa.Column[UUID]) -> Rule:
    return owner(user_id) | role(RoleName.ADMIN)


policy(Achievement, read=signed_in(), write=role(RoleName.ADMIN))
policy(UserAchievement, read=_owned(UserAchievement.user_id), write=_owned(UserAchievement.user_id))
policy(PointEntry, read=_owned(PointEntry.user_id), write=_owned(PointEntry.user_id))
policy(Reward, read=signed_in(), write=role(RoleName.ADMIN))
policy(RewardRedemption, read=_owned(RewardRedemption.user_id), write=_owned(RewardRedemption.user_id))
policy(Standing, read=signed_in())
