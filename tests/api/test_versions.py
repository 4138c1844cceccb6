"""Optimistic locking: concurrent changes of the same row."""

import asyncio
from typing import Any

from repositories.tables.identity import User
from tests.api.client import Gateway, gid, stale_version_error
from tests.api.stored_rows import event_summaries, life_lock_rows, stored_task
from tests.factories import make_task


async def test_a_stale_version_is_rejected_with_the_current_row(gateway: Gateway, ada: User) -> None:
    """This applies to every command that takes a version. Nothing is written."""
    task = await make_task(gateway.database, ada, title="Now", version=4)
    client, key = gateway.client(ada), gid("Task", task)
    before = await life_lock_rows(gateway.database)
    errors = [stale_version_error(key, "Now", 4, ["version"])]
    for mutation in ("updateTask", "completeTask", "reopenTask", "deleteTask"):
        for version in (3, 5):
            payload = await client.do(mutation, "task { id }", id=key, version=version)
            assert payload == {"task": None, "userErrors": errors}, mutation
    payload = await client.do("updateTasks", "tasks { id }", tasks=[{"id": key, "version": 3}])
    assert payload == {"tasks": None, "userErrors": [stale_version_error(key, "Now", 4, ["tasks", "0", "version"])]}
    assert await life_lock_rows(gateway.database) == before


async def test_a_stale_restore_is_rejected_with_the_current_row(gateway: Gateway, ada: User) -> None:
    task = await make_task(gateway.database, ada, title="Gone")
    client, key = gateway.client(ada), gid("Task", task)
    await client.do("deleteTask", "task { id }", id=key)
    before = await life_lock_rows(gateway.database)
    payload = await client.do("restoreTask", "task { id }", id=key, version=1)
    assert payload == {"task": None, "userErrors": [stale_version_error(key, "Gone", 2, ["version"])]}
    assert await life_lock_rows(gateway.database) == before


async def test_one_of_several_concurrent_writers_succeeds(gateway: Gateway, ada: User) -> None:
    """All of them read version 1. The errors of the others have the row that the first one wrote."""
    task = await make_task(gateway.database, ada)
    client, key = gateway.client(ada), gid("Task", task)

    async def write(title: str) -> Any:
        return await client.do("updateTask", "task { title version }", id=key, version=1, title=title)

    answers = await asyncio.gather(*(write(f"Writer {index}") for index in range(8)))
    (winner,) = [answer["task"] for answer in answers if answer["task"]]
    assert winner["version"] == 2
    losers = [answer["userErrors"] for answer in answers if not answer["task"]]
    assert losers == [[stale_version_error(key, winner["title"], 2, ["version"])]] * 7
    assert (await stored_task(gateway.database, task)).title == winner["title"]
    assert [event[0] for event in await event_summaries(gateway.database)] == ["TaskUpdated"]


async def test_overlapping_batches_do_not_deadlock(gateway: Gateway, ada: User) -> None:
    """They name the same tasks in opposite orders, but rows are locked in one order, so one batch is rejected."""
    tasks = [await make_task(gateway.database, ada, title=f"Task {index}") for index in range(20)]
    client = gateway.client(ada)
    keys = [gid("Task", task) for task in tasks]

    async def write(order: list[str], title: str) -> Any:
        changes = [{"id": key, "version": 1, "title": title} for key in order]
        return await client.do("updateTasks", "tasks { title version }", tasks=changes)

    answers = await asyncio.gather(write(keys, "forwards"), write(keys[::-1], "backwards"))
    assert sorted(len(answer["userErrors"]) for answer in answers) == [0, 20]
    titles = {(await stored_task(gateway.database, task)).title for task in tasks}
    assert len(titles) == 1
