"""Achievements, the progress of users towards them, and streaks. They count what users did, also on rows of others."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa

from repositories.aggregates.repository import Repository
from repositories.core.clock import LocalDay
from repositories.sql import types
from repositories.sql.statements import Engine, RowFactory, Statement, in_list, records, records_parameter, scalar
from repositories.tables.events import DomainEvent
from repositories.tables.gamification import Achievement, UserAchievement
from repositories.tables.identity import User

_achievements = Achievement.__table__
_unlocked = UserAchievement.__table__
_events = DomainEvent.__table__
_users = User.__table__
_user = sa.bindparam("user", type_=types.Id())

_STREAK_COLUMNS: list[sa.Column[Any]] = [
    sa.Column("owner", types.Id()),
    sa.Column("place", sa.Integer()),
    sa.Column("starts", types.Timestamp()),
    sa.Column("ends", types.Timestamp()),
]


def _streak_parameter(engine: Engine, users: Mapping[UUID, Sequence[LocalDay]]) -> list[dict[str, Any]]:
    """Each user's days, which are sorted from the oldest, as rows. ``place`` counts back: the last day is 0."""
    rows = (
        {"owner": owner, "place": len(days) - 1 - index, "starts": day.start, "ends": day.end}
        for owner, days in users.items()
        for index, day in enumerate(days)
    )
    return records_parameter(engine, _STREAK_COLUMNS, rows)


def _streak_of(
    engine: Engine, owner: sa.ColumnElement[Any], event: sa.ColumnElement[Any], *outer: sa.FromClause
) -> sa.ScalarSelect[int]:
    """The number of consecutive days with the event that end with the last day, or with the day before it."""
    day = records(engine, "days", _STREAK_COLUMNS)
    happened = (
        sa.exists()
        .where(
            _events.c.user_id == owner,
            _events.c.event_type == event,
            _events.c.timestamp >= day.c.starts,
            _events.c.timestamp < day.c.ends,
        )
        .correlate(day, *outer)
    )
    days = sa.select(day.c.place, happened.label("happened")).where(day.c.owner == owner).correlate(*outer)
    listed = days.subquery("listed")
    gap = sa.func.min(listed.c.place).filter(listed.c.place > 0, sa.not_(listed.c.happened))
    on_the_last = sa.func.count().filter(listed.c.place == 0, listed.c.happened)
    return sa.select(sa.func.coalesce(gap, sa.func.count()) - 1 + on_the_last).correlate(*outer).scalar_subquery()


class AchievementProgress(NamedTuple):
    """The viewer's progress towards an achievement."""

    user_id: UUID
    achievement: Annotated[Achievement, "The achievement."]
    unlocked_at: Annotated[dt.datetime | None, "The time when the viewer reached it. Null before."]
    progress: Annotated[int, "The number of objects or consecutive days so far, at most `wanted`."]
    wanted: Annotated[int, "The number of objects or consecutive days that the achievement requires."]


def _progress_row(values: Sequence[Any]) -> AchievementProgress:
    user, unlocked_at, count, *columns = values
    achievement = Achievement._make(columns)
    wanted = achievement.criteria.get("count") or achievement.criteria["streak_days"]
    return AchievementProgress(user, achievement, unlocked_at, wanted if unlocked_at else min(count, wanted), wanted)


def _criterion(name: str, kind: Any) -> sa.ColumnElement[Any]:
    return _achievements.c.criteria.op("->>", return_type=kind, precedence=15)(sa.literal_column(f"'{name}'"))


def _progress_of(engine: Engine) -> sa.Executable:
    """Counts no events for unlocked achievements, because their progress is known."""
    event, has_count = _criterion("event", sa.Text()), _criterion("count", sa.Text()).is_not(None)
    times = (
        sa.select(sa.func.count(_events.c.aggregate_id.distinct()))
        .where(_events.c.user_id == _users.c.id, _events.c.event_type == event)
        .correlate(_users, _achievements)
        .scalar_subquery()
    )
    streak = _streak_of(engine, _users.c.id, event, _users, _achievements)
    count = sa.case((_unlocked.c.id.is_not(None), 0), (has_count, times), else_=streak)
    mine = sa.and_(_unlocked.c.user_id == _users.c.id, _unlocked.c.achievement_id == _achievements.c.id)
    return (
        sa.select(_users.c.id, _unlocked.c.unlocked_at, count, *_achievements.c)
        .select_from(_users.join(_achievements, sa.true()).outerjoin(_unlocked, mine))
        .where(in_list(_users.c.id, "users"), sa.or_(_achievements.c.is_active, _unlocked.c.id.is_not(None)))
        .order_by(_users.c.id, _achievements.c.points, _achievements.c.code)
    )


_progress: Statement[AchievementProgress] = Statement(_progress_of, RowFactory(_progress_row))


class AchievementTally(NamedTuple):
    """The numbers of achievements for one user."""

    achievements_unlocked: Annotated[int, "The number of achievements that the viewer has reached."]
    achievements_total: Annotated[int, "The number of achievements that are active or reached."]


_tally: Statement[AchievementTally] = Statement(
    sa.select(sa.func.count(_unlocked.c.id), sa.func.count())
    .select_from(
        _achievements.outerjoin(
            _unlocked, sa.and_(_unlocked.c.achievement_id == _achievements.c.id, _unlocked.c.user_id == _user)
        )
    )
    .where(sa.or_(_achievements.c.is_active, _unlocked.c.id.is_not(None))),
    RowFactory(AchievementTally._make),
)


class Achievements(Repository[Achievement], table=Achievement):
    """Goals that award points."""

    async def progress(self, users: Mapping[UUID, Sequence[LocalDay]]) -> list[AchievementProgress]:
        """The progress of each user towards each achievement that is active or unlocked, the fewest points first.

        ``users`` has the days over which streaks are counted, from the oldest to the user's today.
        """
        parameter = _streak_parameter(self.connection.engine, users)
        return await self.connection.rows(_progress, users=list(users), days=parameter)

    async def tally(self, user: UUID) -> AchievementTally:
        return await self.connection.one(_tally, user=user)


_streak: Statement[int] = Statement(
    lambda engine: sa.select(_streak_of(engine, _user, sa.bindparam("event", type_=sa.Text()))), scalar(int)
)


class UserAchievements(Repository[UserAchievement], table=UserAchievement):
    """Achievements that users have reached."""

    async def streak(self, user: UUID, event: str, days: Sequence[LocalDay]) -> int:
        """The number of consecutive days with the event that end with the last day, or with the day before it."""
        parameter = _streak_parameter(self.connection.engine, {user: days})
        return await self.connection.one(_streak, user=user, event=event, days=parameter)
