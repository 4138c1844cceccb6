"""Queries of achievements, points and the leaderboard."""

import datetime as dt
from dataclasses import dataclass
from fractions import Fraction
from uuid import UUID
from zoneinfo import ZoneInfo

from repositories.core.clock import LocalDay, days, midnight, week_start
from repositories.gamification.achievements import Achievements, AchievementTally, Progress, UserAchievements
from repositories.gamification.events import AchievementUnlocked, AchievementUpdated, RewardRedeemed
from repositories.gamification.leaderboard import Leaderboard, Neighbor, Place
from repositories.gamification.points import Points, PointTotals
from repositories.identity import ProfileUpdated
from repositories.life_lock.events import TaskUpdated
from repositories.sql.page import PageRequest
from repositories.tables.gamification import (
    MAX_STREAK,
    CountedEvent,
    LeaderboardPeriod,
    PointEntry,
)
from resolvers.caching.cached import cached
from resolvers.loading.edges import one
from resolvers.request.context import Context

task_of_entry = one(Points.task_of_event, key=PointEntry.source_event_id)
achievement_of_entry = one(Points.achievement_of_event, key=PointEntry.source_event_id)
reward_of_entry = one(Points.reward_of_event, key=PointEntry.source_event_id)

LONGEST_SHOWN = 366
"""The longest streak that the dashboard counts, in days."""


async def point_balance(context: Context) -> int:
    return await Points(context.snapshot).balance(context.viewer_id)


async def leaderboard(context: Context, period: LeaderboardPeriod, first: int) -> list[Place]:
    limit = PageRequest(first=first).size
    return await Leaderboard(context.snapshot).places(period, limit=limit)


async def leaderboard_around_viewer(context: Context, period: LeaderboardPeriod, first: int) -> list[Neighbor]:
    """The place of the viewer in a period, and the places before and after it."""
    user, limit = context.viewer_id, PageRequest(first=first).size
    return await Leaderboard(context.snapshot).around(user, period, limit=limit)


async def my_achievements(context: Context, time_zone: str | None = None) -> list[Progress]:
    """The viewer's progress towards each achievement that is active or reached."""
    user = context.viewer_id
    today, zone = await context.today(time_zone)
    return await _progress(context, user, today, zone)


@cached(own=(TaskUpdated, AchievementUnlocked), all_users=(AchievementUpdated,))
async def _progress(context: Context, user: UUID, today: LocalDay, zone: ZoneInfo) -> list[Progress]:
    return await Achievements(context.snapshot).progress({user: days(today.date, MAX_STREAK, zone)})


def next_of(progress: list[Progress]) -> Progress | None:
    """The achievement with the highest share of progress that is not reached, None if all are.

    Of achievements with the same share it is the first one, which has the fewest points.
    """
    locked = [one for one in progress if one.unlocked_at is None]
    return max(locked, key=lambda one: Fraction(one.progress, one.wanted), default=None)


@dataclass(frozen=True, slots=True)
class Dashboard:
    """The numbers about a user's points on a day. Each method executes its statement when it is called."""

    context: Context
    user: UUID
    today: LocalDay
    zone: ZoneInfo

    async def totals(self) -> PointTotals:
        """The balance and the points of the week, by one statement."""
        return await self._totals(week_start(self.today.date, await self.context.first_weekday()))

    @cached(own=(TaskUpdated, AchievementUnlocked, RewardRedeemed))
    async def _totals(self, first_day: dt.date) -> PointTotals:
        return await Points(self.context.snapshot).totals(self.user, midnight(first_day, self.zone))

    @cached(own=(AchievementUnlocked,), all_users=(AchievementUpdated,))
    async def tally(self) -> AchievementTally:
        """Both numbers of achievements, by one statement."""
        return await Achievements(self.context.snapshot).tally(self.user)

    async def point_balance(self) -> int:
        return (await self.totals()).balance

    async def points_this_week(self) -> int:
        return (await self.totals()).earned

    async def achievements_unlocked(self) -> int:
        return (await self.tally()).unlocked

    async def achievements_total(self) -> int:
        return (await self.tally()).total

    @cached(own=(TaskUpdated,))
    async def current_streak(self) -> int:
        reach = days(self.today.date, LONGEST_SHOWN, self.zone)
        return await UserAchievements(self.context.snapshot).streak(self.user, CountedEvent.TASK_COMPLETED, reach)

    async def next_achievement(self) -> Progress | None:
        return next_of(await _progress(self.context, self.user, self.today, self.zone))

    @cached(all_users=(TaskUpdated, AchievementUnlocked, ProfileUpdated))
    async def rank(self) -> int | None:
        return await Leaderboard(self.context.snapshot).rank(self.user)

    async def rank_this_week(self) -> int | None:
        """Not cached, because it changes with time alone."""
        return await Leaderboard(self.context.snapshot).rank(self.user, LeaderboardPeriod.WEEK)

    async def rank_this_month(self) -> int | None:
        """Not cached, because it changes with time alone."""
        return await Leaderboard(self.context.snapshot).rank(self.user, LeaderboardPeriod.MONTH)


async def dashboard(context: Context, time_zone: str | None = None) -> Dashboard:
    """The viewer's dashboard for today in the time zone."""
    user = context.viewer_id
    today, zone = await context.today(time_zone)
    return Dashboard(context, user, today, zone)
