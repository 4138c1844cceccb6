"""The GraphQL types and fields of achievements, points and rewards."""

import strawberry

from repositories.permissions import Permission
from repositories.tables import gamification as rows
from resolvers.gamification import commands, queries
from schema.aggregates.objects import aggregate_view
from schema.life_lock import Task
from schema.operations.mutation import mutation
from schema.types.costs import RANKING
from schema.types.derived_types import publish_dashboard, query
from schema.types.enums import publish_enum
from schema.types.view import Node, edge

publish_enum(rows.CountedEvent)

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


publish_dashboard(queries.GamificationDashboard, rank=RANKING, rank_this_week=RANKING, rank_this_month=RANKING)

_READ, _MANAGE = Permission.GAMIFICATION_READ, Permission.GAMIFICATION_MANAGE


@strawberry.type
class GamificationQueries:
    my_achievements = query(queries.my_achievements, requires=_READ)
    point_balance = query(queries.point_balance, requires=_READ)
    leaderboard = query(queries.leaderboard, requires=_READ, weight=RANKING)
    leaderboard_around_viewer = query(queries.leaderboard_around_viewer, requires=_READ, weight=RANKING)
    gamification_dashboard = query(queries.gamification_dashboard, requires=_READ)


@strawberry.type
class GamificationMutations:
    redeem_reward = mutation(commands.redeem_reward, requires=Permission.REWARD_REDEEM)
    fulfill_redemption = mutation(commands.fulfill_redemption, requires=_MANAGE)
    refund_redemption = mutation(commands.refund_redemption, requires=_MANAGE)
