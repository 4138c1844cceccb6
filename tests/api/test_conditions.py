"""``@skip`` and ``@include`` with a null condition: an error of the object that selects the field."""

from typing import Any

from repositories.tables.identity import User
from tests.api.client import Gateway, gid
from tests.api.stored_rows import event_summaries
from tests.api.subscribing import SubscribingProcess
from tests.factories import make_category, make_task

NULL = "Argument 'if' has invalid value: Expected variable '$s' provided to non-null type 'Boolean!' not to be None."
HEAD = "query($s: Boolean = true)"
FRAGMENT = "fragment F on Category { name @include(if: $s) }"


def error_at(*path: str | int) -> tuple[str, list[Any], str]:
    return NULL, list(path), "GRAPHQL_VALIDATION_FAILED"


def errors_of(answer: Any) -> list[tuple[str, list[Any], str]]:
    return [(error["message"], error["path"], error["extensions"]["code"]) for error in answer.errors]


async def test_a_null_condition_is_an_error_of_each_object_that_selects_the_field(gateway: Gateway, ada: User) -> None:
    """At the root it is an error of the operation."""
    category = await make_category(gateway.database, ada)
    tasks = [await make_task(gateway.database, ada, title=title, category_id=category.id) for title in ("a", "b")]
    client = gateway.client(ada)
    answer = await client.ask(HEAD + "{ viewer { email @include(if: $s) } tasks { totalCount } }", s=None)
    assert answer.status == 200
    assert answer.data == {"viewer": None, "tasks": {"totalCount": 2}}
    assert errors_of(answer) == [error_at("viewer")]

    answer = await client.ask(HEAD + "{ tasks { nodes { category { ...F } } } } " + FRAGMENT, s=None)
    assert answer.data == {"tasks": {"nodes": [{"category": None}] * 2}}
    assert errors_of(answer) == [error_at("tasks", "nodes", index, "category") for index in range(2)]

    nodes = "{ nodes(ids: $ids) { id ... on Task { title @skip(if: $s) } } viewer { firstName } }"
    keys = [gid("Task", tasks[0]), gid("User", ada), gid("Task", tasks[1])]
    answer = await client.ask(HEAD.replace("($s", "($ids: [ID!]!, $s") + nodes, ids=keys, s=None)
    assert answer.data == {"nodes": [None, {"id": gid("User", ada)}, None], "viewer": {"firstName": "Ada"}}
    assert errors_of(answer) == [error_at("nodes", index) for index in (0, 2)]

    answer = await client.ask(HEAD + "{ viewer @include(if: $s) { email } }", s=None)
    assert (answer.status, answer.data) == (200, None)
    assert [(error["message"], error.get("path")) for error in answer.errors] == [(NULL, None)]


async def test_the_payload_of_a_mutation_with_a_null_condition_tells_that_the_mutation_succeeded(
    gateway: Gateway, ada: User
) -> None:
    answer = await gateway.client(ada).ask(
        'mutation($s: Boolean = true) { a: createTask(input: {title: "x"}) { task { title @include(if: $s) } '
        'userErrors { code } } b: createTask(input: {title: "y"}) { task { title } } }',
        s=None,
    )
    assert answer.status == 200
    assert answer.data == {"a": {"task": None, "userErrors": []}, "b": {"task": {"title": "y"}}}
    assert errors_of(answer) == [error_at("a", "task")]
    assert [event[0] for event in await event_summaries(gateway.database)].count("TaskCreated") == 2


async def test_the_results_of_a_subscription_have_the_error_too(gateway: Gateway, ada: User) -> None:
    process = SubscribingProcess(gateway.database)
    text = "subscription($s: Boolean = true) { myEvents { eventType id @include(if: $s) } }"
    async with process.feed.run(), process.subscribe(ada, text, s=None) as results:
        await gateway.client(ada).do("createTask", "task { id }", title="x")
        result = (await anext(results)).result
    assert result.data is None
    assert [(error.message, error.path) for error in result.errors or ()] == [(NULL, ["myEvents"])]
