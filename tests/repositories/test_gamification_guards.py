"""The database rejects values out of range, a stock below zero and a second payment, from every role."""

import asyncio
from typing import Any

import pytest

from repositories.core.clock import now
from repositories.core.errors import Conflict, InputError, ValidationError
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.gamification.achievements import Achievements, UserAchievements
from repositories.gamification.points import Points
from repositories.gamification.rewards import Redemptions, Rewards
from repositories.tables.gamification import PointReason, RedemptionStatus, Reward
from tests.factories import make_achievement, make_points, make_reward, make_user, viewer_of
from tests.repositories.support import open_snapshot

_ACHIEVEMENT = {"name": "x", "description": "x", "points": 1, "criteria": {"event": "TaskCompleted", "count": 1}}
_DAYS = {"event": "TaskCompleted", "streak_days": 1}


@pytest.mark.parametrize(
    "values",
    [
        {"code": ""},
        {"code": "x" * 51},
        {"code": "Upper"},
        {"name": ""},
        {"name": "x" * 101},
        {"description": ""},
        {"description": "x" * 501},
        {"points": 0},
        {"points": 100_001},
        {"criteria": {}},
        {"criteria": {"count": 1}},
        {"criteria": {"event": "TaskDeleted", "count": 1}},
        {"criteria": {"event": "TaskCompleted"}},
        {"criteria": _DAYS | {"count": 1}},
        {"criteria": {"event": "TaskCompleted", "count": 0}},
        {"criteria": {"event": "TaskCompleted", "count": 1_000_001}},
        {"criteria": _DAYS | {"streak_days": 0}},
        {"criteria": _DAYS | {"streak_days": 101}},
    ],
    ids=repr,
)
async def test_an_achievement_out_of_range_is_a_validation_error(database: Database, values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        async with database.transaction(SERVICE) as write:
            await Achievements(write).add(**{"code": "fit"} | _ACHIEVEMENT | values)
    assert caught.value.path == tuple(values)


@pytest.mark.parametrize("values", [{"code": "a_1"}, {"criteria": _DAYS}, {"points": 100_000}], ids=repr)
async def test_an_achievement_within_range_is_stored(database: Database, values: dict[str, Any]) -> None:
    async with database.transaction(SERVICE) as write:
        added = await Achievements(write).add(**{"code": "fit"} | _ACHIEVEMENT | values)
        assert await Achievements(write).get(added.id) == added


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"name": ""}, ValidationError),
        ({"name": "x" * 101}, ValidationError),
        ({"description": "x" * 2001}, ValidationError),
        ({"cost": 0}, ValidationError),
        ({"cost": 1_000_001}, ValidationError),
        ({"stock": -1}, Conflict),
    ],
    ids=repr,
)
async def test_a_reward_out_of_range_is_an_input_error(
    database: Database, values: dict[str, Any], error: type[InputError]
) -> None:
    with pytest.raises(error):
        await make_reward(database, **values)


async def test_an_entry_or_redemption_out_of_range_is_an_input_error(database: Database) -> None:
    ada, reward = await make_user(database), await make_reward(database)
    paid = await make_points(database, ada, 5)
    entry = {"user_id": ada.id, "points": 1, "reason": PointReason.TASK_COMPLETED}
    redemption = {"user_id": ada.id, "reward_id": reward.id, "cost": 1, "redeemed_at": now()}
    for repository, values, error in (
        (Points, entry | {"points": 0, "source_event_id": paid.source_event_id}, ValidationError),
        (Points, entry | {"source_event_id": paid.source_event_id}, Conflict),
        (Points, entry | {"source_event_id": new_id()}, Conflict),
        (Redemptions, redemption | {"cost": 0}, ValidationError),
        (Redemptions, redemption | {"reward_id": new_id()}, Conflict),
    ):
        with pytest.raises(error):
            async with database.transaction(SERVICE) as write:
                await repository(write).add(**values)
    async with database.transaction(SERVICE) as write:
        again = await Points(write).add_missing([entry | {"source_event_id": paid.source_event_id}])
        assert again == set()


async def test_an_achievement_is_unlocked_once(database: Database) -> None:
    ada, achievement = await make_user(database), await make_achievement(database)
    row = {"user_id": ada.id, "achievement_id": achievement.id, "unlocked_at": now()}
    with pytest.raises(Conflict):
        async with database.transaction(SERVICE) as write:
            for _ in range(2):
                await UserAchievements(write).add(**row)


async def _fetch(database: Database, reward: Reward) -> Reward:
    async with open_snapshot(database) as snapshot:
        return await Rewards(snapshot).get(reward.id)


async def test_every_redemption_changes_the_stock_of_its_reward(database: Database) -> None:
    """Written by users who may not write rewards, by the service, and in bulk. Other rewards' stock does not change."""
    ada = await make_user(database)
    reward, other = await make_reward(database, stock=3), await make_reward(database, stock=3)
    row = {"user_id": ada.id, "reward_id": reward.id, "cost": 1, "redeemed_at": now()}
    async with database.transaction(viewer_of(ada)) as write:
        first = await Redemptions(write).add(**row)
    assert ((await _fetch(database, reward)).stock, (await _fetch(database, reward)).version) == (2, 2)
    async with database.transaction(SERVICE) as write:
        await Redemptions(write).add_many([row, row])
    with pytest.raises(Conflict, match="sold out") as caught:
        async with database.transaction(viewer_of(ada)) as write:
            await Redemptions(write).add(**row)
    assert caught.value.path == ("reward_id",)
    assert (await _fetch(database, reward)).stock == 0
    async with database.transaction(SERVICE) as write:
        fulfilled = await Redemptions(write).change(first, status=RedemptionStatus.FULFILLED)
        assert (await Rewards(write).get(reward.id)).stock == 0
        for _ in range(2):
            fulfilled = await Redemptions(write).change(fulfilled, status=RedemptionStatus.REFUNDED)
    assert (await _fetch(database, reward)).stock == 1
    assert await _fetch(database, other) == other


async def test_concurrent_redemptions_in_the_database_never_exceed_the_stock(database: Database) -> None:
    people = [await make_user(database) for _ in range(12)]
    reward = await make_reward(database, stock=4)

    async def take(index: int) -> bool:
        row = {"user_id": people[index].id, "reward_id": reward.id, "cost": 1, "redeemed_at": now()}
        try:
            async with database.transaction(viewer_of(people[index])) as write:
                await Redemptions(write).add(**row)
        except Conflict:
            return False
        return True

    assert sum(await asyncio.gather(*(take(index) for index in range(12)))) == 4
    assert (await _fetch(database, reward)).stock == 0
