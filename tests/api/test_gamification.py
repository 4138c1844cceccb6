"""Points for tasks, achievements, and the redemption of rewards."""

import asyncio
import datetime as dt
from typing import Any

import pytest

from repositories.aggregates.unit_of_work import Reaction, open_unit_of_work
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.life_lock.events import TaskCompleted
from repositories.life_lock.tasks import Tasks
from repositories.tables.gamification import PointReason
from repositories.tables.identity import User
from resolvers.gamification import reactions
from resolvers.reactions import REACTIONS
from tests.api.client import TAKEN_ID, Client, Gateway, gid, user_error
from tests.api.stored_rows import event_summaries, gamification_rows
from tests.factories import make_achievement, make_points, make_reward, make_task, make_user, viewer_of

AT = dt.datetime(2026, 6, 15, 12, tzinfo=dt.UTC)
FIRST_TASK = 10
POINTS = "{ pointHistory(first: 500) { nodes { points reason } } pointBalance }"


async def _points(client: Client) -> list[tuple[int, str]]:
    """Points and reasons of all entries except those of achievements, oldest first."""
    data = await client.data(POINTS)
    nodes = data["pointHistory"]["nodes"]
    assert data["pointBalance"] == sum(node["points"] for node in nodes)
    entries = [(node["points"], node["reason"]) for node in nodes if node["reason"] != "ACHIEVEMENT_UNLOCKED"]
    return entries[::-1]


async def _fetch_unlocked(client: Client) -> list[str]:
    data = await client.data("{ myAchievements { achievement { code } unlockedAt } }")
    return [item["achievement"]["code"] for item in data["myAchievements"] if item["unlockedAt"]]


@pytest.mark.parametrize(
    ("due", "points"), [(None, 10), (AT, 15), (AT - dt.timedelta(microseconds=1), 10), (AT + dt.timedelta(days=1), 15)]
)
async def test_a_task_completed_by_its_due_date_earns_more_points(
    gateway: Gateway, ada: User, due: dt.datetime | None, points: int
) -> None:
    task = await make_task(gateway.database, ada, due_date=due)
    client = gateway.at(AT).client(ada)
    for _ in range(2):
        await client.do("completeTask", "task { id }", id=gid("Task", task))
    assert await _points(client) == [(points, "TASK_COMPLETED")]
    data = await client.data("{ pointHistory { nodes { createdAt user { email } } } }")
    assert data["pointHistory"]["nodes"][0] == {"createdAt": AT.isoformat(), "user": {"email": "ada@example.com"}}


async def test_reopening_a_task_deducts_its_points(gateway: Gateway, ada: User) -> None:
    """The points are the same if its due date has changed since. Reopening a cancelled task deducts nothing."""
    task = await make_task(gateway.database, ada, due_date=AT)
    client, key = gateway.at(AT).client(ada), gid("Task", task)
    await client.do("completeTask", "task { id }", id=key)
    await client.do("updateTask", "task { id }", id=key, version=2, dueDate=None)
    await client.do("reopenTask", "task { id }", id=key)
    await client.do("updateTask", "task { id }", id=key, version=4, status="CANCELLED")
    await client.do("reopenTask", "task { id }", id=key)
    await client.do("updateTask", "task { id }", id=key, version=6, status="COMPLETED")
    assert await _points(client) == [(15, "TASK_COMPLETED"), (-15, "TASK_REOPENED"), (10, "TASK_COMPLETED")]
    assert await _fetch_unlocked(client) == ["first_task"]


async def test_spent_points_are_neither_deducted_nor_earned_again(gateway: Gateway, ada: User) -> None:
    """Completing, spending and reopening in turn earns no extra points, and the balance never goes below zero."""
    task = await make_task(gateway.database, ada, due_date=AT)
    reward = await make_reward(gateway.database, cost=15 + FIRST_TASK - 4)
    client, key = gateway.at(AT).client(ada), gid("Task", task)
    await client.do("completeTask", "task { id }", id=key)
    await client.do("redeemReward", "rewardRedemption { id }", rewardId=gid("Reward", reward))
    await client.do("reopenTask", "task { id }", id=key)
    assert (await client.data("{ pointBalance }"))["pointBalance"] == 0
    await client.do("completeTask", "task { id }", id=key)
    assert await _points(client) == [
        (15, "TASK_COMPLETED"),
        (-21, "REWARD_REDEEMED"),
        (-4, "TASK_REOPENED"),
        (4, "TASK_COMPLETED"),
    ]
    await client.do("updateTask", "task { id }", id=key, version=4, dueDate=None)
    for _ in range(2):
        await client.do("reopenTask", "task { id }", id=key)
        await client.do("completeTask", "task { id }", id=key)
    assert (await _points(client))[4:] == [(-4, "TASK_REOPENED")]
    assert (await client.data("{ pointBalance }"))["pointBalance"] == 0


async def test_a_batch_earns_points_for_each_task_and_unlocks_once(gateway: Gateway, ada: User) -> None:
    client = gateway.at(AT).client(ada)
    payload = await client.do("createTasks", "tasks { id }", tasks=[{"title": f"Task {i}"} for i in range(120)])
    changes = [{"id": row["id"], "version": 1, "status": "COMPLETED"} for row in payload["tasks"]]
    await client.do("updateTasks", "tasks { id }", tasks=changes)
    assert await _points(client) == [(10, "TASK_COMPLETED")] * 120
    assert await _fetch_unlocked(client) == ["first_task", "ten_tasks", "hundred_tasks"]
    data = await client.data("{ pointBalance }")
    assert data["pointBalance"] == 1200 + 10 + 50 + 250
    changes = [change | {"version": 2, "status": "PENDING"} for change in changes]
    await client.do("updateTasks", "tasks { id }", tasks=changes)
    assert (await client.data("{ pointBalance }"))["pointBalance"] == 310


async def test_a_task_completed_repeatedly_counts_once_for_achievements(gateway: Gateway, ada: User) -> None:
    task = gid("Task", await make_task(gateway.database, ada))
    client = gateway.at(AT).client(ada)
    for _ in range(11):
        await client.do("completeTask", "task { id }", id=task)
        await client.do("reopenTask", "task { id }", id=task)
    data = await client.data("{ myAchievements { achievement { code } progress wanted unlockedAt } }")
    assert [(item["achievement"]["code"], item["progress"], item["wanted"]) for item in data["myAchievements"]] == [
        ("first_task", 1, 1),
        ("ten_tasks", 1, 10),
        ("week_streak", 1, 7),
        ("hundred_tasks", 1, 100),
    ]
    assert [item["unlockedAt"] for item in data["myAchievements"]] == [AT.isoformat(), None, None, None]


async def test_streaks_use_the_days_of_the_users_time_zone(gateway: Gateway, database: Database) -> None:
    """23:30 and 00:30 in Auckland are two days there and one in UTC. The clocks go forward during the streak."""
    kiwi = await make_user(database, time_zone="Pacific/Auckland")
    midnight = dt.datetime(2026, 9, 24, 12, tzinfo=dt.UTC)
    moments = [midnight - dt.timedelta(minutes=30), midnight + dt.timedelta(minutes=30)]
    moments += [midnight + dt.timedelta(days=days) for days in (1, 2, 3, 4, 5)]
    for index, moment in enumerate(moments):
        client = gateway.at(moment).client(kiwi)
        assert ("week_streak" in await _fetch_unlocked(client)) is False
        await client.do("completeTask", "task { id }", id=gid("Task", await make_task(database, kiwi)))
        data = await client.data("{ gamificationDashboard { currentStreak } }")
        assert data["gamificationDashboard"]["currentStreak"] == index + 1
    assert "week_streak" in await _fetch_unlocked(client)
    later = gateway.at(moments[-1] + dt.timedelta(days=1)).client(kiwi)
    document = (
        '{ gamificationDashboard { currentStreak } utc: gamificationDashboard(timeZone: "UTC") { currentStreak } }'
    )
    assert await later.data(document) == {"gamificationDashboard": {"currentStreak": 7}, "utc": {"currentStreak": 6}}
    latest = gateway.at(moments[-1] + dt.timedelta(days=2)).client(kiwi)
    assert (await latest.data(document))["gamificationDashboard"] == {"currentStreak": 0}
    assert "week_streak" in await _fetch_unlocked(latest)


async def test_an_inactive_achievement_is_not_unlocked(gateway: Gateway, ada: User) -> None:
    criteria = {"event": "TaskCompleted", "count": 1}
    await make_achievement(gateway.database, code="inactive", criteria=criteria, is_active=False)
    client = gateway.client(ada)
    await client.do("completeTask", "task { id }", id=gid("Task", await make_task(gateway.database, ada)))
    assert await _fetch_unlocked(client) == ["first_task"]


async def test_an_unlocked_achievement_records_an_event_and_earns_points(gateway: Gateway, ada: User) -> None:
    task = await make_task(gateway.database, ada)
    await gateway.at(AT).client(ada).do("completeTask", "task { id }", id=gid("Task", task))
    achievements, unlocked, entries, *_, events = await gamification_rows(gateway.database)
    (row,) = unlocked
    first = next(item for item in achievements if item.code == "first_task")
    assert (row.user_id, row.achievement_id, row.unlocked_at) == (ada.id, first.id, AT)
    event = next(event for event in events if event.event_type == "AchievementUnlocked")
    assert (event.aggregate_id, event.aggregate_type, event.user_id) == (row.id, "user_achievement", ada.id)
    assert event.event_data == {"owner_id": str(ada.id), "achievement_id": str(first.id), "points": 10}
    paid = next(entry for entry in entries if entry.reason is PointReason.ACHIEVEMENT_UNLOCKED)
    assert (paid.source_event_id, paid.points, paid.user_id) == (event.id, 10, ada.id)


@pytest.mark.parametrize("step", ["tasks", "achievements"])
async def test_a_failing_reaction_rolls_back_the_unit_of_work(gateway: Gateway, ada: User, step: str) -> None:
    """The task stays open, whether the points of the task or those of the achievement cannot be booked."""
    task = await make_task(gateway.database, ada)
    before = await gamification_rows(gateway.database)

    async def fail(work: Any, events: Any) -> None:
        raise LookupError(work, events)

    event_types = reactions.TASK_EVENTS if step == "tasks" else reactions.BOOKED_EVENTS
    with pytest.raises(LookupError):
        async with open_unit_of_work(
            gateway.database, viewer_of(ada), (*REACTIONS, Reaction(event_types, fail)), AT
        ) as work:
            completed = await work.repository(Tasks).change(task, status="completed", completed_at=AT)
            work.record(TaskCompleted(completed.id, ada.id, AT, None))
    assert await gamification_rows(gateway.database) == before
    data = await gateway.client(ada).data("query($id: ID!) { task(id: $id) { status } }", id=gid("Task", task))
    assert data == {"task": {"status": "PENDING"}}


async def test_a_repeated_event_earns_no_points(gateway: Gateway, ada: User) -> None:
    """The event is repeated while the task is completed, and again after it has been reopened."""
    task = await make_task(gateway.database, ada, due_date=AT)
    event = TaskCompleted(task.id, ada.id, AT, AT)
    async with open_unit_of_work(gateway.database, viewer_of(ada), REACTIONS, AT) as work:
        work.record(event)
    before = await gamification_rows(gateway.database)

    async def react_again() -> None:
        async with open_unit_of_work(gateway.database, viewer_of(ada), (), AT) as work:
            await reactions.reward_tasks(work, [event])
            await work.store_events_and_react(REACTIONS)

    await react_again()
    assert await gamification_rows(gateway.database) == before
    await gateway.at(AT).client(ada).do("completeTask", "task { id }", id=gid("Task", task))
    await gateway.at(AT).client(ada).do("reopenTask", "task { id }", id=gid("Task", task))
    before = await gamification_rows(gateway.database)
    await react_again()
    assert await gamification_rows(gateway.database) == before


async def test_a_batch_of_the_service_earns_points_for_all_users(gateway: Gateway, statements: list[str]) -> None:
    """Users of several time zones, with as many statements as for one user."""
    zones = ("UTC", "Asia/Tokyo", "America/New_York") * 4
    people = [await make_user(gateway.database, time_zone=zone) for zone in zones]
    tasks = [await make_task(gateway.database, person) for person in people for _ in range(10)]
    async with open_unit_of_work(gateway.database, SERVICE, REACTIONS[1:], AT) as work:
        for task in tasks:
            work.record(TaskCompleted(task.id, task.user_id, AT, None))
        statements.clear()
        await work.store_events_and_react(REACTIONS[1:])
        verbs = [text.split(None, 1)[0] for text in statements]
    assert verbs == ["INSERT"] * 2 + ["SELECT"] * 2 + ["INSERT"] + ["SELECT"] * 2 + ["INSERT"] * 3
    for person in people:
        assert (await gateway.client(person).data("{ pointBalance }"))["pointBalance"] == 100 + 10 + 50


# rewards


async def _redeem(client: Client, reward: Any, **given: Any) -> Any:
    selection = "rewardRedemption { id databaseId cost status redeemedAt reward { name stock } user { email } }"
    return await client.do("redeemReward", selection, rewardId=gid("Reward", reward), **given)


async def test_a_reward_is_redeemed(gateway: Gateway, ada: User) -> None:
    """This creates the redemption, its entry and its event, and reduces the stock. A repeated request is a conflict."""
    reward = await make_reward(gateway.database, name="Coffee", cost=30, stock=2)
    await make_points(gateway.database, ada, 75)
    key = new_id()
    client = gateway.at(AT).client(ada)
    payload = await _redeem(client, reward, databaseId=str(key))
    assert payload == {
        "rewardRedemption": {
            "id": gid("RewardRedemption", key),
            "databaseId": str(key),
            "cost": 30,
            "status": "REDEEMED",
            "redeemedAt": AT.isoformat(),
            "reward": {"name": "Coffee", "stock": 1},
            "user": {"email": "ada@example.com"},
        },
        "userErrors": [],
    }
    data = {"owner_id": str(ada.id), "reward_id": str(reward.id), "cost": 30}
    assert (await event_summaries(gateway.database))[-1] == ("RewardRedeemed", "reward_redemption", key, ada.id, data)
    again = await _redeem(client, reward, databaseId=str(key))
    assert again["userErrors"] == [TAKEN_ID]
    assert sorted(await _points(client)) == [(-30, "REWARD_REDEEMED"), (75, "TASK_COMPLETED")]
    shown = await client.data("{ rewards { nodes { stock version } } rewardRedemptions { totalCount } }")
    assert shown == {"rewards": {"nodes": [{"stock": 1, "version": 2}]}, "rewardRedemptions": {"totalCount": 1}}


@pytest.mark.parametrize(
    ("reward", "code", "message"),
    [
        ({"cost": 31}, "CONFLICT", "This reward costs 31 points; you have 30."),
        ({"cost": 10, "stock": 0}, "CONFLICT", "This reward is sold out; choose another."),
        ({"cost": 10, "is_active": False}, "CONFLICT", "This reward is not offered any more; choose another."),
        (None, "NOT_FOUND", "There is no such reward."),
    ],
)
async def test_redemptions_that_are_rejected(
    gateway: Gateway, ada: User, reward: dict[str, Any] | None, code: str, message: str
) -> None:
    await make_points(gateway.database, ada, 30)
    reward_id = new_id() if reward is None else (await make_reward(gateway.database, **reward)).id
    before = await gamification_rows(gateway.database)
    payload = await _redeem(gateway.client(ada), reward_id)
    assert payload == {"rewardRedemption": None, "userErrors": [user_error(code, message, "rewardId")]}
    assert await gamification_rows(gateway.database) == before


async def test_the_last_item_goes_to_exactly_one_of_fifty_users(gateway: Gateway) -> None:
    people = [await make_user(gateway.database) for _ in range(50)]
    for person in people:
        await make_points(gateway.database, person, 100)
    reward = await make_reward(gateway.database, cost=40, stock=1)
    payloads = await asyncio.gather(*(_redeem(gateway.client(person), reward) for person in people))
    winners = [person for person, payload in zip(people, payloads, strict=True) if payload["rewardRedemption"]]
    assert len(winners) == 1
    errors = [payload["userErrors"] for payload in payloads if not payload["rewardRedemption"]]
    assert errors == [[user_error("CONFLICT", "This reward is sold out; choose another.", "rewardId")]] * 49
    _, _, entries, (stored,), redemptions, _ = await gamification_rows(gateway.database)
    assert (stored.stock, [row.user_id for row in redemptions]) == (0, [winners[0].id])
    balances = [sum(entry.points for entry in entries if entry.user_id == person.id) for person in people]
    assert sorted(balances) == [60] + [100] * 49


async def test_concurrent_redemptions_cannot_overspend(gateway: Gateway, ada: User) -> None:
    """The points are enough for one of several rewards that are redeemed at the same time."""
    await make_points(gateway.database, ada, 50)
    rewards = [await make_reward(gateway.database, cost=50, stock=stock) for stock in (None, 5, 9)] * 4
    client = gateway.client(ada)
    payloads = await asyncio.gather(*(_redeem(client, reward) for reward in rewards))
    assert sum(payload["rewardRedemption"] is not None for payload in payloads) == 1
    messages = {error["message"] for payload in payloads for error in payload["userErrors"]}
    assert messages == {"This reward costs 50 points; you have 0."}
    assert (await client.data("{ pointBalance }"))["pointBalance"] == 0


async def test_concurrent_spending_and_reopening_never_goes_below_zero(gateway: Gateway, ada: User) -> None:
    tasks = [await make_task(gateway.database, ada) for _ in range(6)]
    client = gateway.client(ada)
    for task in tasks:
        await client.do("completeTask", "task { id }", id=gid("Task", task))
    reward = await make_reward(gateway.database, cost=35)
    await asyncio.gather(
        *(client.do("reopenTask", "task { id }", id=gid("Task", task)) for task in tasks),
        *(_redeem(client, reward) for _ in range(3)),
    )
    *_, entries = (await gamification_rows(gateway.database))[:3]
    running = 0
    for entry in sorted(entries, key=lambda entry: entry.id):
        running += entry.points
    assert running == (await client.data("{ pointBalance }"))["pointBalance"] >= 0


async def test_tasks_completed_concurrently_unlock_achievements(gateway: Gateway, ada: User) -> None:
    """Each transaction sees the tasks that the others have completed, so the tenth task is recognised."""
    tasks = [await make_task(gateway.database, ada) for _ in range(10)]
    client = gateway.client(ada)
    await asyncio.gather(*(client.do("completeTask", "task { id }", id=gid("Task", task)) for task in tasks))
    assert await _fetch_unlocked(client) == ["first_task", "ten_tasks"]
    assert (await client.data("{ pointBalance }"))["pointBalance"] == 100 + 10 + 50


async def test_a_redemption_is_refunded_once(gateway: Gateway, ada: User, admin: User) -> None:
    """Points and stock are returned once, although several admins refund it at the same time."""
    reward = await make_reward(gateway.database, cost=30, stock=1)
    await make_points(gateway.database, ada, 30)
    client, admin_client = gateway.at(AT).client(ada), gateway.at(AT).client(admin)
    redemption = (await _redeem(client, reward))["rewardRedemption"]
    selection = "rewardRedemption { status cost reward { stock } user { email } }"
    payloads = await asyncio.gather(
        *(admin_client.do("refundRedemption", selection, id=redemption["id"]) for _ in range(5))
    )
    refunded = [payload["rewardRedemption"] for payload in payloads if payload["rewardRedemption"]]
    assert refunded == [
        {"status": "REFUNDED", "cost": 30, "reward": {"stock": 1}, "user": {"email": "ada@example.com"}}
    ]
    errors = [payload["userErrors"] for payload in payloads if payload["userErrors"]]
    assert errors == [[user_error("CONFLICT", "This redemption was refunded already.", "id")]] * 4
    assert (await event_summaries(gateway.database))[-1][::3] == ("RedemptionRefunded", admin.id)
    assert (await client.data("{ pointBalance }"))["pointBalance"] == 30
    assert sorted(await _points(client)) == [
        (-30, "REWARD_REDEEMED"), (30, "REDEMPTION_REFUNDED"), (30, "TASK_COMPLETED"),
    ]  # fmt: skip


async def test_a_refund_keeps_unlimited_stock_unlimited(gateway: Gateway, ada: User, admin: User) -> None:
    reward = await make_reward(gateway.database, cost=1)
    await make_points(gateway.database, ada, 1)
    redemption = (await _redeem(gateway.client(ada), reward))["rewardRedemption"]
    assert redemption["reward"]["stock"] is None
    payload = await gateway.client(admin).do(
        "refundRedemption", "rewardRedemption { reward { stock version } }", id=redemption["id"]
    )
    assert payload["rewardRedemption"] == {"reward": {"stock": None, "version": 1}}


async def test_a_redemption_is_fulfilled_and_can_still_be_refunded(gateway: Gateway, ada: User, admin: User) -> None:
    """It is fulfilled once, although several admins do it at the same time. A refunded one cannot be fulfilled."""
    reward = await make_reward(gateway.database, cost=30, stock=1)
    await make_points(gateway.database, ada, 30)
    key = (await _redeem(gateway.client(ada), reward))["rewardRedemption"]["id"]
    admin_client, selection = gateway.client(admin), "rewardRedemption { status reward { stock } }"
    payloads = await asyncio.gather(*(admin_client.do("fulfillRedemption", selection, id=key) for _ in range(5)))
    fulfilled = {"rewardRedemption": {"status": "FULFILLED", "reward": {"stock": 0}}, "userErrors": []}
    assert payloads == [fulfilled] * 5
    names = [event[0] for event in await event_summaries(gateway.database)]
    assert names == ["TaskCompleted", "RewardUpdated", "RewardRedeemed", "RedemptionFulfilled"]
    assert (await gateway.client(ada).data("{ pointBalance }"))["pointBalance"] == 0
    payload = await admin_client.do("refundRedemption", selection, id=key)
    assert payload["rewardRedemption"] == {"status": "REFUNDED", "reward": {"stock": 1}}
    payload = await admin_client.do("fulfillRedemption", selection, id=key)
    message = "This redemption was refunded; there is nothing to hand over."
    assert payload["userErrors"] == [user_error("CONFLICT", message, "id")]
