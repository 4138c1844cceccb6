"""Lists as clients use them: pages by cursor and by number, filters, orders, and their limits."""

import datetime as dt
from typing import Any

import pytest

from repositories.core.ids import new_id
from repositories.tables.identity import User
from repositories.tables.life_lock import TaskStatus
from tests.api.client import Client, Gateway, gid
from tests.databases import ON_SQLITE
from tests.factories import make_category, make_task, make_tasks

DAY = dt.datetime(2026, 6, 15, tzinfo=dt.UTC)
PAGE = """query($first: Int, $after: String, $last: Int, $before: String, $page: Int, $filter: TaskFilter,
        $order: [TaskOrder!]) {
    tasks(first: $first, after: $after, last: $last, before: $before, page: $page, filter: $filter, order: $order) {
        totalCount edges { cursor node { title } } nodes { title }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""


async def _page(client: Client, **arguments: Any) -> Any:
    page = (await client.data(PAGE, **arguments))["tasks"]
    assert page["nodes"] == [edge["node"] for edge in page["edges"]]
    cursors = [edge["cursor"] for edge in page["edges"]] or [None]
    assert (page["pageInfo"]["startCursor"], page["pageInfo"]["endCursor"]) == (cursors[0], cursors[-1])
    return page


def _titles(page: Any) -> list[str]:
    return [node["title"] for node in page["nodes"]]


async def _fetch_error(client: Client, **arguments: Any) -> tuple[str, str, list[str]]:
    answer = await client.ask(PAGE, **arguments)
    assert answer.data == {"tasks": None}
    (error,) = answer.errors
    assert error["path"] == ["tasks"]
    return error["extensions"]["code"], error["message"], error["extensions"]["field"]


_ORDERS: list[Any] = [
    None,
    [{"field": "TITLE"}],
    [{"field": "PRIORITY_LEVEL", "direction": "DESC"}, {"field": "DUE_DATE", "nulls": "FIRST"}],
    [{"field": "DUE_DATE", "direction": "DESC", "nulls": "FIRST"}],
    [{"field": "STATUS"}, {"field": "TITLE", "direction": "DESC"}],
    [{"field": "COMPLETED_AT", "nulls": "LAST"}],
]


@pytest.mark.parametrize("order", _ORDERS)
async def test_paging_in_both_directions_returns_every_row_once(gateway: Gateway, ada: User, order: Any) -> None:
    """Covers orders with equal and missing values."""
    for index in range(23):
        status = list(TaskStatus)[index % 4]
        await make_task(
            gateway.database,
            ada,
            title=f"Task {index % 7}",
            status=status,
            completed_at=DAY if status is TaskStatus.COMPLETED else None,
            priority_level=index % 5 + 1,
            due_date=None if index % 3 == 0 else DAY + dt.timedelta(days=index % 4),
        )
    client = gateway.client(ada)
    whole = await _page(client, first=500, order=order)
    assert (whole["totalCount"], len(whole["nodes"])) == (23, 23)
    forwards: list[Any] = []
    after = None
    while True:
        page = await _page(client, first=5, after=after, order=order)
        assert (page["totalCount"], page["pageInfo"]["hasPreviousPage"]) == (23, after is not None)
        forwards += page["edges"]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert forwards == whole["edges"]
    backwards: list[Any] = []
    before = None
    while True:
        page = await _page(client, last=5, before=before, order=order)
        assert page["pageInfo"]["hasNextPage"] == (before is not None)
        backwards = page["edges"] + backwards
        before = page["pageInfo"]["startCursor"]
        if not page["pageInfo"]["hasPreviousPage"]:
            break
    assert backwards == whole["edges"]
    numbered = [_titles(await _page(client, first=5, page=number, order=order)) for number in range(1, 7)]
    assert [title for page in numbered for title in page] == _titles(whole)
    assert [len(page) for page in numbered] == [5, 5, 5, 5, 3, 0]


async def test_inserts_and_deletes_between_pages_neither_skip_nor_repeat_rows(gateway: Gateway, ada: User) -> None:
    made = await make_tasks(gateway.database, ada, 6)
    client, order = gateway.client(ada), [{"field": "TITLE"}]
    first = await _page(client, first=3, order=order)
    await make_task(gateway.database, ada, title="Task 00")
    await client.do("deleteTask", "task { id }", id=gid("Task", made[2]))
    second = await _page(client, first=3, order=order, after=first["pageInfo"]["endCursor"])
    assert _titles(first) + _titles(second) == [f"Task {index}" for index in range(6)]


async def test_page_info_reflects_the_rows_that_exist(gateway: Gateway, ada: User) -> None:
    """Empty lists, pages behind the end, and cursors whose row and neighbours were deleted."""
    client, order = gateway.client(ada), [{"field": "TITLE"}]
    made = await make_tasks(gateway.database, ada, 4)
    cursors = [edge["cursor"] for edge in (await _page(client, order=order))["edges"]]

    async def flags(**arguments: Any) -> tuple[list[str], bool, bool]:
        page = await _page(client, order=order, **arguments)
        return _titles(page), page["pageInfo"]["hasPreviousPage"], page["pageInfo"]["hasNextPage"]

    assert await flags(first=2, after=cursors[0]) == (["Task 1", "Task 2"], True, True)
    assert await flags(last=2, before=cursors[3]) == (["Task 1", "Task 2"], True, True)
    assert await flags(first=2, page=3) == ([], True, False)
    for task in (made[0], made[3]):
        await client.do("deleteTask", "task { id }", id=gid("Task", task))
    assert await flags(first=2, after=cursors[0]) == (["Task 1", "Task 2"], False, False)
    assert await flags(last=2, before=cursors[3]) == (["Task 1", "Task 2"], False, False)
    assert await flags(first=2, after=cursors[3]) == ([], True, False)
    assert await flags(last=2, before=cursors[0]) == ([], False, True)
    for task in (made[1], made[2]):
        await client.do("deleteTask", "task { id }", id=gid("Task", task))
    for arguments in ({"page": 2, "first": 2}, {"after": cursors[1]}, {"before": cursors[1]}, {"last": 1}):
        assert await flags(**arguments) == ([], False, False)


async def test_page_info_of_each_object_reflects_its_own_rows(gateway: Gateway, ada: User) -> None:
    """One cursor is used in the lists of several categories."""
    categories = [await make_category(gateway.database, ada, name=name) for name in "abc"]
    for title, category in (("1", 0), ("2", 1), ("3", 0), ("4", 1)):
        await make_task(gateway.database, ada, title=title, category_id=categories[category].id)
    client = gateway.client(ada)
    document = """query($after: String) { categories(order: {field: NAME}) { nodes {
        tasks(order: {field: TITLE}, first: 1, after: $after) {
            edges { cursor node { title } } pageInfo { hasPreviousPage hasNextPage } } } } }"""
    first = [node["tasks"] for node in (await client.data(document))["categories"]["nodes"]]
    second = await client.data(document, after=first[0]["edges"][0]["cursor"])
    shown = [
        ([edge["node"]["title"] for edge in node["tasks"]["edges"]], *node["tasks"]["pageInfo"].values())
        for node in second["categories"]["nodes"]
    ]
    assert shown == [(["3"], True, False), (["2"], False, True), ([], False, False)]


async def test_default_page_size_is_fifty(gateway: Gateway, ada: User) -> None:
    await make_tasks(gateway.database, ada, 51)
    page = await _page(gateway.client(ada))
    assert (len(page["nodes"]), page["totalCount"], page["pageInfo"]["hasNextPage"]) == (50, 51, True)
    last = await _page(gateway.client(ada), before=page["pageInfo"]["endCursor"])
    assert (len(last["nodes"]), last["pageInfo"]["hasPreviousPage"]) == (49, False)


_WRONG_PAGES: list[tuple[dict[str, Any], str, str]] = [
    *[({"first": size}, "`first` must be between 1 and 500.", "first") for size in (0, -1, 501, 5000)],
    *[({"last": size}, "`last` must be between 1 and 500.", "last") for size in (0, 501)],
    ({"first": 1, "last": 1}, "Give `first` or `last`, not both.", "last"),
    ({"after": "a", "before": "b"}, "Give `after` or `before`, not both.", "before"),
    ({"last": 1, "after": "a"}, "Use `first` with `after`, or `last` with `before`.", "before"),
    ({"first": 1, "before": "a"}, "Use `first` with `after`, or `last` with `before`.", "before"),
    ({"page": 0}, "`page` must be between 1 and 10000.", "page"),
    ({"page": 10_001}, "`page` must be between 1 and 10000.", "page"),
    ({"page": 2, "after": "a"}, "Use `page` with `first` only.", "page"),
    ({"page": 2, "last": 5}, "Use `page` with `first` only.", "page"),
]


async def test_invalid_page_arguments_are_fetch_error(gateway: Gateway, ada: User) -> None:
    client = gateway.client(ada)
    for arguments, message, field in _WRONG_PAGES:
        assert await _fetch_error(client, **arguments) == ("VALIDATION_ERROR", message, [field])
    document = """{ categories { nodes { tasks(first: 501) { totalCount } } }
        dueTasks(until: "2026-01-01T00:00:00Z", first: 0) { id } }"""
    await make_category(gateway.database, ada)
    answer = await client.ask(document)
    assert sorted((error["path"], error["extensions"]["field"]) for error in answer.errors) == [
        (["categories", "nodes", 0, "tasks"], ["first"]),
        (["dueTasks"], ["first"]),
    ]


async def test_cursor_is_valid_only_for_its_own_list(gateway: Gateway, ada: User, bob: User) -> None:
    await make_tasks(gateway.database, ada, 3)
    client, order = gateway.client(ada), [{"field": "TITLE"}]
    cursor = (await _page(client, first=1, order=order))["pageInfo"]["endCursor"]
    other = "This cursor belongs to another filter or order; start again without it."
    broken = "This is not a cursor of this list; take one from a page of it."
    for arguments in (
        {},
        {"order": order, "filter": {"search": "x"}},
        {"order": [{"field": "TITLE", "direction": "DESC"}]},
    ):
        assert await _fetch_error(client, after=cursor, **arguments) == ("VALIDATION_ERROR", other, ["after"])
        assert await _fetch_error(client, last=1, before=cursor, **arguments) == ("VALIDATION_ERROR", other, ["before"])
    for text in ("", "x", cursor[:-3], cursor + "x", "W10", "bnVsbA", gid("Task", new_id()), "💥"):
        code, message, field = await _fetch_error(client, after=text, order=order)
        assert (code, field) == ("VALIDATION_ERROR", ["after"])
        assert message in {broken, other}
    answer = await client.ask("query($c: String) { categories(after: $c) { totalCount } }", c=cursor)
    assert answer.codes == ["VALIDATION_ERROR"]
    assert _titles(await _page(gateway.client(bob), after=cursor, order=order)) == []


async def _find_titles(client: Client, **given: Any) -> list[str]:
    page = await _page(client, filter=given, order=[{"field": "TITLE"}], first=500)
    assert page["totalCount"] == len(page["nodes"])
    return _titles(page)


async def test_filters_return_matching_rows(gateway: Gateway, ada: User) -> None:
    category = await make_category(gateway.database, ada)
    rows: dict[str, dict[str, Any]] = {
        "alpha": {"priority_level": 1, "due_date": DAY, "description": "Grüße 100%"},
        "Beta": {"priority_level": 2, "status": TaskStatus.COMPLETED, "completed_at": DAY, "category_id": category.id},
        "gamma_ray": {"priority_level": 3, "status": TaskStatus.CANCELLED, "due_date": DAY + dt.timedelta(days=1)},
        "Delta": {"priority_level": 5, "status": TaskStatus.IN_PROGRESS, "description": "beta test"},
    }
    made = {title: await make_task(gateway.database, ada, title=title, **values) for title, values in rows.items()}
    client = gateway.client(ada)
    noon, ids = DAY.isoformat(), {title: gid("Task", row) for title, row in made.items()}
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({}, ["alpha", "Beta", "Delta", "gamma_ray"]),
        ({"status": {"in": ["COMPLETED", "CANCELLED"]}}, ["Beta", "gamma_ray"]),
        ({"status": {"notIn": ["COMPLETED", "CANCELLED"], "ne": "PENDING"}}, ["Delta"]),
        ({"title": {}}, ["alpha", "Beta", "Delta", "gamma_ray"]),
        ({"status": {"in": []}}, []),
        ({"title": {"contains": "A_R"}}, ["gamma_ray"]),
        ({"title": {"startsWith": "BE"}}, ["Beta"]),
        ({"title": {"like": "%eL_a"}}, ["Delta"]),
        ({"title": {"eq": "beta"}}, []),
        ({"title": {"in": ["Beta", "alpha"], "ne": "alpha"}}, ["Beta"]),
        ({"title": {"notIn": ["Beta", "alpha"]}}, ["Delta", "gamma_ray"]),
        ({"description": {"isNull": False}}, ["alpha", "Delta"]),
        ({"description": {"isNull": True}}, ["Beta", "gamma_ray"]),
        ({"description": {"contains": "GRÜSSE"}}, []),
        ({"description": {"contains": "grüße 100%"}}, ["alpha"]),
        ({"search": "BETA"}, ["Beta", "Delta"]),
        ({"search": "beta test"}, ["Delta"]),
        ({"search": " "}, ["alpha", "Beta", "Delta", "gamma_ray"]),
        ({"priorityLevel": {"gte": 2, "lt": 5}}, ["Beta", "gamma_ray"]),
        ({"priorityLevel": {"gt": 2, "lte": 5, "ne": 3, "notIn": [4]}}, ["Delta"]),
        ({"priorityLevel": {"in": [1, 5]}}, ["alpha", "Delta"]),
        ({"dueDate": {"lte": noon}}, ["alpha"]),
        ({"dueDate": {"gt": noon}}, ["gamma_ray"]),
        ({"dueDate": {"eq": "2026-06-15T02:00:00+02:00"}}, ["alpha"]),
        ({"dueDate": {"isNull": True}}, ["Beta", "Delta"]),
        ({"completedAt": {"ne": noon}}, ["alpha", "Delta", "gamma_ray"]),
        ({"not": {"completedAt": {"ne": noon}}}, ["Beta"]),
        ({"categoryId": {"eq": gid("Category", category)}}, ["Beta"]),
        ({"categoryId": {"isNull": True}}, ["alpha", "Delta", "gamma_ray"]),
        ({"categoryId": {"eq": None}}, ["alpha", "Delta", "gamma_ray"]),
        ({"categoryId": {"ne": None}}, ["Beta"]),
        ({"categoryId": {"in": [None]}}, ["alpha", "Delta", "gamma_ray"]),
        ({"categoryId": {"notIn": [None, gid("Category", category)]}}, []),
        ({"dueDate": {"eq": None, "ne": None}}, []),
        ({"title": {"eq": None}}, []),
        ({"title": {"ne": None}}, ["alpha", "Beta", "Delta", "gamma_ray"]),
        ({"id": {"in": [ids["alpha"], ids["Beta"]]}}, ["alpha", "Beta"]),
        ({"id": {"notIn": [ids["alpha"], ids["Beta"]]}}, ["Delta", "gamma_ray"]),
        ({"userId": {"eq": gid("User", ada)}}, ["alpha", "Beta", "Delta", "gamma_ray"]),
        ({"or": [{"title": {"eq": "alpha"}}, {"priorityLevel": {"eq": 5}}]}, ["alpha", "Delta"]),
        ({"and": [{"priorityLevel": {"gt": 1}}, {"priorityLevel": {"lt": 3}}]}, ["Beta"]),
        ({"not": {"dueDate": {"eq": noon}}}, ["Beta", "Delta", "gamma_ray"]),
        ({"not": {"or": [{"search": "beta"}, {"dueDate": {"isNull": False}}]}}, []),
        ({"or": []}, []),
        ({"and": []}, ["alpha", "Beta", "Delta", "gamma_ray"]),
        ({"not": {}}, []),
    ]
    for given, titles in cases:
        assert await _find_titles(client, **given) == titles, given


def _nested_filter(levels: int) -> dict[str, Any]:
    made: dict[str, Any] = {"title": {"eq": "x"}}
    for level in range(levels):
        made = {"not": made} if level % 2 else {"and": [made]}
    return made


async def test_filters_and_orders_are_limited(gateway: Gateway, ada: User) -> None:
    client = gateway.client(ada)
    assert (await _page(client, filter=_nested_filter(8)))["totalCount"] == 0
    only_not: dict[str, Any] = {"title": {"eq": "x"}}
    for _ in range(9):
        only_not = {"not": only_not}
    for nested in (_nested_filter(9), _nested_filter(40), only_not):
        assert await _fetch_error(client, filter=nested) == (
            "VALIDATION_ERROR",
            "A filter may be nested at most 8 levels deep.",
            ["filter"],
        )
    many = {"or": [{"title": {"eq": "x"}}] * 101}
    message = "A filter may have at most 100 conditions; this one has 101."
    assert await _fetch_error(client, filter=many) == ("VALIDATION_ERROR", message, ["filter"])
    keys = [{"field": field} for field in ("TITLE", "STATUS", "DUE_DATE", "CREATED_AT", "UPDATED_AT", "COMPLETED_AT")]
    assert (await _page(client, order=keys[:5]))["totalCount"] == 0
    assert await _fetch_error(client, order=keys) == (
        "VALIDATION_ERROR",
        "A list can be sorted by at most 5 keys.",
        ["order"],
    )


@ON_SQLITE
@pytest.mark.parametrize(
    ("given", "message", "place"),
    [
        (
            {"title": {"like": "x\\"}},
            "A pattern must not end with a single backslash; write two backslashes to match one.",
            "title.like",
        ),
        (
            {"title": {"startsWith": "x" * 2001}},
            "A text to search for may have at most 1000 characters.",
            "title.startsWith",
        ),
        ({"not": {"title": {"eq": "\0"}}}, "A text contains a character that cannot be stored.", "not.title.eq"),
        ({"search": "a \0"}, "A text contains a character that cannot be stored.", "search"),
        ({"search": "word " * 21}, "A search may have at most 20 words; this one has 21.", "search"),
        ({"or": [{"search": "w " * 150}]}, "A search may have at most 20 words; this one has 150.", "or.0.search"),
        (
            {"and": [{"priorityLevel": {"notIn": [1] * 1001}}]},
            "A list in a filter may have at most 1000 values; this one has 1001.",
            "and.0.priorityLevel.notIn",
        ),
    ],
)
async def test_invalid_condition_is_reported_with_its_path(
    gateway: Gateway, ada: User, given: Any, message: str, place: str
) -> None:
    where = ["filter", *place.split(".")]
    assert await _fetch_error(gateway.client(ada), filter=given) == ("VALIDATION_ERROR", message, where)


_NO_NULL = "Null is not a condition. Leave it out, or use `eq: null` to find rows without a value."


@ON_SQLITE
@pytest.mark.parametrize(
    "place",
    [
        *(f"title.{op}" for op in ("in", "notIn", "contains", "startsWith", "like", "isNull")),
        *(f"priorityLevel.{op}" for op in ("gt", "gte", "lt", "lte")),
        *("categoryId.in", "categoryId", "title", "search", "and", "or", "not", "and.1.or.0.not.title.like"),
    ],
)
async def test_a_null_that_is_no_value_is_an_error_with_its_place(gateway: Gateway, ada: User, place: str) -> None:
    """Also through a variable at that place. An omitted variable omits the condition."""
    client, path = gateway.client(ada), place.split(".")
    given: Any = None
    for part in reversed(path):
        given = [{}] * int(part) + [given] if part.isdigit() else {part: given}
    assert await _fetch_error(client, filter=given) == ("VALIDATION_ERROR", _NO_NULL, ["filter", *path])
    if "1" not in path:
        kinds = {"in": "[String]", "notIn": "[String]", "isNull": "Boolean", "and": "[TaskFilter!]"}
        kinds |= {"or": "[TaskFilter!]", "not": "TaskFilter", "title": "TextFilter", "categoryId": "IdFilter"}
        kind = "Int" if path[0] == "priorityLevel" else kinds.get(path[-1], "String")
        kind = "[ID!]" if place == "categoryId.in" else kind
        literal = "$x"
        for part in reversed(path):
            literal = f"{{{part}: {literal}}}"
        document = f"query($x: {kind}) {{ tasks(filter: {literal}) {{ totalCount }} }}"
        (error,) = (await client.ask(document, x=None)).errors
        assert (error["message"], error["extensions"]["field"]) == (_NO_NULL, ["filter", *path])
        assert await client.data(document) == {"tasks": {"totalCount": 0}}


@ON_SQLITE
async def test_a_null_variable_is_null_and_an_omitted_one_is_omitted(gateway: Gateway, ada: User) -> None:
    category = await make_category(gateway.database, ada)
    await make_task(gateway.database, ada, title="in it", category_id=category.id)
    await make_task(gateway.database, ada, title="in none")
    client, order = gateway.client(ada), "order: {field: TITLE}"
    for op, found in (("eq", ["in none"]), ("ne", ["in it"])):
        document = f"query($x: ID) {{ tasks(filter: {{categoryId: {{{op}: $x}}}}, {order}) {{ nodes {{ title }} }} }}"
        assert _titles((await client.data(document, x=None))["tasks"]) == found
        assert _titles((await client.data(document))["tasks"]) == ["in it", "in none"]
    document = f"query($x: TaskFilter) {{ tasks(filter: $x, {order}) {{ nodes {{ title }} }} }}"
    assert _titles((await client.data(document, x=None))["tasks"]) == ["in it", "in none"]
    assert _titles((await client.data(document, x={"categoryId": {"eq": None}}))["tasks"]) == ["in none"]
    document = f"query($x: ID) {{ tasks(filter: {{categoryId: {{in: [$x]}}}}, {order}) {{ nodes {{ title }} }} }}"
    assert _titles((await client.data(document, x=gid("Category", category)))["tasks"]) == ["in it"]
    assert _titles((await client.data(document, x=None))["tasks"]) == ["in none"]


@ON_SQLITE
async def test_number_that_does_not_fit_the_column_is_reported_with_its_path(gateway: Gateway, ada: User) -> None:
    document = "query($filter: ClientFilter) { clients(filter: $filter) { totalCount } }"
    answer = await gateway.client(ada).ask(document, filter={"annualRevenue": {"gte": "0.001"}})
    (error,) = answer.errors
    assert error["message"] == "A number here may have at most 13 digits before the decimal point and 2 after it."
    assert error["extensions"] == {"code": "VALIDATION_ERROR", "field": ["filter", "annualRevenue", "gte"]}


async def test_ids_of_another_type_are_fetch_error(gateway: Gateway, ada: User) -> None:
    category = await make_category(gateway.database, ada)
    task = await make_task(gateway.database, ada)
    client = gateway.client(ada)
    message = "This must be the id of a Task, not of a Category."
    given: dict[str, Any] = {"id": {"eq": gid("Category", category)}}
    assert await _fetch_error(client, filter=given) == ("VALIDATION_ERROR", message, ["filter", "id", "eq"])
    message = "This is not an id; take one from the `id` field of an object."
    given = {"or": [{"title": {"eq": "x"}}, {"not": {"id": {"in": [gid("Task", task), "x"]}}}]}
    place = ["filter", "or", "1", "not", "id", "in", "1"]
    assert await _fetch_error(client, filter=given) == ("VALIDATION_ERROR", message, place)
    for document, what in (
        ("query($id: ID!) { task(id: $id) { id } }", "task"),
        ("query($id: ID!) { taskEvents(id: $id) { id } }", "task"),
        ("query($id: ID!) { node(id: $id) { id } }", "object"),
    ):
        for key in (gid("Category", task), gid("Nothing", task), gid("DomainEvent", task), gid("TaskAnalytics", task)):
            (error,) = (await client.ask(document, id=key)).errors
            shown = "category" if (what, key) == ("object", gid("Category", task)) else what
            assert (error["message"], error["extensions"]["code"]) == (f"There is no such {shown}.", "NOT_FOUND")


async def test_nodes_returns_results_in_the_order_of_the_ids(gateway: Gateway, ada: User) -> None:
    task, category = await make_task(gateway.database, ada), await make_category(gateway.database, ada)
    ids = [
        gid("Task", task),
        "nonsense",
        gid("Category", category),
        gid("User", ada),
        gid("Task", new_id()),
        gid("Task", task),
    ]
    document = "query($ids: [ID!]!) { nodes(ids: $ids) { __typename id databaseId ... on Task { title } } }"
    answer = await gateway.client(ada).ask(document, ids=ids)
    shown = {"__typename": "Task", "id": ids[0], "databaseId": str(task.id), "title": "Something"}
    assert answer.data["nodes"] == [
        shown,
        None,
        {"__typename": "Category", "id": ids[2], "databaseId": str(category.id)},
        {"__typename": "User", "id": ids[3], "databaseId": str(ada.id)},
        None,
        shown,
    ]
    assert [(error["path"], error["extensions"]["code"]) for error in answer.errors] == [
        (["nodes", 1], "VALIDATION_ERROR"),
        (["nodes", 4], "NOT_FOUND"),
    ]
    answer = await gateway.client(ada).ask(document, ids=ids[:1] * 101)
    assert answer.data == {"nodes": None}
    assert answer.errors[0]["message"] == "At most 100 objects can be requested at once, not 101."
