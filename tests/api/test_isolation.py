"""Users can neither see nor change the rows of other users, nor find out whether they exist."""

import json
from typing import Any
from uuid import UUID

import pytest
from graphql import GraphQLEnumType, get_named_type, is_leaf_type, is_required_argument

from gateway.settings import Settings
from repositories.core.ids import new_id
from repositories.tables.identity import User
from repositories.tables.life_lock import Category, Task
from schema import schema
from tests.api.client import USER_ERRORS, Gateway, gid
from tests.api.stored_rows import life_lock_rows
from tests.factories import make_category, make_task

_QUERIES = [
    "query($id: ID!) { task(id: $id) { id title } }",
    "query($id: ID!) { category(id: $id) { id name } }",
    "query($id: ID!) { node(id: $id) { id } }",
    "query($id: ID!) { nodes(ids: [$id, $id]) { id ... on Task { title } } }",
    "query($id: ID!) { taskEvents(id: $id) { id } }",
    "query($id: ID!) { tasks(filter: {id: {eq: $id}}) { totalCount nodes { id } } }",
    "query($id: ID!) { tasks(filter: {id: {in: [$id]}}) { totalCount edges { cursor } } }",
    "query($id: ID!) { tasks(filter: {not: {id: {ne: $id}}}) { totalCount } }",
    "query($id: ID!) { tasks(filter: {or: [{categoryId: {eq: $id}}]}) { totalCount } }",
    "query($id: ID!) { tasks(filter: {userId: {eq: $id}}) { totalCount nodes { user { email } } } }",
    "query($id: ID!) { categories(filter: {id: {eq: $id}}) { totalCount nodes { id } } }",
    "query($id: ID!) { categories(filter: {userId: {eq: $id}}) { totalCount } }",
]
_MUTATIONS: list[tuple[str, str, dict[str, Any]]] = [
    ("updateTask", "id", {"version": 1, "title": "stolen"}),
    ("updateTask", "id", {"version": 7}),
    *[
        (name, "id", given)
        for name in ("completeTask", "reopenTask", "deleteTask", "restoreTask")
        for given in ({}, {"version": 9})
    ],
    ("updateCategory", "id", {"name": "stolen"}),
    ("deleteCategory", "id", {}),
    ("createTask", "categoryId", {"title": "x"}),
]


def _mutation(name: str, selection: str) -> str:
    spelled = name[0].upper() + name[1:]
    return f"mutation($input: {spelled}Input!) {{ {name}(input: $input) {{ {selection} }} }}"


async def _make_rows(gateway: Gateway, owner: User) -> tuple[Task, Task, Category]:
    """Creates a task in a category, a deleted task, and their events."""
    category = await make_category(gateway.database, owner)
    task = await make_task(gateway.database, owner, title="secret", category_id=category.id)
    deleted = await make_task(gateway.database, owner, title="secret too")
    client = gateway.client(owner)
    await client.do("completeTask", "task { id }", id=gid("Task", task))
    await client.do("deleteTask", "task { id }", id=gid("Task", deleted))
    return task, deleted, category


@pytest.mark.parametrize("role", ["user", "admin"])
async def test_a_row_of_another_user_is_like_a_missing_row(
    gateway: Gateway, ada: User, bob: User, admin: User, role: str
) -> None:
    """The response bodies are equal, except for the requested id.

    Admins may read all rows. For their mutations, a row of another user is like a missing row too.
    """
    rows = await _make_rows(gateway, bob)
    client = gateway.client(ada if role == "user" else admin)
    before = await life_lock_rows(gateway.database)
    queries = _QUERIES if role == "user" else []
    documents: list[tuple[str, dict[str, Any]]] = [(document, {}) for document in queries]
    for name, key, given in _MUTATIONS:
        result = "category" if "Category" in name else "task"
        document = _mutation(name, f"{result} {{ id }} {USER_ERRORS}")
        documents.append((document, {"key": key, **given}))
    for document, given in documents:
        for type_name, existing in [("Task", rows[0]), ("Task", rows[1]), ("Category", rows[2]), ("User", bob)]:

            async def comparable_body(
                row: UUID, document: str = document, given: Any = given, type_name: str = type_name
            ) -> str:
                row_id = gid(type_name, row)
                if "$input" in document:
                    values = {name: value for name, value in given.items() if name != "key"} | {given["key"]: row_id}
                    answer = await client.ask(document, input=values)
                else:
                    answer = await client.ask(document, id=row_id)
                return json.dumps(answer.body).replace(row_id, "the id").replace(str(row), "the id")

            assert await comparable_body(existing.id) == await comparable_body(new_id()), (document, type_name)
    assert await life_lock_rows(gateway.database) == before


async def test_batches_do_not_reveal_rows_of_other_users(gateway: Gateway, ada: User, bob: User) -> None:
    own, other = await make_task(gateway.database, ada), await make_task(gateway.database, bob)
    foreign = await make_category(gateway.database, bob)
    before = await life_lock_rows(gateway.database)
    client = gateway.client(ada)

    async def payloads(task: UUID, category: UUID) -> Any:
        changes = [
            {"id": gid("Task", own), "version": 1, "title": "x", "categoryId": gid("Category", category)},
            {"id": gid("Task", task), "version": 4},
        ]
        items = [{"title": "x"}, {"title": "y", "categoryId": gid("Category", category)}]
        return (
            await client.do("updateTasks", "tasks { id }", tasks=changes),
            await client.do("createTasks", "tasks { id }", tasks=items),
        )

    assert await payloads(other.id, foreign.id) == await payloads(new_id(), new_id())
    assert await life_lock_rows(gateway.database) == before


async def test_lists_and_dashboards_show_only_own_rows(gateway: Gateway, ada: User, bob: User) -> None:
    await _make_rows(gateway, bob)
    document = """{ viewer { email } tasks { totalCount nodes { title } } categories { totalCount }
        dueTasks(until: "2199-01-01T00:00:00Z") { title } taskAnalytics(from: "2026-01-01", to: "2026-12-31") { date }
        lifeLockDashboard { totalTasks completedTasks categoryBreakdown { total } productivityScore } }"""
    data = await gateway.client(ada).data(document)
    assert data == {
        "viewer": {"email": "ada@example.com"},
        "tasks": {"totalCount": 0, "nodes": []},
        "categories": {"totalCount": 0},
        "dueTasks": [],
        "taskAnalytics": [],
        "lifeLockDashboard": {
            "totalTasks": 0,
            "completedTasks": 0,
            "categoryBreakdown": [],
            "productivityScore": "0.00",
        },
    }
    data = await gateway.client(bob).data(document)
    assert data["tasks"] == {"totalCount": 1, "nodes": [{"title": "secret"}]}


async def test_an_admin_reads_everything_and_changes_nothing(gateway: Gateway, ada: User, admin: User) -> None:
    task, _, category = await _make_rows(gateway, ada)
    client = gateway.client(admin)
    document = """query($t: ID!, $c: ID!, $u: ID!) { category(id: $c) { name }
        task(id: $t) { title user { email } category { name } } taskEvents(id: $t) { eventType }
        nodes(ids: [$t, $c, $u]) { id } tasks(filter: {userId: {eq: $u}}) { totalCount } }"""
    ids = {"t": gid("Task", task), "c": gid("Category", category), "u": gid("User", ada)}
    assert await client.data(document, **ids) == {
        "task": {"title": "secret", "user": {"email": "ada@example.com"}, "category": {"name": category.name}},
        "category": {"name": category.name},
        "taskEvents": [{"eventType": "TaskCompleted"}],
        "nodes": [{"id": ids["t"]}, {"id": ids["c"]}, {"id": ids["u"]}],
        "tasks": {"totalCount": 1},
    }


_ARGUMENTS = {
    "ID": "$t",
    "[ID!]": "[$t]",
    "DateTime": '"2199-01-01T00:00:00Z"',
    "Date": '"2026-01-01"',
    "String": '"x"',
}


def _every_root_field() -> str:
    """A query for all root fields, with values for their required arguments."""
    assert schema._schema.query_type is not None
    fields = []
    for name, field in schema._schema.query_type.fields.items():
        given = []
        for key, argument in field.args.items():
            if is_required_argument(argument):
                kind = get_named_type(argument.type)
                value = next(iter(kind.values)) if isinstance(kind, GraphQLEnumType) else None
                given.append(f"{key}: {value or _ARGUMENTS[str(argument.type).removesuffix('!')]}")
        selection = "" if is_leaf_type(get_named_type(field.type)) else "{ __typename }"
        fields.append(f"{name}{'(' + ', '.join(given) + ')' if given else ''} {selection}")
    return f"query($t: ID!) {{ {' '.join(fields)} }}"


async def test_an_anonymous_caller_gets_nothing(gateway: Gateway, ada: User) -> None:
    """All root fields except viewer and the catalogue are UNAUTHENTICATED, and no mutation changes anything."""
    task, _, category = await _make_rows(gateway, ada)
    before = await life_lock_rows(gateway.database)
    client = Gateway(gateway.database, settings=Settings(max_root_fields=1000)).client()
    answer = await client.ask(_every_root_field(), t=gid("Task", task))
    assert answer.status == 200
    message = "Sign in first: send an Authorization header with a bearer token."
    errors = {
        error["path"][0]: (error["message"], error["extensions"]) for error in answer.errors if len(error["path"]) == 1
    }
    public = {"viewer", "products", "productCategories", "productCategoryTree"}
    fields = set(answer.data) - {*public, "product", "productCategory", "nodes"}
    for name in ("product", "productCategory"):  # the id is that of a task
        assert errors.pop(name)[1]["code"] == "NOT_FOUND"
    assert errors == dict.fromkeys(fields | {"nodes"}, (message, {"code": "UNAUTHENTICATED"}))
    assert schema._schema.query_type is not None
    lists = {name: answer.data.pop(name) for name in ("products", "productCategories", "productCategoryTree")}
    assert not any(each["nodes"] if isinstance(each, dict) and "nodes" in each else None for each in lists.values())
    assert answer.data == dict.fromkeys(set(schema._schema.query_type.fields) - set(lists))
    for name, key, given in _MUTATIONS:
        values = given | {
            key: gid("Category" if "ategory" in name + key else "Task", category if "ategory" in name + key else task)
        }
        document = _mutation(name, "userErrors { code }")
        answer = await client.ask(document, input=values)
        assert answer.codes == ["UNAUTHENTICATED"], name
        assert answer.data == {name: None}
    assert await life_lock_rows(gateway.database) == before


async def test_statistics_are_for_admins(gateway: Gateway, ada: User, admin: User) -> None:
    document = "{ userDashboardStats { totalCount nodes { totalTasks } } }"
    answer = await gateway.client(ada).ask(document)
    assert answer.data == {"userDashboardStats": None}
    (error,) = answer.errors
    assert (error["message"], error["extensions"]) == ("Your role does not allow this.", {"code": "FORBIDDEN"})
    assert (await gateway.client(admin).ask(document)).errors == []
