"""The numbers of gamification equal a computation in plain Python over random rows, on both engines."""

import datetime as dt
from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from repositories.aggregates.event_store import EventStore
from repositories.core.clock import date_of, days, now
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.gamification.achievements import Achievements, UserAchievements
from repositories.gamification.leaderboard import Leaderboard
from repositories.gamification.points import Points
from repositories.life_lock.events import TaskCompleted, TaskReopened
from repositories.tables.gamification import EARNED, LeaderboardPeriod, PointEntry, PointReason
from repositories.tables.identity import User
from tests.factories import make_achievement, make_user, viewer_of
from tests.repositories.support import SharedDatabase, examples, open_snapshot

ZONES = ("UTC", "Pacific/Auckland", "America/New_York")
HOUR = dt.timedelta(hours=1)
TODAY = dt.datetime(2026, 3, 30, 9, tzinfo=dt.UTC)

entries = st.lists(
    st.tuples(
        st.integers(-50, 50).filter(bool), st.sampled_from(PointReason), st.sampled_from([0, 1, 6, 8, 29, 31, 400])
    ),
    max_size=12,
)
completions = st.lists(st.tuples(st.integers(0, 24 * 9), st.integers(0, 3), st.booleans()), max_size=30)


async def _book(
    shared_database: SharedDatabase, user: User, entries_to_book: Sequence[Any], at: dt.datetime
) -> list[PointEntry]:
    events = [TaskCompleted(new_id(), user.id, at, None) for _ in entries_to_book]
    rows = [
        {
            "user_id": user.id,
            "points": points,
            "reason": reason,
            "source_event_id": event.id,
            "created_at": at - dt.timedelta(days=back),
        }
        for event, (points, reason, back) in zip(events, entries_to_book, strict=True)
    ]
    async with shared_database.database.transaction(SERVICE) as write:
        await EventStore(write).append(events, actor=user.id, at=at)
        return await Points(write).add_many(rows)


def _sum_earned(rows: Sequence[PointEntry], since: dt.datetime | None) -> int:
    return sum(row.points for row in rows if row.reason in EARNED and (since is None or row.created_at >= since))


@examples(40)
@given(mine=entries, others=st.lists(entries, min_size=1, max_size=3))
def test_balances_ranks_and_leaderboards_equal_a_computation_in_python(
    shared_database: SharedDatabase, mine: list[Any], others: list[list[Any]]
) -> None:
    async def check() -> None:
        at = now() + dt.timedelta(minutes=1)
        me, *rest = [await make_user(shared_database.database, first_name=new_id().hex[-12:]) for _ in (mine, *others)]
        booked = {me.id: await _book(shared_database, me, mine, at)}
        for person, theirs in zip(rest, others, strict=True):
            booked[person.id] = await _book(shared_database, person, theirs, at)
        own = booked[me.id]
        async with open_snapshot(shared_database.database, viewer_of(me)) as snapshot:
            since = at - dt.timedelta(days=6)
            totals = await Points(snapshot).totals(me.id, since)
            assert totals == (sum(row.points for row in own), _sum_earned(own, since))
            assert await Points(snapshot).balance(me.id) == totals.point_balance
            names = {f"{person.first_name} {person.last_name[0]}.": person.id for person in (me, *rest)}
            for period, length in {
                LeaderboardPeriod.WEEK: 7,
                LeaderboardPeriod.MONTH: 30,
                LeaderboardPeriod.ALL: None,
            }.items():
                start = None if length is None else now() - dt.timedelta(days=length)
                board = await Leaderboard(snapshot).places(period, limit=500)
                found = {place.display_name: place.points for place in board if place.display_name in names}
                expected = {name: _sum_earned(booked[key], start) for name, key in names.items()}
                assert found == {name: points for name, points in expected.items() if points > 0}
                assert [place.points for place in board] == sorted((place.points for place in board), reverse=True)
                ranks = [1 + sum(other.points > place.points for other in board) for place in board]
                assert [place.rank for place in board] == ranks
            points = _sum_earned(own, None)
            above = sum(
                place.points > points for place in await Leaderboard(snapshot).places(LeaderboardPeriod.ALL, limit=500)
            )
            assert await Leaderboard(snapshot).rank(me.id) == (above + 1 if points > 0 else None)

    shared_database.run(check())


def _streak(dates: set[dt.date], today: dt.date, limit: int) -> int:
    day = today if today in dates else today - dt.timedelta(days=1)
    length = 0
    while day in dates and (today - day).days < limit:
        length += 1
        day -= dt.timedelta(days=1)
    return length


@examples(40)
@given(
    done=completions,
    zone=st.sampled_from(ZONES),
    required=st.integers(1, 4),
    has=st.booleans(),
    limit=st.integers(2, 10),
)
def test_progress_and_streaks_equal_a_computation_in_python(  # noqa: PLR0913 (one parameter per strategy)
    shared_database: SharedDatabase,
    *,
    done: list[Any],
    zone: str,
    required: int,
    has: bool,
    limit: int,
) -> None:
    """Progress counts distinct tasks, streaks count consecutive days. Events of other types and users do not count."""

    async def check() -> None:
        me, other = await make_user(shared_database.database), await make_user(shared_database.database)
        tasks, place = [new_id() for _ in range(4)], ZoneInfo(zone)
        by_count = await make_achievement(
            shared_database.database, criteria={"event": "TaskCompleted", "count": required}
        )
        by_streak = await make_achievement(
            shared_database.database, criteria={"event": "TaskCompleted", "streak_days": required}
        )
        inactive = await make_achievement(shared_database.database, is_active=False)
        async with shared_database.database.transaction(SERVICE) as write:
            for hours, index, is_mine in done:
                owner, at = (me if is_mine else other), TODAY - hours * HOUR
                await EventStore(write).append([TaskCompleted(tasks[index], owner.id, at, None)], actor=owner.id, at=at)
                await EventStore(write).append(
                    [TaskReopened(new_id(), owner.id, None)], actor=owner.id, at=at - 24 * HOUR
                )
            if has:
                for one in (by_count, inactive):
                    await UserAchievements(write).add(user_id=me.id, achievement_id=one.id, unlocked_at=TODAY)
        mine = [(TODAY - hours * HOUR, index) for hours, index, is_mine in done if is_mine]
        today, dates = date_of(TODAY, place), {date_of(at, place) for at, _ in mine}
        reach = days(today, limit, place)
        async with open_snapshot(shared_database.database, viewer_of(me)) as snapshot:
            streak = _streak(dates, today, limit)
            assert await UserAchievements(snapshot).streak(me.id, "TaskCompleted", reach) == streak
            found = {row.achievement.id: row for row in await Achievements(snapshot).progress({me.id: reach})}
            tally = await Achievements(snapshot).tally(me.id)
        count = required if has else min(len({index for _, index in mine}), required)
        expected = {
            by_count.id: (count, required, TODAY if has else None),
            by_streak.id: (min(streak, required), required, None),
        }
        if has:
            expected[inactive.id] = (999, 999, TODAY)
        ours = {by_count.id, by_streak.id, inactive.id}
        assert {
            key: (row.progress, row.wanted, row.unlocked_at) for key, row in found.items() if key in ours
        } == expected
        assert tally == (sum(row.unlocked_at is not None for row in found.values()), len(found))

    shared_database.run(check())
