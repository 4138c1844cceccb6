"""Lists with the scope MINE contain the same rows for every viewer as the dashboards beside them."""

import datetime as dt
from typing import Any

from repositories.permissions import RoleName
from repositories.tables.identity import User
from repositories.tables.life_lock import TaskStatus
from tests.api.client import Gateway
from tests.factories import make_task, make_user

AT = dt.datetime(2026, 6, 15, 12, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
LIST = (
    "query($scope: Scope, $filter: TaskFilter) { tasks(scope: $scope, filter: $filter) { totalCount nodes { title } } }"
)
BOTH = """query($now: DateTime!) { tasks(scope: MINE) { totalCount groups(by: STATUS) { key count } }
    completed: tasks(scope: MINE, filter: {status: {eq: COMPLETED}}) { totalCount }
    overdue: tasks(scope: MINE, filter: {status: {notIn: [COMPLETED, CANCELLED]}, dueDate: {lt: $now}}) { totalCount }
    lifeLockDashboard(timeZone: "UTC") { totalTasks completedTasks overdueTasks } }"""


async def _make_tasks(gateway: Gateway, user: User, prefix: str) -> None:
    states: dict[str, dict[str, Any]] = {
        "open": {},
        "overdue": {"due_date": AT - HOUR},
        "due": {"due_date": AT + HOUR},
        "completed": {"status": TaskStatus.COMPLETED, "completed_at": AT, "due_date": AT - HOUR},
        "cancelled": {"status": TaskStatus.CANCELLED, "due_date": AT - HOUR},
        "deleted": {"deleted_at": AT},
    }
    for title, values in states.items():
        await make_task(gateway.database, user, title=f"{prefix} {title}", **values)


async def test_the_scope_chooses_whose_rows_a_list_has(gateway: Gateway, ada: User, admin: User) -> None:
    """By default all that the viewer may see. Users see the same rows with every scope."""
    for user, titles in ((ada, ["a"]), (admin, ["b", "c"])):
        for title in titles:
            await make_task(gateway.database, user, title=title)

    async def listed(user: User, *roles: RoleName, **given: Any) -> list[str]:
        tasks = (await gateway.client(user, *roles).data(LIST, **given))["tasks"]
        assert tasks["totalCount"] == len(tasks["nodes"])
        return sorted(node["title"] for node in tasks["nodes"])

    assert await listed(admin) == await listed(admin, scope="ALL") == ["a", "b", "c"]
    assert await listed(admin, scope="MINE") == ["b", "c"]
    assert await listed(admin, scope="MINE", filter={"title": {"in": ["a", "b"]}}) == ["b"]
    assert await listed(admin, scope="ALL", filter={"title": {"in": ["a", "b"]}}) == ["a", "b"]
    for given in ({}, {"scope": "ALL"}, {"scope": "MINE"}):
        assert await listed(ada, **given) == ["a"]
        assert await listed(ada, RoleName.PARTNERSHIP_MANAGER, **given) == ["a"]
        assert await listed(await make_user(gateway.database), **given) == []


async def test_the_viewers_own_list_and_dashboard_have_the_same_rows(gateway: Gateway, ada: User, admin: User) -> None:
    """For administrators too, who see the tasks of all users in the list without a scope."""
    await _make_tasks(gateway, ada, "Ada's")
    await _make_tasks(gateway, admin, "Admin's")
    await make_task(gateway.database, admin, title="One more")
    for user, total, pending, everything in ((ada, 5, 3, 5), (admin, 6, 4, 11)):
        client = gateway.at(AT).client(user)
        data = await client.data(BOTH, now=AT.isoformat())
        assert data == {
            "tasks": {
                "totalCount": total,
                "groups": [
                    {"key": "PENDING", "count": pending},
                    {"key": "CANCELLED", "count": 1},
                    {"key": "COMPLETED", "count": 1},
                ],
            },
            "completed": {"totalCount": 1},
            "overdue": {"totalCount": 1},
            "lifeLockDashboard": {"totalTasks": total, "completedTasks": 1, "overdueTasks": 1},
        }
        assert (await client.data("{ tasks { totalCount } }"))["tasks"] == {"totalCount": everything}


async def test_a_cursor_of_one_scope_continues_in_this_scope(gateway: Gateway, ada: User, admin: User) -> None:
    document = """query($scope: Scope, $after: String) { tasks(scope: $scope, first: 1, after: $after) {
        totalCount nodes { title } pageInfo { endCursor hasNextPage } } }"""
    for user, title in ((admin, "1"), (ada, "2"), (admin, "3")):
        await make_task(gateway.database, user, title=title)
    for scope, expected in (("MINE", ["1", "3"]), ("ALL", ["1", "2", "3"])):
        found, page = [], {"endCursor": None, "hasNextPage": True}
        while page["hasNextPage"]:
            tasks = (await gateway.client(admin).data(document, scope=scope, after=page["endCursor"]))["tasks"]
            assert tasks["totalCount"] == len(expected)
            found += [node["title"] for node in tasks["nodes"]]
            page = tasks["pageInfo"]
        assert found == expected
