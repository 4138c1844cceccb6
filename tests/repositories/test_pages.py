"""Pages: all ways of paging through a list return the complete list."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repositories.core.errors import ValidationError
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database, ReadConnection
from repositories.life_lock.tasks import Tasks
from repositories.sql.filters import Compare, Filter, Op, SortKey
from repositories.sql.page import DEFAULT_SIZE, MAX_PAGE, MAX_SIZE, Page, PageRequest
from repositories.tables.life_lock import Task
from tests.factories import make_category, make_tasks, make_user, viewer_of
from tests.repositories import models
from tests.repositories.support import SharedDatabase, examples, open_snapshot

Fetch = Callable[[PageRequest], Awaitable[Page[Task]]]


async def _forwards(fetch: Fetch, size: int, expected: list[Task]) -> None:
    cursor, seen = None, 0
    while True:
        page = await fetch(PageRequest(first=size, after=cursor))
        assert list(page.rows) == expected[seen : seen + size]
        seen += size
        assert page.has_next == (seen < len(expected))
        assert page.has_previous == (cursor is not None)
        if not page.has_next:
            return
        cursor = page.cursor(page.rows[-1])


async def _backwards(fetch: Fetch, size: int, expected: list[Task]) -> None:
    cursor, left = None, len(expected)
    while True:
        page = await fetch(PageRequest(last=size, before=cursor))
        assert list(page.rows) == expected[max(0, left - size) : left]
        left -= size
        assert page.has_previous == (left > 0)
        assert page.has_next == (cursor is not None)
        if not page.has_previous:
            return
        cursor = page.cursor(page.rows[0])


async def _by_number(fetch: Fetch, size: int, expected: list[Task]) -> None:
    for number in range(1, len(expected) // size + 3):
        page = await fetch(PageRequest(first=size, page=number))
        assert list(page.rows) == expected[(number - 1) * size : number * size]
        assert page.has_next == (number * size < len(expected))
        assert page.has_previous == (number > 1 and bool(expected))


def _with_flags(page: Page[Task], has_rows_behind: bool) -> Page[Task]:  # noqa: FBT001 (one of two values)
    """The page with the answer in the place of the flag that it does not know."""
    flags = (page.has_next, page.has_previous)
    assert flags.count(None) <= 1
    has_next, has_previous = (has_rows_behind if flag is None else flag for flag in flags)
    return Page(page.rows, has_next, has_previous, page.cursor)


async def _page_through(
    database: Database, rows: list[dict[str, Any]], one: Filter, order: list[SortKey], size: int
) -> None:
    ada = await make_user(database)
    async with database.transaction(SERVICE) as write:
        tasks = await Tasks(write).add_many([row | {"id": new_id(), "user_id": ada.id} for row in rows])
    expected = models.sort_rows((task for task in tasks if models.matches(task, one)), order or Tasks.default_order)
    async with open_snapshot(database, viewer_of(ada)) as snapshot:
        repository = Tasks(snapshot)

        async def fetch(request: PageRequest) -> Page[Task]:
            page = await repository.page(request, one, order)
            return _with_flags(page, await repository.has_rows_behind(request, one, order))

        for page_through in (_forwards, _backwards, _by_number):
            await page_through(fetch, size, expected)
        assert await repository.find(one, order, limit=500) == expected
        assert await repository.first(one, order) == (expected[0] if expected else None)


@examples(70)
@given(
    rows=st.lists(models.task_values(), max_size=14),
    one=models.filters | st.just(Compare("priority_level", Op.GTE, 1)),
    order=models.orders,
    size=st.integers(1, 6),
)
def test_paging_returns_the_sorted_list(
    shared_database: SharedDatabase, rows: list[dict[str, Any]], one: Filter, order: list[SortKey], size: int
) -> None:
    """Forwards, backwards and by page number, with any filter, order and page size."""
    shared_database.run(_page_through(shared_database.database, rows, one, order, size))


@examples(40)
@given(rows=st.lists(models.task_values(), min_size=6, max_size=14), order=models.orders, size=st.integers(1, 4))
def test_paging_without_a_filter_returns_the_sorted_list(
    shared_database: SharedDatabase, rows: list[dict[str, Any]], order: list[SortKey], size: int
) -> None:
    """Without a filter the lists are long, with many equal keys and NULLs."""
    shared_database.run(
        _page_through(shared_database.database, rows, Compare("priority_level", Op.GTE, 1), order, size)
    )


async def _page_through_many(
    database: Database, rows: list[dict[str, Any]], one: Filter, order: list[SortKey], size: int
) -> None:
    ada = await make_user(database)
    keys: list[UUID] = [(await make_category(database, ada)).id for _ in range(3)]
    async with database.transaction(SERVICE) as write:
        tasks = await Tasks(write).add_many(
            [
                row | {"id": new_id(), "user_id": ada.id, "category_id": [*keys[:2], None][index % 3]}
                for index, row in enumerate(rows)
            ]
        )
    async with open_snapshot(database, viewer_of(ada)) as snapshot:
        repository = Tasks(snapshot)
        counts = await repository.counts_of(keys, "category_id", one)
        for key in keys:
            chosen = (task for task in tasks if task.category_id == key and models.matches(task, one))
            expected = models.sort_rows(chosen, order or Tasks.default_order)
            assert counts[key] == len(expected)

            async def fetch(request: PageRequest, key: UUID = key) -> Page[Task]:
                requested = [key] if request.after or request.before else keys
                found = (requested, "category_id", request, one, order)
                page = (await repository.pages_of(*found))[key]
                return _with_flags(page, (await repository.have_rows_behind(*found))[key])

            for page_through in (_forwards, _backwards, _by_number):
                await page_through(fetch, size, expected)


@examples(30)
@given(
    rows=st.lists(models.task_values(), max_size=14),
    one=models.comparisons | st.just(Compare("priority_level", Op.GTE, 1)),
    order=models.orders,
    size=st.integers(1, 4),
)
def test_pages_of_many_lists_equal_the_pages_of_each_list(
    shared_database: SharedDatabase, rows: list[dict[str, Any]], one: Filter, order: list[SortKey], size: int
) -> None:
    """The page per key is the page that this list has on its own, also if it is empty."""
    shared_database.run(_page_through_many(shared_database.database, rows, one, order, size))


async def _page_around(
    database: Database, rows: list[dict[str, Any]], order: list[SortKey], size: int, picks: tuple[int, int]
) -> None:
    """Takes the cursor of a row, deletes rows, and reads the pages on both sides of the cursor."""
    ada = await make_user(database)
    category = await make_category(database, ada)
    pick, deleted = picks[0] % len(rows), picks[1]
    async with database.transaction(SERVICE) as write:
        values = [row | {"id": new_id(), "user_id": ada.id, "category_id": category.id} for row in rows]
        tasks = await Tasks(write).add_many(values)
        at = tasks[pick]
        cursor = (await Tasks(write).page(PageRequest(), order=order)).cursor(at)
        for index, task in enumerate(tasks):
            if deleted >> index & 1:
                await Tasks(write).remove(task)
    alive = [task for index, task in enumerate(tasks) if not deleted >> index & 1]
    place = models.sort_rows({*alive, at}, order or Tasks.default_order).index(at)
    listed = models.sort_rows(alive, order or Tasks.default_order)
    after = listed[place + (at in alive) :]
    cases = [
        (PageRequest(first=size, after=cursor), after[:size], len(after) > size, len(after) < len(listed)),
        (
            PageRequest(last=size, before=cursor),
            listed[max(0, place - size) : place],
            place < len(listed),
            place > size,
        ),
        (PageRequest(first=size), listed[:size], len(listed) > size, False),
        (PageRequest(last=size), listed[-size:], False, len(listed) > size),
        (PageRequest(first=size, page=2), listed[size : 2 * size], len(listed) > 2 * size, bool(listed)),
    ]
    async with open_snapshot(database, viewer_of(ada)) as snapshot:
        repository = Tasks(snapshot)
        for request, expected, has_next, has_previous in cases:
            page = await repository.page(request, order=order)
            behind = await repository.has_rows_behind(request, order=order)
            of_category = ([category.id], "category_id", request)
            page_of_category = (await repository.pages_of(*of_category, order=order))[category.id]
            behind_of_category = (await repository.have_rows_behind(*of_category, order=order))[category.id]
            for found in (_with_flags(page, behind), _with_flags(page_of_category, behind_of_category)):
                assert list(found.rows) == expected, request
                assert (found.has_next, found.has_previous) == (has_next, has_previous), request


@examples(80)
@given(
    rows=st.lists(models.task_values(), min_size=1, max_size=8),
    order=models.orders,
    size=st.integers(1, 3),
    picks=st.tuples(st.integers(0, 7), st.integers(0, 255)),
)
def test_a_page_knows_whether_rows_exist_on_both_sides(
    shared_database: SharedDatabase, rows: list[dict[str, Any]], order: list[SortKey], size: int, picks: tuple[int, int]
) -> None:
    """Also if the cursor's row, or every row on one side of it, was deleted."""
    shared_database.run(_page_around(shared_database.database, rows, order, size, picks))


async def test_a_page_is_one_statement(database: Database, statements: list[str]) -> None:
    """This holds for any size and any number of keys. A page has 50 rows by default and 500 at most."""
    ada = await make_user(database)
    category = await make_category(database, ada)
    await make_tasks(database, ada, 510, category_id=category.id)
    async with open_snapshot(database, viewer_of(ada)) as snapshot:
        repository = Tasks(snapshot)
        assert await repository.exists(category.id) is False
        statements.clear()
        assert len((await repository.page(PageRequest())).rows) == DEFAULT_SIZE == 50
        assert len((await repository.page(PageRequest(last=MAX_SIZE))).rows) == 500
        assert len((await repository.page(PageRequest(page=2, first=MAX_SIZE))).rows) == 10
        assert len(statements) == 3
        pages = await repository.pages_of([category.id, new_id()], "category_id", PageRequest(first=7))
        assert [len(page.rows) for page in pages.values()] == [7, 0]
        assert len(statements) == 4


async def test_pages_stay_correct_while_rows_are_added_and_removed(database: Database) -> None:
    """Rows that are added or removed before the cursor neither repeat nor hide other rows."""
    ada = await make_user(database)
    tasks = await make_tasks(database, ada, 6)
    order = [SortKey("title")]

    async def next_titles(connection: ReadConnection, cursor: str | None) -> tuple[list[str], str]:
        page = await Tasks(connection).page(PageRequest(first=2, after=cursor), order=order)
        return [task.title for task in page.rows], page.cursor(page.rows[-1])

    async with open_snapshot(database) as snapshot:
        titles, cursor = await next_titles(snapshot, None)
    assert titles == ["Task 0", "Task 1"]
    async with database.transaction(SERVICE) as write:
        await Tasks(write).purge(tasks[1].id)
        await Tasks(write).purge(tasks[2].id)
        await Tasks(write).add(user_id=ada.id, title="Task 0.5")
    async with open_snapshot(database) as snapshot:
        titles, _ = await next_titles(snapshot, cursor)
    assert titles == ["Task 3", "Task 4"]


BAD_REQUESTS: list[tuple[dict[str, Any], str, str]] = [
    ({"first": 0}, "first", "`first` must be between 1 and 500."),
    ({"first": -1}, "first", "`first` must be between 1 and 500."),
    ({"first": 501}, "first", "`first` must be between 1 and 500."),
    ({"last": 0}, "last", "`last` must be between 1 and 500."),
    ({"last": 501}, "last", "`last` must be between 1 and 500."),
    ({"first": 1, "last": 1}, "last", "Give `first` or `last`, not both."),
    ({"after": "a", "before": "b"}, "before", "Give `after` or `before`, not both."),
    ({"last": 1, "after": "a"}, "before", "Use `first` with `after`, or `last` with `before`."),
    ({"first": 1, "before": "a"}, "before", "Use `first` with `after`, or `last` with `before`."),
    ({"page": 0}, "page", "`page` must be between 1 and 10000."),
    ({"page": MAX_PAGE + 1}, "page", "`page` must be between 1 and 10000."),
    ({"page": 1, "after": "a"}, "page", "Use `page` with `first` only."),
    ({"page": 1, "before": "a"}, "page", "Use `page` with `first` only."),
    ({"page": 1, "last": 1}, "page", "Use `page` with `first` only."),
]


@pytest.mark.parametrize(("arguments", "path", "message"), BAD_REQUESTS, ids=[repr(bad[0]) for bad in BAD_REQUESTS])
def test_an_invalid_page_request_is_a_validation_error(arguments: dict[str, Any], path: str, message: str) -> None:
    """Sizes out of range, and arguments that contradict each other. The error names the argument."""
    with pytest.raises(ValidationError) as caught:
        PageRequest(**arguments)
    assert (caught.value.path, caught.value.message) == ((path,), message)


@pytest.mark.parametrize("size", [1, MAX_SIZE])
def test_the_smallest_and_largest_page_are_allowed(size: int) -> None:
    assert PageRequest(first=size).size == PageRequest(last=size).size == size
    assert PageRequest(first=size, page=MAX_PAGE).offset == size * (MAX_PAGE - 1)
