"""Concurrent mutations of the same rows, on both engines."""

import asyncio

from repositories.core.clock import now
from repositories.tables.identity import User
from resolvers.validation.global_ids import global_id
from tests.api.client import Gateway
from tests.factories import make_category


async def test_concurrent_recounts_lose_no_task(gateway: Gateway, ada: User) -> None:
    """The second of two concurrent recounts of a day includes what the first one has committed."""
    client = gateway.client(ada)
    made = await asyncio.gather(*(client.do("createTask", "task { id }", title="Made") for _ in range(12)))
    await asyncio.gather(
        *(client.do("completeTask", "task { status }", id=one["task"]["id"]) for one in made),
        *(client.do("createTask", "task { id }", title="Made meanwhile") for _ in range(6)),
    )
    day = str(now().date())
    data = await client.data(
        f'{{ taskAnalytics(from: "{day}", to: "{day}") {{ tasksCreated tasksCompleted productivityScore }} }}'
    )
    assert data["taskAnalytics"] == [{"tasksCreated": 18, "tasksCompleted": 12, "productivityScore": "66.67"}]


async def test_creating_tasks_while_their_category_is_deleted(gateway: Gateway, ada: User) -> None:
    """The task is either created before and loses its category, or rejected because the category does not exist."""
    client = gateway.client(ada)
    for _ in range(6):
        category = await make_category(gateway.database, ada)
        key = global_id("Category", category.id)
        answers = await asyncio.gather(
            *(client.do("createTask", "task { id }", title="Filed", categoryId=key) for _ in range(6)),
            client.do("deleteCategory", "category { name }", id=key),
        )
        assert answers[-1] == {"category": {"name": category.name}, "userErrors": []}
        for answer in answers[:-1]:
            errors = [(error["code"], error["field"]) for error in answer["userErrors"]]
            assert errors in ([], [("NOT_FOUND", ["categoryId"])])
            assert (answer["task"] is None) == bool(errors)
    filed = "{ tasks(filter: {categoryId: {isNull: false}}) { totalCount } }"
    assert (await client.data(filed))["tasks"]["totalCount"] == 0
