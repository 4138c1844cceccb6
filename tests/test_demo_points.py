"""The points and achievements of the demo data are those that the users would have earned with their tasks."""

import datetime as dt

import pytest

from repositories.aggregates.event_store import EventStore
from repositories.core.clock import date_of, days, time_zone
from repositories.core.viewer import SERVICE
from repositories.demo.points import Earnings, add_earnings
from repositories.demo.seed import load_demo
from repositories.demo.tasks import generate_tasks
from repositories.demo.users import generate_users
from repositories.engines.database import Database
from repositories.gamification.achievements import Achievements, UserAchievements
from repositories.gamification.leaderboard import Leaderboard
from repositories.gamification.points import Points, points_for_task
from repositories.gamification.rewards import Redemptions, Rewards
from repositories.identity import Users
from repositories.life_lock.tasks import Tasks
from repositories.tables.gamification import LeaderboardPeriod, PointReason
from tests.repositories.support import open_snapshot

DAY = dt.date(2026, 3, 30)
START = dt.datetime(2026, 3, 30, tzinfo=dt.UTC)


async def test_points_and_achievements_match_the_tasks(database: Database) -> None:
    await load_demo(database, users=3, day=DAY)
    async with open_snapshot(database, SERVICE) as snapshot:
        tasks = await Tasks(snapshot).find(limit=10_000)
        entries = await Points(snapshot).find(limit=10_000)
        events = {event.id: event for event in await EventStore(snapshot).find(limit=10_000)}
        users = await Users(snapshot).find(limit=10)
        assert len(users) == 5
        for user in users:
            own = [entry for entry in entries if entry.user_id == user.id]
            paid = {
                events[entry.source_event_id].aggregate_id: entry.points
                for entry in own
                if entry.reason is PointReason.TASK_COMPLETED
            }
            done = {
                task.id: points_for_task(task.completed_at, task.due_date)
                for task in tasks
                if task.user_id == user.id and task.completed_at
            }
            assert paid == done
            assert await Points(snapshot).balance(user.id) > 0
            reach = days(date_of(START, time_zone(user.time_zone)), 100, time_zone(user.time_zone))
            progress = await Achievements(snapshot).progress({user.id: reach})
            assert {one.achievement.code for one in progress if one.unlocked_at} >= {
                "first_task",
                "ten_tasks",
                "hundred_tasks",
            }
            unlocked = sum(one.achievement.points for one in progress if one.unlocked_at)
            assert unlocked == sum(entry.points for entry in own if entry.reason is PointReason.ACHIEVEMENT_UNLOCKED)
            assert [one for one in progress if not one.unlocked_at and one.progress >= one.wanted] == []
        bought = await Redemptions(snapshot).find(limit=100)
        assert {row.user_id for row in bought} == {user.id for user in users}
        spent = sum(entry.points for entry in entries if entry.reason is PointReason.REWARD_REDEEMED)
        assert spent == -sum(row.cost for row in bought)
        assert {row.stock for row in await Rewards(snapshot).find(limit=10)} == {None, 40, 0}
        board = await Leaderboard(snapshot).places(LeaderboardPeriod.ALL, limit=10)
        assert {place.display_name for place in board} == {"Ada B.", "Grace H.", "Alan T.", "Margaret H.", "Mary J."}
        assert len(await UserAchievements(snapshot).find(limit=100)) >= 3 * len(users)


@pytest.mark.parametrize("count", [0, 1, 9, 10, 300])
def test_the_points_are_the_same_for_the_same_day(count: int) -> None:
    (ada, *_) = generate_users(1)
    _, tasks = generate_tasks(ada["email"], ada["id"], count, DAY)
    first, second = Earnings(), Earnings()
    for earnings in (first, second):
        add_earnings(earnings, ada, tasks, [], DAY)
    assert (first.events, first.entries, first.redemptions) == (second.events, second.entries, second.redemptions)
    assert len({row["id"] for row in first.entries}) == len(first.entries)
    balance = 0
    for entry in first.entries:
        balance += entry["points"]
        assert balance >= 0
