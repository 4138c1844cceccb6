"""The administration of achievements and rewards, points, the leaderboard and the dashboard."""

import datetime as dt
import json
from typing import Any

import pytest

from repositories.core.clock import now
from repositories.core.ids import new_id
from repositories.tables.gamification import PointReason
from repositories.tables.identity import User
from tests.api.client import TAKEN_ID, Gateway, gid, user_error
from tests.api.stored_rows import event_summaries, gamification_rows
from tests.api.test_statements import summarize_statements
from tests.factories import make_achievement, make_points, make_redemption, make_reward, make_task, make_user

AT = dt.datetime(2026, 6, 15, 12, tzinfo=dt.UTC)
ACHIEVEMENT = """achievement { id databaseId code name description points isActive version createdAt updatedAt
    criteria { event count streakDays } }"""
REWARD = "reward { id databaseId name description cost stock isActive version createdAt }"


async def test_an_achievement_is_created_and_changed(gateway: Gateway, admin: User) -> None:
    client, key = gateway.at(AT).client(admin), new_id()
    criteria = {"streakDays": 30}
    given = {"code": "month", "name": " A month ", "description": "Keep at it.", "points": 500, "criteria": criteria}
    payload = await client.do("createAchievement", ACHIEVEMENT, databaseId=str(key), **given)
    created = payload["achievement"]
    assert created | {"updatedAt": ""} == {
        "id": gid("Achievement", key),
        "databaseId": str(key),
        "code": "month",
        "name": "A month",
        "description": "Keep at it.",
        "points": 500,
        "isActive": True,
        "version": 1,
        "createdAt": AT.isoformat(),
        "updatedAt": "",
        "criteria": {"event": "TASK_COMPLETED", "count": None, "streakDays": 30},
    }
    changes = {"name": "Month", "description": "Go on.", "points": 400, "criteria": {"count": 3}, "isActive": False}
    payload = await client.do("updateAchievement", ACHIEVEMENT, id=created["id"], version=1, **changes)
    changed = payload["achievement"]
    assert (changed["name"], changed["points"], changed["isActive"], changed["version"]) == ("Month", 400, False, 2)
    assert changed["criteria"] == {"event": "TASK_COMPLETED", "count": 3, "streakDays": None}
    payload = await client.do("updateAchievement", ACHIEVEMENT, id=created["id"], version=2, **changes)
    assert payload["achievement"] == changed
    fields = ["criteria", "description", "is_active", "name", "points"]
    assert await event_summaries(gateway.database) == [
        ("AchievementCreated", "achievement", key, admin.id, {"owner_id": str(admin.id)}),
        (
            "AchievementUpdated",
            "achievement",
            key,
            admin.id,
            {
                "owner_id": str(admin.id),
                "fields": fields,
                "changes": {
                    "criteria": [
                        {"event": "TaskCompleted", "streak_days": 30},
                        {"event": "TaskCompleted", "count": 3},
                    ],
                    "is_active": [True, False],
                    "points": [500, 400],
                },
            },
        ),
    ]


async def test_a_reward_is_created_and_changed(gateway: Gateway, admin: User) -> None:
    client, key = gateway.at(AT).client(admin), new_id()
    payload = await client.do("createReward", REWARD, name="Cake", cost=20, databaseId=str(key))
    assert payload["reward"] == {
        "id": gid("Reward", key),
        "databaseId": str(key),
        "name": "Cake",
        "description": None,
        "cost": 20,
        "stock": None,
        "isActive": True,
        "version": 1,
        "createdAt": AT.isoformat(),
    }
    changes = {"name": "Pie", "description": "Sweet.", "cost": 25, "stock": 3, "isActive": False}
    payload = await client.do("updateReward", REWARD, id=gid("Reward", key), version=1, **changes)
    assert payload["reward"] | changes | {"version": 2} == payload["reward"]
    assert (await client.do("updateReward", REWARD, id=gid("Reward", key), version=2, **changes)) == payload
    payload = await client.do("updateReward", REWARD, id=gid("Reward", key), version=2, stock=None, description=None)
    assert (payload["reward"]["stock"], payload["reward"]["description"], payload["reward"]["version"]) == (
        None,
        None,
        3,
    )
    assert [event[0] for event in await event_summaries(gateway.database)] == [
        "RewardCreated",
        "RewardUpdated",
        "RewardUpdated",
    ]


async def test_stale_versions_missing_rows_and_taken_ids_are_rejected(gateway: Gateway, admin: User) -> None:
    client = gateway.client(admin)
    reward, achievement = await make_reward(gateway.database), await make_achievement(gateway.database, code="taken")
    before = await gamification_rows(gateway.database)
    for name, row, kind in (("Reward", reward, "reward"), ("Achievement", achievement, "achievement")):
        selection = f"{kind} {{ id }}"
        payload = await client.do(f"update{name}", selection, id=gid(name, row), version=7, name="New")
        (error,) = payload["userErrors"]
        assert (error["code"], error["field"], error["current"]) == (
            "STALE_VERSION",
            ["version"],
            {"id": gid(name, row)},
        )
        payload = await client.do(f"update{name}", selection, id=gid(name, new_id()), version=1, name="New")
        assert payload["userErrors"] == [user_error("NOT_FOUND", f"There is no such {kind}.", "id")]
    payload = await client.do("refundRedemption", "rewardRedemption { id }", id=gid("RewardRedemption", new_id()))
    assert payload["userErrors"] == [user_error("NOT_FOUND", "There is no such redemption.", "id")]
    given = {"name": "New", "description": "x", "points": 1, "criteria": {"count": 1}}
    payload = await client.do("createAchievement", "achievement { id }", code="taken", **given)
    taken = "There is already an achievement of this code."
    assert payload["userErrors"] == [user_error("CONFLICT", taken, "code")]
    payload = await client.do(
        "createAchievement", "achievement { id }", code="other", databaseId=str(achievement.id), **given
    )
    assert payload["userErrors"] == [TAKEN_ID]
    payload = await client.do("createReward", "reward { id }", name="x", cost=1, databaseId=str(reward.id))
    assert payload["userErrors"] == [TAKEN_ID]
    assert await gamification_rows(gateway.database) == before


_INVALID: list[tuple[str, dict[str, Any], list[list[str]]]] = [
    (
        "createAchievement",
        {"code": "No Spaces", "name": " ", "description": "", "points": 0, "criteria": {"count": 0, "streakDays": 101}},
        [["code"], ["name"], ["description"], ["points"], ["criteria", "count"], ["criteria", "streakDays"]],
    ),
    (
        "createAchievement",
        {"code": "x" * 51, "name": "x" * 101, "description": "x" * 501, "points": 100_001, "criteria": {}},
        [["code"], ["name"], ["description"], ["points"], ["criteria"]],
    ),
    (
        "createAchievement",
        {"code": "x", "name": "x", "description": "x", "points": 1, "criteria": {"count": 1, "streakDays": 1}},
        [["criteria"]],
    ),
    (
        "updateAchievement",
        {"version": 0, "name": None, "description": None, "points": None, "criteria": None, "isActive": None},
        [["version"], ["name"], ["description"], ["points"], ["criteria"], ["isActive"]],
    ),
    (
        "createReward",
        {"name": "", "description": "x" * 2001, "cost": 0, "stock": -1},
        [["name"], ["description"], ["cost"], ["stock"]],
    ),
    ("createReward", {"name": "x", "cost": 1_000_001, "stock": 1_000_001}, [["cost"], ["stock"]]),
    (
        "updateReward",
        {"version": 1, "name": None, "cost": None, "isActive": None, "stock": -1},
        [["name"], ["cost"], ["stock"], ["isActive"]],
    ),
]


@pytest.mark.parametrize(("mutation", "given", "paths"), _INVALID)
async def test_all_validation_errors_are_reported_at_once(
    gateway: Gateway, admin: User, mutation: str, given: dict[str, Any], paths: list[list[str]]
) -> None:
    result = mutation[len("create") :].lower()
    if mutation.startswith("update"):
        result = mutation[len("update") :].lower()
        make: Any = {"reward": make_reward, "achievement": make_achievement}[result]
        given = {"id": gid(result.capitalize(), await make(gateway.database))} | given
    before = await gamification_rows(gateway.database)
    payload = await gateway.client(admin).do(mutation, f"{result} {{ id }}", **given)
    assert payload[result] is None
    assert [error["field"] for error in payload["userErrors"]] == paths
    assert {error["code"] for error in payload["userErrors"]} == {"VALIDATION_ERROR"}
    nulls = {error["field"][0] for error in payload["userErrors"] if error["message"] == "This must not be null."}
    assert nulls == {name for name, value in given.items() if value is None}
    assert await gamification_rows(gateway.database) == before


@pytest.mark.parametrize("field", ["points", "balance", "userId", "cost", "status"])
async def test_a_redemption_accepts_neither_points_nor_owner(gateway: Gateway, ada: User, field: str) -> None:
    reward = await make_reward(gateway.database)
    document = "mutation($input: RedeemRewardInput!) { redeemReward(input: $input) { rewardRedemption { id } } }"
    answer = await gateway.client(ada).ask(document, input={"rewardId": gid("Reward", reward), field: 1})
    assert answer.codes == ["GRAPHQL_VALIDATION_FAILED"]
    assert answer.data is None


_FOR_ADMINS = {
    "createAchievement": {"code": "x", "name": "x", "description": "x", "points": 1, "criteria": {"count": 1}},
    "updateAchievement": {"version": 1, "name": "x"},
    "createReward": {"name": "x", "cost": 1},
    "updateReward": {"version": 1, "stock": 100},
    "refundRedemption": {},
    "fulfillRedemption": {},
}


@pytest.mark.parametrize(("mutation", "given"), _FOR_ADMINS.items())
async def test_only_admins_administer_rewards_and_achievements(
    gateway: Gateway, ada: User, bob: User, mutation: str, given: dict[str, Any]
) -> None:
    """FORBIDDEN for users, UNAUTHENTICATED for anonymous callers, whether the row exists or not. Nothing changes."""
    reward, achievement = await make_reward(gateway.database), await make_achievement(gateway.database)
    redemption = await make_redemption(gateway.database, bob, reward)
    before = await gamification_rows(gateway.database)
    is_of_redemption = mutation.endswith("Redemption")
    kind = "RewardRedemption" if is_of_redemption else mutation.removeprefix("create").removeprefix("update")
    row = {"Reward": reward, "Achievement": achievement, "RewardRedemption": redemption}[kind]
    for key in (row.id, new_id()):
        values = given if mutation.startswith("create") else {"id": gid(kind, key)} | given
        document = f"mutation($input: {mutation[0].upper()}{mutation[1:]}Input!) {{ {mutation}(input: $input) {{ userErrors {{ code }} }} }}"  # noqa: E501
        assert (await gateway.client(ada).ask(document, input=values)).codes == ["FORBIDDEN"]
        assert (await gateway.client().ask(document, input=values)).codes == ["UNAUTHENTICATED"]
    assert await gamification_rows(gateway.database) == before


async def test_points_of_other_users_are_not_found(gateway: Gateway, ada: User, bob: User, admin: User) -> None:
    """The responses are byte for byte those for missing rows. Admins can read them."""
    entry = await make_points(gateway.database, bob, 77)
    redemption = await make_redemption(gateway.database, bob, await make_reward(gateway.database))
    for kind, row in (("PointEntry", entry), ("RewardRedemption", redemption)):
        for document in (
            "query($id: ID!) { node(id: $id) { id } }",
            "query($id: ID!) { nodes(ids: [$id]) { id } }",
        ):
            answers = []
            for key in (row.id, new_id()):
                answer = await gateway.client(ada).ask(document, id=gid(kind, key))
                assert answer.codes == ["NOT_FOUND"]
                answers.append(json.dumps(answer.body).replace(gid(kind, key), "id"))
            assert answers[0] == answers[1]
            assert gid(kind, row) in json.dumps(await gateway.client(admin).data(document, id=gid(kind, row)))
    lists = """query($u: ID!) { pointHistory(filter: {userId: {eq: $u}}) { totalCount } pointBalance
        rewardRedemptions(filter: {userId: {eq: $u}}) { totalCount } }"""
    assert await gateway.client(ada).data(lists, u=gid("User", bob)) == {
        "pointHistory": {"totalCount": 0},
        "pointBalance": 0,
        "rewardRedemptions": {"totalCount": 0},
    }
    assert await gateway.client(admin).data(lists, u=gid("User", bob)) == {
        "pointHistory": {"totalCount": 1},
        "pointBalance": 0,
        "rewardRedemptions": {"totalCount": 1},
    }


async def test_lists_are_filtered_and_ordered(gateway: Gateway, ada: User) -> None:
    database = gateway.database
    await make_reward(database, name="Tea", cost=5, stock=3)
    await make_reward(database, name="Trip", cost=900, is_active=False)
    await make_achievement(database, code="hero", points=1)
    await make_points(database, ada, 30)
    await make_points(database, ada, -5, reason=PointReason.REWARD_REDEEMED)
    client = gateway.client(ada)
    data = await client.data("""{
        rewards { nodes { name } } active: rewards(filter: {isActive: {eq: true}}) { nodes { name } }
        found: rewards(filter: {search: "TRI"}, order: [{field: NAME, direction: DESC}]) { totalCount nodes { name } }
        achievements { nodes { code } } byName: achievements(order: [{field: NAME}], first: 1) { nodes { code } }
        taken: pointHistory(filter: {reason: {eq: REWARD_REDEEMED}, points: {lt: 0}}) { nodes { points } }
        pointHistory(order: [{field: POINTS}]) { nodes { points } } }""")
    assert data == {
        "rewards": {"nodes": [{"name": "Tea"}, {"name": "Trip"}]},
        "active": {"nodes": [{"name": "Tea"}]},
        "found": {"totalCount": 1, "nodes": [{"name": "Trip"}]},
        "achievements": {
            "nodes": [{"code": code} for code in ("hero", "first_task", "ten_tasks", "week_streak", "hundred_tasks")]
        },
        "byName": {"nodes": [{"code": "week_streak"}]},
        "taken": {"nodes": [{"points": -5}]},
        "pointHistory": {"nodes": [{"points": -5}, {"points": 30}]},
    }
    for kind, code in (("Achievement", "hero"), ("Reward", None)):
        shown = await client.data(f"{{ {kind.lower()}s(first: 1) {{ nodes {{ id }} }} }}")
        key = shown[f"{kind.lower()}s"]["nodes"][0]["id"]
        data = await client.data("query($id: ID!) { node(id: $id) { id ... on Achievement { code } } }", id=key)
        assert data["node"] == ({"id": key, "code": code} if code else {"id": key})


# leaderboard and dashboard

BOARD = "query($p: LeaderboardPeriod!) { leaderboard(period: $p) { rank displayName points } }"


async def test_the_leaderboard_shows_names_and_points_only(gateway: Gateway, ada: User, bob: User) -> None:
    """It counts the earned points of active users in the period. Spending points does not change it."""
    database = gateway.database
    carl = await make_user(database, first_name="Carl", last_name="Ötzi")
    deleted = await make_user(database, first_name="Gone", deleted_at=now())
    suspended = await make_user(database, first_name="Away", status="suspended")
    for person, points, days in ((ada, 30, 0), (ada, 15, 8), (bob, 30, 6), (carl, 10, 20), (carl, 90, 40)):
        await make_points(database, person, points, created_at=now() - dt.timedelta(days=days))
    for person in (deleted, suspended):
        await make_points(database, person, 1000)
    await make_points(database, ada, -25, reason=PointReason.REWARD_REDEEMED)
    await make_points(database, bob, -10, reason=PointReason.TASK_REOPENED)
    client = gateway.client(bob)

    async def board(period: str) -> list[tuple[Any, ...]]:
        return [tuple(place.values()) for place in (await client.data(BOARD, p=period))["leaderboard"]]

    assert await board("WEEK") == [(1, "Ada B.", 30), (2, "Bob R.", 20)]
    assert await board("MONTH") == [(1, "Ada B.", 45), (2, "Bob R.", 20), (3, "Carl Ö.", 10)]
    assert await board("ALL") == [(1, "Carl Ö.", 100), (2, "Ada B.", 45), (3, "Bob R.", 20)]
    await make_points(database, bob, 25)
    assert await board("ALL") == [(1, "Carl Ö.", 100), (2, "Ada B.", 45), (2, "Bob R.", 45)]
    first = await client.data("{ leaderboard(period: ALL, first: 1) { displayName } }")
    assert first == {"leaderboard": [{"displayName": "Carl Ö."}]}
    answer = await client.ask("{ leaderboard(period: ALL, first: 0) { displayName } }")
    assert answer.codes == ["VALIDATION_ERROR"]
    for field in ("email", "lastName", "userId", "id", "user { id }"):
        answer = await client.ask(f"{{ leaderboard(period: ALL) {{ {field} }} }}")
        assert answer.codes == ["GRAPHQL_VALIDATION_FAILED"]


async def test_the_gamification_dashboard(gateway: Gateway, ada: User, bob: User) -> None:
    database = gateway.database
    await make_points(database, bob, 500)
    await make_points(database, ada, 40)
    await make_points(database, ada, 100, created_at=now() - dt.timedelta(days=8))
    await make_points(database, ada, -30, reason=PointReason.REWARD_REDEEMED)
    document = """{ gamificationDashboard { pointBalance pointsThisWeek achievementsUnlocked achievementsTotal
        currentStreak rank nextAchievement { achievement { code } progress wanted unlockedAt } } }"""
    data = await gateway.client(ada).data(document)
    assert data["gamificationDashboard"] == {
        "pointBalance": 110,
        "pointsThisWeek": 40,
        "achievementsUnlocked": 0,
        "achievementsTotal": 4,
        "currentStreak": 1,
        "rank": 2,
        "nextAchievement": {"achievement": {"code": "first_task"}, "progress": 1, "wanted": 1, "unlockedAt": None},
    }
    places = """{ gamificationDashboard { rankThisWeek rankThisMonth }
        week: leaderboard(period: WEEK) { rank displayName } month: leaderboard(period: MONTH) { rank displayName } }"""
    rival = await make_user(database, first_name="Rival", last_name="Rose")
    await make_points(database, rival, 60)
    for person, ranks in ((ada, [3, 2]), (rival, [2, 3]), (bob, [1, 1])):
        data = await gateway.client(person).data(places)
        shown = [data["gamificationDashboard"][name] for name in ("rankThisWeek", "rankThisMonth")]
        name = f"{person.first_name} {person.last_name[0]}."
        boards = [data[period] for period in ("week", "month")]
        assert shown == ranks
        assert shown == [next(row["rank"] for row in board if row["displayName"] == name) for board in boards]
    newcomer = await make_user(database)
    await make_points(database, newcomer, 10, created_at=now() - dt.timedelta(days=10))
    await make_points(
        database, newcomer, -10, created_at=now() - dt.timedelta(days=9), reason=PointReason.TASK_REOPENED
    )
    document = "{ gamificationDashboard { rank rankThisWeek rankThisMonth currentStreak } }"
    data = await gateway.client(newcomer).data(document)
    nothing = {"rank": None, "rankThisWeek": None, "rankThisMonth": None, "currentStreak": 0}
    assert data["gamificationDashboard"] == nothing


_TILES = {
    "pointBalance": "points",
    "pointsThisWeek": "points",
    "achievementsUnlocked": "achievements",
    "achievementsTotal": "achievements",
    "currentStreak": "streak",
    "nextAchievement { progress wanted achievement { name } }": "next",
    "rank": "rank",
    "rankThisWeek": "rank of the week",
    "rankThisMonth": "rank of the month",
}


async def test_the_dashboard_executes_one_statement_per_tile(
    gateway: Gateway, ada: User, statements: list[str]
) -> None:
    await make_points(gateway.database, ada, 40)
    client = gateway.client(ada)
    for tiles in ([], *([tile] for tile in _TILES), list(_TILES)[:2], list(_TILES)[2:4], list(_TILES)):
        statements.clear()
        await client.data(f"{{ gamificationDashboard {{ __typename {' '.join(tiles)} }} }}")
        tables = {_TILES[tile] for tile in tiles}
        preferences = "points" in tables  # the first day of the week
        assert len(summarize_statements(statements)) == len(tables) + preferences, tiles
    for field, expected in {
        "achievements { nodes { code } }": ["SELECT achievements"],
        "myAchievements { progress achievement { code } }": ["SELECT domain_events"],
        "pointBalance": ["SELECT point_entries"],
        "pointHistory { nodes { points } totalCount }": ["SELECT point_entries"] * 2,
        "rewards { nodes { name } }": ["SELECT rewards"],
        "rewardRedemptions { nodes { cost } }": ["SELECT reward_redemptions"],
        "leaderboard(period: WEEK) { points }": ["SELECT leaderboard"],
        "leaderboardAroundViewer(period: WEEK) { points isViewer }": ["SELECT point_entries"],
        "userAchievements { nodes { unlockedAt } }": ["SELECT user_achievements"],
        "pointHistory { nodes { task { id } achievement { id } reward { id } } }": [
            "SELECT point_entries",
            "SELECT tasks",
            "SELECT achievements",
            "SELECT rewards",
        ],
    }.items():
        statements.clear()
        await client.data(f"{{ {field} }}")
        assert summarize_statements(statements) == expected


async def test_mutations_execute_exactly_these_statements(
    gateway: Gateway, ada: User, admin: User, statements: list[str]
) -> None:
    reward = await make_reward(gateway.database, cost=5, stock=5)
    await make_points(gateway.database, ada, 40)

    async def run(user: User, mutation: str, selection: str, **given: Any) -> tuple[Any, list[str]]:
        statements.clear()
        payload = await gateway.client(user).do(mutation, selection, **given)
        assert payload["userErrors"] == []
        return payload, summarize_statements(statements)

    payload, executed = await run(ada, "redeemReward", "rewardRedemption { id }", rewardId=gid("Reward", reward))
    assert executed == [
        "SELECT users",
        "SELECT rewards",
        "SELECT point_entries",
        "INSERT reward_redemptions",
        "SELECT rewards",
        "INSERT domain_events",
        "INSERT point_entries",
    ]
    key = payload["rewardRedemption"]["id"]
    _, executed = await run(admin, "refundRedemption", "rewardRedemption { id }", id=key)
    assert executed == [
        "SELECT reward_redemptions",
        "UPDATE reward_redemptions",
        "SELECT rewards",
        "INSERT domain_events",
        "INSERT point_entries",
    ]
    payload, executed = await run(admin, "createReward", "reward { id }", name="x", cost=1)
    assert executed == ["INSERT rewards", "INSERT domain_events"]
    _, executed = await run(admin, "updateReward", "reward { id }", id=payload["reward"]["id"], version=1, cost=2)
    assert executed == ["SELECT rewards", "UPDATE rewards", "INSERT domain_events"]
    given = {"code": "x", "name": "x", "description": "x", "points": 1, "criteria": {"count": 1}}
    payload, executed = await run(admin, "createAchievement", "achievement { id }", **given)
    assert executed == ["INSERT achievements", "INSERT domain_events"]
    key = payload["achievement"]["id"]
    _, executed = await run(admin, "updateAchievement", "achievement { id }", id=key, version=1, points=2)
    assert executed == ["SELECT achievements", "UPDATE achievements", "INSERT domain_events"]


AROUND = """query($p: LeaderboardPeriod!, $n: Int!) { leaderboardAroundViewer(period: $p, first: $n) {
    rank displayName points isViewer } }"""


async def test_the_leaderboard_around_the_viewer(gateway: Gateway) -> None:
    """The viewer is in the middle, if there are enough places before and after. Only the viewer is marked."""
    database = gateway.database
    people = [await make_user(database, first_name=name * 2, last_name="Öz") for name in "ABCDEFG"]
    for person, points in zip(people, (70, 60, 50, 50, 30, 20, 10), strict=True):
        await make_points(database, person, points)
    await make_points(database, people[6], 500, created_at=now() - dt.timedelta(days=8))

    async def around(person: User, first: int, period: str = "WEEK") -> list[tuple[Any, ...]]:
        data = await gateway.client(person).data(AROUND, p=period, n=first)
        return [tuple(place.values()) for place in data["leaderboardAroundViewer"]]

    board = [
        *[(1, "AA Ö.", 70), (2, "BB Ö.", 60), (3, "CC Ö.", 50), (3, "DD Ö.", 50), (5, "EE Ö.", 30)],
        *[(6, "FF Ö.", 20), (7, "GG Ö.", 10)],
    ]
    for index, person in enumerate(people):
        for first in (1, 2, 3, 4, 7, 500):
            start = max(min(index - (first - 1) // 2, len(board) - first), 0)
            expected = [(*board[at], at == index) for at in range(start, min(start + first, len(board)))]
            assert await around(person, first) == expected, (index, first)
    assert await around(people[6], 2, "MONTH") == [(1, "GG Ö.", 510, True), (2, "AA Ö.", 70, False)]
    assert await around(people[6], 1, "ALL") == [(1, "GG Ö.", 510, True)]
    twin = await make_user(database, first_name="CC", last_name="Ödon")
    await make_points(database, twin, 50)
    for person in (people[2], twin):
        places = await around(person, 500)
        assert [place[1:3] for place in places if place[3]] == [("CC Ö.", 50)]
    newcomer = await make_user(database)
    assert await around(newcomer, 10) == []
    client = gateway.client(people[0])
    for first in (0, 501):
        answer = await client.ask(AROUND, p="WEEK", n=first)
        assert (answer.codes, answer.data) == (["VALIDATION_ERROR"], {"leaderboardAroundViewer": None})
    for field in ("id", "userId", "email", "user { id }"):
        answer = await client.ask(f"{{ leaderboardAroundViewer(period: ALL) {{ {field} }} }}")
        assert answer.codes == ["GRAPHQL_VALIDATION_FAILED"]
    answer = await gateway.client().ask(AROUND, p="WEEK", n=1)
    assert answer.codes == ["UNAUTHENTICATED"]


_ENTRIES = "{ pointHistory { nodes { reason task { title } achievement { code } reward { name } } } }"


async def test_entries_name_what_they_are_about(
    gateway: Gateway, ada: User, bob: User, admin: User, statements: list[str]
) -> None:
    """The task, the achievement or the reward, with one statement for each field, whatever the number of entries."""
    client, database = gateway.at(AT).client(ada), gateway.database
    task = await make_task(database, ada, title="Walk")
    reward = await make_reward(database, name="Tea", cost=5)
    await client.do("completeTask", "task { id }", id=gid("Task", task))
    redeemed = await client.do("redeemReward", "rewardRedemption { id }", rewardId=gid("Reward", reward))
    await gateway.client(admin).do("refundRedemption", "rewardRedemption { id }", **redeemed["rewardRedemption"])

    def entry(reason: str, **about: Any) -> dict[str, Any]:
        return {"reason": reason, "task": None, "achievement": None, "reward": None, **about}

    entries = [
        entry("TASK_COMPLETED", task={"title": "Walk"}),
        entry("ACHIEVEMENT_UNLOCKED", achievement={"code": "first_task"}),
        entry("REWARD_REDEEMED", reward={"name": "Tea"}),
        entry("REDEMPTION_REFUNDED", reward={"name": "Tea"}),
    ]

    def by_reason(nodes: list[Any]) -> list[Any]:
        return sorted(nodes, key=lambda node: str(node["reason"]))

    for count in (1, 20):
        for _ in range(count - 1):
            other = await make_task(database, ada, title="Walk")
            await client.do("completeTask", "task { id }", id=gid("Task", other))
        statements.clear()
        shown = (await client.data(_ENTRIES))["pointHistory"]["nodes"]
        assert summarize_statements(statements) == [
            "SELECT point_entries",
            "SELECT tasks",
            "SELECT achievements",
            "SELECT rewards",
        ]
        if count == 1:
            assert by_reason(shown) == by_reason(entries)
    assert [node for node in shown if node["reason"] == "TASK_COMPLETED"] == entries[:1] * 20
    assert (await gateway.client(bob).data(_ENTRIES))["pointHistory"]["nodes"] == []
    of_all = (await gateway.client(admin).data(_ENTRIES))["pointHistory"]["nodes"]
    assert by_reason(of_all) == by_reason(shown)
    await client.do("deleteTask", "task { id }", id=gid("Task", task))
    shown = (await client.data(_ENTRIES))["pointHistory"]["nodes"]
    assert [node for node in shown if node["reason"] == "TASK_DELETED"] == [entry("TASK_DELETED")]
    assert sum(node["task"] is not None for node in shown) == 19


async def test_reached_achievements_are_listed_with_their_history(gateway: Gateway, ada: User, bob: User) -> None:
    """A user sees only own rows, an admin all rows. Nobody can change them."""
    client = gateway.at(AT).client(ada)
    await client.do("completeTask", "task { id }", id=gid("Task", await make_task(gateway.database, ada)))
    document = """{ userAchievements { totalCount nodes { id unlockedAt user { email } achievement { code }
        history { nodes { eventType user { email } } } } } }"""
    page = (await client.data(document))["userAchievements"]
    (reached,) = page["nodes"]
    assert reached == {
        "id": reached["id"],
        "unlockedAt": AT.isoformat(),
        "user": {"email": "ada@example.com"},
        "achievement": {"code": "first_task"},
        "history": {"nodes": [{"eventType": "AchievementUnlocked", "user": {"email": "ada@example.com"}}]},
    }
    single = "query($id: ID!) { userAchievement(id: $id) { unlockedAt } }"
    assert await client.data(single, id=reached["id"]) == {"userAchievement": {"unlockedAt": AT.isoformat()}}
    other = gateway.client(bob)
    assert (await other.data(document))["userAchievements"] == {"totalCount": 0, "nodes": []}
    answers = []
    for key in (reached["id"], gid("UserAchievement", new_id())):
        answer = await other.ask(single, id=key)
        assert answer.codes == ["NOT_FOUND"]
        answers.append(json.dumps(answer.body).replace(key, "id"))
    assert answers[0] == answers[1]
    for given, count in (('{achievement: {code: {eq: "first_task"}}}', 1), ('{achievement: {code: {eq: "x"}}}', 0)):
        found = await client.data(f"{{ userAchievements(filter: {given}) {{ totalCount }} }}")
        assert found == {"userAchievements": {"totalCount": count}}


async def test_the_history_of_a_redemption(gateway: Gateway, ada: User, bob: User, admin: User) -> None:
    """Its owner sees the changes of admins too. The stock of the reward has a history as well."""
    client, manager = gateway.client(ada), gateway.client(admin)
    await make_points(gateway.database, ada, 30)
    reward = await make_reward(gateway.database, cost=10, stock=3)
    redeemed = await client.do("redeemReward", "rewardRedemption { id }", rewardId=gid("Reward", reward))
    key = redeemed["rewardRedemption"]["id"]
    for mutation in ("fulfillRedemption", "fulfillRedemption", "refundRedemption"):
        await manager.do(mutation, "rewardRedemption { id }", id=key)
    entries = "history { nodes { eventType fields changes { field before after } } }"
    document = f"query($id: ID!) {{ node(id: $id) {{ ... on RewardRedemption {{ {entries} }} }} }}"

    def change(event: str, **changes: list[Any]) -> dict[str, Any]:
        values = [{"field": name, "before": before, "after": after} for name, (before, after) in changes.items()]
        return {"eventType": event, "fields": list(changes), "changes": values}

    assert (await client.data(document, id=key))["node"]["history"]["nodes"] == [
        change("RedemptionRefunded", status=["FULFILLED", "REFUNDED"]),
        change("RedemptionFulfilled", status=["REDEEMED", "FULFILLED"]),
        change("RewardRedeemed"),
    ]
    assert (await gateway.client(bob).ask(document, id=key)).codes == ["NOT_FOUND"]
    document = f"query($id: ID!) {{ reward(id: $id) {{ stock {entries} }} }}"
    assert (await manager.data(document, id=gid("Reward", reward)))["reward"] == {
        "stock": 3,
        "history": {"nodes": [change("RewardUpdated", stock=[2, 3]), change("RewardUpdated", stock=[3, 2])]},
    }


async def test_achievements_are_created_and_changed_in_bulk(gateway: Gateway, admin: User, ada: User) -> None:
    """All or none. The errors name the place in the list, also those of values inside of the criteria."""
    client = gateway.client(admin)
    before = await gamification_rows(gateway.database)

    def item(code: str, **criteria: int) -> dict[str, Any]:
        return {"code": code, "name": code, "description": "x", "points": 1, "criteria": criteria}

    selection = "achievements { id code version criteria { event count streakDays } }"
    invalid = [item("a", count=1), item("b", count=0), item("c")]
    payload = await client.do("createAchievements", selection, achievements=invalid)
    assert payload["achievements"] is None
    assert [error["field"] for error in payload["userErrors"]] == [
        ["achievements", "1", "criteria", "count"],
        ["achievements", "2", "criteria"],
    ]
    payload = await client.do("createAchievements", selection, achievements=[item("a", count=1)] * 2)
    assert [error["code"] for error in payload["userErrors"]] == ["CONFLICT"]
    row = {"id": gid("Achievement", new_id()), "version": 1}
    for mutation, values in (
        ("CreateAchievements", {"achievements": [item("a", count=1)]}),
        ("UpdateAchievements", {"achievements": [row]}),
        ("CreateRewards", {"rewards": [{"name": "x", "cost": 1}]}),
        ("UpdateRewards", {"rewards": [row | {"id": gid("Reward", new_id())}]}),
    ):
        field = mutation[0].lower() + mutation[1:]
        document = f"mutation($i: {mutation}Input!) {{ {field}(input: $i) {{ userErrors {{ code }} }} }}"
        assert (await gateway.client(ada).ask(document, i=values)).codes == ["FORBIDDEN"], mutation
    assert await gamification_rows(gateway.database) == before
    payload = await client.do(
        "createAchievements", selection, achievements=[item("a", count=1), item("b", streakDays=2)]
    )
    assert [row["criteria"] for row in payload["achievements"]] == [
        {"event": "TASK_COMPLETED", "count": 1, "streakDays": None},
        {"event": "TASK_COMPLETED", "count": None, "streakDays": 2},
    ]
    changes = [{"id": row["id"], "version": 1, "criteria": {"count": 1}} for row in payload["achievements"]]
    payload = await client.do("updateAchievements", selection, achievements=changes)
    assert [(row["code"], row["version"], row["criteria"]["count"]) for row in payload["achievements"]] == [
        ("a", 1, 1),
        ("b", 2, 1),
    ]
