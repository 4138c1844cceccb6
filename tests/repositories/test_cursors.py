"""A cursor that does not belong to a list is a validation error, and has no other effect."""

import base64
import datetime as dt
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repositories.aggregates.event_store import EventStore
from repositories.aggregates.repository import Repository
from repositories.aggregates.unit_of_work import open_unit_of_work
from repositories.core.errors import ValidationError
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.identity import Users
from repositories.life_lock.analytics import Analytics
from repositories.life_lock.events import TaskReopened
from repositories.life_lock.tasks import Tasks
from repositories.sql.filters import NO_FILTER, Compare, Direction, Filter, Nulls, Op, Search, SortKey
from repositories.sql.page import Page, PageRequest
from tests.factories import make_tasks, make_user
from tests.repositories.support import SharedDatabase, examples, open_snapshot

BROKEN = "This is not a cursor of this list; take one from a page of it."
OTHER = "This cursor belongs to another filter or order; start again without it."

LISTS: list[tuple[type[Repository[Any]], list[str]]] = [
    (Users, ["email_verified", "last_login", "role", "email"]),
    (Tasks, ["title", "description", "status", "priority_level", "due_date", "category_id"]),
    (Analytics, ["date", "productivity_score", "tasks_created"]),
    (EventStore, ["sequence", "timestamp", "user_id"]),
]


def _encode(*values: Any) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(values)).decode().rstrip("=")


def _decode(cursor: str) -> list[Any]:
    values: list[Any] = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    return values


async def _add_rows(database: Database) -> None:
    ada = await make_user(database)
    tasks = await make_tasks(database, ada, 3)
    async with open_unit_of_work(database, SERVICE, ()) as work:
        await work.repository(Analytics).add(user_id=ada.id, date=dt.date(2024, 1, 1))
        await work.repository(Analytics).add(user_id=ada.id, date=dt.date(2024, 1, 2))
        for task in tasks:
            work.record(TaskReopened(task.id, ada.id, None))


_filled: set[int] = set()


@pytest.fixture
def filled(shared_database: SharedDatabase) -> SharedDatabase:
    """The module's database, with a few rows in each table."""
    if id(shared_database) not in _filled:
        _filled.add(id(shared_database))
        shared_database.run(_add_rows(shared_database.database))
    return shared_database


async def _page(
    shared_database: SharedDatabase, repository: type[Repository[Any]], request: PageRequest, order: list[SortKey]
) -> Page[Any]:
    async with open_snapshot(shared_database.database) as snapshot:
        page: Page[Any] = await repository(snapshot).page(request, NO_FILTER, order)
        return page


def _check_error(
    shared_database: SharedDatabase,
    repository: type[Repository[Any]],
    cursor: str,
    order: list[SortKey],
    message: str | None,
) -> None:
    for argument, request in (("after", PageRequest(after=cursor)), ("before", PageRequest(before=cursor))):
        with pytest.raises(ValidationError) as caught:
            shared_database.run(_page(shared_database, repository, request, order))
        assert caught.value.path == (argument,)
        assert caught.value.message in ({message} if message else {BROKEN, OTHER})


@examples(150)
@given(cursor=st.text(max_size=40) | st.binary(max_size=40).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_an_arbitrary_text_is_a_validation_error(filled: SharedDatabase, cursor: str) -> None:
    _check_error(filled, Tasks, cursor, [SortKey("title")], None)


UNUSABLE: list[Any] = [
    None, True, [], {}, "\0", "a\0b", "NaN", "sNaN", "Infinity", "1e999999999", "-1e-999999999", "0001-01-01",
    "9999-12-31", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2024-01-01", "2024-01-01T00:00:00",
    "00000000-0000-0000-0000-000000000000", "{00000000000000000000000000000000}", "pending",
    2**31, -(2**31), 2**63 - 1, "2024-W01-1", "1_000", "٣", 0.5, 1e308,
]  # fmt: skip
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=5)
    | st.sampled_from(UNUSABLE),
    lambda parts: st.lists(parts, max_size=2) | st.dictionaries(st.text(max_size=3), parts, max_size=2),
    max_leaves=3,
)  # fmt: skip


def _forge(
    shared_database: SharedDatabase,
    repository: type[Repository[Any]],
    order: list[SortKey],
    forge: Callable[[list[Any]], list[Any]],
) -> None:
    page = shared_database.run(_page(shared_database, repository, PageRequest(first=1), order))
    fingerprint, *values = _decode(page.cursor(page.rows[0]))
    forged = forge(values)
    cursor = _encode(fingerprint, *forged)
    for argument, request in (("after", PageRequest(after=cursor)), ("before", PageRequest(before=cursor))):
        try:
            shared_database.run(_page(shared_database, repository, request, order))
        except ValidationError as error:
            assert (error.path, error.message) == ((argument,), BROKEN), forged  # noqa: PT017 (a page is valid too)
        assert shared_database.database.pool_state().used == 0


def _replace_first(value: Any) -> Callable[[list[Any]], list[Any]]:
    return lambda values: [value, *values[1:]]


@pytest.mark.parametrize(("repository", "column"), [(r, column) for r, columns in LISTS for column in columns])
def test_values_that_the_database_cannot_use(
    filled: SharedDatabase, repository: type[Repository[Any]], column: str
) -> None:
    """Numbers that are too large, NaN, moments outside UTC and unstorable texts never reach the database."""
    for value in UNUSABLE:
        _forge(filled, repository, [SortKey(column)], _replace_first(value))


@examples(150)
@given(data=st.data())
def test_forged_values_give_a_page_or_a_validation_error(filled: SharedDatabase, data: st.DataObject) -> None:
    """The fingerprint is valid and the values are not. The error names the argument."""
    repository, columns = data.draw(st.sampled_from(LISTS))
    column = data.draw(st.sampled_from(columns))
    order = [SortKey(column, data.draw(st.sampled_from(Direction)), data.draw(st.sampled_from(Nulls)))]
    _forge(filled, repository, order, lambda values: [data.draw(st.just(value) | json_values) for value in values])


@pytest.mark.parametrize("extra", [-1, 1])
def test_a_wrong_number_of_values_is_a_validation_error(filled: SharedDatabase, extra: int) -> None:
    page = filled.run(_page(filled, Tasks, PageRequest(first=1), [SortKey("title")]))
    values = _decode(page.cursor(page.rows[0]))
    _check_error(filled, Tasks, _encode(*(values[:-1] if extra < 0 else [*values, 1])), [SortKey("title")], OTHER)


WHERE = Compare("title", Op.CONTAINS, "Task")
OTHERS: list[tuple[str, type[Repository[Any]], Filter, list[SortKey]]] = [
    ("no filter", Tasks, NO_FILTER, [SortKey("title")]),
    ("another value", Tasks, Compare("title", Op.CONTAINS, "Tas"), [SortKey("title")]),
    ("another operator", Tasks, Compare("title", Op.PREFIX, "Task"), [SortKey("title")]),
    ("a search", Tasks, Search(("title",), "Task"), [SortKey("title")]),
    ("another direction", Tasks, WHERE, [SortKey("title", Direction.DESC)]),
    ("other nulls", Tasks, WHERE, [SortKey("title", nulls=Nulls.FIRST)]),
    ("another column", Tasks, WHERE, [SortKey("description")]),
    ("one more key", Tasks, WHERE, [SortKey("title"), SortKey("status")]),
    ("the default order", Tasks, WHERE, []),
    ("another table", Users, NO_FILTER, [SortKey("email")]),
]


@pytest.mark.parametrize(("name", "repository", "one", "order"), OTHERS, ids=[other[0] for other in OTHERS])
async def test_a_cursor_of_another_list_is_a_validation_error(
    database: Database, name: str, repository: type[Repository[Any]], one: Filter, order: list[SortKey]
) -> None:
    """A cursor is valid only with the same table, filter and order."""
    del name
    await make_tasks(database, await make_user(database), 2)
    async with open_snapshot(database) as snapshot:
        page = await Tasks(snapshot).page(PageRequest(first=1), WHERE, [SortKey("title")])
        cursor = page.cursor(page.rows[0])
        assert len((await Tasks(snapshot).page(PageRequest(after=cursor), WHERE, [SortKey("title")])).rows) == 1
        with pytest.raises(ValidationError) as caught:
            await repository(snapshot).page(PageRequest(after=cursor), one, order)
    assert (caught.value.path, caught.value.message) == (("after",), OTHER)


async def test_a_cursor_is_the_same_in_every_process(database: Database) -> None:
    """It depends on the row, filter and order only, so each worker process accepts the cursors of all others."""
    (task,) = await make_tasks(database, await make_user(database), 1)
    async with open_snapshot(database) as snapshot:
        pages = [await Tasks(snapshot).page(PageRequest(first=1), WHERE, [SortKey("title")]) for _ in range(2)]
    cursors = {page.cursor(task) for page in pages}
    assert [_decode(cursor) for cursor in cursors] == [["84a0f644ca2d", "Task 0", str(task.id)]]
