"""The leaderboard lists the users who earned the most points in a period."""

from typing import Annotated, NamedTuple
from uuid import UUID

import sqlalchemy as sa

from repositories.engines.database import ReadConnection
from repositories.sql import types
from repositories.sql.statements import Engine, RowFactory, Statement, folded, scalar
from repositories.tables.gamification import EARNED, LeaderboardPeriod, PointEntry, Standing
from repositories.tables.identity import User

_entries = PointEntry.__table__
_board = Standing.__table__
_users = User.__table__

_DAYS = {LeaderboardPeriod.WEEK: 7, LeaderboardPeriod.MONTH: 30}
"""The days of a period, as in the view."""


Rank = Annotated[int, "The rank from 1. Users with the same number of points share it."]
DisplayName = Annotated[str, "The first name and the initial of the last name, such as Ada B."]
EarnedPoints = Annotated[int, "The points that the user earned in the period. Redemptions do not decrease them."]


class LeaderboardPlace(NamedTuple):
    """A place on the leaderboard."""

    rank: Rank
    display_name: DisplayName
    points: EarnedPoints


class LeaderboardNeighbor(NamedTuple):
    """A place on the leaderboard near that of the viewer, or the viewer's own."""

    rank: Rank
    display_name: DisplayName
    points: EarnedPoints
    is_viewer: Annotated[bool, "Whether this is the place of the viewer."]


_user = sa.bindparam("user", type_=types.Id())
_limit = sa.bindparam("limit", type_=sa.Integer())
_period = _board.c.period == sa.bindparam("period", type_=_board.c.period.type)
_rank_of_row = sa.func.rank().over(order_by=_board.c.points.desc())
_order = (_board.c.points.desc(), folded(_board.c.display_name), _board.c.display_name)

_places: Statement[LeaderboardPlace] = Statement(
    sa.select(_rank_of_row, _board.c.display_name, _board.c.points).where(_period).order_by(*_order).limit(_limit),
    RowFactory(LeaderboardPlace._make),
)


def _own_points(engine: Engine, period: LeaderboardPeriod) -> sa.ScalarSelect[int]:
    """The points that the user has earned in a period that ends now by the clock of the database, like the view."""
    conditions = [
        _entries.c.user_id == _user,
        _entries.c.reason.in_([sa.literal_column(f"'{reason.value}'") for reason in EARNED]),
    ]
    if period in _DAYS:
        length = f"{_DAYS[period]} days"
        start = (
            f"now() - interval '{length}'"
            if engine.is_postgresql
            else f"strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now', '-{length}')"
        )
        conditions.append(_entries.c.created_at >= sa.literal_column(start, types.Timestamp()))
    return sa.select(sa.func.coalesce(sa.func.sum(_entries.c.points), 0)).where(*conditions).scalar_subquery()


def _rank_statement(period: LeaderboardPeriod) -> Statement[int | None]:
    def build(engine: Engine) -> sa.Executable:
        points = _own_points(engine, period)
        above = sa.select(sa.func.count() + 1).where(_period, _board.c.points > points).scalar_subquery()
        return sa.select(sa.case((points > 0, above)))

    return Statement(build, scalar(int))


def _around_statement(period: LeaderboardPeriod) -> Statement[LeaderboardNeighbor]:
    """The view has no ids: the viewer's row is the first one with the viewer's name and points.

    Rows with the same name and the same points cannot be told apart, so any of them may stand for the viewer.
    """

    def build(engine: Engine) -> sa.Executable:
        name = (
            sa.select(_users.c.first_name + " " + sa.func.substr(_users.c.last_name, 1, 1) + ".")
            .where(_users.c.id == _user)
            .scalar_subquery()
        )
        placed = (
            sa.select(
                _rank_of_row.label("rank"),
                sa.func.row_number().over(order_by=_order).label("place"),
                sa.func.count().over().label("total"),
                _board.c.display_name,
                _board.c.points,
            )
            .where(_period)
            .subquery("placed")
        )
        is_viewer = sa.and_(placed.c.points == _own_points(engine, period), placed.c.display_name == name)
        found = sa.select(
            *placed.c, sa.func.min(sa.case((is_viewer, placed.c.place))).over().label("viewer_place")
        ).subquery("found")
        start = found.c.viewer_place - 1 - sa.bindparam("before", type_=sa.Integer())
        start = sa.case((start > found.c.total - _limit, found.c.total - _limit), else_=start)
        start = sa.case((start < 0, 0), else_=start)
        return (
            sa.select(found.c.rank, found.c.display_name, found.c.points, found.c.place == found.c.viewer_place)
            .where(found.c.place > start, found.c.place <= start + _limit)
            .order_by(found.c.place)
        )

    return Statement(build, RowFactory(lambda values: LeaderboardNeighbor._make([*values[:3], bool(values[3])])))


_ranks = {period: _rank_statement(period) for period in LeaderboardPeriod}
_around = {period: _around_statement(period) for period in LeaderboardPeriod}


class Leaderboard:
    """Names and points. It is no repository, because its rows have no ids, which would identify the users."""

    def __init__(self, connection: ReadConnection) -> None:
        self.connection = connection

    async def places(self, period: LeaderboardPeriod, *, limit: int) -> list[LeaderboardPlace]:
        """The first places."""
        return await self.connection.rows(_places, period=period, limit=limit)

    async def rank(self, user: UUID, period: LeaderboardPeriod = LeaderboardPeriod.ALL) -> int | None:
        """The rank of the viewer, None if the viewer has earned no points in the period."""
        return await self.connection.one(_ranks[period], user=user, period=period)

    async def around(self, user: UUID, period: LeaderboardPeriod, *, limit: int) -> list[LeaderboardNeighbor]:
        """``limit`` places with that of the viewer in the middle, as far as there are enough before and after it.

        Empty if the viewer has earned no points in the period.
        """
        before = (limit - 1) // 2
        return await self.connection.rows(_around[period], user=user, period=period, limit=limit, before=before)
