"""Queries of achievements, points and rewards."""

import datetime as dt
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated
from uuid import UUID
from zoneinfo import ZoneInfo

from repositories.core.clock import LocalDay, days, midnight, week_start
from repositories.gamification.achievements import AchievementProgress, Achievements, AchievementTally, UserAchievements
from repositories.gamification.events import AchievementUnlocked, AchievementUpdated, RewardRedeemed
from repositories.gamification.leaderboard import Leaderboard, LeaderboardNeighbor, LeaderboardPlace
from repositories.gamification.points import Points, PointTotals
from repositories.identity import ProfileUpdated
from repositories.life_lock.events import TaskUpdated
from repositories.sql.page import DEFAULT_SIZE
from repositories.tables.gamification import (
    MAX_STREAK,
    CountedEvent,
    LeaderboardPeriod,
    PointEntry,
)
from resolvers.caching.cached import cached
from resolvers.loading.edges import one
from resolvers.request.annotations import EachField, First, TimeZone
from resolvers.request.context import Context

task_of_entry = one(Points.task_of_event, key=PointEntry.source_event_id)
achievement_of_entry = one(Points.achievement_of_event, key=PointEntry.source_event_id)
reward_of_entry = one(Points.reward_of_event, key=PointEntry.source_event_id)

LONGEST_SHOWN = 366
"""The longest streak that the dashboard counts, in days."""


async def point_balance(context: Context) -> int:
    """The points that the viewer can redeem."""
    return await Points(context.snapshot).balance(context.viewer_id)


Period = Annotated[LeaderboardPeriod, "The period in which points count."]


async def leaderboard(context: Context, period: Period, first: First = DEFAULT_SIZE) -> list[LeaderboardPlace]:
    """The users who have earned the most points in a period, without their ids. Users without points are left out."""
    return await Leaderboard(context.snapshot).places(period, limit=first)


async def leaderboard_around_viewer(
    context: Context, period: Period, first: First = DEFAULT_SIZE
) -> list[LeaderboardNeighbor]:
    """The viewer's place on the leaderboard, and those before and after it.

    The viewer's place is in the middle, unless there are too few places before or after it. Empty if the viewer has
    earned no points in the period.
    """
    return await Leaderboard(context.snapshot).around(context.viewer_id, period, limit=first)


async def my_achievements(context: Context, time_zone: TimeZone = None) -> list[AchievementProgress]:
    """The viewer's progress towards each achievement that is active or reached, those with the fewest points first."""
    user = context.viewer_id
    today, zone = await context.today(time_zone)
    return await _progress(context, user, today, zone)


@cached(own=(TaskUpdated, AchievementUnlocked), all_users=(AchievementUpdated,))
async def _progress(context: Context, user: UUID, today: LocalDay, zone: ZoneInfo) -> list[AchievementProgress]:
    return await Achievements(context.snapshot).progress({user: days(today.date, MAX_STREAK, zone)})


def next_of(progress: list[AchievementProgress]) -> AchievementProgress | None:
    """The nearest achievement that is not reached, of equally near ones the one with the fewest points."""
    locked = [one for one in progress if one.unlocked_at is None]
    return max(locked, key=lambda one: Fraction(one.progress, one.wanted), default=None)


@dataclass(frozen=True, slots=True)
class GamificationDashboard:
    """Numbers about the viewer's points. Each field executes one statement, and a field that is not selected none."""

    context: Context
    user: UUID
    today: LocalDay
    zone: ZoneInfo

    async def totals(self) -> EachField[PointTotals]:
        return await self._totals(week_start(self.today.date, await self.context.first_weekday()))

    @cached(own=(TaskUpdated, AchievementUnlocked, RewardRedeemed))
    async def _totals(self, first_day: dt.date) -> PointTotals:
        return await Points(self.context.snapshot).totals(self.user, midnight(first_day, self.zone))

    @cached(own=(AchievementUnlocked,), all_users=(AchievementUpdated,))
    async def tally(self) -> EachField[AchievementTally]:
        return await Achievements(self.context.snapshot).tally(self.user)

    @cached(own=(TaskUpdated,))
    async def current_streak(self) -> int:
        """The number of consecutive days with a completed task that end today or yesterday, at most 366."""
        reach = days(self.today.date, LONGEST_SHOWN, self.zone)
        return await UserAchievements(self.context.snapshot).streak(self.user, CountedEvent.TASK_COMPLETED, reach)

    async def next_achievement(self) -> AchievementProgress | None:
        """The achievement that is nearest to being reached. Null if all are reached."""
        return next_of(await _progress(self.context, self.user, self.today, self.zone))

    @cached(all_users=(TaskUpdated, AchievementUnlocked, ProfileUpdated))
    async def rank(self) -> int | None:
        """The viewer's rank on the leaderboard of all time. Null if the viewer has earned no points."""
        return await Leaderboard(self.context.snapshot).rank(self.user)

    # The ranks of shorter periods are not cached, because they change with the time.

    async def rank_this_week(self) -> int | None:
        """The viewer's rank on the leaderboard of the period WEEK, the last 7 days.

        Null if the viewer has earned no points in it.
        """
        return await Leaderboard(self.context.snapshot).rank(self.user, LeaderboardPeriod.WEEK)

    async def rank_this_month(self) -> int | None:
        """The viewer's rank on the leaderboard of the period MONTH, the last 30 days.

        Null if the viewer has earned no points in it.
        """
        return await Leaderboard(self.context.snapshot).rank(self.user, LeaderboardPeriod.MONTH)


async def gamification_dashboard(context: Context, time_zone: TimeZone = None) -> GamificationDashboard:
    """Numbers about the viewer's points."""
    user = context.viewer_id
    today, zone = await context.today(time_zone)
    return GamificationDashboard(context, user, today, zone)
