"""The GraphQL types and fields of achievements, points and rewards."""

import datetime as dt

import strawberry

from repositories.gamification import achievements as achievement_data
from repositories.gamification import leaderboard as leaderboard_data
from repositories.permissions import Permission
from repositories.tables import gamification as rows
from resolvers.gamification import commands, queries
from schema.aggregates.objects import aggregate_view
from schema.aggregates.published_enums import publish_enum
from schema.life_lock import Task
from schema.operations.mutation import mutation
from schema.types.costs import RANKING
from schema.types.view import FIRST, TIME_ZONE, Argument, Node, column, computed, edge, query, view

publish_enum(rows.CountedEvent)
publish_enum(rows.LeaderboardPeriod)

_EVENTS = {event.value: event for event in rows.CountedEvent}


@strawberry.type(description="The condition for reaching an achievement: either `count` or `streakDays` is not null.")
class AchievementCriteria:
    """The value of the JSON column ``criteria``."""

    event: rows.CountedEvent = strawberry.field(description="The event that counts.")
    count: int | None = strawberry.field(
        description="The number of different objects to which the event must happen, such as 10 tasks."
    )
    streak_days: int | None = strawberry.field(
        description="The number of consecutive days on which the event must happen, in the user's time zone."
    )


def _criteria(root: rows.Achievement) -> AchievementCriteria:
    stored = root.criteria
    return AchievementCriteria(
        event=_EVENTS[stored["event"]], count=stored.get("count"), streak_days=stored.get("streak_days")
    )


@aggregate_view(rows.Achievement)
class Achievement(Node):
    criteria: AchievementCriteria = strawberry.field(
        resolver=_criteria, description="The condition for reaching the achievement."
    )


@aggregate_view(rows.Reward)
class Reward(Node):
    __slots__ = ()


@aggregate_view(rows.RewardRedemption)
class RewardRedemption(Node):
    __slots__ = ()


_MISSING = "Null otherwise, or if the viewer may not see it"


@aggregate_view(rows.PointEntry)
class PointEntry(Node):
    task: Task | None = edge(
        queries.task_of_entry, f"The task, if the points are for a task. {_MISSING} or it was deleted."
    )
    achievement: Achievement | None = edge(
        queries.achievement_of_entry, f"The achievement, if the points are for an achievement. {_MISSING}."
    )
    reward: Reward | None = edge(
        queries.reward_of_entry, f"The reward, if the points are of a redemption or its refund. {_MISSING}."
    )


@view(achievement_data.Progress)
class AchievementProgress:
    """The viewer's progress towards an achievement."""

    achievement: Achievement = column("The achievement.")
    unlocked_at: dt.datetime | None = column("The time when the viewer reached it. Null before.")
    progress: int = column("The number of objects or consecutive days so far, at most `wanted`.")
    wanted: int = column("The number of objects or consecutive days that the achievement requires.")


@view(leaderboard_data.Place)
class LeaderboardPlace:
    """A place on the leaderboard."""

    rank: int = column("The rank from 1. Users with the same number of points share it.")
    display_name: str = column("The first name and the initial of the last name, such as Ada B.")
    points: int = column("The points that the user earned in the period. Redemptions do not decrease them.")


@view(leaderboard_data.Neighbor)
class LeaderboardNeighbor:
    """A place on the leaderboard near that of the viewer, or the viewer's own."""

    rank: int = column("The rank from 1. Users with the same number of points share it.")
    display_name: str = column("The first name and the initial of the last name, such as Ada B.")
    points: int = column("The points that the user earned in the period. Redemptions do not decrease them.")
    is_viewer: bool = column("Whether this is the place of the viewer.")


@strawberry.type(
    description="Numbers about the viewer's points. Each field executes one statement, and a field that is not "
    "selected none."
)
class GamificationDashboard:
    """The two numbers of points come from the same statement, and so do the two of achievements."""

    point_balance: int = computed(queries.Dashboard.point_balance, "The points that the viewer can redeem.")
    points_this_week: int = computed(
        queries.Dashboard.points_this_week,
        "The points that the viewer has earned since the first day of the week, the viewer's `weekStartsOn`.",
    )
    achievements_unlocked: int = computed(
        queries.Dashboard.achievements_unlocked, "The number of achievements that the viewer has reached."
    )
    achievements_total: int = computed(
        queries.Dashboard.achievements_total,
        "The number of achievements that are active or reached.",
    )
    current_streak: int = computed(
        queries.Dashboard.current_streak,
        "The number of consecutive days with a completed task that end today or yesterday, at most 366.",
    )
    next_achievement: AchievementProgress | None = computed(
        queries.Dashboard.next_achievement,
        "The achievement that is nearest to being reached. Null if all are reached.",
    )
    rank: int | None = computed(
        queries.Dashboard.rank,
        "The viewer's rank on the leaderboard of all time. Null if the viewer has earned no points.",
        weight=RANKING,
    )
    rank_this_week: int | None = computed(
        queries.Dashboard.rank_this_week,
        "The viewer's rank on the leaderboard of the period WEEK, the last 7 days. Null if the viewer has earned no "
        "points in it.",
        weight=RANKING,
    )
    rank_this_month: int | None = computed(
        queries.Dashboard.rank_this_month,
        "The viewer's rank on the leaderboard of the period MONTH, the last 30 days. Null if the viewer has earned no "
        "points in it.",
        weight=RANKING,
    )


_READ = Permission.GAMIFICATION_READ


@strawberry.type
class GamificationQueries:
    my_achievements: list[AchievementProgress] | None = query(
        queries.my_achievements,
        "The viewer's progress towards each achievement that is active or reached, those with the fewest points first.",
        requires=_READ,
        time_zone=TIME_ZONE,
    )
    point_balance: int | None = query(queries.point_balance, "The points that the viewer can redeem.", requires=_READ)
    leaderboard: list[LeaderboardPlace] | None = query(
        queries.leaderboard,
        "The users who have earned the most points in a period, without their ids. Users without points are left out.",
        requires=_READ,
        weight=RANKING,
        period=Argument(rows.LeaderboardPeriod, "The period in which points count."),
        first=FIRST,
    )
    leaderboard_around_viewer: list[LeaderboardNeighbor] | None = query(
        queries.leaderboard_around_viewer,
        "The viewer's place on the leaderboard, and those before and after it. The viewer's place is in the middle, "
        "unless there are too few places before or after it. Empty if the viewer has earned no points in the period.",
        requires=_READ,
        weight=RANKING,
        period=Argument(rows.LeaderboardPeriod, "The period in which points count."),
        first=FIRST,
    )
    gamification_dashboard: GamificationDashboard | None = query(
        queries.dashboard, "Numbers about the viewer's points.", requires=_READ, time_zone=TIME_ZONE
    )


_MANAGE = Permission.GAMIFICATION_MANAGE


@strawberry.type
class GamificationMutations:
    redeem_reward = mutation(commands.redeem_reward, returns=RewardRedemption, requires=Permission.REWARD_REDEEM)
    fulfill_redemption = mutation(commands.fulfill_redemption, returns=RewardRedemption, requires=_MANAGE)
    refund_redemption = mutation(commands.refund_redemption, returns=RewardRedemption, requires=_MANAGE)
