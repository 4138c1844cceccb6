"""A mutation that times out returns the payloads of the fields that were committed, and an error for each other one."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from gateway.settings import Settings
from repositories.aggregates.event_store import EventStore
from repositories.life_lock.categories import Categories
from repositories.tables.identity import User
from tests.api.client import Client, Gateway
from tests.api.edges import edge_of
from tests.api.stored_rows import life_lock_rows
from tests.databases import ON_SQLITE

LIMIT = 2.0
"""Seconds: enough for the fields that are not slow, also on a busy machine."""
STOPPED = "This took too long and was stopped. It changed nothing."
READ_STOPPED = "This took too long and was stopped. Request less data at once."
DOCUMENT = """mutation {
    a: createTask(input: {title: "A"}) { task { title } userErrors { code } }
    b: createCategory(input: {name: "B"}) { category { name } userErrors { code } }
    c: createTask(input: {title: "C"}) { task { title } userErrors { code } }
}"""
A = {"task": {"title": "A"}, "userErrors": []}
B = {"category": {"name": "B"}, "userErrors": []}


@pytest_asyncio.fixture
async def client(gateway: Gateway, ada: User) -> AsyncIterator[Client]:
    """A client of a gateway that stops operations after ``LIMIT``."""
    yield Gateway(gateway.database, settings=Settings(operation_timeout=LIMIT)).client(ada)


async def stored(gateway: Gateway) -> tuple[list[str], list[str], list[str]]:
    """The titles of the tasks, the names of the categories, and the types of the events."""
    tasks, categories, _, events = await life_lock_rows(gateway.database)
    names = ([task.title for task in tasks], [category.name for category in categories])
    return (*names, sorted(event.event_type for event in events))


def summarize(answer: Any) -> list[tuple[list[Any], str, str]]:
    return [(error["path"], error["extensions"]["code"], error["message"]) for error in answer.errors]


async def test_committed_fields_keep_their_payloads(
    gateway: Gateway, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = Categories.add

    async def add_and_wait(self: Any, **values: Any) -> Any:
        await add(self, **values)
        await asyncio.sleep(60)

    monkeypatch.setattr(Categories, "add", add_and_wait)
    answer = await client.ask(DOCUMENT)
    assert (answer.status, answer.data) == (200, {"a": A, "b": None, "c": None})
    assert summarize(answer) == [(["b"], "TIMEOUT", STOPPED), (["c"], "TIMEOUT", STOPPED)]
    assert await stored(gateway) == (["A"], [], ["TaskCreated"])
    monkeypatch.undo()
    assert (await client.ask(DOCUMENT)).codes == []


@ON_SQLITE
async def test_a_field_whose_payload_takes_too_long_is_committed(
    gateway: Gateway, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The payload is returned. Only its fields that take too long are null."""

    async def wait(*_: Any) -> Any:
        await asyncio.sleep(60)

    category = await client.do("createCategory", "category { id }", name="B")
    monkeypatch.setattr(edge_of("Task", "category").batch, "method", wait)
    document = """mutation($c: ID!) {
        a: createTask(input: {title: "A", categoryId: $c}) { task { title category { name } } }
        c: createTask(input: {title: "C"}) { task { title } }
    }"""
    answer = await client.ask(document, c=category["category"]["id"])
    assert answer.data == {"a": {"task": {"title": "A", "category": None}}, "c": None}
    assert summarize(answer) == [(["a", "task", "category"], "TIMEOUT", READ_STOPPED), (["c"], "TIMEOUT", STOPPED)]
    assert await stored(gateway) == (["A"], ["B"], ["CategoryCreated", "TaskCreated"])


@ON_SQLITE
async def test_a_transaction_that_is_being_committed_is_not_interrupted(
    gateway: Gateway, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = EventStore.append

    async def append_slowly(self: Any, events: Any, **values: Any) -> Any:
        if type(events[0]).__name__ == "CategoryCreated":
            await asyncio.sleep(1.5 * LIMIT)
        await append(self, events, **values)

    monkeypatch.setattr(EventStore, "append", append_slowly)
    answer = await client.ask(DOCUMENT)
    assert answer.data == {"a": A, "b": B, "c": None}
    assert summarize(answer) == [(["c"], "TIMEOUT", STOPPED)]
    assert await stored(gateway) == (["A"], ["B"], ["CategoryCreated", "TaskCreated"])
