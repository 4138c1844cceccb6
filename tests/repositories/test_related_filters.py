"""Conditions on the rows that a row refers to, compared with a plain computation, on both engines."""

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from repositories.core.clock import now
from repositories.core.errors import ValidationError
from repositories.engines.database import Database
from repositories.life_lock.categories import Categories
from repositories.life_lock.tasks import Tasks
from repositories.sql.filters import And, Compare, DeletedRows, Deletion, Filter, Not, Op, Or, Related
from repositories.tables.life_lock import Category
from tests.factories import make_category, make_task, make_user, viewer_of
from tests.repositories.support import SharedDatabase, examples, open_snapshot

NAMES = ("a", "b", "c")

_names: st.SearchStrategy[Filter] = st.recursive(
    st.one_of(
        st.builds(Compare, st.just("name"), st.sampled_from([Op.EQ, Op.NE]), st.sampled_from(NAMES)),
        st.builds(Compare, st.just("name"), st.just(Op.IN), st.lists(st.sampled_from(NAMES), max_size=3)),
    ),
    lambda parts: st.one_of(
        st.lists(parts, max_size=2).map(lambda drawn: And(tuple(drawn))),
        st.lists(parts, max_size=2).map(lambda drawn: Or(tuple(drawn))),
        parts.map(Not),
    ),
    max_leaves=4,
)
_related = _names.map(lambda inner: Related("category_id", Category, inner))
_filters: st.SearchStrategy[Filter] = st.one_of(
    _related, _related.map(Not), st.lists(_related, max_size=3).map(lambda drawn: Or(tuple(drawn)))
)


def _matches(name: str | None, where: Any) -> bool:
    """Whether a row whose category has this name passes the filter; None stands for a row without a category."""
    match where:
        case Related(_, _, inner):
            return name is not None and _matches(name, inner)
        case Compare(_, op, value):
            found = name in value if op is Op.IN else name == value
            return not found if op is Op.NE else found
        case And(parts):
            return all(_matches(name, part) for part in parts)
        case Or(parts):
            return any(_matches(name, part) for part in parts)
        case Not(part):
            return not _matches(name, part)
        case _:
            raise TypeError(where)


async def _compare(database: Database, where: Filter) -> None:
    ada = await make_user(database)
    expected = {}
    for name in (*NAMES, None):
        category = None if name is None else await make_category(database, ada, name=name)
        task = await make_task(database, ada, category_id=category and category.id)
        expected[task.id] = name
    async with open_snapshot(database, viewer_of(ada)) as snapshot:
        found = await Tasks(snapshot).find(where, limit=100)
        assert await Tasks(snapshot).count(where) == len(found)
    assert {task.id for task in found} == {key for key, name in expected.items() if _matches(name, where)}


@examples(40)
@given(where=_filters)
def test_related_rows_are_found_as_in_python(shared_database: SharedDatabase, where: Filter) -> None:
    shared_database.run(_compare(shared_database.database, where))


async def test_rows_that_the_viewer_may_not_see_do_not_count(database: Database) -> None:
    """A user cannot find out by a filter what another user's category is called."""
    ada, bob = await make_user(database), await make_user(database)
    await make_category(database, ada, name="Secret")
    own = await make_category(database, bob, name="Own")
    task = await make_task(database, bob, category_id=own.id)
    async with open_snapshot(database, viewer_of(bob)) as snapshot:
        tasks = Tasks(snapshot)
        by_name = [Related("category_id", Category, Compare("name", Op.EQ, name)) for name in ("Secret", "Own")]
        assert [[each.id for each in await tasks.find(where, limit=9)] for where in by_name] == [[], [task.id]]
        assert await Categories(snapshot).count() == 1


async def test_the_conditions_inside_count_for_the_limit(database: Database) -> None:
    inner = Or((Compare("name", Op.EQ, "a"),) * 100)
    async with open_snapshot(database) as snapshot:
        with pytest.raises(ValidationError, match="this one has 101"):
            await Tasks(snapshot).find(Related("category_id", Category, inner), limit=1)


async def test_deleted_rows_are_listed_on_request(database: Database) -> None:
    ada = await make_user(database)
    live, deleted = await make_task(database, ada), await make_task(database, ada, deleted_at=now())
    async with open_snapshot(database, viewer_of(ada)) as snapshot:
        tasks = Tasks(snapshot)
        only, both = DeletedRows(Deletion.ONLY), DeletedRows(Deletion.INCLUDE)
        assert [task.id for task in await tasks.find(limit=9)] == [live.id]
        assert [task.id for task in await tasks.find(only, limit=9)] == [deleted.id]
        assert {task.id for task in await tasks.find(both, limit=9)} == {live.id, deleted.id}
        assert [await tasks.count(where) for where in (And(), only, both, And((both, And())))] == [1, 1, 2, 2]
