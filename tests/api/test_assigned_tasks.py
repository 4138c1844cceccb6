"""Tasks that are assigned to another user: who reads them, who completes them, and what nobody else can do."""

import asyncio
import datetime as dt
from typing import Any

import pytest
import pytest_asyncio

from gateway.settings import Settings
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.life_lock.statistics import DashboardStats
from repositories.life_lock.tasks import Tasks
from repositories.tables.identity import User, UserStatus
from repositories.tables.life_lock import Task, TaskStatus
from tests.api.client import Client, Gateway, gid, stale_version_error, user_error
from tests.api.stored_rows import event_summaries, gamification_rows, life_lock_rows, stored_task
from tests.api.subscribing import SubscribingProcess, take
from tests.api.test_statements import summarize_statements
from tests.factories import make_category, make_task, make_tasks, make_user, viewer_of
from tests.waiting import until

AT = dt.datetime(2026, 6, 15, 12, tzinfo=dt.UTC)
NOON = "2026-06-15T12:00:00+00:00"
ASSIGNED = "task { title version assigneeName }"
NO_TASK = user_error("NOT_FOUND", "There is no such task.", "id")
NO_USER = user_error("NOT_FOUND", "There is no active user with this e-mail address.", "email")
LIST = """query($scope: Scope, $deleted: Trash! = EXCLUDE, $filter: TaskFilter) {
    tasks(scope: $scope, deleted: $deleted, filter: $filter) {
        totalCount nodes { title } groups(by: STATUS) { key count } } }"""


async def _titles(client: Client, **given: Any) -> list[str]:
    """The titles of a list, whose total and groups must count the same rows."""
    tasks = (await client.data(LIST, **given))["tasks"]
    assert tasks["totalCount"] == len(tasks["nodes"]) == sum(group["count"] for group in tasks["groups"])
    return sorted(node["title"] for node in tasks["nodes"])


@pytest_asyncio.fixture
async def assigned(gateway: Gateway, ada: User, bob: User) -> Task:
    """A task of Ada that is assigned to Bob."""
    return await make_task(gateway.database, ada, title="Shared", assignee_id=bob.id)


async def test_a_task_is_assigned_and_taken_back(gateway: Gateway, ada: User, bob: User) -> None:
    """The address may be written in any way. Assigning a task again to the same user changes nothing."""
    task = await make_task(gateway.database, ada, title="Shared")
    client, key = gateway.at(AT).client(ada), gid("Task", task)
    payload = await client.do("assignTask", ASSIGNED, id=key, version=1, email=" BOB@example.com ")
    assert payload == {"task": {"title": "Shared", "version": 2, "assigneeName": "Bob R."}, "userErrors": []}
    before = await life_lock_rows(gateway.database)
    assert (await stored_task(gateway.database, task)).assignee_id == bob.id
    assert await client.do("assignTask", ASSIGNED, id=key, email="bob@example.com") == payload
    assert await life_lock_rows(gateway.database) == before
    payload = await client.do("assignTask", ASSIGNED, id=key, version=2, email=None)
    assert payload == {"task": {"title": "Shared", "version": 3, "assigneeName": None}, "userErrors": []}
    before = await life_lock_rows(gateway.database)
    assert await client.do("assignTask", ASSIGNED, id=key, email=None) == payload
    assert await life_lock_rows(gateway.database) == before
    owner, changed = {"owner_id": str(ada.id)}, {"fields": ["assignee_id"]}
    assert await event_summaries(gateway.database) == [
        ("TaskUpdated", "task", task.id, ada.id, owner | changed | {"changes": {"assignee_id": pair}})
        for pair in ([None, str(bob.id)], [str(bob.id), None])
    ]


async def test_only_active_users_can_be_assigned(gateway: Gateway, ada: User) -> None:
    """The error does not tell whether there is such an account. It comes together with those of the task."""
    task = await make_task(gateway.database, ada, title="Mine")
    for status in (UserStatus.SUSPENDED, UserStatus.DEACTIVATED):
        await make_user(gateway.database, email=f"{status.value}@example.com", status=status)
    await make_user(gateway.database, email="deleted@example.com", deleted_at=AT)
    before = await life_lock_rows(gateway.database)
    client, key = gateway.client(ada), gid("Task", task)
    for name in ("unknown", "suspended", "deactivated", "deleted"):
        payload = await client.do("assignTask", ASSIGNED, id=key, email=f"{name}@example.com")
        assert payload == {"task": None, "userErrors": [NO_USER]}
    payload = await client.do("assignTask", ASSIGNED, id=key, version=7, email="")
    assert payload["userErrors"] == [stale_version_error(key, "Mine", 1, ["version"]), NO_USER]
    payload = await client.do("assignTask", ASSIGNED, id=gid("Task", ada.id), email="unknown@example.com")
    assert payload == {"task": None, "userErrors": [NO_TASK, NO_USER]}
    assert await life_lock_rows(gateway.database) == before


async def test_a_task_is_not_assigned_to_its_owner(gateway: Gateway, ada: User) -> None:
    task = await make_task(gateway.database, ada)
    before = await life_lock_rows(gateway.database)
    payload = await gateway.client(ada).do("assignTask", "task { id }", id=gid("Task", task), email="ada@example.com")
    message = "The task is yours. Give the e-mail address of another user."
    assert payload == {"task": None, "userErrors": [user_error("CONFLICT", message, "email")]}
    assert await life_lock_rows(gateway.database) == before


async def test_the_address_must_be_given(gateway: Gateway, ada: User, bob: User, assigned: Task) -> None:
    """An address that is left out does not remove the assignee."""
    payload = await gateway.client(ada).do("assignTask", ASSIGNED, id=gid("Task", assigned))
    assert [(error["code"], error["field"]) for error in payload["userErrors"]] == [("VALIDATION_ERROR", ["email"])]
    assert await stored_task(gateway.database, assigned) == assigned


async def test_lookups_of_addresses_are_limited_per_user(database: Database, ada: User, bob: User) -> None:
    """Removing the assignee looks up no address."""
    gateway = Gateway(database, settings=Settings(account_lookups_per_user="2 per hour"))
    document = "mutation($i: AssignTaskInput!) { assignTask(input: $i) { userErrors { code } } }"
    tasks = {user.id: await make_task(database, user) for user in (ada, bob)}

    async def assign(user: User, email: str | None) -> Any:
        given = {"id": gid("Task", tasks[user.id]), "email": email}
        return await gateway.client(user).ask(document, i=given)

    for _ in range(2):
        assert (await assign(ada, "unknown@example.com")).data["assignTask"]["userErrors"] == [{"code": "NOT_FOUND"}]
    before = await life_lock_rows(database)
    assert (await assign(ada, "bob@example.com")).codes == ["RATE_LIMITED"]
    assert await life_lock_rows(database) == before
    assert (await assign(ada, None)).data["assignTask"]["userErrors"] == []
    assert (await assign(bob, "ada@example.com")).data["assignTask"]["userErrors"] == []
    await gateway.http.aclose()


async def test_the_scope_of_a_list_chooses_between_own_and_assigned_tasks(
    gateway: Gateway, ada: User, bob: User, admin: User
) -> None:
    """By default users get their own tasks, and admins those of all users. Pages of a scope stay in it."""
    done: dict[str, Any] = {"status": TaskStatus.COMPLETED, "completed_at": AT}
    await make_task(gateway.database, ada, title="Ada's")
    await make_task(gateway.database, ada, title="To Bob", assignee_id=bob.id)
    await make_task(gateway.database, ada, title="Done for Bob", assignee_id=bob.id, **done)
    await make_task(gateway.database, ada, title="To the admin", assignee_id=admin.id)
    await make_task(gateway.database, bob, title="Bob's")
    client, everything = gateway.client(bob), ["Ada's", "Bob's", "Done for Bob", "To Bob", "To the admin"]
    for scope, titles in {
        None: ["Bob's"],
        "MINE": ["Bob's"],
        "ASSIGNED": ["Done for Bob", "To Bob"],
        "ALL": ["Bob's", "Done for Bob", "To Bob"],
    }.items():
        assert await _titles(client, scope=scope) == titles
    assert await _titles(client) == ["Bob's"]
    assert await _titles(client, scope="ASSIGNED", filter={"status": {"eq": "PENDING"}}) == ["To Bob"]
    assert await _titles(client, filter={"assigneeId": {"eq": gid("User", bob)}}) == []
    assert await _titles(gateway.client(ada)) == ["Ada's", "Done for Bob", "To Bob", "To the admin"]
    assert await _titles(gateway.client(ada), scope="ASSIGNED") == []
    assert await _titles(gateway.client(ada), filter={"assigneeId": {"eq": gid("User", bob)}}) == [
        "Done for Bob",
        "To Bob",
    ]
    assert await _titles(gateway.client(admin)) == await _titles(gateway.client(admin), scope="ALL") == everything
    assert await _titles(gateway.client(admin), scope="ASSIGNED") == ["To the admin"]
    assert await _titles(gateway.client(admin), scope="MINE") == []
    pages = (
        "query($a: String) { tasks(scope: ASSIGNED, first: 1, after: $a) { nodes { title } pageInfo { endCursor } } }"
    )
    first = (await client.data(pages))["tasks"]
    second = (await client.data(pages, a=first["pageInfo"]["endCursor"]))["tasks"]
    assert [node["title"] for page in (first, second) for node in page["nodes"]] == ["To Bob", "Done for Bob"]
    groups = "{ tasks(scope: ASSIGNED) { groups(by: ASSIGNEE_ID) { key count } } }"
    assert (await client.data(groups))["tasks"]["groups"] == [{"key": gid("User", bob), "count": 2}]


async def test_only_lists_of_objects_with_an_assignee_have_the_scope(gateway: Gateway, ada: User) -> None:
    for field, noun in {"categories": "category", "pointHistory": "point entry"}.items():
        answer = await gateway.client(ada).ask(f"{{ {field}(scope: ASSIGNED) {{ totalCount }} }}")
        assert answer.codes == ["VALIDATION_ERROR"]
        assert answer.errors[0]["message"] == f"A {noun} has no assignee, so `scope` cannot be ASSIGNED."
        assert answer.data == {field: None}


async def test_the_assignee_reads_the_task_with_the_names_of_its_people(
    gateway: Gateway, ada: User, bob: User, admin: User
) -> None:
    """Neither sees the account of the other one, nor does the assignee see the category and the owner's events."""
    category = await make_category(gateway.database, ada, name="Home")
    task = await make_task(
        gateway.database, ada, title="Shared", description="Text", category_id=category.id, assignee_id=bob.id
    )
    await gateway.client(ada).do("updateTask", "task { id }", id=gid("Task", task), version=1, priorityLevel=5)
    fields = """title description category { name } user { email } assignee { email } ownerName assigneeName
        history { totalCount }"""
    both = f"query($id: ID!) {{ task(id: $id) {{ {fields} }} node(id: $id) {{ ... on Task {{ {fields} }} }} }}"
    shown: dict[str, Any] = {
        "title": "Shared",
        "description": "Text",
        "category": None,
        "user": None,
        "assignee": {"email": "bob@example.com"},
        "ownerName": "Ada B.",
        "assigneeName": "Bob R.",
        "history": {"totalCount": 0},
    }
    of_owner = {"category": {"name": "Home"}, "user": {"email": "ada@example.com"}, "history": {"totalCount": 1}}
    for user, changes in ((bob, {}), (ada, of_owner | {"assignee": None}), (admin, of_owner)):
        data = await gateway.client(user).data(both, id=gid("Task", task))
        assert data == {"task": shown | changes, "node": shown | changes}
    other = await make_user(gateway.database)
    answer = await gateway.client(other).ask("query($id: ID!) { node(id: $id) { id } }", id=gid("Task", task))
    assert answer.data == {"node": None}


async def test_names_of_all_tasks_are_loaded_by_one_statement(
    gateway: Gateway, ada: User, bob: User, statements: list[str]
) -> None:
    await make_tasks(gateway.database, ada, 20, assignee_id=bob.id)
    await make_task(gateway.database, bob, title="Bob's")
    statements.clear()
    data = await gateway.client(bob).data("{ tasks(scope: ALL) { nodes { ownerName assigneeName } } }")
    names = sorted((node["ownerName"], str(node["assigneeName"])) for node in data["tasks"]["nodes"])
    assert names == [("Ada B.", "Bob R.")] * 20 + [("Bob R.", "None")]
    assert summarize_statements(statements) == ["SELECT tasks", "SELECT task_names"]


async def test_the_assignee_does_not_see_deleted_tasks(gateway: Gateway, ada: User, bob: User, assigned: Task) -> None:
    """A restored task is assigned as before."""
    owner, assignee, key = gateway.client(ada), gateway.client(bob), gid("Task", assigned)
    await owner.do("deleteTask", "task { id }", id=key)
    for deleted in ("EXCLUDE", "INCLUDE", "ONLY"):
        for scope in ("ASSIGNED", "ALL", "MINE", None):
            assert await _titles(assignee, scope=scope, deleted=deleted) == []
    assert await _titles(owner, deleted="ONLY") == ["Shared"]
    names = "{ tasks(deleted: ONLY) { nodes { ownerName assigneeName } } }"
    assert (await owner.data(names))["tasks"]["nodes"] == [{"ownerName": None, "assigneeName": None}]
    answer = await assignee.ask("query($id: ID!) { task(id: $id) { title } }", id=key)
    assert (answer.data, answer.codes) == ({"task": None}, ["NOT_FOUND"])
    before = await stored_task(gateway.database, assigned)
    for mutation in ("completeTask", "restoreTask", "purgeTask"):
        payload = await assignee.do(mutation, "task { id }", id=key)
        assert payload == {"task": None, "userErrors": [NO_TASK]}
        assert await stored_task(gateway.database, assigned) == before
    await owner.do("restoreTask", "task { id }", id=key)
    assert await _titles(assignee, scope="ASSIGNED") == ["Shared"]


_DENIED: dict[str, dict[str, Any]] = {
    "updateTask": {"version": 1, "title": "Changed"},
    "deleteTask": {},
    "reopenTask": {},
    "restoreTask": {},
    "purgeTask": {},
    "assignTask": {"email": None},
}


@pytest.mark.parametrize("mutation", _DENIED)
async def test_the_assignee_changes_nothing_else(gateway: Gateway, ada: User, bob: User, mutation: str) -> None:
    """Also not a task that is completed already, and neither one nor several of them."""
    done: dict[str, Any] = {"status": TaskStatus.COMPLETED, "completed_at": AT}
    client = gateway.client(bob)
    for values in ({}, done):
        task = await make_task(gateway.database, ada, title="Shared", assignee_id=bob.id, **values)
        before = await life_lock_rows(gateway.database), await gamification_rows(gateway.database)
        given = {"id": gid("Task", task), **_DENIED[mutation]}
        assert await client.do(mutation, "task { id }", **given) == {"task": None, "userErrors": [NO_TASK]}
        if mutation in {"updateTask", "deleteTask", "restoreTask"}:
            several = {"tasks": [given]} if mutation == "updateTask" else {"ids": [given["id"]]}
            payload = await client.do(f"{mutation}s", "tasks { id }", **several)
            assert [(error["code"], payload["tasks"]) for error in payload["userErrors"]] == [("NOT_FOUND", None)]
        assert (await life_lock_rows(gateway.database), await gamification_rows(gateway.database)) == before


async def test_others_complete_nothing(gateway: Gateway, ada: User, bob: User, admin: User, assigned: Task) -> None:
    """Not even an admin, who may read the task, and not the assignee of another task."""
    other = await make_user(gateway.database)
    await make_task(gateway.database, ada, assignee_id=other.id)
    before = await life_lock_rows(gateway.database)
    for user in (other, admin):
        payload = await gateway.client(user).do("completeTask", "task { id }", id=gid("Task", assigned))
        assert payload == {"task": None, "userErrors": [NO_TASK]}
        assert await life_lock_rows(gateway.database) == before


async def test_the_assignee_completes_the_task_for_its_owner(gateway: Gateway, bob: User) -> None:
    """The days and the points are the owner's, in the owner's time zone. The assignee is the actor of the event.

    It counts for the achievements of the assignee, who did it, and in the completion trends of neither.
    """
    owner = await make_user(gateway.database, email="kim@example.com", time_zone="Pacific/Auckland")
    task = await make_task(gateway.database, owner, title="Shared", assignee_id=bob.id, due_date=AT)
    client, key = gateway.at(AT).client(bob), gid("Task", task)
    stale = await client.do("completeTask", "task { id }", id=key, version=7)
    assert stale == {"task": None, "userErrors": [stale_version_error(key, "Shared", 1, ["version"])]}
    payload = await client.do("completeTask", "task { status completedAt version }", id=key, version=1)
    done = {"status": "COMPLETED", "completedAt": NOON, "version": 2}
    assert payload == {"task": done, "userErrors": []}
    (event,) = await event_summaries(gateway.database)
    assert event[:4] == ("TaskCompleted", "task", task.id, bob.id)
    assert event[4]["owner_id"] == str(owner.id)
    before = await life_lock_rows(gateway.database)
    assert await client.do("completeTask", "task { status completedAt version }", id=key) == payload
    assert await life_lock_rows(gateway.database) == before
    document = """{ pointHistory { nodes { points reason } } taskAnalytics(from: "2026-06-14", to: "2026-06-17") {
        date tasksCompleted } myAchievements(timeZone: "UTC") { progress } lifeLockDashboard(timeZone: "UTC") {
        completedTasks } gamificationDashboard(timeZone: "UTC") { currentStreak }
        completionTrends(from: "2026-06-15", to: "2026-06-15", interval: DAY) { completed onTime } }"""
    of_neither = {"completionTrends": [{"completed": 0, "onTime": 0}]}
    assert await gateway.at(AT).client(bob).data(document) == of_neither | {
        "myAchievements": [{"progress": 1}] * 4,
        "gamificationDashboard": {"currentStreak": 1},
        "pointHistory": {"nodes": [{"points": 10, "reason": "ACHIEVEMENT_UNLOCKED"}]},
        "taskAnalytics": [],
        "lifeLockDashboard": {"completedTasks": 0},
    }
    assert await gateway.at(AT).client(owner).data(document) == of_neither | {
        "myAchievements": [{"progress": 0}] * 4,
        "gamificationDashboard": {"currentStreak": 0},
        "pointHistory": {"nodes": [{"points": 15, "reason": "TASK_COMPLETED"}]},
        "taskAnalytics": [{"date": "2026-06-16", "tasksCompleted": 1}],
        "lifeLockDashboard": {"completedTasks": 1},
    }
    history = "query($id: ID!) { task(id: $id) { history { nodes { eventType user { email } } } } }"
    for user, actor in ((bob, {"email": "bob@example.com"}), (owner, None)):
        found = (await gateway.client(user).data(history, id=key))["task"]["history"]["nodes"]
        assert found == [{"eventType": "TaskCompleted", "user": actor}]


async def test_the_numbers_of_the_assignee_contain_no_assigned_tasks(
    gateway: Gateway, ada: User, bob: User, admin: User
) -> None:
    """Dashboards, due tasks, days and statistics count the owner's tasks only."""
    today: dict[str, Any] = {"due_date": AT, "created_at": AT, "assignee_id": bob.id}
    category = await make_category(gateway.database, ada, name="Home")
    await make_task(gateway.database, ada, title="Open", category_id=category.id, **today)
    await make_task(gateway.database, ada, title="Done", status=TaskStatus.COMPLETED, completed_at=AT, **today)
    document = """{ lifeLockDashboard(timeZone: "UTC") { totalTasks completedTasks overdueTasks todaysTasks
        productivityScore weeklyProgress { completed created } categoryBreakdown { total } upcomingDeadlines { title } }
        dueTasks(until: "2026-06-16T00:00:00Z") { title } }"""
    later = gateway.at(AT + dt.timedelta(hours=1))
    mine = await later.client(bob).data(document)
    assert mine == {
        "lifeLockDashboard": {
            "totalTasks": 0,
            "completedTasks": 0,
            "overdueTasks": 0,
            "todaysTasks": 0,
            "productivityScore": "0.00",
            "weeklyProgress": [{"completed": 0, "created": 0}] * 7,
            "categoryBreakdown": [],
            "upcomingDeadlines": [],
        },
        "dueTasks": [],
    }
    theirs = await later.client(ada).data(document)
    dashboard = theirs["lifeLockDashboard"]
    assert [dashboard[name] for name in ("totalTasks", "completedTasks", "overdueTasks", "todaysTasks")] == [2, 1, 1, 2]
    assert dashboard["categoryBreakdown"] == [{"total": 1}, {"total": 1}]
    assert theirs["dueTasks"] == [{"title": "Open"}]
    await later.client(bob).do("createTask", "task { id }", title="Bob's")
    days = '{ taskAnalytics(from: "2026-06-15", to: "2026-06-15") { tasksCreated tasksCompleted } }'
    assert (await later.client(bob).data(days))["taskAnalytics"] == [{"tasksCreated": 1, "tasksCompleted": 0}]
    async with gateway.database.transaction(SERVICE) as write:
        await DashboardStats(write).refresh()
    statistics = "{ userDashboardStats { nodes { user { email } totalTasks } } }"
    found = (await gateway.client(admin).data(statistics))["userDashboardStats"]["nodes"]
    totals = {row["user"]["email"]: row["totalTasks"] for row in found}
    assert totals == {"ada@example.com": 2, "bob@example.com": 1, "admin@example.com": 0}


async def test_changes_are_delivered_to_the_assignee(gateway: Gateway, ada: User, bob: User, assigned: Task) -> None:
    """If the assignee names the task. Nothing is delivered after the task was taken back or deleted."""
    document = "subscription($ids: [ID!]) { taskChanged(ids: $ids) { eventType task { title } } }"
    other = await make_task(gateway.database, bob, title="Bob's")
    ids = [gid("Task", assigned), gid("Task", other)]
    owner, process = gateway.client(ada), SubscribingProcess(gateway.database)
    async with process.feed.run(), process.subscribe(bob, document, ids=ids) as deliveries:
        await owner.do("updateTask", "task { id }", id=ids[0], version=1, title="New")
        assert await take(deliveries, 1) == [
            {"taskChanged": {"eventType": "TaskUpdated", "task": {"title": "New"}}},
        ]
        await gateway.client(bob).do("completeTask", "task { id }", id=ids[0])
        assert await take(deliveries, 1) == [{"taskChanged": {"eventType": "TaskCompleted", "task": {"title": "New"}}}]
        await owner.do("assignTask", "task { id }", id=ids[0], email=None)
        await owner.do("updateTask", "task { id }", id=ids[0], version=4, title="Not Bob's")
        await gateway.client(bob).do("deleteTask", "task { id }", id=ids[1])
        assert await take(deliveries, 1) == [{"taskChanged": {"eventType": "TaskDeleted", "task": None}}]


async def test_completing_while_the_task_is_taken_back(gateway: Gateway, ada: User, bob: User) -> None:
    """The task is either completed before, or not at all."""
    outcomes = set()
    for _ in range(8):
        task = await make_task(gateway.database, ada, assignee_id=bob.id)
        key, count = gid("Task", task), len(await event_summaries(gateway.database))
        completed, taken = await asyncio.gather(
            gateway.client(bob).do("completeTask", "task { status }", id=key),
            gateway.client(ada).do("assignTask", "task { title }", id=key, email=None),
        )
        assert taken["userErrors"] == []
        stored = await stored_task(gateway.database, task)
        assert stored.assignee_id is None
        events = [event[0] for event in (await event_summaries(gateway.database))[count:]]
        if completed["userErrors"]:
            assert completed["userErrors"] == [NO_TASK]
            assert (stored.status, events) == (TaskStatus.PENDING, ["TaskUpdated"])
        else:
            assert (stored.status, events) == (TaskStatus.COMPLETED, ["TaskCompleted", "TaskUpdated"])
        outcomes.add(stored.status)
    assert outcomes


@pytest.mark.parametrize("options", ["postgresql"], indirect=True)
async def test_the_assignee_is_checked_again_under_the_lock(
    gateway: Gateway, ada: User, bob: User, assigned: Task, statements: list[str]
) -> None:
    """The task is taken back after the assignee was found to read it, and before the task was locked."""
    async with gateway.database.transaction(viewer_of(ada)) as write:
        await Tasks(write).change(assigned, assignee_id=None)
        statements.clear()
        completing = asyncio.ensure_future(
            gateway.client(bob).do("completeTask", "task { status }", id=gid("Task", assigned))
        )
        await until(lambda: sum("FOR UPDATE" in text for text in statements) == 2)
        assert not completing.done()
    assert await completing == {"task": None, "userErrors": [NO_TASK]}
    stored = await stored_task(gateway.database, assigned)
    assert (stored.status, stored.assignee_id) == (TaskStatus.PENDING, None)
    assert await event_summaries(gateway.database) == []


async def test_the_statements_of_both_users(
    gateway: Gateway, ada: User, bob: User, assigned: Task, statements: list[str]
) -> None:
    """The assignee needs the owner's statements, the attempt as a viewer, and the owner's time zone."""
    own = await make_task(gateway.database, ada)
    changed = ["INSERT domain_events", "SELECT users", "INSERT task_analytics"]

    async def run(user: User, mutation: str, task: Task, **given: Any) -> list[str]:
        statements.clear()
        payload = await gateway.client(user).do(mutation, "task { version }", id=gid("Task", task), **given)
        assert payload["userErrors"] == []
        return summarize_statements(statements)

    assert await run(ada, "assignTask", own, email="bob@example.com") == [
        "SELECT users",
        "SELECT tasks",
        "UPDATE tasks",
        *changed,
    ]
    assert await run(ada, "assignTask", own, email="bob@example.com") == ["SELECT users", "SELECT tasks"]
    assert await run(ada, "assignTask", own, email=None) == ["SELECT tasks", "UPDATE tasks", *changed]
    points = ["SELECT users", "SELECT domain_events", "INSERT point_entries"]
    unlocking = ["SELECT domain_events", "INSERT user_achievements", "INSERT domain_events", "INSERT point_entries"]
    executed = await run(ada, "completeTask", own)
    assert executed == ["SELECT tasks", "UPDATE tasks", *changed, *points, *unlocking]
    executed = await run(bob, "completeTask", assigned)
    time_zone = "SELECT users"
    assert executed == ["SELECT tasks"] * 3 + ["UPDATE tasks", changed[0], time_zone, *changed[1:], *points, *unlocking]
