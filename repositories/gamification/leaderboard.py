"""Who earned most."""

from typing import NamedTuple
from uuid import UUID

import sqlalchemy as sa

from repositories.engines.database import ReadConnection
from repositories.sql import types
from repositories.sql.statements import RowFactory, Statement, folded, scalar
from repositories.tables.gamification import EARNED, LeaderboardPeriod, PointEntry, Standing

_entries = PointEntry.__table__
_board = Standing.__table__


class Place(NamedTuple):
    """A place on the leaderboard; people with equal points share it."""

    rank: int
    display_name: str
    points: int


_period = _board.c.period == sa.bindparam("period", type_=_board.c.period.type)

_places: Statement[Place] = Statement(
    sa.select(sa.func.rank().over(order_by=_board.c.points.desc()), _board.c.display_name, _board.c.points)
    .where(_period)
    .order_by(_board.c.points.desc(), folded(_board.c.display_name), _board.c.display_name)
    .limit(sa.bindparam("limit", type_=sa.Integer())),
    RowFactory(Place._make),
)

_own_points = (
    sa.select(sa.func.coalesce(sa.func.sum(_entries.c.points), 0))
    .where(
        _entries.c.user_id == sa.bindparam("user", type_=types.Id()),
        _entries.c.reason.in_([sa.literal_column(f"'{reason.value}'") for reason in EARNED]),
    )
    .scalar_subquery()
)
_rank: Statement[int | None] = Statement(
    sa.select(
        sa.case(
            (
                _own_points > 0,
                sa.select(sa.func.count() + 1).where(_period, _board.c.points > _own_points).scalar_subquery(),
            )
        )
    ),
    scalar(int),
)


class Leaderboard:
    """Names and points. Not a repository: its rows have no ids, so that nobody can be told by one."""

    def __init__(self, connection: ReadConnection) -> None:
        self.connection = connection

    async def places(self, period: LeaderboardPeriod, *, limit: int) -> list[Place]:
        """The first places."""
        return await self.connection.rows(_places, period=period, limit=limit)

    async def rank(self, user: UUID, period: LeaderboardPeriod = LeaderboardPeriod.ALL) -> int | None:
        """A person's own place, None for somebody who earned nothing."""
        return await self.connection.one(_rank, user=user, period=period)
