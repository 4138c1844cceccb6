"""A query sees one state of the database. The response of a mutation shows its changes."""

from typing import Any

import pytest

from repositories.core.errors import ServiceUnavailable
from repositories.core.viewer import ANONYMOUS, SERVICE
from repositories.identity import Users
from repositories.life_lock.categories import Categories
from repositories.life_lock.tasks import Tasks
from repositories.tables.identity import User
from resolvers.request.context import Context
from tests.api.client import Gateway, gid, user_error
from tests.api.stored_rows import event_summaries
from tests.factories import make_category, make_task


async def test_a_commit_between_two_fields_is_not_visible(
    gateway: Gateway, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer commits new and changed rows after the first field was read. Later fields show the old state."""
    first = await make_category(gateway.database, ada, name="First")
    task = await make_task(gateway.database, ada, title="Before", category_id=first.id)
    page = Categories.page
    written: list[Any] = []

    async def then_write(self: Any, *arguments: Any, **named: Any) -> Any:
        found = await page(self, *arguments, **named)
        async with gateway.database.transaction(SERVICE) as write:
            written.append(await Tasks(write).change(task, title="After"))
            written.append(await Users(write).change(ada, first_name="Changed"))
        written.append(await make_category(gateway.database, ada, name="Second"))
        return found

    monkeypatch.setattr(Categories, "page", then_write)
    document = "{ categories { nodes { name tasks { totalCount nodes { title user { firstName } } } } totalCount } }"
    client = gateway.client(ada)
    before = {"title": "Before", "user": {"firstName": "Ada"}}
    assert await client.data(document) == {
        "categories": {"nodes": [{"name": "First", "tasks": {"totalCount": 1, "nodes": [before]}}], "totalCount": 1}
    }
    assert len(written) == 3
    monkeypatch.undo()
    after = {"title": "After", "user": {"firstName": "Changed"}}
    assert await client.data(document) == {
        "categories": {
            "nodes": [
                {"name": "First", "tasks": {"totalCount": 1, "nodes": [after]}},
                {"name": "Second", "tasks": {"totalCount": 0, "nodes": []}},
            ],
            "totalCount": 2,
        }
    }


async def test_the_response_of_a_mutation_shows_its_changes(gateway: Gateway, ada: User) -> None:
    """All nested fields show them, including those that an earlier mutation of the request has read."""
    category = await make_category(gateway.database, ada, name="Old")
    key = gid("Category", category)
    document = """mutation($c: ID!) {
        one: createTask(input: {title: "1", categoryId: $c}) {
            task { category { name tasks { totalCount nodes { title } } } } }
        two: updateCategory(input: {id: $c, name: "New"}) { category { name tasks { totalCount } } }
        three: createTask(input: {title: "2", categoryId: $c}) { task { category { name tasks { totalCount } } } }
        four: deleteCategory(input: {id: $c}) { category { name tasks { totalCount } } }
        five: createTask(input: {title: "3"}) { task { category { name } user { firstName } } } }"""
    assert await gateway.client(ada).data(document, c=key) == {
        "one": {"task": {"category": {"name": "Old", "tasks": {"totalCount": 1, "nodes": [{"title": "1"}]}}}},
        "two": {"category": {"name": "New", "tasks": {"totalCount": 1}}},
        "three": {"task": {"category": {"name": "New", "tasks": {"totalCount": 2}}}},
        "four": {"category": {"name": "New", "tasks": {"totalCount": 0}}},
        "five": {"task": {"category": None, "user": {"firstName": "Ada"}}},
    }


async def test_mutations_of_a_request_run_one_after_another_in_separate_transactions(
    gateway: Gateway, ada: User, statements: list[str]
) -> None:
    """The first one is not rolled back when the second is rejected, and the third sees its changes."""
    task = await make_task(gateway.database, ada)
    statements.clear()
    document = """mutation($t: ID!) {
        first: updateTask(input: {id: $t, version: 1, title: "First"}) { task { version } userErrors { code } }
        second: updateTask(input: {id: $t, version: 1, title: "Second"}) {
            task { version } userErrors { code message field current { id } } }
        third: updateTask(input: {id: $t, version: 2, title: "Third"}) {
            task { version title } userErrors { code } } }"""
    data = await gateway.client(ada).data(document, t=gid("Task", task))
    assert data["first"] == {"task": {"version": 2}, "userErrors": []}
    assert (data["second"]["task"], data["second"]["userErrors"][0]["code"]) == (None, "STALE_VERSION")
    assert data["third"] == {"task": {"version": 3, "title": "Third"}, "userErrors": []}
    assert [event[4]["fields"] for event in await event_summaries(gateway.database)] == [["title"], ["title"]]
    begun = [text for text in statements if text.startswith("BEGIN")]
    assert len(begun) >= 3


async def test_the_mutations_before_and_after_a_failed_one_take_effect(
    gateway: Gateway, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError

    monkeypatch.setattr(Categories, "add", broken)
    document = """mutation {
        first: createTask(input: {title: "Stays"}) { task { title } }
        second: createCategory(input: {name: "Breaks"}) { category { id } }
        third: createTask(input: {title: "Is done as well"}) { task { title } } }"""
    answer = await gateway.client(ada).ask(document)
    assert [(error["path"], error["extensions"]["code"]) for error in answer.errors] == [
        (["second"], "INTERNAL_SERVER_ERROR")
    ]
    assert answer.data == {
        "first": {"task": {"title": "Stays"}},
        "second": None,
        "third": {"task": {"title": "Is done as well"}},
    }
    shown = await gateway.client(ada).data(
        "{ tasks(order: [{field: TITLE}]) { nodes { title } } categories { totalCount } }"
    )
    titles = [node["title"] for node in shown["tasks"]["nodes"]]
    assert (titles, shown["categories"]) == (["Is done as well", "Stays"], {"totalCount": 0})


async def test_a_mutation_that_the_viewer_may_not_make_does_not_hide_the_results_of_the_others(
    gateway: Gateway, ada: User, bob: User
) -> None:
    document = """mutation($bob: ID!) {
        a: createTask(input: {title: "A"}) { task { title } userErrors { code } }
        b: suspendUser(input: {id: $bob}) { user { id } userErrors { code } }
        c: createTask(input: {title: ""}) { task { title } userErrors { code } }
        d: createTask(input: {title: "D"}) { task { title } userErrors { code } } }"""
    answer = await gateway.client(ada).ask(document, bob=gid("User", bob))
    assert answer.status == 200
    assert answer.data == {
        "a": {"task": {"title": "A"}, "userErrors": []},
        "b": None,
        "c": {"task": None, "userErrors": [{"code": "VALIDATION_ERROR"}]},
        "d": {"task": {"title": "D"}, "userErrors": []},
    }
    assert [(error["path"], error["extensions"]["code"]) for error in answer.errors] == [(["b"], "FORBIDDEN")]
    stored = await gateway.client(ada).data("{ tasks(order: [{field: TITLE}]) { nodes { title } } }")
    assert stored == {"tasks": {"nodes": [{"title": "A"}, {"title": "D"}]}}


async def test_a_mutation_succeeds_after_a_rejected_one(gateway: Gateway, ada: User) -> None:
    """Both mutations are in one request and use the same connection."""
    await make_category(gateway.database, ada, name="Taken")
    document = """mutation {
        first: createCategory(input: {name: "Taken"}) {
            category { id } userErrors { code message field current { id } } }
        second: createCategory(input: {name: "Free"}) { category { name } userErrors { code } } }"""
    data = await gateway.client(ada).data(document)
    taken = user_error("CONFLICT", "You already have a category of this name.", "name")
    assert data == {
        "first": {"category": None, "userErrors": [taken]},
        "second": {"category": {"name": "Free"}, "userErrors": []},
    }


async def test_a_closed_context_reads_nothing(gateway: Gateway) -> None:
    """Code that still runs after the response gets an error instead of a connection that would never be returned."""
    context = Context(gateway.database, ANONYMOUS, ())
    await context.close()
    with pytest.raises(ServiceUnavailable, match="The request ended before this could be read"):
        _ = context.snapshot
