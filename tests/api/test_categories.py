"""Queries and mutations of categories."""

from uuid import UUID

from repositories.tables.identity import User
from tests.api.client import Gateway, gid, user_error
from tests.api.stored_rows import event_summaries, life_lock_rows, stored_task
from tests.factories import make_category, make_task, make_tasks, make_user

CATEGORY = "category { id databaseId name color tasks { totalCount } }"


async def test_a_category_is_created(gateway: Gateway, ada: User) -> None:
    client = gateway.client(ada)
    key = UUID("0195c3a4-7b1e-7c55-9d1a-2f6b1c0a9e22")
    payload = await client.do("createCategory", CATEGORY, name=" Home ", color="#aBcDeF", databaseId=str(key))
    shown = {"id": gid("Category", key), "databaseId": str(key), "name": "Home", "color": "#aBcDeF"}
    assert payload == {"category": {**shown, "tasks": {"totalCount": 0}}, "userErrors": []}
    payload = await client.do("createCategory", CATEGORY, name="Work")
    assert payload["category"]["color"] == "#3B82F6"
    assert [event[:2] + event[3:] for event in await event_summaries(gateway.database)] == [
        ("CategoryCreated", "category", ada.id, {"owner_id": str(ada.id)})
    ] * 2


async def test_a_name_is_unique_per_user(gateway: Gateway, ada: User, bob: User) -> None:
    home, work = await make_category(gateway.database, ada, name="Home"), await make_category(gateway.database, ada)
    await make_category(gateway.database, bob, name="Garden")
    before = await life_lock_rows(gateway.database)
    client = gateway.client(ada)
    taken = [user_error("CONFLICT", "You already have a category of this name.", "name")]
    assert await client.do("createCategory", CATEGORY, name="Home") == {"category": None, "userErrors": taken}
    payload = await client.do("updateCategory", CATEGORY, id=gid("Category", work), name="Home")
    assert payload == {"category": None, "userErrors": taken}
    assert await life_lock_rows(gateway.database) == before
    assert (await client.do("createCategory", CATEGORY, name="Garden"))["userErrors"] == []
    assert (await client.do("updateCategory", CATEGORY, id=gid("Category", home), name="Home"))["userErrors"] == []


async def test_an_update_changes_the_given_fields_only(gateway: Gateway, ada: User) -> None:
    category = await make_category(gateway.database, ada, name="Home", color="#000000")
    client = gateway.client(ada)
    key = gid("Category", category)
    for given, name, color in [
        ({"name": "Haus"}, "Haus", "#000000"),
        ({"color": "#ffffff"}, "Haus", "#ffffff"),
        ({}, "Haus", "#ffffff"),
    ]:
        shown = (await client.do("updateCategory", CATEGORY, id=key, **given))["category"]
        assert (shown["name"], shown["color"]) == (name, color)
    assert [event[0:1] + event[2:] for event in await event_summaries(gateway.database)] == [
        ("CategoryUpdated", category.id, ada.id, {"owner_id": str(ada.id), "fields": [field]})
        for field in ("name", "color")
    ]


async def test_a_deleted_category_keeps_its_tasks(gateway: Gateway, ada: User) -> None:
    """Its tasks have no category afterwards, also those that are deleted and restored later."""
    category = await make_category(gateway.database, ada, name="Home")
    task = await make_task(gateway.database, ada, category_id=category.id)
    deleted = await make_task(gateway.database, ada, category_id=category.id)
    client = gateway.client(ada)
    await client.do("deleteTask", "task { id }", id=gid("Task", deleted))
    payload = await client.do("deleteCategory", "category { id name }", id=gid("Category", category))
    assert payload["category"] == {"id": gid("Category", category), "name": "Home"}
    for each, version in ((task, 2), (deleted, 3)):
        row = await stored_task(gateway.database, each)
        assert (row.category_id, row.version) == (None, version)
    *changed, last = (await event_summaries(gateway.database))[1:]
    assert (last[0], last[2], last[4]) == ("CategoryDeleted", category.id, {"owner_id": str(ada.id)})
    assert {event[2] for event in changed} == {task.id, deleted.id}
    changes = {"category_id": [str(category.id), None]}
    fields = {"owner_id": str(ada.id), "fields": ["category_id"], "changes": changes}
    assert [(event[0], event[4]) for event in changed] == [("TaskUpdated", fields)] * 2
    payload = await client.do("restoreTask", "task { category { id } }", id=gid("Task", deleted))
    assert payload["task"] == {"category": None}
    payload = await client.do("deleteCategory", "category { id }", id=gid("Category", category))
    assert payload["userErrors"] == [user_error("NOT_FOUND", "There is no such category.", "id")]


async def test_tasks_lose_the_category_that_they_had(gateway: Gateway, ada: User, statements: list[str]) -> None:
    """If several are deleted at once, each task's event names its own. A foreign category deletes none."""
    categories = [await make_category(gateway.database, ada) for _ in range(3)]
    tasks = [await make_task(gateway.database, ada, category_id=category.id) for category in categories]
    theirs = await make_category(gateway.database, await make_user(gateway.database))
    client, ids = gateway.client(ada), [gid("Category", category) for category in categories]
    payload = await client.do("deleteCategories", "categories { id }", ids=[*ids, gid("Category", theirs)])
    missing = user_error("NOT_FOUND", "There is no such category.", "ids", "3")
    assert payload == {"categories": None, "userErrors": [missing]}
    assert await event_summaries(gateway.database) == []
    statements.clear()
    payload = await client.do("deleteCategories", "categories { id }", ids=ids)
    assert payload == {"categories": [{"id": key} for key in ids], "userErrors": []}
    verbs = [text.split(None, 1)[0] for text in statements if not text.startswith(("BEGIN", "COMMIT"))]
    changes = [verb for verb in verbs if verb in {"UPDATE", "DELETE"}]
    assert changes == ["UPDATE", "DELETE"]
    events = {(event[0], event[2]): event[4] for event in await event_summaries(gateway.database)}
    for task, category in zip(tasks, categories, strict=True):
        assert events["TaskUpdated", task.id]["changes"] == {"category_id": [str(category.id), None]}
        assert ("CategoryDeleted", category.id) in events
        assert (await stored_task(gateway.database, task)).category_id is None


async def test_categories_are_listed_by_name_with_their_tasks(gateway: Gateway, ada: User) -> None:
    for name in ("b", "A", "c"):
        category = await make_category(gateway.database, ada, name=name)
        if name != "c":
            await make_tasks(gateway.database, ada, 3, category_id=category.id)
    document = """{ categories { totalCount nodes { name tasks(first: 2, order: [{field: TITLE, direction: DESC}]) {
        totalCount nodes { title category { name } } pageInfo { hasNextPage } } } } }"""
    data = (await gateway.client(ada).data(document))["categories"]
    assert data["totalCount"] == 3
    assert [node["name"] for node in data["nodes"]] == ["A", "b", "c"]
    full = [{"title": "Task 2"}, {"title": "Task 1"}]
    assert [node["tasks"] for node in data["nodes"]] == [
        {
            "totalCount": 3,
            "nodes": [row | {"category": {"name": "A"}} for row in full],
            "pageInfo": {"hasNextPage": True},
        },
        {
            "totalCount": 3,
            "nodes": [row | {"category": {"name": "b"}} for row in full],
            "pageInfo": {"hasNextPage": True},
        },
        {"totalCount": 0, "nodes": [], "pageInfo": {"hasNextPage": False}},
    ]
