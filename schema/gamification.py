"""What clients see of achievements, points and rewards."""

import datetime as dt

import strawberry

from repositories.gamification import achievements as achievement_data
from repositories.gamification import leaderboard as leaderboard_data
from repositories.permissions import Permission
from repositories.tables import gamification as rows
from resolvers.gamification import commands, queries
from schema.identity import User
from schema.operations.mutation import mutation
from schema.types.connections import ConnectionView, connection
from schema.types.costs import RANKING
from schema.types.enums import describe_enum
from schema.types.filter_inputs import (
    BooleanFilter,
    ChoiceFilter,
    DateTimeFilter,
    IdFilter,
    IntFilter,
    TextFilter,
    filter_input,
    order_input,
    where,
)
from schema.types.view import FIRST, TIME_ZONE, Argument, Node, column, computed, edge, query, view

describe_enum(rows.CountedEvent, "What achievements can be for.", TASK_COMPLETED="A task was completed.")
describe_enum(
    rows.PointReason,
    "What points were given or taken for.",
    TASK_COMPLETED="A task was completed: 10 points, 15 on or before its due date.",
    TASK_REOPENED="A completed task was reopened or cancelled: its points were taken back.",
    TASK_DELETED="A completed task was deleted: its points were taken back.",
    TASK_RESTORED="A completed task that had been deleted was restored: its points were given back.",
    ACHIEVEMENT_UNLOCKED="An achievement was unlocked.",
    REWARD_REDEEMED="A reward was paid for.",
    REDEMPTION_REFUNDED="A redemption was refunded.",
)
describe_enum(
    rows.RedemptionStatus,
    "What became of a redemption.",
    REDEEMED="It is paid for.",
    FULFILLED="The person has got it.",
    REFUNDED="The person has got the points back.",
)
describe_enum(
    rows.LeaderboardPeriod,
    "Since when points count.",
    WEEK="The last 7 days.",
    MONTH="The last 30 days.",
    ALL="Ever.",
)


@filter_input(rows.Achievement, searched=("name", "description"))
class AchievementFilter:
    """Which achievements; all conditions that are given must hold."""

    id: IdFilter | None = where("The achievement's id.", key="Achievement")
    code: TextFilter | None = where("Its name for programs.")
    name: TextFilter | None = where("What people call it.")
    points: IntFilter | None = where("How many points it pays.")
    is_active: BooleanFilter | None = where("Whether it can be reached.")


AchievementOrder = order_input(
    rows.Achievement,
    code="Its name for programs.",
    name="What people call it, whatever its case.",
    points="How many points it pays.",
    created_at="When it was made.",
)


@filter_input(rows.PointEntry)
class PointEntryFilter:
    """Which entries; all conditions that are given must hold."""

    user_id: IdFilter | None = where("Whose entry; of use to admins, who see everybody's.", key="User")
    points: IntFilter | None = where("How many points; less than 0 if they were taken.")
    reason: ChoiceFilter[rows.PointReason] | None = where("What for.")
    created_at: DateTimeFilter | None = where("When.")


PointEntryOrder = order_input(rows.PointEntry, points="How many points.", created_at="When.")


@filter_input(rows.Reward, searched=("name", "description"))
class RewardFilter:
    """Which rewards; all conditions that are given must hold."""

    id: IdFilter | None = where("The reward's id.", key="Reward")
    name: TextFilter | None = where("What it is.")
    cost: IntFilter | None = where("How many points it costs.")
    stock: IntFilter | None = where("How many are left; rewards of any number have no stock and fit no condition.")
    is_active: BooleanFilter | None = where("Whether it can be redeemed.")


RewardOrder = order_input(
    rows.Reward,
    name="What it is, whatever its case.",
    cost="How many points it costs.",
    stock="How many are left.",
    created_at="When it was made.",
)


@filter_input(rows.RewardRedemption)
class RewardRedemptionFilter:
    """Which redemptions; all conditions that are given must hold."""

    id: IdFilter | None = where("The redemption's id.", key="RewardRedemption")
    user_id: IdFilter | None = where("Whose redemption; of use to admins, who see everybody's.", key="User")
    reward_id: IdFilter | None = where("Of which reward.", key="Reward")
    status: ChoiceFilter[rows.RedemptionStatus] | None = where("What became of it.")
    redeemed_at: DateTimeFilter | None = where("When it was paid for.")


RewardRedemptionOrder = order_input(
    rows.RewardRedemption,
    cost="How many points it cost.",
    status="What became of it, by name.",
    redeemed_at="When it was paid for.",
)


@strawberry.type(description="What must have happened for an achievement: either `count` or `streakDays` is given.")
class AchievementCriteria:
    """Made of the column of the same name."""

    event: rows.CountedEvent = strawberry.field(description="What must have happened.")
    count: int | None = strawberry.field(description="To how many different things it must have happened.")
    streak_days: int | None = strawberry.field(
        description="On how many days in a row it must have happened; a day is one of the person's time zone."
    )


def _criteria(root: rows.Achievement) -> AchievementCriteria:
    stored = root.criteria
    return AchievementCriteria(
        event=rows.CountedEvent(stored["event"]), count=stored.get("count"), streak_days=stored.get("streak_days")
    )


@view(rows.Achievement, node=queries.achievement)
class Achievement(Node):
    """Something to be proud of."""

    code: str = column("Its name for programs, unique and for ever.")
    name: str = column("What people call it.")
    description: str = column("What has to be done for it.")
    points: int = column("How many points it pays, once.")
    criteria: AchievementCriteria = strawberry.field(resolver=_criteria, description="When it is reached.")
    is_active: bool = column("Whether it can be reached.")
    version: int = column("Grows with every change; `updateAchievement` wants the one that was seen.")
    created_at: dt.datetime = column("When it was made.")
    updated_at: dt.datetime = column("When it was last changed.")


@view(achievement_data.Progress)
class AchievementProgress:
    """How far the viewer is with an achievement."""

    achievement: Achievement = column("The achievement.")
    unlocked_at: dt.datetime | None = column("Since when the viewer has it; null for one that is still locked.")
    progress: int = column("How much of it is done: things or days in a row, at most `wanted`.")
    wanted: int = column("How much there is to do: things or days in a row.")


@view(rows.PointEntry, node=queries.entry)
class PointEntry(Node):
    """Points given or taken, once and for all."""

    points: int = column("How many; less than 0 if they were taken.")
    reason: rows.PointReason = column("What for.")
    user: User | None = edge(queries.owner_of_entry, "Whose they are.")
    created_at: dt.datetime = column("When.")


@view(rows.Reward, node=queries.reward)
class Reward(Node):
    """What points buy."""

    name: str = column("What it is.")
    description: str | None = column("Details.")
    cost: int = column("How many points it costs.")
    stock: int | None = column("How many are left; null for any number.")
    is_active: bool = column("Whether it can be redeemed.")
    version: int = column("Grows with every change and redemption; `updateReward` wants the one that was seen.")
    created_at: dt.datetime = column("When it was made.")
    updated_at: dt.datetime = column("When it was last changed.")


@view(rows.RewardRedemption, node=queries.redemption)
class RewardRedemption(Node):
    """A reward that was paid for."""

    reward: Reward | None = edge(queries.reward_of_redemption, "The reward.")
    user: User | None = edge(queries.owner_of_redemption, "Who paid for it.")
    cost: int = column("How many points it cost.")
    status: rows.RedemptionStatus = column("What became of it.")
    redeemed_at: dt.datetime = column("When it was paid for.")


@view(leaderboard_data.Place)
class LeaderboardPlace:
    """A place on the leaderboard."""

    rank: int = column("The place, from 1; people with equal points share it.")
    display_name: str = column("The first name and the initial of the last name, such as Ada B.")
    points: int = column("What was earned in the period; spending does not lower it.")


@strawberry.type(
    description="A person's points at a glance. Each tile is one statement; a tile that is not asked for costs nothing."
)
class GamificationDashboard:
    """Tiles. The two counters of points count as one tile, and so do the two of achievements."""

    point_balance: int = computed(queries.Dashboard.point_balance, "What there is to spend.")
    points_this_week: int = computed(
        queries.Dashboard.points_this_week,
        "Points earned since the week started, on the viewer's `weekStartsOn`.",
    )
    achievements_unlocked: int = computed(
        queries.Dashboard.achievements_unlocked, "How many achievements are unlocked."
    )
    achievements_total: int = computed(queries.Dashboard.achievements_total, "How many achievements there are to have.")
    current_streak: int = computed(
        queries.Dashboard.current_streak,
        "On how many days in a row a task was completed, up to today or else yesterday; at most 366.",
    )
    next_achievement: AchievementProgress | None = computed(
        queries.Dashboard.next_achievement, "What is nearest to being unlocked; null if everything is."
    )
    rank: int | None = computed(
        queries.Dashboard.rank, "The place on the leaderboard of all time; null without points.", weight=RANKING
    )


_READ = Permission.GAMIFICATION_READ


@strawberry.type
class GamificationQueries:
    """Root fields."""

    achievements: ConnectionView[Achievement] | None = connection(
        queries.achievements,
        "All achievements; by default those with the fewest points first.",
        requires=_READ,
        filter=AchievementFilter,
        order=AchievementOrder,
    )
    my_achievements: list[AchievementProgress] | None = query(
        queries.my_achievements,
        "How far the viewer is with each achievement that is active or unlocked, by points.",
        requires=_READ,
        time_zone=TIME_ZONE,
    )
    point_balance: int | None = query(queries.point_balance, "What the viewer has to spend.", requires=_READ)
    point_history: ConnectionView[PointEntry] | None = connection(
        queries.point_history,
        "The entries the viewer may see; by default the newest first.",
        requires=_READ,
        filter=PointEntryFilter,
        order=PointEntryOrder,
    )
    rewards: ConnectionView[Reward] | None = connection(
        queries.rewards,
        "All rewards; by default the ones that cost least first.",
        requires=_READ,
        filter=RewardFilter,
        order=RewardOrder,
    )
    reward_redemptions: ConnectionView[RewardRedemption] | None = connection(
        queries.redemptions,
        "The redemptions the viewer may see; by default the newest first.",
        requires=_READ,
        filter=RewardRedemptionFilter,
        order=RewardRedemptionOrder,
    )
    leaderboard: list[LeaderboardPlace] | None = query(
        queries.leaderboard,
        "Who earned most: names and points, nothing else.",
        requires=_READ,
        weight=RANKING,
        period=Argument(rows.LeaderboardPeriod, "Since when points count."),
        first=FIRST,
    )
    gamification_dashboard: GamificationDashboard | None = query(
        queries.dashboard, "The viewer's points at a glance.", requires=_READ, time_zone=TIME_ZONE
    )


_MANAGE = Permission.GAMIFICATION_MANAGE


@strawberry.type
class GamificationMutations:
    """Root fields."""

    redeem_reward = mutation(commands.redeem_reward, returns=RewardRedemption, requires=Permission.REWARD_REDEEM)
    fulfill_redemption = mutation(commands.fulfill_redemption, returns=RewardRedemption, requires=_MANAGE)
    refund_redemption = mutation(commands.refund_redemption, returns=RewardRedemption, requires=_MANAGE)
    create_achievement = mutation(commands.create_achievement, returns=Achievement, requires=_MANAGE)
    update_achievement = mutation(commands.update_achievement, returns=Achievement, requires=_MANAGE)
    create_reward = mutation(commands.create_reward, returns=Reward, requires=_MANAGE)
    update_reward = mutation(commands.update_reward, returns=Reward, requires=_MANAGE)
