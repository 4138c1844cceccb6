"""Invalid input: all errors are reported at once, each with code, message and path, and nothing is written."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repositories.core.ids import new_id
from repositories.tables.identity import User
from tests.api.client import Client, Gateway, gid, user_error
from tests.api.stored_rows import life_lock_rows
from tests.databases import ON_SQLITE
from tests.factories import make_category, make_task

_SHORT = "This must not be empty."
_NOT_STORABLE = "Text must not contain NUL or half of a surrogate pair."
_NOT_AN_ID = "This is not an id; take one from the `id` field of an object."
_DATE = "A date must be between the years 1900 and 2200."
_COLOR = "A colour is # and six hexadecimal digits, such as #3B82F6."
_NULL = (None, "This must not be null.")

_INVISIBLE = "This needs at least one visible character."

WRONG: dict[str, list[tuple[Any, str]]] = {
    "title": [
        ("", _SHORT),
        (" \t ", _SHORT),
        ("x" * 256, "This must have at most 255 characters."),
        ("a\0b", _NOT_STORABLE),
        *((text, _INVISIBLE) for text in ("\u200b\ufeff", "\x07", "\u2066\u2069", "\u3164", "\u0301")),
    ],
    "description": [("x" * 10_001, "This must have at most 10,000 characters."), ("\0", _NOT_STORABLE)],
    "priorityLevel": [
        (0, "This must be 1 or more."),
        (-(2**31), "This must be 1 or more."),
        (6, "This must be 5 or less."),
    ],
    "categoryId": [
        ("", _NOT_AN_ID),
        ("Category:1", _NOT_AN_ID),
        (gid("Category", new_id())[:-6], _NOT_AN_ID),
        (gid("Task", new_id()), "This is not the id of a Category."),
    ],
    "dueDate": [("1899-12-31T23:59:59Z", _DATE), ("2200-01-01T00:00:00Z", _DATE)],
    "name": [
        ("", _SHORT),
        (" ", _SHORT),
        ("x" * 101, "This must have at most 100 characters."),
        ("\0", _NOT_STORABLE),
    ],
    "color": [("red", _COLOR), ("#12345", _COLOR), ("#12345g", _COLOR), ("#123456\n", _COLOR)],
    "version": [(0, "This must be 1 or more.")],
    "id": [("nonsense", _NOT_AN_ID), (gid("User", new_id()), "This is not the id of a Task.")],
}
RIGHT: dict[str, Any] = {
    "title": "Something",
    "description": "Details",
    "priorityLevel": 4,
    "dueDate": "2026-06-15T12:00:00Z",
    "name": "Work",
    "color": "#abcdef",
    "version": 1,
}
NEW_TASK = ("title", "description", "priorityLevel", "categoryId", "dueDate")
CHANGED_TASK = ("id", "version", *NEW_TASK, "status")
Wrong = dict[tuple[str, ...], str]


@st.composite
def invalid_inputs(draw: st.DrawFn, fields: tuple[str, ...], required: tuple[str, ...]) -> tuple[dict[str, Any], Wrong]:
    """An input with at least one mistake, and the messages of its mistakes by path."""
    is_update = "version" in fields
    wrong = draw(st.sets(st.sampled_from([name for name in fields if name in WRONG]), min_size=1))
    made: dict[str, Any] = {}
    mistakes: Wrong = {}
    for name in fields:
        if name in wrong:
            nulls = [_NULL] if is_update and name in {"title", "priorityLevel"} else []
            made[name], mistakes[(name,)] = draw(st.sampled_from([*WRONG[name], *nulls]))
        elif name in RIGHT and (name in required or draw(st.booleans())):
            made[name] = RIGHT[name]
        elif name == "id":
            made[name] = gid("Task", new_id())
        elif name == "status" and draw(st.booleans()):
            made[name], mistakes[(name,)] = _NULL
    return made, mistakes


@st.composite
def invalid_batches(
    draw: st.DrawFn, fields: tuple[str, ...], required: tuple[str, ...]
) -> tuple[dict[str, Any], Wrong]:
    """Several inputs, at least one of them invalid, and the messages of their mistakes by path."""
    items: list[dict[str, Any]] = []
    mistakes: Wrong = {}
    for index, item in enumerate(draw(st.lists(st.none() | invalid_inputs(fields, required), min_size=1, max_size=4))):
        items.append({name: RIGHT[name] for name in required} if item is None else item[0])
        if item is None and "id" in fields:
            items[-1]["id"] = gid("Task", new_id())
        if item is not None:
            mistakes |= {("tasks", str(index), *place): message for place, message in item[1].items()}
    if not mistakes:
        items[0] |= {"title": ""}
        mistakes = {("tasks", "0", "title"): _SHORT}
    return {"tasks": items}, mistakes


_CASES = st.one_of(
    st.tuples(st.just(("createTask", "task { id }")), invalid_inputs(NEW_TASK, ("title",))),
    st.tuples(st.just(("updateTask", "task { id }")), invalid_inputs(CHANGED_TASK, ("version",))),
    st.tuples(st.just(("createTasks", "tasks { id }")), invalid_batches(NEW_TASK, ("title",))),
    st.tuples(st.just(("updateTasks", "tasks { id }")), invalid_batches(CHANGED_TASK, ("version",))),
    st.tuples(st.just(("createCategory", "category { id }")), invalid_inputs(("name", "color"), ("name",))),
)


def _changed_tasks(given_input: dict[str, Any]) -> list[tuple[str, ...]]:
    """The places of the ids of tasks that an input changes."""
    places = [("tasks", str(index), "id") for index, item in enumerate(given_input.get("tasks", [])) if "id" in item]
    return [*places, *([("id",)] if "id" in given_input else [])]


@ON_SQLITE
@given(case=_CASES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_all_mistakes_are_reported_at_once(gateway: Gateway, case: Any) -> None:
    """A user without an account has no tasks, so a task that is to be changed is a mistake, too."""
    (mutation, selection), (given_input, mistakes) = case
    client = gateway.client(User._make((new_id(), *["x"] * (len(User.__fields__) - 1))).replace(time_zone="UTC"))
    payload = await client.do(mutation, selection, **given_input)
    found = {tuple(error["field"]): (error["code"], error["message"]) for error in payload["userErrors"]}
    expected = {place: ("VALIDATION_ERROR", message) for place, message in mistakes.items()}
    for place in _changed_tasks(given_input):
        expected.setdefault(place, ("NOT_FOUND", "There is no such task."))
    assert found == expected
    assert len(payload["userErrors"]) == len(expected)
    assert payload[selection.split()[0]] is None
    assert await life_lock_rows(gateway.database) == [[], [], [], []]


@ON_SQLITE
async def test_batch_size_is_one_to_five_hundred(gateway: Gateway, ada: User) -> None:
    client = gateway.client(ada)
    for mutation, item in (
        ("createTasks", {"title": "x"}),
        ("updateTasks", {"id": gid("Task", new_id()), "version": 1}),
    ):
        for count, message in (
            (0, "This list must not be empty."),
            (501, "This list must have at most 500 items."),
        ):
            payload = await client.do(mutation, "tasks { id }", tasks=[item] * count)
            assert payload == {"tasks": None, "userErrors": [user_error("VALIDATION_ERROR", message, "tasks")]}
    assert await life_lock_rows(gateway.database) == [[], [], [], []]


async def test_duplicates_in_a_batch_are_reported(gateway: Gateway, ada: User) -> None:
    task = await make_task(gateway.database, ada)
    before = await life_lock_rows(gateway.database)
    client, key = gateway.client(ada), str(new_id())
    change = {"id": gid("Task", task), "version": 1, "title": "x"}
    payload = await client.do("updateTasks", "tasks { id }", tasks=[change, change, change])
    twice = "This value occurs twice in the list."
    assert payload["userErrors"] == [user_error("VALIDATION_ERROR", twice, "tasks", index, "id") for index in "12"]
    item = {"title": "x", "databaseId": key}
    items = [item, {"title": "y"}, item | {"categoryId": gid("Category", new_id())}]
    payload = await client.do("createTasks", "tasks { id }", tasks=items)
    assert payload["userErrors"] == [
        user_error("VALIDATION_ERROR", twice, "tasks", "2", "databaseId"),
        user_error("NOT_FOUND", "There is no such category.", "tasks", "2", "categoryId"),
    ]
    assert await life_lock_rows(gateway.database) == before


async def test_all_errors_of_a_batch_are_reported(gateway: Gateway, ada: User, bob: User) -> None:
    """Missing rows, stale versions, rows and categories of other users. The valid change is not written."""
    good, old = await make_task(gateway.database, ada), await make_task(gateway.database, ada, title="Old", version=3)
    other, category = await make_task(gateway.database, bob), await make_category(gateway.database, bob)
    before = await life_lock_rows(gateway.database)
    client = gateway.client(ada)
    changes = [
        {"id": gid("Task", good), "version": 1, "title": "changed"},
        {"id": gid("Task", old), "version": 2, "title": "changed"},
        {"id": gid("Task", other), "version": 1, "title": "changed"},
        {"id": gid("Task", new_id()), "version": 1, "categoryId": gid("Category", new_id())},
        {
            "id": gid("Task", await make_task(gateway.database, ada)),
            "version": 1,
            "categoryId": gid("Category", category),
        },
    ]
    before = await life_lock_rows(gateway.database)
    payload = await client.do("updateTasks", "tasks { id }", tasks=changes)
    assert payload["tasks"] is None
    assert [(error["code"], error["field"]) for error in payload["userErrors"]] == [
        ("STALE_VERSION", ["tasks", "1", "version"]),
        ("NOT_FOUND", ["tasks", "2", "id"]),
        ("NOT_FOUND", ["tasks", "3", "id"]),
        ("NOT_FOUND", ["tasks", "3", "categoryId"]),
        ("NOT_FOUND", ["tasks", "4", "categoryId"]),
    ]
    assert payload["userErrors"][0]["current"] == {"id": gid("Task", old), "title": "Old", "version": 3}
    items = [{"title": "x"}, {"title": "y", "categoryId": gid("Category", category)}]
    payload = await client.do("createTasks", "tasks { id }", tasks=items)
    missing = user_error("NOT_FOUND", "There is no such category.", "tasks", "1", "categoryId")
    assert payload == {"tasks": None, "userErrors": [missing]}
    assert await life_lock_rows(gateway.database) == before


async def _fetch_error(client: Client, declared: str, field: str, value: object) -> Any:
    answer = await client.ask(f"query($v: {declared}) {{ {field} }}", v=value)
    assert answer.status == 200
    (error,) = answer.errors
    return error["extensions"], error["message"]


async def test_values_that_cannot_be_stored_are_rejected(gateway: Gateway, ada: User) -> None:
    """Values that a database, a calendar or JSON cannot hold."""
    await make_task(gateway.database, ada, title="ends with \\")
    client = gateway.client(ada)
    by_code: dict[str, list[tuple[str, str, object]]] = {
        "VALIDATION_ERROR": [
            ("String!", "tasks(filter: {title: {contains: $v}}) { totalCount }", "\0"),
            ("String!", "tasks(filter: {search: $v}) { totalCount }", "\0"),
            ("String!", "tasks(filter: {title: {like: $v}}) { totalCount }", "%\\"),
            ("ID!", "node(id: $v) { id }", "é"),
            ("String!", "lifeLockDashboard(timeZone: $v) { totalTasks }", "../../etc/passwd"),
        ],
        "GRAPHQL_VALIDATION_FAILED": [
            ("DateTime!", "dueTasks(until: $v) { id }", "9999-12-31T23:59:59-23:00"),
            ("DateTime!", "dueTasks(until: $v) { id }", "0001-01-01T00:00:00+23:59"),
            ("DateTime!", "dueTasks(until: $v) { id }", "2026-06-15T12:00:00"),
            ("DateTime!", "dueTasks(until: $v) { id }", "tomorrow"),
            ("DateTime!", "dueTasks(until: $v) { id }", 5),
            ("Date!", "taskAnalytics(from: $v, to: $v) { date }", "2026-02-30"),
            ("Date!", "taskAnalytics(from: $v, to: $v) { date }", 20260101),
            ("Int!", "tasks(first: $v) { totalCount }", 2**31),
        ],
    }
    for code, cases in by_code.items():
        for case in cases:
            assert (await _fetch_error(client, *case))[0]["code"] == code, ascii(case)
    document = "query($v: String!) { tasks(filter: {title: {like: $v}}) { totalCount } }"
    assert await client.data(document, v="%\\\\") == {"tasks": {"totalCount": 1}}


@ON_SQLITE
async def test_database_id_of_the_client_must_be_a_uuid(gateway: Gateway, ada: User) -> None:
    for wrong in ("nonsense", 5):
        answer = await gateway.client(ada).ask(
            "mutation($input: CreateTaskInput!) { createTask(input: $input) { task { id } } }",
            input={"title": "x", "databaseId": wrong},
        )
        assert answer.codes == ["GRAPHQL_VALIDATION_FAILED"]
    assert await life_lock_rows(gateway.database) == [[], [], [], []]


@ON_SQLITE
async def test_range_of_days_is_ordered_and_limited_to_a_year(gateway: Gateway, ada: User) -> None:
    client = gateway.client(ada)
    document = "query($a: Date!, $b: Date!) { taskAnalytics(from: $a, to: $b) { date } }"
    assert await client.data(document, a="2024-01-01", b="2024-12-31") == {"taskAnalytics": []}
    for first, last, message in (
        ("2024-01-01", "2025-01-01", "A period may have at most 366 days."),
        ("2024-01-02", "2024-01-01", "`from` must not be after `to`."),
    ):
        answer = await client.ask(document, a=first, b=last)
        (error,) = answer.errors
        assert (error["message"], error["extensions"]) == (message, {"code": "VALIDATION_ERROR", "field": ["from"]})
