"""Achievements, points, and the rewards that users redeem points for."""

import datetime as dt
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from repositories.described_enum import DescribedEnum
from repositories.permissions import RoleName
from repositories.sql.aggregate import ACTOR, Commands, aggregate
from repositories.sql.constraints import violation
from repositories.sql.filters import Direction, SortKey
from repositories.sql.policy import Rule, owner, policy, role, signed_in
from repositories.sql.table import Column, Pattern, Table, Versioned, Writer, column

MAX_COUNT = 1_000_000
MAX_STREAK = 100
"""The longest streak, in days, that an achievement may ask for."""


class CountedEvent(DescribedEnum):
    """The events that achievements count."""

    TASK_COMPLETED = "TaskCompleted", "A task was completed."


_CRITERIA = (
    "coalesce(criteria ->> 'event', '') = 'TaskCompleted' "
    "AND (criteria ->> 'count' IS NULL) <> (criteria ->> 'streak_days' IS NULL) "
    f"AND coalesce(CAST(criteria ->> 'count' AS INTEGER), 1) BETWEEN 1 AND {MAX_COUNT} "
    f"AND coalesce(CAST(criteria ->> 'streak_days' AS INTEGER), 1) BETWEEN 1 AND {MAX_STREAK}"
)


class Achievement(Versioned, Table, schema="gamification", name="achievements"):
    """A goal that awards points once, when the user reaches it.

    ``criteria`` names a type of event and how many different things it must have happened to (``count``), or on how
    many days in a row it must have happened (``streak_days``).
    """

    __slots__ = ()
    code: Column[str] = column(
        "The name for programs: 1 to 50 lower-case letters, digits and underscores, unique. It cannot be changed.",
        length=(1, 50),
        format=Pattern("[a-z0-9_]{1,50}", "A code has 1 to 50 lower-case letters, digits and underscores"),
        check="ltrim(code, 'abcdefghijklmnopqrstuvwxyz0123456789_') = ''",
        unique=True,
        writer=Writer.ON_CREATE,
        filtered=True,
        sorted=True,
        info=violation("code", "There is already an achievement of this code."),
    )
    name: Column[str] = column(
        "The name.", length=(1, 100), single_line=True, searched=True, filtered=True, sorted=True
    )
    description: Column[str] = column("What the user has to do.", length=(1, 500), searched=True)
    points: Column[int] = column(
        "The number of points that it awards once. A new number does not change the points of users who have reached "
        "it.",
        range=(1, 100_000),
        filtered=True,
        sorted=True,
        history=True,
    )
    criteria: Column[dict[str, Any]] = column(
        "The condition for reaching it. Users who fulfil a new condition already reach it with the next event that "
        "counts.",
        check=_CRITERIA,
        history=True,
    )
    is_active: Column[bool] = column("Whether users can reach it.", default=True, filtered=True, history=True)

    __table_args__ = (sa.Index("ix_achievements_points", "points", "code"),)


class UserAchievement(Table, schema="gamification", name="user_achievements"):
    """An achievement that a user has reached."""

    __slots__ = ()
    user_id: Column[UUID] = column(
        "The user who has reached it.", references="identity.users.id", writer=Writer.GATEWAY, filtered=True
    )
    achievement_id: Column[UUID] = column(
        "The achievement.",
        references="gamification.achievements.id",
        index=True,
        writer=Writer.GATEWAY,
        filtered=True,
    )
    unlocked_at: Column[dt.datetime] = column(
        "The time when the user reached it.", writer=Writer.GATEWAY, filtered=True, sorted=True
    )
    created_at: Column[dt.datetime] = column()
    updated_at: Column[dt.datetime] = column()

    __table_args__ = (sa.UniqueConstraint("user_id", "achievement_id"),)


class PointReason(DescribedEnum):
    """The reason why points were awarded or deducted."""

    TASK_COMPLETED = "task_completed", "A task was completed: 10 points, or 15 on or before its due date."
    TASK_REOPENED = "task_reopened", "A completed task was reopened or cancelled: its points were deducted."
    TASK_DELETED = "task_deleted", "A completed task was deleted: its points were deducted."
    TASK_RESTORED = "task_restored", "A deleted task that is completed was restored: its points were awarded again."
    ACHIEVEMENT_UNLOCKED = "achievement_unlocked", "An achievement was reached."
    REWARD_REDEEMED = "reward_redeemed", "A reward was redeemed."
    REDEMPTION_REFUNDED = "redemption_refunded", "A redemption was refunded."


EARNED = (
    PointReason.TASK_COMPLETED,
    PointReason.TASK_REOPENED,
    PointReason.TASK_DELETED,
    PointReason.TASK_RESTORED,
    PointReason.ACHIEVEMENT_UNLOCKED,
)
"""The reasons that count on the leaderboard. Redemptions do not count."""


class PointEntry(Table, schema="gamification", name="point_entries"):
    """Points that were awarded to a user or deducted because of one event. The sum of the entries is the balance.

    The table is append-only.
    """

    __slots__ = ()
    user_id: Column[UUID] = column(
        "The user whose points they are.", references="identity.users.id", writer=Writer.GATEWAY, filtered=True
    )
    points: Column[int] = column(
        "The number of points, negative if they were deducted.",
        check="points <> 0",
        writer=Writer.GATEWAY,
        filtered=True,
        sorted=True,
    )
    reason: Column[PointReason] = column(
        "The reason why they were awarded or deducted.", writer=Writer.GATEWAY, filtered=True
    )
    source_event_id: Column[UUID] = column(references="public.domain_events.id", unique=True)
    created_at: Column[dt.datetime] = column(
        "The time when they were awarded or deducted.", writer=Writer.GATEWAY, filtered=True, sorted=True
    )
    updated_at: Column[dt.datetime] = column()

    __table_args__ = (
        sa.Index("ix_point_entries_user_id_created_at", "user_id", "created_at", "id"),
        sa.Index("ix_point_entries_created_at", "created_at"),
    )


class Reward(Versioned, Table, schema="gamification", name="rewards"):
    """Something that users redeem points for.

    A trigger reduces ``stock`` with every redemption, and increases it with every refund.
    """

    __slots__ = ()
    name: Column[str] = column(
        "The name.", length=(1, 100), single_line=True, searched=True, filtered=True, sorted=True
    )
    description: Column[str | None] = column("Details.", length=(0, 2000), searched=True)
    cost: Column[int] = column(
        "The number of points that it costs. A new number does not change the cost of redemptions.",
        range=(1, 1_000_000),
        filtered=True,
        sorted=True,
        history=True,
    )
    stock: Column[int | None] = column(
        "The number of items that are left. Null if the number is unlimited. Redemptions decrease it, and refunds "
        "increase it.",
        input_range=(0, 1_000_000),
        filtered=True,
        sorted=True,
        history=True,
    )
    is_active: Column[bool] = column("Whether users can redeem it.", default=True, filtered=True, history=True)

    __table_args__ = (
        sa.CheckConstraint(
            "stock >= 0", name="stock_range", info=violation("reward_id", "This reward is sold out; choose another.")
        ),
        sa.Index("ix_rewards_cost", "cost", "id"),
    )


class RedemptionStatus(DescribedEnum):
    """The status of a redemption."""

    REDEEMED = "redeemed", "Paid with points. Can become FULFILLED or REFUNDED."
    FULFILLED = "fulfilled", "The user has received the reward. Can become REFUNDED."
    REFUNDED = "refunded", "The user has received the points back. Cannot change any more."


REDEMPTION_TRANSITIONS = {
    RedemptionStatus.REDEEMED: (RedemptionStatus.FULFILLED, RedemptionStatus.REFUNDED),
    RedemptionStatus.FULFILLED: (RedemptionStatus.REFUNDED,),
    RedemptionStatus.REFUNDED: (),
}


class RewardRedemption(Table, schema="gamification", name="reward_redemptions"):
    """A reward that a user has redeemed points for."""

    __slots__ = ()
    user_id: Column[UUID] = column(
        "The user who redeemed the points.", references="identity.users.id", writer=Writer.GATEWAY, filtered=True
    )
    reward_id: Column[UUID] = column(
        "The reward.", references="gamification.rewards.id", index=True, writer=Writer.ON_CREATE, filtered=True
    )
    cost: Column[int] = column(
        "The number of points that the user paid.",
        range=(1, 1_000_000),
        writer=Writer.GATEWAY,
        filtered=True,
        sorted=True,
    )
    redeemed_at: Column[dt.datetime] = column(
        "The time of the redemption.", writer=Writer.GATEWAY, filtered=True, sorted=True
    )
    status: Column[RedemptionStatus] = column(
        "The status.",
        default=RedemptionStatus.REDEEMED,
        transitions=REDEMPTION_TRANSITIONS,
        writer=Writer.GATEWAY,
        filtered=True,
        sorted=True,
        history=True,
    )
    created_at: Column[dt.datetime] = column()

    __table_args__ = (
        sa.Index("ix_reward_redemptions_user_id_redeemed_at", "user_id", "redeemed_at", "id"),
        sa.Index("ix_reward_redemptions_status", "status", "redeemed_at", "id"),
    )


class LeaderboardPeriod(DescribedEnum):
    """The period in which points count."""

    WEEK = "week", "The last 7 days."
    MONTH = "month", "The last 30 days."
    ALL = "all", "All time."


class Standing(Table, schema="gamification", name="leaderboard", is_view=True):
    """The points that a user earned in a period, with the first name and the initial of the last name.

    All signed-in users may read it. It therefore contains neither ids nor addresses.
    """

    __slots__ = ()
    period: Column[LeaderboardPeriod] = column()
    display_name: Column[str] = column()
    points: Column[int] = column()


def _owned(user_id: sa.Column[UUID]) -> Rule:
    return owner(user_id) | role(RoleName.ADMIN)


aggregate(
    Achievement,
    read=signed_in(),
    write=role(RoleName.ADMIN),
    owner=ACTOR,
    order=(SortKey("points"), SortKey("code")),
    order_text="those with the fewest points first",
    commands=Commands.CREATE | Commands.UPDATE,
)
aggregate(
    UserAchievement,
    read=_owned(UserAchievement.user_id),
    write=_owned(UserAchievement.user_id),
    order=(SortKey("unlocked_at", Direction.DESC),),
    order_text="the newest first",
    commands=Commands.NONE,
)
aggregate(
    PointEntry,
    read=_owned(PointEntry.user_id),
    write=_owned(PointEntry.user_id),
    order=(SortKey("created_at", Direction.DESC), SortKey("id", Direction.DESC)),
    order_text="the newest first",
    commands=Commands.NONE,
    plural="point_history",
    rows_text="points that were awarded to or deducted from the viewer, for administrators those of all users",
)
aggregate(
    Reward,
    read=signed_in(),
    write=role(RoleName.ADMIN),
    owner=ACTOR,
    order=(SortKey("cost"),),
    order_text="the cheapest first",
    commands=Commands.CREATE | Commands.UPDATE,
)
aggregate(
    RewardRedemption,
    read=_owned(RewardRedemption.user_id),
    write=_owned(RewardRedemption.user_id),
    order=(SortKey("redeemed_at", Direction.DESC), SortKey("id", Direction.DESC)),
    order_text="the newest first",
    commands=Commands.NONE,
    noun="redemption",
)
policy(Standing, read=signed_in())
