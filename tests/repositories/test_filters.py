"""Filters find the same rows as their reference implementation in Python, and their SQL depends on the shape only."""

import datetime as dt
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql, sqlite

from repositories.aggregates.repository import Repository
from repositories.core.errors import ValidationError
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.identity import Users
from repositories.life_lock.analytics import Analytics
from repositories.life_lock.tasks import Tasks
from repositories.sql import filters
from repositories.sql.filters import MAX_WORDS, And, Compare, Filter, Not, Op, Or, Search
from repositories.sql.page import PageRequest
from repositories.sql.table import Table
from repositories.tables.life_lock import Task
from tests.factories import make_task, make_user, viewer_of
from tests.repositories import models
from tests.repositories.support import SharedDatabase, examples, open_snapshot


async def _compare_results(database: Database, rows: list[dict[str, Any]], given_filters: list[Filter]) -> None:
    ada = await make_user(database)
    async with database.transaction(SERVICE) as write:
        tasks = await Tasks(write).add_many([row | {"id": new_id(), "user_id": ada.id} for row in rows])
    async with open_snapshot(database, viewer_of(ada)) as snapshot:
        for one in given_filters:
            expected = [task for task in tasks if models.matches(task, one)]
            assert sorted(await Tasks(snapshot).find(one, limit=500)) == sorted(expected), one
            assert await Tasks(snapshot).count(one) == len(expected)
            assert await Tasks(snapshot).first(one, [filters.SortKey("id")]) == min(expected, default=None)


@examples(60)
@given(rows=st.lists(models.task_values(), max_size=12), chosen=st.lists(models.filters, min_size=1, max_size=4))
def test_filters_equal_their_reference_implementation(
    shared_database: SharedDatabase, rows: list[dict[str, Any]], chosen: list[Filter]
) -> None:
    """Comparisons, searches, And, Or and Not in any nesting, with values and NULLs."""
    shared_database.run(_compare_results(shared_database.database, rows, chosen))


@examples(60)
@given(
    rows=st.lists(models.task_values(), min_size=5, max_size=12),
    chosen=st.lists(models.comparisons, min_size=6, max_size=6),
)
def test_single_comparisons_equal_their_reference_implementation(
    shared_database: SharedDatabase, rows: list[dict[str, Any]], chosen: list[Filter]
) -> None:
    """One operator on one column, and its negation."""
    shared_database.run(_compare_results(shared_database.database, rows, [*chosen, *map(Not, chosen)]))


VALUES: dict[type[Repository[Any]], dict[str, list[Any]]] = {
    Users: {
        "email_verified": [False, True],
        "role": ["admin", "user"],
        "last_login": [None, dt.datetime(2024, 1, 1, tzinfo=dt.UTC)],
    },
    Analytics: {
        "date": [dt.date(2023, 12, 31), dt.date(2024, 1, 1)],
        "productivity_score": [Decimal("9.50"), Decimal("10.00")],
        "tasks_created": [0, 20],
        "id": [new_id(), new_id()],
    },
}
KINDS = [(repository, column) for repository, columns in VALUES.items() for column in columns]


@pytest.mark.parametrize(("repository", "column"), KINDS, ids=[f"{r.__name__}-{c}" for r, c in KINDS])
def test_every_operator_compares_every_type_like_python(
    shared_database: SharedDatabase, repository: type[Repository[Any]], column: str
) -> None:
    """Flags, days, decimals, integers, ids and choices."""
    shared_database.run(_every_operator(shared_database.database, repository, column))


async def _every_operator(database: Database, repository: type[Repository[Any]], column: str) -> None:
    ada, bob = await make_user(database), await make_user(database)
    mine: Filter = Compare("id" if repository is Users else "user_id", Op.IN, [ada.id, bob.id])
    low, high = VALUES[repository][column]
    rows: list[Table] = []
    async with database.transaction(SERVICE) as write:
        for user, value in ((ada, low), (bob, high)):
            if repository is Users:
                rows.append(await Users(write).change(user, **{column: value}))
            else:
                rows.append(
                    await repository(write).add(**{"user_id": user.id, "date": dt.date(2000, 1, 1), column: value})
                )
        values = [getattr(row, column) for row in rows]
        comparisons = [(op, high) for op in (Op.EQ, Op.NE, Op.GT, Op.GTE, Op.LT, Op.LTE)]
        comparisons += [(op, None) for op in (Op.EQ, Op.NE)]
        comparisons += [(op, given) for op in (Op.IN, Op.NOT_IN) for given in ([], [high], [None], [high, None])]
        for op, given_value in [*comparisons, (Op.IS_NULL, low is None)]:
            expected = [row for row, value in zip(rows, values, strict=True) if models.compare(value, op, given_value)]
            found = await repository(write).find(And((mine, Compare(column, op, given_value))), limit=5)
            assert sorted(found) == sorted(expected), (op, given_value)


SPECIAL_CASES: list[tuple[Filter, list[str]]] = [
    (And(()), ["50% off_", "C:\\temp", "Straße", "ΟΔΟΣ", "İstanbul"]),
    (Or(()), []),
    (Not(And(())), []),
    (Compare("status", Op.IN, []), []),
    (Compare("description", Op.NOT_IN, []), ["50% off_", "C:\\temp", "Straße", "ΟΔΟΣ", "İstanbul"]),
    (Search(("title", "description"), ""), ["50% off_", "C:\\temp", "Straße", "ΟΔΟΣ", "İstanbul"]),
    (Search(("title", "description"), " \t\n "), ["50% off_", "C:\\temp", "Straße", "ΟΔΟΣ", "İstanbul"]),
    (Search(("title",), "%"), ["50% off_"]),
    (Search(("title",), "_"), ["50% off_"]),
    (Search(("title",), "\\"), ["C:\\temp"]),
    (Search(("title",), "OFF 50%"), ["50% off_"]),
    (Search(("title",), "off 51%"), []),
    (Search(("title", "description"), "off sale"), ["50% off_"]),
    (Search(("title",), "STRASSE"), []),
    (Search(("title",), "STRAẞE"), ["Straße"]),
    (Search(("title",), "οδοσ"), ["ΟΔΟΣ"]),
    (Search(("title",), "ΔΟΣ"), ["ΟΔΟΣ"]),
    (Search(("title",), "iSTAN"), ["İstanbul"]),
    (Compare("title", Op.CONTAINS, "0% O"), ["50% off_"]),
    (Compare("title", Op.PREFIX, "c:\\T"), ["C:\\temp"]),
    (Compare("title", Op.PREFIX, "%"), []),
    (Compare("title", Op.LIKE, "%off\\_"), ["50% off_"]),
    (Compare("title", Op.LIKE, "%OFF_"), ["50% off_"]),
    (Compare("title", Op.LIKE, "off"), []),
    (Compare("title", Op.EQ, "straße"), []),
    (Compare("title", Op.IN, ["Straße", "straße"]), ["Straße"]),
]


@pytest.mark.parametrize(("one", "expected"), SPECIAL_CASES, ids=[repr(one)[:60] for one, _ in SPECIAL_CASES])
def test_special_filters_and_characters(shared_database: SharedDatabase, one: Filter, expected: list[str]) -> None:
    """Empty lists and parts, wildcards of LIKE, and characters without a simple case mapping."""

    async def check() -> None:
        ada = await make_user(shared_database.database)
        for title in ("50% off_", "C:\\temp", "Straße", "ΟΔΟΣ", "İstanbul"):
            await make_task(
                shared_database.database, ada, title=title, description="Sale" if title == "50% off_" else None
            )
        async with open_snapshot(shared_database.database, viewer_of(ada)) as snapshot:
            found = await Tasks(snapshot).find(one, [filters.SortKey("id")], limit=9)
        assert [task.title for task in found] == expected

    shared_database.run(check())


async def test_a_search_uses_every_word_up_to_its_limit(database: Database, statements: list[str]) -> None:
    await make_task(database, await make_user(database), title=" ".join("abcdefghijklmnopqrst"))
    async with open_snapshot(database) as snapshot:
        tasks = Tasks(snapshot)
        assert await tasks.count(Search(("title",), "a b c d e f g h i j k l m n o p q r s t")) == 1
        assert await tasks.count(Search(("title",), "a b c d e f g h i j k l m n o p q r s z")) == 0
        for text in ("a " * (MAX_WORDS + 1), "a " * 500):
            statements.clear()
            for work in (tasks.count, partial(tasks.find, limit=1), partial(tasks.page, PageRequest())):
                with pytest.raises(ValidationError) as caught:
                    await work(Not(Search(("title",), text)))
                words = len(text.split())
                assert caught.value.message == f"A search may have at most 20 words; this one has {words}."
            assert statements == []


async def test_a_pattern_that_ends_in_an_escape_is_a_validation_error(database: Database) -> None:
    """PostgreSQL cannot use such a pattern. The error is the same on both engines."""
    async with open_snapshot(database) as snapshot:
        for pattern in ("\\", "a%\\", "\\\\\\"):
            with pytest.raises(ValidationError) as caught:
                await Tasks(snapshot).find(Compare("title", Op.LIKE, pattern), limit=1)
            assert caught.value.path == ("filter",)
            assert (
                caught.value.message
                == "A pattern must not end with a single backslash; write two backslashes to match one."
            )
        assert await Tasks(snapshot).count(Compare("title", Op.LIKE, "\\\\")) == 0


def _conditions(count: int, one: Filter) -> Filter:
    return And((one,) * count)


@pytest.mark.parametrize(
    "one", [Compare("title", Op.EQ, "x"), Compare("due_date", Op.IS_NULL, value=True), Search(("title",), "x")]
)
@pytest.mark.parametrize("count", [101, 102, 5000])
async def test_more_than_100_conditions_are_a_validation_error(
    database: Database, statements: list[str], one: Filter, count: int
) -> None:
    """The filter is not sent to the database. A filter with 100 conditions is."""
    tasks = Tasks(database.snapshot(SERVICE))
    for work in (
        lambda given_filter: tasks.find(given_filter, limit=1),
        tasks.count,
        lambda given_filter: tasks.page(PageRequest(first=1), given_filter),
    ):
        statements.clear()
        with pytest.raises(ValidationError) as caught:
            await work(_conditions(count, one))
        assert caught.value.path == ("filter",)
        assert caught.value.message == f"A filter may have at most 100 conditions; this one has {count}."
        assert statements == []
        await work(_conditions(100, one))
    await tasks.connection.close()  # type: ignore[attr-defined]


@examples(40)
@given(given_filter=models.filters, data=st.data())
def test_filters_of_one_shape_have_one_text(given_filter: Filter, data: st.DataObject) -> None:
    """Neither the values nor the length of a list change the shape or the SQL text."""
    other = _with_other_values(given_filter, data)
    assert filters.shape_of(other) == filters.shape_of(given_filter)
    assert list(filters.parameters_of(other)) == list(filters.parameters_of(given_filter))
    for dialect in (sqlite.dialect(), postgresql.dialect()):  # type: ignore[no-untyped-call]
        texts = {
            str(filters.build_condition(Task.__table__, one).compile(dialect=dialect)) for one in (given_filter, other)
        }
        assert len(texts) == 1


def _with_other_values(one: Filter, data: st.DataObject) -> Filter:
    match one:
        case Compare(column, Op.IN | Op.NOT_IN as op, values):
            drawn = data.draw(st.lists(models.COLUMNS[column], max_size=6))
            return Compare(column, op, [*drawn, None] if None in values else drawn)
        case Compare(_, Op.IS_NULL, _) | Compare(_, _, None):
            return one
        case Compare(column, op, _):
            return Compare(column, op, data.draw(models.COLUMNS[column]))
        case And(parts):
            return And(tuple(_with_other_values(part, data) for part in parts))
        case Or(parts):
            return Or(tuple(_with_other_values(part, data) for part in parts))
        case Not(part):
            return Not(_with_other_values(part, data))
        case Search(columns, text):
            return Search(columns, " ".join("x" * index for index, _ in enumerate(text.split(), 1)))
        case _:
            raise TypeError(one)


async def test_the_text_contains_no_values(database: Database, statements: list[str]) -> None:
    """The database receives the same text for any number of keys and for any values."""
    async with open_snapshot(database) as snapshot:
        tasks = Tasks(snapshot)
        await tasks.count()
        statements.clear()
        for count in (0, 1, 300):
            await tasks.by_id([new_id() for _ in range(count)])
            await tasks.find(Compare("title", Op.IN, ["needle"] * count), limit=count + 1)
            await tasks.count(And((Compare("title", Op.EQ, "needle" * count), Search(("title",), f"needle{count}"))))
        assert len(statements) == 9
        assert len(set(statements)) == 3
        assert not any("needle" in text for text in statements)
